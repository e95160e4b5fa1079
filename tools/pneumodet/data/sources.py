"""Folders and ZIP archives of radiographs: what lies in them, and which exam each file is of.

files, refused = find_radiographs(Path("images"), known=labels.exams)
files["0004cfab"].read_bytes()
"""

import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.processes import Pool
from pneumodet.data import file_kinds, listing
from pneumodet.data.listing import Source
from pneumodet.dicom import header_facts, reading

__all__ = ["MATCH", "SECOND_FILE", "Source", "find_radiographs", "nothing_in", "read_headers"]

MATCH = ("auto", "file-name", "patient-id", "sop-instance-uid")
"""How a DICOM file's exam is identified; ``auto`` tries these in this order."""

SECOND_FILE = "a second file of exam "
"""Why a file is refused whose exam has one; the exam follows."""

_HEADERS_A_TASK = 256


def find_radiographs(
    root: Path | str,
    *,
    known: Container[str] = (),
    match: str = "auto",
    images: bool = False,
    by_path: Mapping[str, str] = MappingProxyType({}),
    pool: Pool | None = None,
    seconds: dict[str, list[tuple[Source, str]]] | None = None,
) -> tuple[dict[str, Source], list[tuple[str, str]]]:
    """Find the radiographs below a folder, or in a ZIP archive, and the exam that each belongs to.

    With ``auto`` a file whose name without suffix is in ``known`` belongs to that exam, without being opened; any other to its PatientID
    (0010,0020) or SOPInstanceUID (0008,0018) if one of them is in ``known``, else to its name.

    Args:
      root: a folder, searched with its subfolders and the ZIP archives in them, or one archive, or the URL of a folder, in which ZIP archives
        are not opened; hidden files and folders are passed over.
      known: patientIds of the labels.
      match: one of ``MATCH``; image files always match by name.
      images: whether image files (``file_kinds.IMAGES``) count.
      by_path: the end of a file's path, from a folder on, with / and with or without suffix -> its exam: such a file is that exam's, and is not
        opened, unless ``match`` asks for an id.
      pool: reads headers; this process where there is none.
      seconds: gets the refused files of exams that have another one, as exam -> (file, name in the list of refused ones).

    Returns:
      (patientId -> Source, [(path below the input, reason)] for files that are no radiograph or belong to an exam that has a file already).

    Raises:
      ConfigError: ``match`` is none of ``MATCH``.
      DataError: there is no radiograph, or ``root`` is neither a folder nor an archive.
    """
    if match not in MATCH:
        raise ConfigError(f"match is {match!r}, must be one of {', '.join(map(repr, MATCH))}.")
    candidates, refused = listing.candidates(root, known, images=images)
    named = [(one, (_exam_by_path(one.path, by_path) if match in ("auto", "file-name") else None) or one.stem) for one in candidates]
    to_open = [one.source for one, exam in named if one.is_dicom and match != "file-name" and (match != "auto" or exam not in known)]
    headers = dict(zip(to_open, read_headers(to_open, pool or Pool()), strict=True))
    files: dict[str, Source] = {}
    # by name first, so that a copy of another name does not take an exam's place; DICOM before a picture of it
    for one, exam in sorted(named, key=lambda pair: (pair[1] not in known, not pair[0].is_dicom)):
        source, relative = one.source, one.path
        if source in headers:
            header = headers[source]
            if header is None:
                refused.append((relative, "not a DICOM file"))
                continue
            if header.is_own:  # a secondary capture with boxes burned in has the radiograph's PatientID
                refused.append((relative, header_facts.OWN))
                continue
            if match == "auto":
                exam = next((name for name in header.ids if name in known), exam)
            else:
                exam = (header.patient_id if match == "patient-id" else header.sop_instance_uid) or exam
        if exam in files and not _is_better(source, files[exam], headers):
            refused.append((relative, SECOND_FILE + exam))
            if seconds is not None:
                seconds.setdefault(exam, []).append((source, relative))
            continue
        if exam in files:
            refused.append((files[exam].name, "not a DICOM file"))
        files[exam] = source
    if not files:
        raise nothing_in(root, refused, images=images)
    return files, refused


def nothing_in(root: Path | str, refused: Sequence[tuple[str, str]], *, images: bool) -> DataError:
    """Return the error for a folder or archive without a radiograph; ``refused`` is what lies there."""
    nothing = "There is no DICOM or image file (PNG, JPEG, TIFF, BMP, WebP)" if images else "There is no DICOM file"
    others = f" {len(refused)} files there are something else (first: {': '.join(refused[0])})." if refused else ""
    return DataError(f"{nothing} in {root}.{others}")


def _exam_by_path(path: str, by_path: Mapping[str, str]) -> str | None:
    """Return the exam of the longest end of a path that ``by_path`` has."""
    parts = path.replace("\\", "/").split("/") if by_path else []
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        if exam := by_path.get(end) or by_path.get(os.path.splitext(end)[0]):
            return exam
    return None


def _is_better(source: Source, first: Source, headers: dict[Source, reading.Header | None]) -> bool:
    """Whether an exam's second file is DICOM and the first one, which was taken by its name and never opened, is not."""
    if first in headers or file_kinds.suffix_of(first.name) in file_kinds.IMAGES:
        return False
    (_, of_first), (_, of_source) = (_read_headers((0, [one])) for one in (first, source))
    return of_first == [None] and of_source != [None]


def read_headers(sources: Sequence[Source], pool: Pool) -> list[reading.Header | None]:
    """Return each source's ``reading.header``, or None where it is no DICOM file."""
    parts = [(start, sources[start : start + _HEADERS_A_TASK]) for start in range(0, len(sources), _HEADERS_A_TASK)]
    by_start = dict(pool.run(_read_headers, parts))
    return [header for start, _ in parts for header in by_start[start]]


def _read_headers(part: tuple[int, Sequence[Source]]) -> tuple[int, list[reading.Header | None]]:
    def read(source: Source) -> reading.Header | None:
        try:
            return reading.header(source)
        except DataError:
            return None

    return part[0], [read(source) for source in part[1]]
