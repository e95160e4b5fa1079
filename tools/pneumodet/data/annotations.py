"""RSNA's CSV files -> exams with boxes. Every rule about labels, and every message about them, is here.

    labels = read_rsna_labels(path, class_info=info_path)
    labels.exams["0004cfab-…"].boxes_xyxy_px           # (N, 4) float64

An error of the whole file (no such column) raises; an error of one row rejects that exam, with the line and the reason. Files may be packed and
in any encoding of ``text_files``.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.core.formatting import counted
from pneumodet.data import label_map, tables, text_files
from pneumodet.data.tables import Table

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

MIN_SIDE_PX = 1.0
"""A box of which less is left within its image, in width or height, marks nothing: float32 shares would make it empty."""

Outline = tuple[tuple[float, ...], ...]
"""Polygons of an object, ``x, y, x, y …`` in px each; the object is what lies within any of them, as in COCO."""

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
      size_hw: height and width in px of the image that the boxes were drawn on, where the labels say it.
      outlines: N outlines, a box's each, None for an object without; empty where none has one.
      difficult: N marks as Pascal VOC has them; empty where no object has one.
      findings: classes of the image as a whole, which labels without boxes name: positive without a place.
    """

    patient_id: str
    boxes_xyxy_px: np.ndarray
    positive: bool
    rsna_class: str | None = None
    class_names: tuple[str, ...] = ()
    size_hw: tuple[int, int] | None = None
    outlines: tuple[Outline | None, ...] = ()
    difficult: tuple[bool, ...] = ()
    findings: tuple[str, ...] = ()

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
      rows: exam -> its rows in a CSV, or its objects in another file, where an exam without objects counts as one; rejected exams too.
      table: the CSV, where the labels are one.
      coco: the COCO object, where the labels are one, with the exam as ``file_name`` of each image; its entries may be those of rejected exams.
      patients: exam -> patient, where the labels say it.
      splits: exam -> one of ``splits.OWN``, where the data set comes with a split.
      files: path of an image, with / and without suffix, as the labels have it -> exam; where they name images by folder and file.
      classes: class as the labels have it -> how often it occurs.
      notes: what is known of objects and not used, or was left out -> how often.
    """

    exams: dict[str, Exam]
    rejected: list[tuple[str, str]]
    duplicate_rows: int
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    table: Table | None = None
    coco: Mapping[str, Any] | None = None
    patients: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, int] = dataclasses.field(default_factory=dict)


def read_rsna_labels(path: Path, *, class_info: Path | None = None) -> Labels:
    """Read stage_2_train_labels.csv, and stage_2_detailed_class_info.csv where it is given.

    Args:
      path: the labels, one row a box, or one row without a box for a negative exam.
      class_info: the exams' detailed classes.

    Returns:
      The labels.

    Raises:
      DataError: a file is missing, empty, undecodable or lacks a column, or a line has a box and no patientId.
    """
    return from_table(tables.read(path, LABEL_COLUMNS), class_info=class_info)


def from_table(table: Table, *, class_info: Path | None = None) -> Labels:
    """Return the labels in a table that has ``LABEL_COLUMNS``; the rest as ``read_rsna_labels``."""
    rows: dict[str, list[tuple[int, _Box | None]]] = {}
    errors: dict[str, str] = {}
    unplaced: list[int] = []
    duplicates = 0
    ids = [patient_id.strip() for patient_id in table.column("patientId")]
    for line, patient_id, *cells in zip(table.lines, ids, *map(table.column, LABEL_COLUMNS[1:]), strict=True):
        if not patient_id:
            errors.setdefault(f"(line {line})", f"line {line}: patientId is empty")
            unplaced += [line] if any(cells[:-1]) or cells[-1].strip() not in ("", "0", "0.0") else []
            continue
        seen = rows.setdefault(patient_id, [])
        try:
            if line in table.too_long:
                raise ValueError(f"the row has {table.too_long[line]} cells, but the header {len(table.columns)}")
            parsed = _parse(cells)
        except ValueError as error:
            errors.setdefault(patient_id, f"line {line}: {error}")
            continue
        if seen and any(parsed == other for _, other in seen):
            duplicates += 1
            continue
        seen.append((line, parsed))
    refuse_unplaced(table, unplaced, "patientId")
    exams = _exams(rows, _read_class_info(class_info) if class_info else {}, errors)
    if not exams and not errors:
        raise DataError(f"{table.path} has a header but no rows. Is this the right file?")
    return Labels(exams, sorted(errors.items()), duplicates, Counter(filter(None, ids)), table)


def refuse_unplaced(table: Table, lines: Sequence[int], column: str) -> None:
    """Raise DataError where there are lines with a box of which nobody knows the image: it would count as one without findings."""
    if lines:
        raise DataError(
            f"{table.path}: the box of {counted(len(lines), 'line')} cannot be placed (first: line {lines[0]}), because {column} is empty there. The image "
            "that is meant could count as one without findings. Fill it in, or remove such lines."
        )


def _exams(rows: Mapping[str, list[tuple[int, "_Box | None"]]], classes: Mapping[str, str], errors: dict[str, str]) -> dict[str, Exam]:
    """Return the exams of patientId -> (line, box) of its rows; ``errors`` has those without, and gets those that contradict themselves."""
    exams = {}
    for patient_id, parsed_rows in rows.items():
        if patient_id in errors:
            continue
        positive = parsed_rows[0][1] is not None
        if any((box is not None) != positive for _, box in parsed_rows):
            lines = ", ".join(str(line) for line, _ in parsed_rows)
            errors[patient_id] = f"lines {lines}: Target is 0 in one row and 1 in another"
            continue
        # RSNA's classes and targets are two opinions on one exam; where they differ, neither can be trusted. Other names are left alone
        name = classes.get(patient_id)
        if (name == OPACITY) != positive and name in RSNA_CLASSES:
            errors[patient_id] = f"the class info says {name!r}, but Target is {int(positive)}"
            continue
        boxes = np.array([box for _, box in parsed_rows], np.float64) if positive else np.zeros((0, 4))
        exams[patient_id] = Exam(patient_id, boxes, positive, name)
    return exams


_Box = tuple[float, float, float, float]

_BOX_COLUMNS = LABEL_COLUMNS[1:5]


def _parse(cells: list[str]) -> _Box | None:
    """Return a row's box as xyxy_px, or None for Target 0; ValueError with the reason where it is neither.

    Args:
      cells: of ``LABEL_COLUMNS`` without the first.
    """
    *texts, target = cells
    target = target.strip()
    if target not in ("0", "1", "0.0", "1.0"):
        raise ValueError(f"Target is {target!r}, must be 0 or 1")
    if target in ("0", "0.0"):
        if any(texts) and not all(math.isnan(_number(name, text)) for name, text in zip(_BOX_COLUMNS, texts, strict=True)):
            raise ValueError("Target is 0, but there is a box")
        return None
    values = [_number(name, text) for name, text in zip(_BOX_COLUMNS, texts, strict=True)]
    for name, value in zip(_BOX_COLUMNS, values, strict=True):
        if math.isnan(value):
            raise ValueError(f"Target is 1, but {name} is empty or NaN")
        if abs(value) > MAX_COORDINATE_PX:
            raise ValueError(f"{name} is {value:g}, which is no place in a radiograph")
    x, y, width, height = values
    for name, value in (("width", width), ("height", height)):
        if value <= 0:
            raise ValueError(f"{name} is {value:g}, must be above 0")
    return x, y, x + width, y + height


def _number(name: str, text: str) -> float:
    """Return a cell's number, NaN where it is empty."""
    text = text.strip()
    try:
        return float(text.replace("_", "?")) if text else math.nan  # Python reads 1_0 as 10
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is no number") from None


