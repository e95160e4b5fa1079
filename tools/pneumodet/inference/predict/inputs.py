"""What is given to predict on -> the radiographs in it: a folder, a ZIP archive, one DICOM, PNG or JPEG file, or a DICOMweb URL.

given = find("images", known=labels.exams)
for exam, source in given.radiographs: ...          # source.read_bytes()
given.refused                                       # [(name, reason)], which may grow until the last radiograph is out
"""

import dataclasses
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import formats, sources
from pneumodet.inference.predict import remote


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
      refused: (name, reason) of files that are no radiographs.
    """

    radiographs: Iterable[tuple[str, Source]]
    total: int | None
    refused: list[tuple[str, str]]


def find(root: Path | str, *, known: Container[str] = (), leave_out: Path | None = None) -> Inputs:
    """Find the radiographs.

    Of folders and archives only names are read, unless labels are there to find an exam by PatientID; what a file really is, shows when it is
    decoded. Of 100,000 files so many short records are held, and nothing else.

    Args:
      root: a folder or ZIP archive, as ``sources.find_radiographs`` takes it; one file; or a URL, of DICOMweb where it is http(s).
      known: patientIds of labels, by which exams are called where they fit.
      leave_out: the output folder, which may lie in ``root``, and has pictures in it.

    Raises:
      DataError: there is no radiograph.
      ConfigError: the URL is none that can be used.
    """
    # a server's list comes page by page, so that its length is not known before its end
    if remote.is_dicomweb(root):
        refused: list[tuple[str, str]] = []
        return Inputs(remote.RemoteRadiographs.of(str(root)).radiographs(known=known, refused=refused), None, refused)
    if is_one_file(root):
        files, refused = {_exam_of(Path(root), known): _source(Path(root))}, []
    else:
        files, refused = sources.find_radiographs(root, known=known, match="auto" if known else "file-name", images=True)
    if leave_out is not None and isinstance(root, Path) and root.resolve() in leave_out.resolve().parents:
        own = f"{leave_out.resolve()}/"
        files = {exam: source for exam, source in files.items() if not str(Path(source.path).resolve()).startswith(own)}
        if not files:
            raise DataError(f"All radiographs of {root} lie in the output folder {leave_out}. Choose another --output-dir.")
    return Inputs(files.items(), len(files), refused)


def is_one_file(root: Path | str) -> bool:
    """Return whether a path is that of one radiograph, and neither a folder, an archive nor a URL."""
    return isinstance(root, Path) and root.is_file() and not _is_archive(root)


def _is_archive(path: Path) -> bool:
    """Whether a file begins as a ZIP archive does; what zipfile searches for, at the end, could stand in an image's pixels, too."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _source(path: Path) -> sources.Source:
    stat = path.stat()
    return sources.Source(str(path), "", stat.st_size, stat.st_mtime_ns)


def _exam_of(path: Path, known: Container[str]) -> str:
    """Return the exam of a single file as ``sources.find_radiographs`` does: its name, or what its header says where labels know that."""
    exam = formats.exam_id(PurePosixPath(path).name)
    if exam in known or not known:
        return exam
    (header,) = sources.read_headers([_source(path)], Pool())
    ids = (header.patient_id, header.sop_instance_uid) if header else ()
    return next((one for one in ids if one is not None and one in known), exam)
