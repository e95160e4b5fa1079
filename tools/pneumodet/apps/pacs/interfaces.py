"""What the worker's loop needs of others: who makes reports, where radiographs come from, and where reports go to.

worker = Worker(journal, folder, analyst, archive, source=source, settings=settings)     # an Analyst, an Archive, a Source
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Protocol

from pneumodet.dicom.net.dicomweb import QueryResult
from pneumodet.inference.dicom_reports import Report


class Analyst(Protocol):
    """What makes reports of a radiograph."""

    name: str
    """Of model and version: another name, other reports."""

    @property
    def kinds(self) -> Sequence[str]:
        """Of reports that there may be."""

    def reports(self, data: bytes, sop_uid: str) -> Iterable[Report]:
        """Return the reports of a DICOM file; raises Refused where there will never be any."""

    def reopened(self, kind: str, data: bytes) -> Report:
        """Return a report that was written to a file."""


class Source(Protocol):
    """Where radiographs come from."""

    def instances(self, modality: str, *, since: date | None) -> Iterable[QueryResult]:
        """Yield what there is."""

    def fetch(self, study_uid: str, series_uid: str, sop_uid: str) -> bytes:
        """Return one of them."""

    def probe(self) -> None:
        """Raise Trouble where it is away."""


class Archive(Protocol):
    """Where reports go."""

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Whether it is there."""

    def store(self, study_uid: str, objects: Sequence[bytes]) -> None:
        """Store DICOM files."""

    def probe(self) -> None:
        """Raise Trouble where it is away."""
