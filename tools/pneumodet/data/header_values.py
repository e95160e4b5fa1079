"""Age, sex, view position and pixel spacing of each exam: texts from a CSV of header values, DICOM files or a record set, and what they mean.

    rows = read_csv(Path("stage_2_train_dicom_headers.csv.gz")).rows
    files = read_files({"0004cfab-…": source}, pool)     # in parallel, with a fingerprint of the stored pixels
    files["0004cfab-…"].texts                            # {"age": "51", "sex": "F", "view": "PA", "spacing": "0.143"}
    header_facts.read("age", "018M").value               # 1.5; what a text means is decided there

Only these elements are read, and nothing else of a header is kept: it may hold anything.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import formats, tables
from pneumodet.data.sources import Source
from pneumodet.dicom import decoding, elements, header_facts, reading
from pneumodet.dicom.elements import DicomError, Elements

Texts = dict[str, str]
"""Column -> text of the header, without blanks around it; "" where there is no value."""

NAMES = {
    "age": ("PatientAge", "age"),
    "sex": ("PatientSex", "sex"),
    "view": ("ViewPosition", "view_position", "view"),
    "spacing": ("PixelSpacing", "pixel_spacing", "spacing"),
}
"""Column -> its names in a CSV and in a record set's instances JSON, the first that is there: the DICOM keyword, or a plain one."""

COLUMNS = tuple(NAMES)
"""What is read; pixel spacing in mm."""

EXAM_NAMES = ("patientId", "PatientID", "Filename")
"""Column of a CSV that names the exam, the first that is there; RSNA's PatientID is the exam."""

_TAGS = {"age": header_facts.AGE, "sex": header_facts.SEX, "view": header_facts.VIEW_POSITION}

_ROWS, _COLUMNS = 0x00280010, 0x00280011

_FILES_A_TASK = 128


@dataclasses.dataclass(frozen=True, slots=True)  # there are many
class Row:
    """A row of a CSV of header values.

    Attributes:
      line: its number.
      exam: empty where it names none.
      texts: of the columns that the CSV has.
    """

    line: int
    exam: str
    texts: Texts


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A CSV of header values.

    Attributes:
      names: column -> its name there, of those that are there.
      others: name of each other column, the exam's among them -> its cells.
      rows: as they stand; an exam may have several.
    """

    names: Mapping[str, str]
    others: Mapping[str, Sequence[str]]
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True, slots=True)
class FileFacts:
    """What was read of one file.

    Attributes:
      name: of the file, without folders.
      texts: of its header; None where that could not be read.
      size_hw: rows and columns in px.
      bits: that a stored value has.
      pixels_sha256: of size and stored pixel data; empty where these could not be read.
      error: what is wrong with the file, a sentence; else empty.
    """

    name: str
    texts: Texts | None = None
    size_hw: tuple[int, int] | None = None
    bits: int | None = None
    pixels_sha256: str = ""
    error: str = ""


def read_csv(path: Path) -> Sheet:
    """Read a CSV of header values, a row a file; it may be packed with gzip.

    Args:
      path: has one of ``EXAM_NAMES`` and any of ``NAMES``.

    Raises:
      DataError: the file cannot be read, lacks these columns, or has no rows.
    """
    table = tables.read(path)
    header = table.columns
    exam_name = next((name for name in EXAM_NAMES if name in header), None)
    names = {column: next(name for name in known if name in header) for column, known in NAMES.items() if set(known) & set(header)}
    if exam_name is None or not names:
        what = ", ".join(EXAM_NAMES if exam_name is None else (known[0] for known in NAMES.values()))
        raise DataError(
            f"The headers {path} have none of the columns {what}; they have {', '.join(header) or 'no column at all'}. "
            "Give a CSV with a row for each DICOM file, or the files."
        )
    table.need((exam_name, *names.values()))
    columns = {name: ["" if header_facts.is_missing(cell) else cell.strip() for cell in table.column(name)] for name in names.values()}
    texts = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    exams = map(formats.exam_id, table.column(exam_name))
    rows = [Row(*row) for row in zip(table.lines, exams, texts, strict=True)]
    if not rows:
        raise DataError(f"{path} has a header but no rows. Is this the right file?")
    others = {name: table.column(name) for name in header if name and name not in names.values()}
    return Sheet(names, others, rows)


def read_files(files: Mapping[str, Source], pool: Pool, *, done: Callable[[int], object] = lambda count: None) -> dict[str, FileFacts]:
    """Read all headers, and check that each file's pixel data are whole.

    PatientAge (0010,1010), PatientSex (0010,0040), ViewPosition (0018,5101) and PixelSpacing (0028,0030), ImagerPixelSpacing
    (0018,1164) or NominalScannedPixelSpacing (0018,2010), as ``header_facts.spacing_text`` chooses.

    Args:
      files: exam -> DICOM file.
      pool: reads them.
      done: called with the number of files that were read since the last time.

    Returns:
      exam -> what was read, in the order of ``files``; a file that cannot be read has an ``error``.
    """
    exams = list(files)
    # many files a task: sending one takes as long as reading its header
    parts = [[(exam, files[exam]) for exam in exams[start : start + _FILES_A_TASK]] for start in range(0, len(exams), _FILES_A_TASK)]
    read: dict[str, FileFacts] = {}
    for part in pool.run(_read_part, parts):
        read.update(part)
        done(len(part))
    return {exam: read[exam] for exam in exams}


def of_images(images: Iterable[Mapping[str, Any]]) -> dict[str, Texts]:
    """Return exam -> texts of the images of a record set's instances JSON; ages there are whole years, and no spacing is known."""
    return {
        image["file_name"]: {column: next((str(image[name]) for name in names if name in image), "") for column, names in NAMES.items()}
        for image in images
    }


