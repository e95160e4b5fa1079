"""Calls in processes of their own that have limits of memory and CPU time, for decoders of files that anybody may have made.

    pixels = call(decode, data, limits=Limits(memory_bytes=1 << 29, cpu_seconds=30))       # Overrun where it takes more, or its process crashes

A damaged or forged file of 1 kB can ask a decoder for gigabytes, for minutes, or end the process. Here it ends another one, in whose place a new one is
started with the next call. Processes are started when they are first needed, one for each call that runs at a time up to the number of processors, and end
with this process. ``make_tfrecords``, ``predict``, the page and the PACS worker decode by the same ones.

Only Linux keeps to a limit of memory (RLIMIT_AS); elsewhere the function is called in this process, and what was checked before is all there is.
"""

import atexit
import contextlib
import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from pneumodet.core import processes, signals

Result = TypeVar("Result")

HAS_LIMITS = sys.platform == "linux"
"""Whether there are such processes here."""

PATIENCE = 10.0
"""Times the CPU seconds that a call may take on the clock of a busy computer, …"""

LEAST_PATIENCE_S = 120.0
"""… and at least so long; the first one starts Python."""

_SERVE = "import sys; sys.path[:] = {path!r}; from pneumodet.core import guarded; guarded._serve({handle}, {parent})"
"""What a process runs. Not multiprocessing's own, which would run the user's script once more where that has no ``if __name__ == '__main__'``."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a call may take.

    Attributes:
      memory_bytes: beyond what its process has before.
      cpu_seconds: of its process.
    """

    memory_bytes: int
    cpu_seconds: int


class Overrun(Exception):
    """A call took more than it may, or ended its process; the text is a phrase for a sentence."""


class _Lost(Exception):
    """The process was gone before it was asked: killed by somebody."""


class _Process:
    """One process and the line to it."""

    def __init__(self) -> None:
        import socket

        ours, theirs = socket.socketpair()
        with ours, theirs, signals.held_back():  # Ctrl-C is this process's to answer
            code = _SERVE.format(path=sys.path, handle=theirs.fileno(), parent=os.getpid())
            environment = os.environ | dict.fromkeys(processes.THREAD_COUNTS, "1")
            self._popen = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders in C write about each damaged file
            )
            self._line = Connection(ours.detach())

    def ask(self, function: Callable[..., Any], args: tuple[Any, ...], limits: Limits) -> tuple[bool, Any]:
        """Return (whether the function returned, what it returned or raised).

        Raises:
          _Lost: the process was gone.
          Overrun: it took more than its limits, or ended.
        """
        try:
            self._line.send((function, args, limits))
        except OSError as error:
            raise _Lost from error
        deadline = time.monotonic() + max(LEAST_PATIENCE_S, PATIENCE * limits.cpu_seconds)
        try:
            if not self._line.poll(max(0.0, deadline - time.monotonic())):
                raise Overrun(f"it takes more than {limits.cpu_seconds} s")
            answer: tuple[bool, Any] = self._line.recv()
        except (EOFError, OSError) as error:
            raise Overrun(_of_end(self._popen.wait(), limits)) from error
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        self._line.close()
        with contextlib.suppress(OSError):
            self._popen.kill()
        self._popen.wait()


class _Pool:
    """The processes that wait for a call, and how many may be at work."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(max(2, processes.cpus()))

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], limits: Limits) -> Any:
        with self._free:
            for _ in range(2):
                with self._lock:
                    process = self._idle.pop() if self._idle else None
                process = process or _Process()
                try:
                    returned, value = process.ask(function, args, limits)
                except _Lost:
                    process.end()
                    self.close()  # who ended one has ended the others as well
                    continue
                except BaseException:  # Ctrl-C, too: its answer would be taken for that of the next call
                    process.end()
                    raise
                with self._lock:
                    self._idle.append(process)
                if returned:
                    return value
                raise value
            raise Overrun("the processes that decode are killed again and again")

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()


_pool = _Pool()


def _renewed() -> None:
    """Forget the processes of the parent after a fork: two that write into one line would get each other's answers."""
    global _pool
    _pool = _Pool()


atexit.register(lambda: _pool.close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renewed)


def call(function: Callable[..., Result], *args: Any, limits: Limits) -> Result:
    """Return what a function returns, which is called in another process.

    Args:
      function: of a module's top level.
      args: picklable.
      limits: what the call may take.

    Raises:
      Overrun: it takes more, or ends its process.
      Exception: whatever the function raises, without its traceback.
    """
    if not HAS_LIMITS:
        return function(*args)
    result: Result = _pool.call(function, args, limits)
    return result


def close() -> None:
    """End the processes that wait; the next call starts a new one."""
    _pool.close()


def _of_end(status: int, limits: Limits) -> str:
    """Return why a process has ended."""
    import signal

    if status == -signal.SIGXCPU:
        return f"it takes more than {limits.cpu_seconds} s"
    if status == -signal.SIGKILL:
        return "memory ran out"
    return "its decoder ends in a crash"


def _serve(handle: int, parent: int) -> None:
    """Answer calls until the other end of the line is gone: what the process of ``_Process`` does."""
    import resource
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    line = Connection(handle)
    with contextlib.suppress(EOFError, OSError):
        while os.getppid() == parent:
            function, args, limits = line.recv()
            line.send(_answer(function, args, limits))


def _answer(function: Callable[..., Any], args: tuple[Any, ...], limits: Limits) -> tuple[bool, Any]:
    import resource

    memory, processor = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds
    resource.setrlimit(resource.RLIMIT_AS, (_lower(_mapped() + limits.memory_bytes, memory[1]), memory[1]))
    resource.setrlimit(resource.RLIMIT_CPU, (_lower(seconds, processor[1]), processor[1]))
    try:
        return True, function(*args)
    except MemoryError:
        return False, Overrun(f"it takes more than {limits.memory_bytes >> 20} MB of memory")
    except Exception as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return False, error
    finally:  # pickling the answer takes memory, too
        resource.setrlimit(resource.RLIMIT_AS, memory)
        resource.setrlimit(resource.RLIMIT_CPU, processor)


def _lower(limit: int, hard: int) -> int:
    """Return a limit, or the hard one where somebody has set a lower one; -1 is none."""
    return limit if hard < 0 else min(limit, hard)


def _mapped() -> int:
    """Return the bytes of addresses that this process has (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
