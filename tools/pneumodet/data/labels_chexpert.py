"""CheXpert and MIMIC-CXR-JPG: a column for each finding with 1, 0, -1 (uncertain) or nothing (not mentioned) -> images and findings.

labels = read(Path("CheXpert-v1.0-small/train.csv"), Choices(uncertain="positive"))
labels = read(Path("mimic-cxr-2.0.0-chexpert.csv.gz"))       # needs mimic-cxr-2.0.0-metadata.csv.gz beside it
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.data import splits, tables
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import OTHERS, ClassMap
from pneumodet.data.collector import Collector, exam_id, shown
from pneumodet.data.label_choices import CHEST_CLASSES, LEAVE_OUT, POSITIVE, USUAL, Choices, check, of_set
from pneumodet.data.tables import Table
from pneumodet.dicom.header_facts import FRONTAL_VIEWS

CHEXPERT_COLUMNS = ("Path", "Frontal/Lateral")
MIMIC_COLUMNS = ("subject_id", "study_id")
SPLIT_COLUMNS = ("dicom_id", "split")
METADATA_COLUMNS = ("dicom_id", "subject_id", "study_id", "ViewPosition")

FINDINGS = ("No Finding", "Pneumonia")
"""Columns that both sets have, and hardly any other file."""

_PATIENT = re.compile(r"^patient\d+$")
_METADATA = re.compile(r"^mimic-cxr.*metadata.*\.csv(\.gz)?$", re.I)
_SPLIT = re.compile(r"^mimic-cxr.*split.*\.csv(\.gz)?$", re.I)
_LABELS = re.compile(r"^mimic-cxr.*(chexpert|negbio).*\.csv(\.gz)?$", re.I)
THERE, ABSENT, UNSURE = "there", "absent", "unsure"
_STATES = {"": ABSENT, "0": ABSENT, "0.0": ABSENT, "1": THERE, "1.0": THERE, "-1": UNSURE, "-1.0": UNSURE}


def file(folder: Path) -> Path | None:
    """Return MIMIC-CXR-JPG's table of findings in a folder."""
    names = sorted(path for path in folder.iterdir() if path.is_file() and _LABELS.match(path.name))
    return names[0] if names else None


def read(path: Path, choices: Choices = USUAL, *, classes: ClassMap | None = None, table: Table | None = None) -> Labels:
    """Return the labels of one of the sets' tables; lateral images are left out, and a finding that is not mentioned is not there.

    Args:
      path: the file, or for MIMIC-CXR-JPG its folder.
      choices: what uncertain findings become.
      classes: which findings are classes, instead of ``CHEST_CLASSES``.
      table: of the file, where it is parsed already.

    Raises:
      DataError: a column is missing, or MIMIC-CXR-JPG's table of images.
    """
    path = (file(path) or path) if path.is_dir() else path
    table = table or tables.read(path)
    chosen = of_set(CHEST_CLASSES, classes)
    columns = _columns(table, chosen)
    collector = Collector()
    collector.classes.update(dict.fromkeys(table.columns, 0))
    check(chosen, classes, collector.classes, path)
    patients: dict[str, str] = {}
    names: dict[str, str] = {}
    images = _chexpert(table) if CHEXPERT_COLUMNS[0] in table.columns else _mimic(table)
    for where, row, name, exam, patient, frontal in images:
        try:
            if not exam or not patient:
                raise ValueError(f"{shown(name)} names no image and patient")
            if not frontal:
                collector.notes["lateral image left out"] += 1
                continue
            states = {to: _state(row, of_class) for to, of_class in columns.items()}
            if choices.uncertain == LEAVE_OUT and UNSURE in states.values():
                collector.notes["exam with an uncertain finding left out"] += 1
                continue
            collector.rows[exam] += 1
            image = collector.image(exam, None, where)
            patients[exam], names[name] = patient, exam
            for to, state in sorted(states.items()):
                if state == THERE or (state == UNSURE and choices.uncertain == POSITIVE):
                    collector.add(image, to, None, where)
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
    own = {} if CHEXPERT_COLUMNS[0] in table.columns else _own_split(table.path.parent)
    return collector.labels(table=table, patients=patients, splits=own, files=names)


