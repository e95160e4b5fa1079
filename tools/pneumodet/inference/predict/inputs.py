"""What is given to predict on -> the radiographs in it: a folder, a ZIP archive, one DICOM or image file, or a DICOMweb URL.

given = find("images", known=labels.exams)
for exam, source in given.radiographs: ...          # source.read_bytes()
given.place(source)                                 # "PAT1/CR000000.dcm", below the input
given.refused                                       # [(path, reason)], which may grow until the last radiograph is out
"""

import dataclasses
from collections.abc import Collection, Container, Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import formats, listing, sources
from pneumodet.inference.predict import naming, remote


class Source(Protocol):
    """A file, wherever it lies; ``str(source)`` names it in full."""

    @property
    def name(self) -> str:
        """Its file name, without folders."""

    def read_bytes(self) -> bytes:
        """Return the contents; DataError where they cannot be read."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The radiographs to predict on.

    Attributes:
      radiographs: (exam, source), to be gone through once.
      total: how many there are, or None where that shows only at their end.
      refused: (path below the input, reason) of files that are no radiographs.
      notes: what the user should know of the ids, a sentence each.
      labels: ids of labels, which are exams of their own.
      root: where all of it lies; empty where a source has no path.
    """

    radiographs: Iterable[tuple[str, Source]]
    total: int | None
    refused: list[tuple[str, str]]
    notes: list[str] = dataclasses.field(default_factory=list)
    labels: Container[str] = ()
    root: str = ""

    def place(self, source: Source) -> str:
        """Return a source's path below the input, or its name."""
        path = str(source)
        return path.removeprefix(self.root) if self.root and path.startswith(self.root) else source.name


def find(root: Path | str, *, known: Collection[str] = (), leave_out: Path | None = None) -> Inputs:
    """Find the radiographs.

    Of folders and archives only names are read, unless labels are there to find an exam by PatientID; what a file really is, shows when it is
    decoded. Of 100,000 files so many short records are held, and nothing else.

    Args:
      root: a folder or ZIP archive, as ``listing.candidates`` takes it; one file; or a URL, of DICOMweb where it is http(s).
      known: patientIds of labels, by which exams are called where they fit; see ``naming``.
      leave_out: the output folder, which may lie in ``root``, and has pictures in it.

    Raises:
      DataError: there is no radiograph.
      ConfigError: the URL is none that can be used.
    """
    # a server's list comes page by page, so that its length is not known before its end
    if remote.is_dicomweb(root):
        refused: list[tuple[str, str]] = []
        notes: list[str] = []
        listed = remote.RemoteRadiographs.of(str(root)).radiographs(known=known, refused=refused, notes=notes)
        return Inputs(listed, None, refused, notes, known)
    if is_one_file(root):
        root = Path(root)
        return Inputs([(_exam_of(root, known), listing.source_of(root))], 1, [], labels=known)
    files, refused = listing.candidates(root, known, images=True)
    if leave_out is not None and isinstance(root, Path) and root.resolve() in leave_out.resolve().parents:
        own = f"{leave_out.resolve()}/"
        kept = [one for one in files if not str(Path(one.source.path).resolve()).startswith(own)]
        if files and not kept:
            raise DataError(f"All radiographs of {root} lie in the output folder {leave_out}. Choose another --output-dir.")
        # an earlier output there is replaced, and nothing of the user's
        files, refused = kept, [one for one in refused if (root / one[0]).resolve() != leave_out.resolve()]
    named = naming.name(files, known=known)
    refused += named.refused
    if not named.exams:
        raise sources.nothing_in(root, refused, images=True)
    return Inputs(named.exams, len(named.exams), refused, named.notes, known, f"{str(root).rstrip('/')}/")


def is_one_file(root: Path | str) -> bool:
    """Return whether a path is that of one radiograph, and neither a folder, an archive nor a URL."""
    return isinstance(root, Path) and paths.is_file(root) and not _is_archive(root)


def _is_archive(path: Path) -> bool:
    """Whether a file begins as a ZIP archive does; what zipfile searches for, at the end, could stand in an image's pixels, too."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _exam_of(path: Path, known: Container[str]) -> str:
    """Return the exam of a single file: its name, or what its header says where labels know that."""
    exam = formats.exam_id(PurePosixPath(path).name)
    if exam in known or not known:
        return exam
    (header,) = sources.read_headers([listing.source_of(path)], Pool())
    return next((one for one in (header.ids if header else ()) if one in known), exam)
