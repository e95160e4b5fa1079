"""Several files of one label: which of them the label is of, or that nobody can know.

chosen, why = choose(first, others, root=folder)          # (Source, "") or (None, "a.dcm, b.dcm are 2 images of one label …")

A label that names a patient fits the frontal and the lateral radiograph alike, and its boxes are of one of them.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.core.formatting import listed
from pneumodet.data.sources import Source
from pneumodet.dicom import header_facts, reading

MOST_NAMES = 5
"""Files that a message names."""

HOW_TO_LABEL = "label each image by its own file name or by its SOPInstanceUID (--match sop-instance-uid)"


@dataclasses.dataclass(frozen=True)
class _File:
    """A file: its SOPInstanceUID, of whatever form, else its bytes' SHA-256; and its header where it is DICOM."""

    source: Source
    identity: str
    header: reading.Header | None

    def is_same(self, other: "_File") -> bool:
        """Whether both are one radiograph: the same SOPInstanceUID, the same bytes, or pictures in two formats side by side."""
        beside = not self.header and not other.header and _without_suffix(self.source) == _without_suffix(other.source)
        return beside or self.identity == other.identity

    @property
    def view(self) -> str | None:
        """ViewPosition (0018,5101), where it is known."""
        return self.header.view_position if self.header else None


def _without_suffix(source: Source) -> str:
    return os.path.splitext(str(source))[0]


def choose(first: Source, others: Sequence[Source], *, root: Path | str) -> tuple[Source | None, str]:
    """Return (the file that a label is of, nothing), or (None, why nobody can know).

    Args:
      first: the file that would be taken where there is no other.
      others: those that the label fits as well. Those that cannot be read do not count, and beside DICOM only DICOM does: the others are pictures
        of it.
      root: the folder or archive, which messages leave out.
    """
    files = [one for one in map(_read, (first, *others)) if one is not None]
    if any(one.header for one in files):
        files = [one for one in files if one.header]
    distinct: list[_File] = []
    for one in files:
        if not any(one.is_same(other) for other in distinct):
            distinct.append(one)
    if len(distinct) < 2:
        return first, ""
    if which := frontal(one.view for one in distinct):
        return distinct[which.index(True)].source, ""
    names = [str(one.source).removeprefix(f"{root}/") for one in distinct]
    said = any(one.view and one.view not in header_facts.LATERAL_VIEWS for one in distinct)
    what = "more than one may be the frontal one" if said else "none of them is said to be frontal"
    return None, f"{listed(names, MOST_NAMES)} are {len(names)} images of one label, and {what}; {HOW_TO_LABEL}"


def frontal(views: Iterable[str | None]) -> list[bool] | None:
    """Return which of several views is the frontal one, where there is exactly one and all others are known to be none; else None."""
    views = list(views)
    lateral = [view in header_facts.LATERAL_VIEWS for view in views]
    is_frontal = [view is not None and not other for view, other in zip(views, lateral, strict=True)]
    return is_frontal if sum(is_frontal) == 1 and sum(lateral) == len(views) - 1 else None


def _read(source: Source) -> _File | None:
    try:
        data = source.read_bytes()
    except DataError:
        return None
    try:
        header = reading.header_of(data, source)
    except DataError:
        header = None
    return _File(source, (header and header.sop_instance_uid) or hashlib.sha256(data).hexdigest(), header)
