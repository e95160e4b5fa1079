"""RSNA's CSV files -> exams with boxes. Every rule about labels, and every message about them, is here.

    labels = read_rsna_labels(path, class_info=info_path)
    labels.exams["0004cfab-…"].boxes_xyxy_px           # (N, 4) float64

A fault of the whole file (no such column) raises; a fault of one row rejects that exam, with the line and the reason. Every file may be packed
with gzip and end in .gz.
"""

import contextlib
import csv
import dataclasses
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pneumodet.data import label_map
from pneumodet.errors import DataError

LABEL_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
"""Columns of stage_2_train_labels.csv."""

CLASS_INFO_COLUMNS = ("patientId", "class")
"""Columns of stage_2_detailed_class_info.csv."""

OPACITY = "Lung Opacity"
"""The class of RSNA's exams with boxes, and of no others."""

RSNA_CLASSES = ("Normal", "No Lung Opacity / Not Normal", OPACITY)

PATIENT_COLUMNS = ("patient", "nih_patient", "patient_id", "Patient ID")
"""Column of a patient map that holds the patient, the first that is there."""

MAX_COORDINATE_PX = 1_000_000
"""A coordinate beyond this is an error, not a radiograph."""

PACKED = ".gz"
"""Suffix of a file that is packed with gzip."""

MORE_CELLS = "(more cells)"
"""Key of the cells of a row for which the header has no name."""

_NIH_IMAGE = re.compile(r"^(\d{8})_\d{3}\.png$")


@dataclasses.dataclass(frozen=True, slots=True)  # there are many
class Exam:
    """The labels of one exam (one radiograph).

    Attributes:
      patient_id: RSNA's patientId, which names an exam; in other formats the image's file name without suffix.
      boxes_xyxy_px: (N, 4) float64 boxes of findings, not yet clipped to the image; none for a negative exam.
      positive: whether there is a finding (RSNA: Target is 1).
      rsna_class: ``Normal``, ``No Lung Opacity / Not Normal`` or ``Lung Opacity``, where the class info was given.
      class_names: N names, a box's each; all ``pneumonia`` where none are given, as in RSNA's files.
      size_hw: height and width in px of the image that the boxes were drawn on, where the labels tell it.
    """

    patient_id: str
    boxes_xyxy_px: np.ndarray
    positive: bool
    rsna_class: str | None = None
    class_names: tuple[str, ...] = ()
    size_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.class_names:
            object.__setattr__(self, "class_names", (label_map.PNEUMONIA,) * len(self.boxes_xyxy_px))


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of a data set.

    Attributes:
      exams: patientId -> Exam, in the file's order.
      rejected: (patientId, reason) for every exam that cannot be used; the reason has the CSV line.
      duplicate_rows: rows that say the same as an earlier one, which counted once.
    """

    exams: dict[str, Exam]
    rejected: list[tuple[str, str]]
    duplicate_rows: int


def read_rsna_labels(path: Path, *, class_info: Path | None = None) -> Labels:
    """Read stage_2_train_labels.csv, and stage_2_detailed_class_info.csv where it is given.

    Args:
      path: the labels, one row a box, or one row without a box for a negative exam.
      class_info: the exams' detailed classes.

    Returns:
      The labels.

    Raises:
      DataError: a file is missing, empty, undecodable or lacks a column.
    """
    rows: dict[str, list[tuple[int, tuple]]] = {}
    faults: dict[str, str] = {}
    duplicates = 0
    for line, row in read_rows(path, LABEL_COLUMNS):
        patient_id = row["patientId"].strip()
        if not patient_id:
            faults.setdefault(f"(line {line})", f"line {line}: patientId is empty")
            continue
        seen = rows.setdefault(patient_id, [])
        try:
            parsed = _parse(row)
        except ValueError as error:
            faults.setdefault(patient_id, f"line {line}: {error}")
            continue
        if any(parsed == other for _, other in seen):
            duplicates += 1
            continue
        seen.append((line, parsed))
    classes = _read_class_info(class_info) if class_info else {}
    exams = {}
    for patient_id, parsed_rows in rows.items():
        if patient_id in faults:
            continue
        targets = {box is not None for _, box in parsed_rows}
        if len(targets) > 1:
            lines = ", ".join(str(line) for line, _ in parsed_rows)
            faults[patient_id] = f"lines {lines}: Target is 0 in one row and 1 in another"
            continue
        name = classes.get(patient_id)
        if (name == OPACITY) != (targets == {True}) and name in RSNA_CLASSES:
            faults[patient_id] = f"the class info says {name!r}, but Target is {int(targets == {True})}"
            continue
        boxes = np.array([box for _, box in parsed_rows if box is not None], np.float64).reshape(-1, 4)
        exams[patient_id] = Exam(patient_id, boxes, targets == {True}, classes.get(patient_id))
    if not exams and not faults:
        raise DataError(f"{path} has a header but no rows. Is this the right file?")
    return Labels(exams, sorted(faults.items()), duplicates)


def _parse(row: dict[str, str]) -> tuple[float, float, float, float] | None:
    """Return a row's box as xyxy_px, or None for Target 0; ValueError with the reason where it is neither."""
    if any(cell.strip() for cell in row.get(MORE_CELLS, ())):
        header = len(row) - 1
        raise ValueError(f"the row has {header + len(row[MORE_CELLS])} cells, but the header {header}")
    target = row["Target"].strip()
    if target not in ("0", "1", "0.0", "1.0"):
        raise ValueError(f"Target is {target!r}, must be 0 or 1")
    values = {}
    for name in ("x", "y", "width", "height"):
        text = row[name].strip()
        try:
            values[name] = float(text.replace("_", "?")) if text else math.nan  # Python reads 1_0 as 10
        except ValueError:
            raise ValueError(f"{name} is {text!r}, which is no number") from None
    if target in ("0", "0.0"):
        if not all(math.isnan(value) for value in values.values()):
            raise ValueError("Target is 0, but there is a box")
        return None
    for name, value in values.items():
        if math.isnan(value):
            raise ValueError(f"Target is 1, but {name} is empty or NaN")
        if math.isinf(value) or abs(value) > MAX_COORDINATE_PX:
            raise ValueError(f"{name} is {value:g}, which is no place in a radiograph")
    for name in ("width", "height"):
        if values[name] <= 0:
            raise ValueError(f"{name} is {values[name]:g}, must be above 0")
    return values["x"], values["y"], values["x"] + values["width"], values["y"] + values["height"]


