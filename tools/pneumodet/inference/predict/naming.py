"""What each file of an input is called in the results: a name that no other one has, that the next run gives it again, and that labels know.

    named = name(candidates, known=labels.exams)
    named.exams                              # [("CR000000", source), …], or [("PAT1/CR Chest/CR000000", source), …]
    named.notes                              # what is said of it

A file name is no identity: CDs, Orthanc and many data sets have the same names in many folders. Files whose name occurs once are called by it,
the others by their path below the input. Where there are labels, a file that they mean has their id.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Collection, Container, Sequence

from pneumodet.core.errors import DataError
from pneumodet.core.formatting import counted
from pneumodet.core.processes import Pool
from pneumodet.data import sources, views
from pneumodet.data.listing import Candidate
from pneumodet.data.sources import Source
from pneumodet.dicom import header_facts, reading
from pneumodet.dicom.elements import is_uid

SAME = "the same radiograph as "
"""Why a file is left out whose SOPInstanceUID or bytes another one has; that one's id follows."""

Headers = dict[Source, reading.Header | None]


@dataclasses.dataclass(frozen=True)
class Named:
    """Files with their ids.

    Attributes:
      exams: (id, file) in the order of the paths, those that labels mean first.
      refused: (path, reason) of those that have none.
      notes: what the user should know of the ids, a sentence each.
    """

    exams: list[tuple[str, Source]]
    refused: list[tuple[str, str]]
    notes: list[str]


class Identities:
    """Which exam a radiograph was first: two files are the same exam where their SOPInstanceUID or their bytes are, and nowhere else."""

    def __init__(self, apart: Container[str] = ()) -> None:
        """Take the ids of labels, which stay apart: two exams for them are two here, whatever their files hold."""
        self._first: dict[str, str] = {}
        self._apart = apart

    def add(self, identity: str, exam: str) -> None:
        """Note an exam that has a result."""
        self._first.setdefault(identity, exam)

    def first_of(self, identity: str, exam: str) -> str | None:
        """Return the exam that has this radiograph's result already, or None."""
        first = self._first.get(identity)
        return None if first == exam or (first in self._apart and exam in self._apart) else first


def identity_of(data: bytes, sop_uid: str | None) -> str:
    """Return what two files have in common where they are the same exam: the SOPInstanceUID where it is one, else the SHA-256 of the contents."""
    return sop_uid if sop_uid and is_uid(sop_uid) else hashlib.sha256(data).hexdigest()


def name(candidates: Sequence[Candidate], *, known: Collection[str] = (), pool: Pool | None = None) -> Named:
    """Name the files of an input.

    Headers are read only where labels are there, of files whose name they do not have, and of those that one label could mean.

    Args:
      candidates: by path.
      known: ids of labels.
      pool: reads headers; this process where there is none.
    """
    if not known:
        return _called(candidates, {}, [], [], taken=())
    headers = _read([one.source for one in candidates if one.is_dicom and one.stem not in known], pool or Pool())
    meant: dict[str, list[Candidate]] = {}
    refused: list[tuple[str, str]] = []
    for one in candidates:
        header = headers.get(one.source)
        if header and header.is_own:  # a secondary capture with boxes burned in has the radiograph's PatientID
            refused.append((one.path, header_facts.OWN))
            continue
        label = next((each for each in (one.stem, *(header.ids if header else ())) if each in known), None)
        if label is not None:
            meant.setdefault(label, []).append(one)
    of_label: dict[Source, str] = {}
    notes: list[str] = []
    unsettled: list[tuple[str, list[Candidate]]] = []
    for label, files in meant.items():
        if len(files) > 1:
            headers |= _read([one.source for one in files if one.is_dicom and one.source not in headers], pool or Pool())
            files = _different(sorted(files, key=lambda one: one.stem != label), headers, label, refused)
        chosen = _meant(files, headers, label)
        if chosen is not None:
            of_label[chosen.source] = label
        elif files:
            unsettled.append((label, files))
    if unsettled:
        label, files = unsettled[0]
        notes.append(
            f"{counted(len(unsettled), 'id')} of the labels could mean several radiographs, which are called by their paths and drawn without ground "
            f"truth; the first is {label}: {' and '.join(one.path for one in files[:2])}. Label them by file name or SOPInstanceUID."
        )
    out = {path for path, _ in refused}
    return _called([one for one in candidates if one.path not in out], of_label, refused, notes, taken=known)


