"""Patient-level splits and folds that are the same on every machine.

    sides = assign(patients, val_fraction=0.2, seed=0)           # patient -> "train" or "val"
    sides = folds(patients, 5, seed=0)                           # patient -> "fold-0" … "fold-4"
    sides = stratified(strata, val_fraction=0.2, seed=0)         # the same share of every stratum

``assign`` and ``folds`` look at nothing but the patient, the seed and the share: whoever is added later, nobody moves. ``stratified`` looks at
all patients, which is what stratification is; whoever must stay is named in a split file.
"""

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import tables

TRAIN = "train"
VAL = "val"

SPLIT_COLUMNS = ("patientId", "split")
"""Columns of a split file."""

SPLIT_NAME = re.compile(r"^[a-z][a-z0-9-]{0,30}$")
"""A split's name becomes part of file names."""


FOLD_NAME = re.compile(r"^fold-\d+$")


def fold_name(number: int) -> str:
    """Return what fold ``number`` is called."""
    return f"fold-{number}"


def position(patient: str, seed: int) -> float:
    """Return where a patient falls in [0, 1): the first 53 bits of SHA-256 of ``seed:patient``, as a fraction."""
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def assign(patients: Iterable[str], *, val_fraction: float, seed: int) -> dict[str, str]:
    """Assign every patient to ``train`` or ``val``.

    A patient is in ``val`` where ``position < val_fraction``. Where that leaves a side empty, although there are two patients and
    0 < val_fraction < 1, the patient nearest to the border changes sides; only then can adding patients move one.

    Args:
      patients: patient ids, in any order, repeated or not.
      val_fraction: expected share of patients in ``val``, 0 to 1.
      seed: another seed gives another split.

    Returns:
      patient -> ``train`` or ``val``.
    """
    ordered = sorted(set(patients), key=lambda patient: (position(patient, seed), patient))
    sides = {patient: VAL if position(patient, seed) < val_fraction else TRAIN for patient in ordered}
    return _fill(sides, ordered, val_fraction)


def _fill(sides: dict[str, str], ordered: list[str], val_fraction: float) -> dict[str, str]:
    """Give a side that is empty, and should not be, a patient: the first by position to ``val``, the last to ``train``."""
    if len(ordered) >= 2 and 0 < val_fraction < 1:
        if VAL not in sides.values():
            sides[ordered[0]] = VAL
        elif TRAIN not in sides.values():
            sides[ordered[-1]] = TRAIN
    return sides


def folds(patients: Iterable[str], number: int, *, seed: int) -> dict[str, str]:
    """Assign every patient to one of ``number`` folds of the same expected size.

    Returns:
      patient -> ``fold-0`` and so on; with few patients a fold may be empty.
    """
    return {patient: fold_name(int(position(patient, seed) * number)) for patient in patients}


def stratified(strata: Mapping[str, str], *, seed: int, val_fraction: float = 0.0, number_of_folds: int = 0) -> dict[str, str]:
    """Assign patients so that every stratum has the same share of each side, or of each fold, to within one patient.

    Within a stratum patients stand in the order of ``position``, the strata stand in the order of their names, and every patient at which the
    running share of ``val`` passes a whole number goes to ``val`` (systematic sampling); folds are dealt out in turn.

    Args:
      strata: patient -> stratum.
      seed: another seed gives another split.
      val_fraction: share of patients in ``val``, 0 to 1.
      number_of_folds: where it is not 0, folds are made instead.

    Returns:
      patient -> ``train`` or ``val``, or the fold.
    """
    ordered = sorted(strata, key=lambda patient: (strata[patient], position(patient, seed), patient))
    if number_of_folds:
        return {patient: fold_name(index % number_of_folds) for index, patient in enumerate(ordered)}
    sides = {
        patient: VAL if int((index + 1) * val_fraction + 0.5) > int(index * val_fraction + 0.5) else TRAIN
        for index, patient in enumerate(ordered)
    }
    return _fill(sides, sorted(sides, key=lambda patient: (position(patient, seed), patient)), val_fraction)


def check_folds(found: Mapping[str, str], number: int) -> None:
    """Raise a DataError where one of so many folds is empty.

    Args:
      found: exam or patient -> split.
      number: of folds.
    """
    if missing := {fold_name(index) for index in range(number)} - set(found.values()):
        raise DataError(f"{min(missing)} is empty: {len(found)} exams are too few for {number} folds. Choose fewer folds, or another seed.")


def read_split_file(path: Path) -> dict[str, str]:
    """Read a CSV ``patientId,split``, as every record set has one; the file decides for the exams that it names.

    Returns:
      exam -> split.

    Raises:
      DataError: the file is missing, has no such columns, names an exam twice differently, or a split by what is no name.
    """
    found: dict[str, str] = {}
    for line, row in tables.read(path, SPLIT_COLUMNS).rows():
        exam, split = row["patientId"].strip(), row["split"].strip()
        if not exam or not SPLIT_NAME.match(split):
            raise DataError(f"{path}, line {line}: patientId is {exam!r} and split {split!r}. A split is train, val, test or the like.")
        if found.setdefault(exam, split) != split:
            raise DataError(f"{path}, line {line}: exam {exam} is in {found[exam]} and in {split}. Keep one of them.")
    return found


def to_csv(exam_sides: Mapping[str, str]) -> str:
    """Return the contents of a split file, sorted by exam."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([SPLIT_COLUMNS, *sorted(exam_sides.items())])
    return text.getvalue()


def given(split_of_exam: Mapping[str, str], exam_patients: Mapping[str, str]) -> dict[str, str]:
    """Return patient -> split for the patients of the exams that a split file names.

    Raises:
      DataError: a patient's exams are named in two splits.
    """
    named = {exam: split for exam, split in split_of_exam.items() if exam in exam_patients}
    audit(named, exam_patients)
    return {exam_patients[exam]: split for exam, split in named.items()}


def patients_by_regex(exams: Iterable[str], pattern: str) -> dict[str, str]:
    """Return exam -> patient: the first group of ``pattern`` where it is found in the exam's id, or all of it where it has no group.

    Exams in which the pattern is not found are left out.

    Raises:
      ConfigError: the pattern is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"The regular expression {pattern!r} is wrong: {error}.") from error
    matches = ((exam, compiled.search(exam)) for exam in exams)
    return {exam: found[1 if compiled.groups else 0] for exam, match in matches if (found := match) and found[1 if compiled.groups else 0]}


def audit(exam_sides: Mapping[str, str], exam_patients: Mapping[str, str]) -> dict[str, int]:
    """Check that no patient has exams on two sides.

    Args:
      exam_sides: patientId -> side.
      exam_patients: patientId -> patient.

    Returns:
      ``patients``, ``patients_with_several_exams`` and ``patient_overlap``, which is 0.

    Raises:
      DataError: a patient is on two sides.
    """
    seen: dict[str, list[str]] = defaultdict(list)
    for exam, side in exam_sides.items():
        sides = seen[exam_patients[exam]]
        if sides and sides[0] != side:
            raise DataError(f"The split leaks: the patient of exam {exam} is in {sides[0]} and in {side}. Split by patient, not by exam.")
        sides.append(side)
    return {"patients": len(seen), "patients_with_several_exams": sum(len(sides) > 1 for sides in seen.values()), "patient_overlap": 0}
