"""RSNA's three classes of a record set's exams: from the class-info CSV, or from what the records know. No TensorFlow.

targets = of_split(records.train, read(Path("stage_2_detailed_class_info.csv")))      # (N,) int64 in [0, 3)
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data import annotations, tables
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.models.classification.settings import CLASSES

_HINT = "Give RSNA's stage_2_detailed_class_info.csv by --class-info, or train with --task pneumonia."


def read(path: Path) -> dict[str, str]:
    """Return exam -> class of a class-info CSV, which has a row for each box.

    Raises:
      DataError: the file cannot be read, a class is unknown, or an exam has two.
    """
    class_of: dict[str, str] = {}
    for line, row in tables.read(path, annotations.CLASS_INFO_COLUMNS).rows():
        exam, name = row["patientId"].strip(), row["class"].strip()
        if name not in CLASSES:
            raise DataError(f"{path}, line {line}: the class {name!r} of exam {exam} is none of {', '.join(CLASSES)}.")
        if class_of.setdefault(exam, name) != name:
            raise DataError(f"{path}, line {line}: exam {exam} is {name!r} here and {class_of[exam]!r} before. Fix the file.")
    return class_of


def of_split(split: Split, known: Mapping[str, str] | None = None) -> np.ndarray:
    """Return (N,) int64 numbers of ``CLASSES``.

    Args:
      split: the exams.
      known: exam -> class; None takes ``rsna_class`` of the records.

    Raises:
      DataError: an exam has no class, or one that contradicts its boxes.
    """
    names = split.facts("rsna_class") if known is None else [known.get(exam) for exam in split.names]
    missing = [exam for exam, name in zip(split.names, names, strict=True) if name not in CLASSES]
    if missing:
        where = "The records do" if known is None else "The class info does"
        raise DataError(f"{where} not have the class of {len(missing)} of {len(names)} exams, for example {missing[0]}. {_HINT}")
    numbers = np.array([CLASSES.index(name) for name in names], np.int64)
    # RSNA drew boxes on all exams of the class Lung Opacity and on no other
    wrong = np.flatnonzero((numbers == len(CLASSES) - 1) != split.positive)
    if len(wrong):
        exam, boxes = split.names[wrong[0]], "a box" if split.positive[wrong[0]] else "no box"
        raise DataError(
            f"{len(wrong)} exams contradict their class: {exam} is {names[wrong[0]]!r} and has {boxes}. Are these the records' classes?"
        )
    return numbers


def of_one(split: Split, class_info: str) -> np.ndarray:
    """Return the classes of a split's exams; arguments and errors as ``of_records``."""
    return of_split(split, read(Path(class_info)) if class_info else None)


def of_records(records: RecordSet, class_info: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of (training, validation) exams; every class has a training exam.

    Raises:
      DataError: as ``read`` and ``of_split``; or a class has no training exam.
    """
    known = read(Path(class_info)) if class_info else None
    train, val = of_split(records.train, known), of_split(records.val, known)
    absent = [name for number, name in enumerate(CLASSES) if number not in train]
    if absent:
        raise DataError(f"No training exam is of class {absent[0]!r}, which cannot be learned. Train with --task pneumonia.")
    return train, val
