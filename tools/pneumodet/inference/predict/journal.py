"""What is finished, one line an exam, written while predictions are made: the results are made of it, and a killed run is resumed from it.

    with Journal.begin(path, settings) as journal:       # or Journal.resume(path, settings)
        journal.append(Entry("0004cfab", "0004cfab.dcm", (1024, 1024), detections))
    for entry in journal.entries(): ...

The first line holds what the results depend on. A line that was cut off, and all after it, is done again.
"""

import base64
import dataclasses
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import json_text
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.json_fields import Fields

NAME = "journal.jsonl"
"""The file's name; it is removed when the results are whole."""

FORMAT, VERSION = "pneumodet-journal", 2

_SYNC_SECONDS = 5.0
"""A power cut costs what was done in so many seconds; a kill costs nothing."""

_COLUMNS = 6
"""Numbers a detection: box, score, class; all of them are float32 without loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One finished radiograph.

    Attributes:
      exam: its id.
      file: the path of its file below the input.
      size_hw: of the radiograph, px.
      detections: after post-processing, of all classes and scores, in px of the radiograph; ``found`` in the file.
      picture: file name of its picture, or None where none was drawn.
      problem: why a DICOM object could not be made of it, or nothing.
      notes: what was done or passed over where its pixels were made, phrases for counting.
      identity: what the same exam in another file has as well; see ``naming.identity_of``.
    """

    exam: str
    file: str
    size_hw: tuple[int, int]
    detections: Detections
    picture: str | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    identity: str = ""

    def to_line(self) -> bytes:
        """Return the entry as a line of JSON; detections are little-endian float32 in base64, and come back to the last bit."""
        of = self.detections
        table = np.column_stack([of.boxes_xyxy_px, of.scores, of.classes]).astype("<f4")
        value: dict[str, Any] = {
            "exam": self.exam,
            "file": self.file,
            "size_hw": self.size_hw,
            "found": base64.b64encode(table.tobytes()).decode(),
            "picture": self.picture,
            "problem": self.problem,
            "notes": self.notes,
            "identity": self.identity,
        }
        if of.masks is not None:
            value["masks"] = {"side_hw": of.masks.shape[1:], "bytes": base64.b64encode(of.masks.tobytes()).decode()}
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> "Entry":
        """Read ``to_line``; ValueError or DataError where the line is damaged."""
        fields = Fields(json_text.loads(line), where=NAME, error=DataError, hint="")
        table = np.frombuffer(base64.b64decode(fields.required("found", str), validate=True), "<f4").reshape(-1, _COLUMNS)
        if not np.isfinite(table).all():
            raise fields.wrong("found", "finite numbers")
        detections = Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), _masks(fields, len(table)))
        height, width = map(int, fields.numbers("size_hw", 2))
        exam, file, problem, identity = (fields.required(name, str) for name in ("exam", "file", "problem", "identity"))
        return cls(exam, file, (height, width), detections, fields.file_name("picture"), problem, tuple(fields.texts("notes")), identity)


def _masks(fields: Fields, count: int) -> np.ndarray | None:
    one = fields.part("masks")
    if one is None:
        return None
    height, width = map(int, one.numbers("side_hw", 2))
    return np.frombuffer(base64.b64decode(one.required("bytes", str), validate=True), np.uint8).reshape(count, height, width)


class Journal:
    """A journal that is being written.

    Attributes:
      done: exams with an entry.
      key: names the work, for ``folders.new_folder``.
      path: of the file.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Take the path and key; use ``begin`` or ``resume``."""
        self.done: set[str] = set()
        self.key = key
        self.path = path
        self._file: Any = None
        self._synced = time.monotonic()

    @classmethod
    def begin(cls, path: Path, settings: Mapping[str, Any], *, key: str) -> "Journal":
        """Begin a journal; what was there is lost."""
        journal = cls(path, key)
        # unbuffered: what was written outlives a kill of the process
        journal._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by __exit__
        head = {"format": FORMAT, "version": VERSION, "key": key, "settings": settings}
        journal._write(json.dumps(head).encode() + b"\n")
        return journal

    @classmethod
    def resume(cls, path: Path, *, key: str) -> "Journal":
        """Continue a journal, after what of it is whole."""
        journal, whole = cls(path, key), 0
        with open(path, "rb") as file:
            # the head, then entries until the first damaged one: what follows a cut line is of no known state
            for number, line in enumerate(file):
                if number:
                    try:
                        entry = Entry.of_line(line) if line.endswith(b"\n") else None
                    except (ValueError, DataError):
                        entry = None
                    if entry is None:
                        break
                    journal.done.add(entry.exam)
                whole += len(line)
        journal._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        journal._file.truncate(whole)
        journal._file.seek(whole)
        return journal

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, entry: Entry) -> None:
        """Write an entry; a process that is killed afterwards has it. OSError where the disk is full."""
        self._write(entry.to_line())
        self.done.add(entry.exam)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, one in memory at a time."""
        with open(self.path, "rb") as file:
            next(file)
            seen: set[str] = set()
            for entry in map(Entry.of_line, file):
                if entry.exam not in seen:  # Ctrl-C may come after a line was written, and before that was noted
                    seen.add(entry.exam)
                    yield entry

    def _write(self, line: bytes) -> None:
        start = self._file.tell()
        try:
            written = self._file.write(line)
            # a write that is cut short raises nothing by itself; 28 is ENOSPC
            if written != len(line):
                raise OSError(28, "No space left on device")
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError:
            # what is left of a line would end up before the next one, and spoil both
            self._file.truncate(start)
            raise


def peek(folder: Path | None) -> tuple[dict[str, Any] | None, int]:
    """Return the first line of the journal in a folder, None where there is none that can be read, and the number of lines after it."""
    if folder is None or not (folder / NAME).is_file():
        return None, 0
    with open(folder / NAME, "rb") as file:
        try:
            head = json_text.loads(file.readline())
        except ValueError:
            return None, 0
        if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (FORMAT, VERSION):
            return None, 0
        if not isinstance(head.get("key"), str) or not isinstance(head.get("settings"), dict):
            return None, 0
        return head, sum(1 for _ in file)


def new_key() -> str:
    """Return a key for work that begins."""
    return uuid.uuid4().hex


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], *, where: Path) -> None:
    """Refuse to resume with other settings.

    Raises:
      ConfigError: a setting differs; the message names it, what it was and what it is.
    """
    # the names of both: a setting that only one of them has is a difference, too
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if old != new:
            raise ConfigError(
                f"The unfinished predictions of {where} were made with another {name.replace('_', ' ')} ({_short(old)}, now {_short(new)}). "
                "Give what was given then, or leave out --resume and give --overwrite to begin again."
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