def _read_part(part: Sequence[tuple[str, Source]]) -> dict[str, FileFacts]:
    return {exam: _read_file(source) for exam, source in part}


def _read_file(source: Source) -> FileFacts:
    known = FileFacts(source.name)
    try:
        header = elements.read(reading.read_bytes(source))
        if not header.places.keys() & {_ROWS, _COLUMNS, elements.PIXEL_DATA} and not header.syntax:
            raise DicomError("it is not a DICOM file.")
        texts = {column: "" if header_facts.is_missing(text := header.ascii(tag)) else text for column, tag in _TAGS.items()}
        texts["spacing"] = header_facts.spacing_text(header)[0]
        known = dataclasses.replace(known, texts=texts)
        rows, columns = header.integer(_ROWS) or 0, header.integer(_COLUMNS) or 0
        if min(rows, columns) < 1:
            raise DicomError(f"it says that its image has {rows} rows and {columns} columns.")
        layout = decoding.layout_of(header, rows, columns)
        known = dataclasses.replace(known, size_hw=(rows, columns), bits=layout.stored)
        return dataclasses.replace(known, pixels_sha256=_fingerprint(header, layout))
    except DicomError as fault:
        return dataclasses.replace(known, error=str(fault))
    except DataError:  # its text has the folder's name
        return dataclasses.replace(known, error="it cannot be read.")


def _fingerprint(header: Elements, layout: decoding.Layout) -> str:
    """Return a SHA-256 of an image's size and stored pixel data; DicomError where these are cut off."""
    if elements.PIXEL_DATA not in header.places:
        raise DicomError("it has no pixel data; it is not an image, or the file is cut off.")
    stream = decoding.stream_of(header, layout)
    if stream is not None:
        data = stream.data
    else:
        expected = layout.frames * layout.rows * layout.columns * layout.samples * layout.allocated // 8
        data = header.value(elements.PIXEL_DATA)[:expected]  # an odd length is padded
        if len(data) < expected:
            raise DicomError("its pixel data are cut off. Get the file again.")
    # the size is part of it: the same bytes in other rows are another image
    digest = hashlib.sha256(f"{layout.rows}x{layout.columns} ".encode())
    digest.update(data)
    return digest.hexdigest()
