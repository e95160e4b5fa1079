"""What lies in the state folder when a worker starts: kept, taken up again, put aside or removed, so that nothing that was acknowledged is lost.

    tidied = tidy(journal, folder, now=time.time())

The journal knows every file but those of a worker that was killed at that moment; or it was lost, or is an older copy, and then the files are all there is.
"""

import contextlib
import dataclasses
from io import BytesIO
from typing import Any

from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder, name_of
from pneumodet.core.errors import DataError
from pneumodet.inference import admission


@dataclasses.dataclass(frozen=True)
class Tidied:
    """What was done.

    Attributes:
      radiographs: exams that the journal did not know, whose radiographs wait again.
      reports: exams that the journal did not know, whose reports wait again.
      aside: files that belong to no exam that can be named; they lie in ``Folder.aside``.
      removed: files of exams that are done, and unfinished ones.
    """

    radiographs: int = 0
    reports: int = 0
    aside: int = 0
    removed: int = 0


def tidy(book: Journal, folder: Folder, *, now: float) -> Tidied:
    """Bring journal and files together; before anybody may send.

    Args:
      book: the journal.
      folder: the state folder.
      now: s since 1970.

    Raises:
      EnvironmentProblem: the disk is full or broken.
    """
    # dead exams keep their files: revive lets them begin there
    wanted = {name_of(exam.sop_uid) for state in (*journals.OPEN, journals.DEAD) for exam in book.of_state(state)}
    others = {name: kinds for name, kinds in folder.exams().items() if name not in wanted}
    uids = {name: _uid_of(folder, name, kinds) for name, kinds in others.items()}
    if None in uids.values():  # a journal may have millions of lines
        known = {name_of(uid): uid for uid in book.uids()}
        uids = {name: uid or known.get(name) for name, uid in uids.items()}
    radiographs = reports = aside = 0
    removed = folder.remove_unfinished()
    for name, kinds in others.items():
        uid = uids[name]
        if uid is None:
            aside += folder.put_aside(name, kinds)
        elif book.get(uid) is not None:
            folder.remove(uid, kinds)
            removed += len(kinds)
        elif SOURCE in kinds:
            book.take(uid, digest="", now=now)
            radiographs += 1
        else:
            # the radiograph goes only when all reports are there
            book.take(uid, digest="", now=now)
            book.move(uid, journals.PREDICTED, outputs=[_header(folder.read(uid, kind)).SOPInstanceUID for kind in kinds], now=now)
            reports += 1
    return Tidied(radiographs, reports, aside, removed)


def _uid_of(folder: Folder, name: str, kinds: list[str]) -> str | None:
    """Return the SOPInstanceUID of the exam that files belong to, which must give their name; None where none does."""
    candidates: list[str] = []
    for kind in kinds:
        data = folder.read_named(name, kind) or b""
        if kind == SOURCE:
            candidates += _own_uids(data)
        else:
            candidates += _referred_to(data)
    return next((uid for uid in candidates if name_of(uid) == name), None)


def _own_uids(data: bytes) -> list[str]:
    """Return what a radiograph's file says that it is, in its file meta information (PS3.10 7.1), which pynetdicom writes, and in itself."""
    import pydicom

    uids = []
    # the object itself may be of any kind, and is not read; whatever a file of anybody's does to a reader, it has no name then
    with contextlib.suppress(Exception):
        meta = pydicom.filereader.read_partial(BytesIO(data), stop_when=lambda *_: True)
        uids.append(str(meta.file_meta.MediaStorageSOPInstanceUID))
    with contextlib.suppress(DataError):
        uids.append(admission.facts_of_file(data, "it").sop_uid)
    return uids


def _referred_to(data: bytes) -> list[str]:
    """Return the SOPInstanceUIDs that a report refers to."""
    try:
        return [str(one.value) for one in _header(data).iterall() if one.keyword == "ReferencedSOPInstanceUID"]
    except Exception:  # as above
        return []


def _header(data: bytes | None) -> Any:
    import pydicom

    return pydicom.dcmread(BytesIO(data or b""), stop_before_pixels=True)
