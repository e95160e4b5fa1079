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
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pneumodet.core import locks, paths
from pneumodet.core.errors import DataError, EnvironmentProblem

JOURNAL = "journal.sqlite"

SOURCE = "source.dcm"
"""A radiograph that waits for its prediction."""

_SPOOL, _ASIDE, _LOCK = "spool", "aside", "lock"


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

    @property
    def aside(self) -> Path:
        """Where files lie that belong to no exam that can be named."""
        return self.path / _ASIDE

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

    def has(self, sop_uid: str, kind: str) -> bool:
        """Whether there is such a file of an exam."""
        return self._path(sop_uid, kind).is_file()

    def remove(self, sop_uid: str, kinds: Iterable[str]) -> None:
        """Remove files of an exam, where they are there."""
        for kind in kinds:
            self._path(sop_uid, kind).unlink(missing_ok=True)

    def exams(self) -> dict[str, list[str]]:
        """Return ``name_of`` an exam -> the kinds of its files, for all that lie here."""
        every: dict[str, list[str]] = {}
        for path in sorted(self._spool.iterdir()):
            name, _, kind = path.name.partition(".")
            if name:  # unfinished files begin with a dot
                every.setdefault(name, []).append(kind)
        return every

    def read_named(self, name: str, kind: str) -> bytes | None:
        """Return a file of the exam with this ``name_of``, or None where there is none."""
        try:
            return (self._spool / f"{name}.{kind}").read_bytes()
        except OSError:
            return None

    def put_aside(self, name: str, kinds: Collection[str]) -> int:
        """Move files, whose exam is not known, to where they are kept; return how many there were."""
        self.aside.mkdir(mode=0o700, exist_ok=True)
        for kind in kinds:
            (self._spool / f"{name}.{kind}").replace(self.aside / f"{name}.{kind}")
        return len(kinds)

    def remove_unfinished(self) -> int:
        """Remove files that a killed worker had not written to their end; return how many there were."""
        left = list(self._spool.glob(".*"))
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _path(self, sop_uid: str, kind: str) -> Path:
        return self._spool / f"{name_of(sop_uid)}.{kind}"


def name_of(sop_uid: str) -> str:
    """Return what an exam's files are called: 128 bits of SHA-256 as hex digits: longer than the names in logs, because two exams must not share a file."""
    return hashlib.sha256(sop_uid.encode()).hexdigest()[:32]
