"""Work spread over processes that end with the one that started them.

    for result in run(function, items, workers=2): ...     # in the order in which they are done

Processes are spawned, not forked: TensorFlow's threads, where it was imported, do not survive a fork.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pneumodet.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent has died."""


def cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` of every item as it is done; in this process where there is one worker or one item.

    Args:
      function: of a module's top level, so that it can be pickled.
      items: picklable.
      workers: processes at the most.

    Raises:
      DataError: a process was killed, for which the usual cause is that memory ran out.
      Exception: whatever ``function`` raises; the other processes are stopped.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(items)), mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(os.getpid(),)
    )
    try:
        for future in as_completed([pool.submit(function, item) for item in items]):
            yield future.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise DataError("A worker process was killed, most likely because memory ran out. Try again with --workers 1.") from error
        raise
    finally:
        pool.shutdown()


def _start(parent: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's to answer, and a worker that nobody waits for must not go on writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