def _called(
    candidates: Sequence[Candidate], of_label: dict[Source, str], refused: list[tuple[str, str]], notes: list[str], *, taken: Container[str]
) -> Named:
    """Return the files with the ids of their labels, and names of their own for the others, of which none is in ``taken``."""
    others = [one for one in candidates if one.source not in of_label]
    own = dict(zip([one.source for one in others], unique_names(others, taken=taken), strict=True))
    by_path = [one for one in others if own[one.source] != one.stem]
    if by_path:
        first = by_path[0]
        notes.append(
            f"{counted(len(by_path), 'radiograph')} whose file name does not say which one it is {'is' if len(by_path) == 1 else 'are'} called "
            f"by the path below the input, as {own[first.source]}."
        )
    # labelled ones first: a copy under another name must not take their place
    order = sorted(candidates, key=lambda one: one.source not in of_label)
    return Named([(of_label.get(one.source) or own[one.source], one.source) for one in order], refused, notes)


def unique_names(files: Sequence[Candidate], *, taken: Container[str] = ()) -> list[str]:
    """Return a name for each file: its own without suffix where no other file has that, else its path without suffix, else with it.

    None is in ``taken``.
    """
    names: dict[int, str] = {}
    used: set[str] = set()
    for kind in ("stem", "place", "path"):
        wanted: dict[int, str] = {index: getattr(one, kind) for index, one in enumerate(files) if index not in names}
        counts = Counter(wanted.values())
        new = {index: each for index, each in wanted.items() if counts[each] == 1 and each not in taken and each not in used}
        names |= new
        used.update(new.values())
    for index, one in enumerate(files):
        number = 1
        while index not in names:
            number += 1
            each = f"{one.path} ({number})"
            if each not in taken and each not in used:
                names[index] = each
                used.add(each)
    return [names[index] for index in range(len(files))]


def _meant(files: Sequence[Candidate], headers: Headers, label: str) -> Candidate | None:
    """Return the file that a label means: by name before by header, DICOM before a picture of it, the frontal one of several; None if that is open."""
    by_name = [one for one in files if one.stem == label] or list(files)
    left = [one for one in by_name if one.is_dicom] or by_name
    if len(left) == 1:
        return left[0]
    which = views.frontal(header.view_position if (header := headers.get(one.source)) else None for one in left)
    return next((one for one, yes in zip(left, which, strict=True) if yes), None) if which else None


def _different(files: Sequence[Candidate], headers: Headers, label: str, refused: list[tuple[str, str]]) -> list[Candidate]:
    """Return the files that one label means without copies of the first ones, which ``refused`` gets, and what is no radiograph."""
    different: dict[str, Candidate] = {}
    for one in files:
        header = headers.get(one.source)
        if one.is_dicom and header is None:
            refused.append((one.path, "not a DICOM file"))
            continue
        if header and header.is_own:
            refused.append((one.path, header_facts.OWN))
            continue
        try:
            identity = identity_of(*_identifying(one, header))
        except DataError as error:
            refused.append((one.path, str(error)))
            continue
        if identity in different:
            refused.append((one.path, SAME + label))
        else:
            different[identity] = one
    return list(different.values())


def _identifying(one: Candidate, header: reading.Header | None) -> tuple[bytes, str | None]:
    uid = header.sop_instance_uid if header else None
    return (b"", uid) if uid and is_uid(uid) else (one.source.read_bytes(), None)


def _read(files: Sequence[Source], pool: Pool) -> Headers:
    return dict(zip(files, sources.read_headers(files, pool), strict=True))