def _read_class_info(path: Path) -> dict[str, str]:
    classes: dict[str, str] = {}
    for line, (patient_id, name) in tables.read(path, CLASS_INFO_COLUMNS).stripped(CLASS_INFO_COLUMNS):
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
    data = text_files.read_bytes(path, "the patient map ")
    text = text_files.decode(data, path, "the patient map ")
    if text_files.is_json(data) or path.name.lower().removesuffix(text_files.PACKED).endswith(".json"):
        return _patients_of_json(text, path)
    table = tables.parse(text, path)
    columns = table.columns
    if not columns:
        raise DataError(f"The patient map {path} is empty. Its header must be patientId,patient.")
    column = next((name for name in PATIENT_COLUMNS if name in columns), None)
    if column is None:
        raise DataError(
            f"The patient map {path} has no column 'patient'; it has {', '.join(columns)}. Its header must be patientId,patient."
        )
    needed = ("patientId", column)
    patients: dict[str, str] = {}
    for line, (exam, patient) in table.need(needed).stripped(needed):
        if not exam or not patient:
            raise DataError(f"{path}, line {line}: patientId or {column} is empty. Fill it in or remove the row.")
        if patients.setdefault(exam, patient) != patient:
            raise DataError(f"{path}, line {line}: exam {exam} belongs to the patients {patients[exam]} and {patient}. Keep one of them.")
    return patients


def _patients_of_json(text: str, path: Path) -> dict[str, str]:
    wanted = "RSNA's mapping is a list of objects with subset_img_id and img_id (NNNNNNNN_MMM.png)"
    patients: dict[str, str] = {}
    try:
        entries = text_files.parse_json(text, path, "the patient map ")
    except DataError as error:
        raise DataError(f"The patient map {path} cannot be read ({error}). {wanted}.") from error
    try:
        for entry in entries:
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
