"""Work spread over processes that end with the one that started them.

    with Pool(2) as pool:
        for result in pool.run(function, items): ...     # in the order in which they are done

Processes are spawned, not forked: TensorFlow's threads, where it was imported, do not survive a fork. What they run has to be a module's, not the
script's own: the script is not run again.
"""

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pneumodet.core import signals
from pneumodet.core.errors import EnvironmentProblem

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent has died."""

THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that say how many threads a library of numpy has."""


_starting = threading.Lock()


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Let processes be spawned inside: they get no Ctrl-C, which is this process's to answer, and do not run the user's script.

    multiprocessing runs ``__main__`` once more in each process. A script, or a cell's text in a file, that calls ``pneumodet.convert`` without
    ``if __name__ == "__main__"`` would there begin anew, and each process end in a traceback.
    """
    with _starting, signals.held_back():
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")  # without __spec__ and __file__: nothing to run
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def cpus() -> int:
    """Return the number of processors that this process may use."""
    # os.cpu_count has those, too, that a cpuset or a scheduler keeps from this process
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Up to ``workers`` processes, started when they are first needed; with one worker everything is done in this process."""

    def __init__(self, workers: int = 1) -> None:
        """Take the number of processes."""
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._others: set[Any] = set()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._executor is None:
            return
        if kind is not None:
            waiting = getattr(self._executor, "_call_queue", None)  # before shutdown, which forgets it
            self._executor.shutdown(wait=False, cancel_futures=True)
            # shutdown waits for items that have begun, which may take minutes after Ctrl-C
            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()
            if sys.version_info < (3, 11, 5) and waiting is not None:
                # the thread that writes an item larger than a pipe would wait for a reader for ever (python/cpython issue 94777)
                waiting._reader.close()
        self._executor.shutdown()

    def warm_up(self, module: str) -> None:
        """Start the processes and let each import a module, while this process does something else."""
        if self.workers > 1:
            self._submit(_import, [module] * self.workers)

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` of every item as it is done; in this process where there is one worker or one item.

        Args:
          function: of a module's top level, so that it can be pickled.
          items: picklable.

        Raises:
          EnvironmentProblem: a process was killed, for which the usual cause is that memory ran out.
          Exception: whatever ``function`` raises.
        """
        if self.workers <= 1 or len(items) <= 1:
            yield from map(function, items)
            return
        try:
            for future in as_completed(self._submit(function, items)):
                yield future.result()
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "A worker process was killed, most likely because memory ran out. Try again with --workers 1."
            ) from error

    def _submit(self, function: Callable[[Any], Any], items: Sequence[Any]) -> "list[Future[Any]]":
        with starting():  # the first call starts the processes
            return [self._started().submit(function, item) for item in items]

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # children of others, such as an outer pool, are not ours to end
            self._others = set(multiprocessing.active_children())
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start, initargs=(os.getpid(),))
        return self._executor


def _import(module: str) -> None:
    importlib.import_module(module)


def _start(parent: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's to answer, and a worker that nobody waits for must not continue to write."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in THREAD_COUNTS:  # before numpy is imported: every processor has a process already
        os.environ.setdefault(name, "1")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
