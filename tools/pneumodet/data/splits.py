"""Patient-level splits and folds that are the same on every machine.

    split_of = assign(patients, val_fraction=0.2, seed=0)        # patient -> "train" or "val"
    split_of = folds(patients, 5, seed=0)                        # patient -> "fold-0" … "fold-4"
    split_of = stratified(strata, val_fraction=0.2, seed=0)      # the same share of every stratum

``assign`` and ``folds`` depend on the patient, the seed and the share alone: whoever is added later, nobody moves. ``stratified`` depends on
all patients, which is what stratification is; whoever must stay is named in a split file.
"""

import dataclasses
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pneumodet.core import csv_cells
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
    # a hash and no random generator: the place depends on the patient alone, not on who else is there or in which order they come
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)  # 53 bits are what a float64 holds exactly


def assign(patients: Iterable[str], *, val_fraction: float, seed: int) -> dict[str, str]:
    """Assign every patient to ``train`` or ``val``.

    A patient is in ``val`` where ``position < val_fraction``. Where that leaves a split empty, although there are two patients and
    0 < val_fraction < 1, the patient nearest to the border changes to it; only then can adding patients move one.

    Args:
      patients: patient ids, in any order, repeated or not.
      val_fraction: expected share of patients in ``val``, 0 to 1.
      seed: another seed gives another split.

    Returns:
      patient -> ``train`` or ``val``.
    """
    ordered = sorted(set(patients), key=lambda patient: (position(patient, seed), patient))
    split_of = {patient: VAL if position(patient, seed) < val_fraction else TRAIN for patient in ordered}
    return _fill(split_of, ordered, val_fraction)


def _fill(split_of: dict[str, str], ordered: list[str], val_fraction: float) -> dict[str, str]:
    """Give a split that is empty, and should not be, a patient: the first by position to ``val``, the last to ``train``."""
    if len(ordered) >= 2 and 0 < val_fraction < 1:
        if VAL not in split_of.values():
            split_of[ordered[0]] = VAL
        elif TRAIN not in split_of.values():
            split_of[ordered[-1]] = TRAIN
    return split_of


def folds(patients: Iterable[str], number: int, *, seed: int) -> dict[str, str]:
    """Assign every patient to one of ``number`` folds of the same expected size.

    Returns:
      patient -> ``fold-0`` and so on; with few patients a fold may be empty.
    """
    return {patient: fold_name(int(position(patient, seed) * number)) for patient in patients}


def stratified(strata: Mapping[str, str], *, seed: int, val_fraction: float = 0.0, number_of_folds: int = 0) -> dict[str, str]:
    """Assign patients so that every stratum has the same share of each split, or of each fold, to within one patient.

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
    # 0.5: the patient in the middle of each interval is the one for val, so that short strata are not all train
    split_of = {
        patient: VAL if int((index + 1) * val_fraction + 0.5) > int(index * val_fraction + 0.5) else TRAIN
        for index, patient in enumerate(ordered)
    }
    return _fill(split_of, sorted(split_of, key=lambda patient: (position(patient, seed), patient)), val_fraction)


def check_folds(split_of: Mapping[str, str], number: int) -> None:
    """Raise a DataError where one of so many folds is empty.

    Args:
      split_of: exam or patient -> split.
      number: of folds.
    """
    if missing := {fold_name(index) for index in range(number)} - set(split_of.values()):
        raise DataError(
            f"{min(missing)} is empty: {len(split_of)} exams are too few for {number} folds. Choose fewer folds, or another seed."
        )


def read_split_file(path: Path) -> dict[str, str]:
    """Read a CSV ``patientId,split``, as every record set has one; the file decides for the exams that it names.

    Returns:
      exam -> split.

    Raises:
      DataError: the file is missing, has no such columns, names an exam twice differently, or a split by what is no name.
    """
    split_of: dict[str, str] = {}
    for line, row in tables.read(path, SPLIT_COLUMNS).rows():
        exam, split = row["patientId"].strip(), row["split"].strip()
        if not exam or not SPLIT_NAME.match(split):
            raise DataError(f"{path}, line {line}: patientId is {exam!r} and split {split!r}. A split is train, val, test or the like.")
        if split_of.setdefault(exam, split) != split:
            raise DataError(f"{path}, line {line}: exam {exam} is in {split_of[exam]} and in {split}. Keep one of them.")
    return split_of


def to_csv(split_of: Mapping[str, str]) -> str:
    """Return the contents of a split file, sorted by exam."""
    text = io.StringIO()
    csv_cells.Writer(text).writerows([SPLIT_COLUMNS, *sorted(split_of.items())])
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
    """Return exam -> patient: the first group of ``pattern`` where it matches in the exam's id, or all of it where it has no group.

    Exams in which the pattern does not match are left out.

    Raises:
      ConfigError: the pattern is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"The regular expression {pattern!r} is wrong: {error}.") from error
    group = 1 if compiled.groups else 0
    matches = ((exam, compiled.search(exam)) for exam in exams)
    return {exam: match[group] for exam, match in matches if match and match[group]}  # an empty group names no patient


@dataclasses.dataclass(frozen=True)
class Audit:
    """Numbers of patients of a split that does not leak.

    Attributes:
      patients: how many there are.
      with_several_exams: how many of them.
    """

    patients: int
    with_several_exams: int


def audit(split_of_exam: Mapping[str, str], exam_patients: Mapping[str, str]) -> Audit:
    """Check that no patient has exams in two splits.

    The split is made by patient, so that this can only fail for a split file, or by an error here; a leak makes every metric too good, and
    shows nowhere else.

    Args:
      split_of_exam: patientId -> split.
      exam_patients: patientId -> patient.

    Raises:
      DataError: a patient is in two splits.
    """
    seen: dict[str, list[str]] = defaultdict(list)
    for exam, split in split_of_exam.items():
        of_patient = seen[exam_patients[exam]]
        if of_patient and of_patient[0] != split:
            raise DataError(
                f"The split leaks: the patient of exam {exam} is in {of_patient[0]} and in {split}. Split by patient, not by exam."
            )
        of_patient.append(split)
    return Audit(len(seen), sum(len(of_patient) > 1 for of_patient in seen.values()))