def _read_class_info(path: Path) -> dict[str, str]:
    classes: dict[str, str] = {}
    for line, row in read_rows(path, CLASS_INFO_COLUMNS):
        patient_id, name = row["patientId"].strip(), row["class"].strip()
        if classes.setdefault(patient_id, name) != name:
            raise DataError(
                f"{path}, line {line}: exam {patient_id} has the classes {classes[patient_id]!r} and {name!r}. Keep one of them."
            )
    return classes


def read_patient_map(path: Path) -> dict[str, str]:
    """Read which patient each exam belongs to.

    Args:
      path: a CSV with ``patientId`` and one of ``PATIENT_COLUMNS``, or RSNA's pneumonia-challenge-dataset-mappings_2018.json, a list of
        objects with ``subset_img_id`` (the patientId) and ``img_id`` (``NNNNNNNN_MMM.png``; the 8 digits are the NIH patient).

    Returns:
      patientId -> patient, both strings as written.

    Raises:
      DataError: the file is missing or neither of these.
    """
    if path.name.lower().removesuffix(PACKED).endswith(".json"):
        return _read_mapping_json(path)
    columns = read_header(path)
    if not columns:
        raise DataError(f"The patient map {path} is empty. Its header must be patientId,patient.")
    column = next((name for name in PATIENT_COLUMNS if name in columns), None)
    if column is None:
        raise DataError(
            f"The patient map {path} has no column 'patient'; it has {', '.join(columns)}. Its header must be patientId,patient."
        )
    patients: dict[str, str] = {}
    for line, row in read_rows(path, ("patientId", column)):
        exam, patient = row["patientId"].strip(), row[column].strip()
        if not exam or not patient:
            raise DataError(f"{path}, line {line}: patientId or {column} is empty. Fill it in or remove the row.")
        if patients.setdefault(exam, patient) != patient:
            raise DataError(f"{path}, line {line}: exam {exam} belongs to the patients {patients[exam]} and {patient}. Keep one of them.")
    return patients


def _read_mapping_json(path: Path) -> dict[str, str]:
    wanted = "RSNA's mapping is a list of objects with subset_img_id and img_id (NNNNNNNN_MMM.png)"
    patients: dict[str, str] = {}
    with unpacked(path, "the patient map ") as file:
        text = file.read()
    try:
        for entry in json.loads(text):
            exam, match = entry["subset_img_id"], _NIH_IMAGE.match(entry["img_id"])
            if not isinstance(exam, str):
                raise TypeError(f"subset_img_id {exam!r} is no text")
            if match is None:
                raise DataError(f"The patient map {path} has no NIH image name for exam {exam}. {wanted}.")
            if patients.setdefault(exam, match[1]) != match[1]:
                raise DataError(f"{path}: exam {exam} belongs to the patients {patients[exam]} and {match[1]}. Keep one of them.")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"The patient map {path} cannot be read ({error!r}). {wanted}.") from error
    return patients


@contextlib.contextmanager
def unpacked(path: Path, what: str = "") -> Iterator[BinaryIO]:
    """Open a file for reading bytes; one that ends in ``PACKED`` is unpacked on the way.

    Args:
      path: the file.
      what: put before its name in the message, with a blank.

    Raises:
      DataError: in the block or before it: the file cannot be read, is no gzip file, or is cut off.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == PACKED else open(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"Cannot unpack {what}{path}: it is no gzip file, or cut off. Get the file again.") from error
    except OSError as error:
        raise DataError(f"Cannot read {what}{path}: {error.strerror}.") from error


def _text(file: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def read_header(path: Path) -> list[str]:
    """Return the names of a CSV's columns; none where it is empty.

    Raises:
      DataError: the file cannot be read.
    """
    try:
        with unpacked(path) as file:
            return [name.strip() for name in next(csv.reader(_text(file)), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error}).") from error


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV; every row has all ``columns``, '' where a cell is missing and ``MORE_CELLS`` where there are more."""
    header = read_header(path)
    if not header:
        raise DataError(f"{path} is empty. It needs the columns {', '.join(columns)}.")
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, header))}.")
    twice = next((name for name in columns if header.count(name) > 1), None)
    if twice:
        raise DataError(f"{path} has the column {twice!r} twice. Remove the one that is not meant.")
    try:
        with unpacked(path) as file:
            reader = csv.DictReader(_text(file), fieldnames=header, restkey=MORE_CELLS, restval="")
            next(reader)
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
