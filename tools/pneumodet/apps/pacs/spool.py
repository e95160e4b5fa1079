"""The state folder: the journal, and what is on its way between two states. One worker at a time.

    with Folder(Path("workspace/pacs")).held() as folder:
        folder.write(exam, SOURCE, data)
        folder.read(exam, SOURCE)
        folder.remove(exam)

A radiograph lies here from its coming until it is predicted, and reports until the PACS has them. Both hold patient data: only the owner of
the process can read the folder.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from pneumodet.core import locks, paths
from pneumodet.core.errors import DataError, EnvironmentProblem

JOURNAL = "journal.sqlite"

SOURCE = "source.dcm"
"""A radiograph that waits for its prediction."""

_SPOOL, _LOCK = "spool", "lock"


class Folder:
    """A state folder; several threads may use one object.

    Attributes:
      path: of it.
      changing: held while an exam's files and its line in the journal change together.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.changing = path, threading.RLock()
        self._spool = path / _SPOOL

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / JOURNAL

    @contextlib.contextmanager
    def held(self) -> Iterator["Folder"]:
        """Make the folder where it is missing, and keep every other worker out of it; however a process ends, the next one gets it.

        Raises:
          DataError: another worker has it, or it cannot be written.
        """
        stack = contextlib.ExitStack()
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self._spool):
                # radiographs in it have names and dates of birth
                folder.chmod(0o700)
            # a lock of the system ends with its process, and leaves nothing that would keep the next one out
            lock = stack.enter_context(locks.locked(self.path / _LOCK, mode=0o600))
        except OSError as error:
            raise DataError(f"The state folder {self.path} cannot be written: {error.strerror}. Choose another --state.") from error
        with stack:
            if lock is not locks.HELD:
                raise DataError(f"The state folder {self.path} is used by another worker, or has no locks. Choose another --state.")
            yield self

    def write(self, sop_uid: str, kind: str, data: bytes) -> None:
        """Write a file of an exam, safely: it is there as a whole, on the disk, when this returns.

        Raises:
          EnvironmentProblem: the disk is full or cannot be written.
        """
        try:
            # two threads would write the same temporary file
            with self.changing, paths.atomic_path(self._path(sop_uid, kind)) as tmp:
                tmp.write_bytes(data)
        except DataError as error:
            raise EnvironmentProblem(str(error)) from error
        handle = os.open(self._spool, os.O_RDONLY)
        try:
            os.fsync(handle)  # the name, too
        finally:
            os.close(handle)

    def read(self, sop_uid: str, kind: str) -> bytes | None:
        """Return a file of an exam, or None where there is none."""
        try:
            return self._path(sop_uid, kind).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, sop_uid: str, kinds: Iterable[str]) -> None:
        """Remove files of an exam, where they are there."""
        for kind in kinds:
            self._path(sop_uid, kind).unlink(missing_ok=True)

    def keep_only(self, sop_uids: Iterable[str]) -> int:
        """Remove what earlier, killed workers left of other exams than these; return how many files there were."""
        wanted = {_name(uid) for uid in sop_uids}
        left = [path for path in self._spool.iterdir() if path.name.partition(".")[0] not in wanted]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _path(self, sop_uid: str, kind: str) -> Path:
        return self._spool / f"{_name(sop_uid)}.{kind}"


def _name(sop_uid: str) -> str:
    """Return 128 bits of SHA-256 as hex digits: longer than the names in logs, because two exams must not share a file."""
    return hashlib.sha256(sop_uid.encode()).hexdigest()[:32]
