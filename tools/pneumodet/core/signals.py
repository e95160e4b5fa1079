"""Ctrl-C: a line instead of a traceback, wherever it comes; after the step or exam at hand, where work is to be kept; never for worker processes.

with caught() as stop:
    while not stop.is_set(): ...

with held_back():
    process.start()                # which will not get Ctrl-C
"""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

AGAIN_AFTER_S = 0.01
"""A KeyboardInterrupt that Python dropped is raised again after so long."""


STOPPING = (signal.SIGINT, signal.SIGTERM)
"""What a process is asked by to end: Ctrl-C, and ``kill`` or a scheduler."""


@contextlib.contextmanager
def handled(handle: Callable[[int, Any], None], numbers: Sequence[signal.Signals] = STOPPING) -> Iterator[None]:
    """Let signals call a function; nothing in threads beside the main one, in which Python lets nobody set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminable() -> Iterator[threading.Event]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that what has a temporary name is removed; yield an event that says which it was.

    A second SIGTERM does not cut off what the first one has begun.
    """
    terminated = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if not terminated.is_set():
            terminated.set()
            raise KeyboardInterrupt

    with handled(handle, [signal.SIGTERM]):
        yield terminated


@contextlib.contextmanager
def caught() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second SIGINT interrupts at once. In threads beside the main one it stays unset."""
    stop = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    with handled(handle):
        yield stop


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold SIGINT back while processes are started: they inherit that, and never get it; this process gets it afterwards.

    A process that sets its own handler is too late: while it imports what it needs, Ctrl-C, which goes to all of a terminal's processes, would
    end in a traceback of each.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker  # here, since every command imports this module first of all

    resource_tracker.ensure_running()  # multiprocessing starts it with the first process, and lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interrupt() -> None:
    if hasattr(signal, "pthread_kill"):  # a signal indeed: it wakes a thread that sleeps or waits for a file
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def hide_interrupts() -> None:
    """Give a line instead of a traceback where nobody catches Ctrl-C: while modules are imported, and between a command's end and the process's.

    The exit status stays that of a process which SIGINT ended, by which a shell ends a script, too.
    """
    shown, reported = sys.excepthook, sys.unraisablehook

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            shown(kind, error, trace)
            return
        sys.stderr.write(f"\n{Path(sys.argv[0]).stem}: stopped by Ctrl-C. {error}".rstrip() + "\n")

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        # in a destructor or callback Python reports it and continues, as if Ctrl-C had never been pressed
        if not isinstance(what.exc_value, KeyboardInterrupt):
            reported(what)
            return
        again = threading.Timer(AGAIN_AFTER_S, _interrupt)
        again.daemon = True
        with contextlib.suppress(RuntimeError):  # the process ends anyway, and starts no thread
            again.start()

    sys.excepthook, sys.unraisablehook = uncaught, dropped
