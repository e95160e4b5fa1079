"""Locks between processes, which the system lets go when a process ends, however it ends.

with locks.locked(folder) as state:           # hold the folder itself
    if state is locks.TAKEN: ...
with locks.locked(folder / ".lock") as state: ...         # a file, which is made

Locks are advisory (flock): they keep out only those who ask. A process id in a file's name would not do: containers share folders, and each has
its own process 1.
"""

import contextlib
import enum
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, on which predictions are made, too
    fcntl = None  # type: ignore[assignment]


_log = logging.getLogger(__name__)


class State(enum.Enum):
    """Whose a lock is."""

    HELD = "held"
    TAKEN = "taken"
    UNKNOWN = "unknown"


HELD, TAKEN, UNKNOWN = State
"""Ours; another process's; the file system has no locks, so that nothing is known."""


@contextlib.contextmanager
def locked(path: Path, *, wait: Callable[[], object] | None = None, mode: int = 0o666) -> Iterator[State]:
    """Hold a lock.

    Args:
      path: a folder, or a file, which is made where it is missing and stays.
      wait: where another process has the lock, this is called, and then the lock is waited for; by default it is not waited for.
      mode: permission bits of a file that is made.

    Yields:
      ``HELD``, ``TAKEN`` or ``UNKNOWN``.

    Raises:
      OSError: the file cannot be opened or made.
    """
    if fcntl is None:
        yield UNKNOWN
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        yield _take(handle, path, wait)
    finally:
        os.close(handle)


def _take(handle: int, path: Path, wait: Callable[[], object] | None) -> State:
    try:
        try:
            # flock and not lockf, whose lock ends as soon as any handle of the file is closed in this process, and which takes no folder
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                return TAKEN
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        _log.warning("%s has no file locks: see to it that no other process works there.", path.parent)
        return UNKNOWN
    is_still_there = path.exists() and os.path.samestat(os.fstat(handle), path.stat())  # its last owner may just have removed it
    return HELD if is_still_there else TAKEN