def _own_split(folder: Path) -> dict[str, str]:
    """Return exam -> split as MIMIC-CXR-JPG's own table has it, where that lies beside the findings."""
    beside = sorted(path for path in folder.iterdir() if _SPLIT.match(path.name))
    if not beside:
        return {}
    table = tables.read(beside[0], SPLIT_COLUMNS)
    named = zip(*map(table.column, SPLIT_COLUMNS), strict=True)
    return {exam.strip(): split for exam, text in named if (split := splits.own_name(text))}


def _columns(table: Table, classes: ClassMap) -> dict[str, list[str]]:
    """Return class -> its columns.

    Raises:
      DataError: the table has none of the columns that are asked for.
    """
    columns: dict[str, list[str]] = {}
    for name, to in classes.pairs.items():
        if to and name in table.columns:
            columns.setdefault(to, []).append(name)
    if not columns:
        wanted = " or ".join(name for name in classes.pairs if name != OTHERS)
        raise DataError(f"{table.path} has no column {wanted}; it has {', '.join(table.columns)}.")
    table.need([name for of_class in columns.values() for name in of_class])
    return columns


def _state(row: Mapping[str, str], columns: Sequence[str]) -> str:
    """Return what a row says of the findings of one class; ValueError where a cell is none of the four."""
    states = []
    for column in columns:
        cell = row[column].strip()
        if cell not in _STATES:
            raise ValueError(f"{column} is {shown(cell)}, must be 1, 0, -1 or empty")
        states.append(_STATES[cell])
    return THERE if THERE in states else UNSURE if UNSURE in states else ABSENT


_Row = tuple[str, Mapping[str, str], str, str, str, bool]
"""Where, the row, the image's path, the exam, the patient, and whether the image is frontal."""


def _chexpert(table: Table) -> Iterator[_Row]:
    """Yield the images of CheXpert's table: patient00001/study1/view1_frontal.jpg, below folders that differ between its releases."""
    table.need(CHEXPERT_COLUMNS)
    for line, row in table.rows():
        parts = row[CHEXPERT_COLUMNS[0]].strip().split("/")
        start = next((place for place, part in enumerate(parts) if _PATIENT.match(part)), len(parts))
        parts = [*parts[start:-1], exam_id(parts[-1])] if start < len(parts) else []
        patient = parts[0] if parts else ""
        yield f"line {line}", row, "/".join(parts), "_".join(parts), patient, row[CHEXPERT_COLUMNS[1]].strip().casefold() == "frontal"


def _mimic(table: Table) -> Iterator[_Row]:
    """Yield the images of MIMIC-CXR-JPG: its findings are of studies, and another table names the images of each.

    Raises:
      DataError: that table is missing.
    """
    table.need(MIMIC_COLUMNS)
    folder = table.path.parent
    beside = sorted(path for path in folder.iterdir() if path.is_file() and _METADATA.match(path.name))
    if not beside:
        raise DataError(
            f"{table.path} names studies and no images. Put mimic-cxr-2.0.0-metadata.csv.gz beside it, which names the images of each."
        )
    of_study = {(row["subject_id"].strip(), row["study_id"].strip()): (line, row) for line, row in table.rows()}
    metadata = tables.read(beside[0], METADATA_COLUMNS)
    for exam, patient, study, view in zip(*map(metadata.column, METADATA_COLUMNS), strict=True):
        if one := of_study.get((patient.strip(), study.strip())):
            yield f"line {one[0]}", one[1], exam.strip(), exam.strip(), patient.strip(), view.strip() in FRONTAL_VIEWS
