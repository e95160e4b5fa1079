"""Patient-level splits and folds that are the same on every machine.

    shares = Shares(val=0.15, test=0.15)
    split_of = assign(patients, shares, seed=0)                  # patient -> "train", "val" or "test"
    split_of = folds(patients, 5, seed=0, test=0.15)             # patient -> "fold-0" … "fold-4" or "test"
    split_of = stratified(strata, shares, seed=0)                # the same shares of every stratum

``assign`` and ``folds`` depend on the patient, the seed and the share alone: whoever is added later, nobody moves. Whether a patient is in
``test`` depends on no share but its own, so that another share of ``val``, or folds, leave the test patients what they are. ``stratified``
depends on all patients, which is what stratification is; whoever must stay is named in a split file.
"""

import dataclasses
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pneumodet.core import csv_cells
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import tables

TRAIN, VAL, TEST = "train", "val", "test"
"""Splits: what is learned from, what a checkpoint and a threshold are chosen on, and what nothing is chosen on."""

OWN = (TRAIN, VAL, TEST)
"""Splits that a data set may come with."""

_OWN_NAMES = {"training": TRAIN, "valid": VAL, "validate": VAL, "validation": VAL, "dev": VAL, "testing": TEST} | {one: one for one in OWN}
"""What folders and lists of data sets call them."""

SPLIT_COLUMNS = ("patientId", "split")
"""Columns of a split file."""

SPLIT_NAME = re.compile(r"^[a-z][a-z0-9-]{0,30}$")
"""A split's name becomes part of file names."""


FOLD_NAME = re.compile(r"^fold-\d+$")


def own_name(text: str) -> str | None:
    """Return which of ``OWN`` a data set means by the name of a folder or list; None where it is no split."""
    return _OWN_NAMES.get(text.strip().casefold())


def fold_name(number: int) -> str:
    """Return what fold ``number`` is called."""
    return f"fold-{number}"


def position(patient: str, seed: int) -> float:
    """Return where a patient falls in [0, 1): the first 53 bits of SHA-256 of ``seed:patient``, as a fraction."""
    # a hash and no random generator: the place depends on the patient alone, not on who else is there or in which order they come
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)  # 53 bits are what a float64 holds exactly


@dataclasses.dataclass(frozen=True)
class Shares:
    """Expected shares of patients, 0 to 1, at most 1 together; the others are in ``train``."""

    val: float = 0.0
    test: float = 0.0

    @property
    def leave_train(self) -> bool:
        """Whether anything is left to train on."""
        return self.val + self.test < 1


def assign(patients: Iterable[str], shares: Shares, *, seed: int) -> dict[str, str]:
    """Assign every patient to ``train``, ``val`` or ``test``.

    A patient is in ``val`` where ``position < shares.val``, and in ``test`` where ``position >= 1 - shares.test``. Where that leaves ``train`` or
    ``val`` empty, although it should not be and there are two patients, the patient nearest to the border changes to it; only then can adding
    patients move one. ``test`` is never filled: of one patient it would say nothing.

    Args:
      patients: patient ids, in any order, repeated or not.
      shares: of the splits.
      seed: another seed gives another split.

    Returns:
      patient -> ``train``, ``val`` or ``test``.
    """
    ordered = _in_order(patients, seed)

    def split(place: float) -> str:
        if _is_test(place, shares.test):
            return TEST
        return VAL if place < shares.val else TRAIN

    return _fill({patient: split(position(patient, seed)) for patient in ordered}, ordered, shares)


def _in_order(patients: Iterable[str], seed: int) -> list[str]:
    return sorted(set(patients), key=lambda patient: (position(patient, seed), patient))


def _is_test(place: float, test: float) -> bool:
    # from the other end than val, so that neither share moves a patient of the other split
    return test > 0 and place >= 1 - test


def _fill(split_of: dict[str, str], ordered: list[str], shares: Shares) -> dict[str, str]:
    """Give ``val`` and ``train``, where one is empty and should not be, the patient nearest by position; ``ordered`` is by it."""
    if len(ordered) < 2:
        return split_of

    def of(split: str) -> list[str]:
        return [patient for patient in ordered if split_of[patient] == split]

    if shares.val > 0 and not of(VAL):
        split_of[(of(TRAIN) or of(TEST))[0]] = VAL
    if shares.leave_train and not of(TRAIN):
        of_val, of_test = of(VAL), of(TEST)
        split_of[of_val[-1] if len(of_val) > 1 or not of_test else of_test[0]] = TRAIN
    return split_of


def folds(patients: Iterable[str], number: int, *, seed: int, test: float = 0.0) -> dict[str, str]:
    """Assign every patient to ``test``, as ``assign`` does, or to one of ``number`` folds of the same expected size.

    Returns:
      patient -> ``fold-0`` and so on, or ``test``; with few patients a fold may be empty.
    """

    def split(place: float) -> str:
        return TEST if _is_test(place, test) else fold_name(int(place / (1 - test) * number))

    return {patient: split(position(patient, seed)) for patient in patients}


def stratified(strata: Mapping[str, str], shares: Shares, *, seed: int, number_of_folds: int = 0) -> dict[str, str]:
    """Assign patients so that every stratum has the same share of each split, or of each fold, to within a patient or two.

    Within a stratum patients stand in the order of ``position``, the strata stand in the order of their names, and every patient at which the
    running share of ``test`` passes a whole number goes to ``test`` (systematic sampling); of the others likewise to ``val``. Folds are dealt out
    in turn.

    Args:
      strata: patient -> stratum.
      shares: of the splits, of all patients.
      seed: another seed gives another split.
      number_of_folds: where it is not 0, folds are made of those who are not in ``test``.

    Returns:
      patient -> ``train``, ``val``, ``test`` or the fold.
    """
    ordered = sorted(strata, key=lambda patient: (strata[patient], position(patient, seed), patient))
    split_of = dict.fromkeys(_sampled(ordered, shares.test), TEST)
    others = [patient for patient in ordered if patient not in split_of]
    if number_of_folds:
        return split_of | {patient: fold_name(index % number_of_folds) for index, patient in enumerate(others)}
    # of those who are left it is a larger share
    of_val = set(_sampled(others, min(1.0, shares.val / (1 - shares.test)) if shares.test < 1 else 0.0))
    split_of |= {patient: VAL if patient in of_val else TRAIN for patient in others}
    return _fill(split_of, _in_order(split_of, seed), shares)


def _sampled(ordered: Sequence[str], share: float) -> list[str]:
    """Return every patient at which the running share passes a whole number."""
    # 0.5: the patient in the middle of each interval is the one, so that short strata are not all train
    return [patient for index, patient in enumerate(ordered) if int((index + 1) * share + 0.5) > int(index * share + 0.5)]


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


def own_of_patients(own: Mapping[str, str], exam_patients: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the split of each patient by the data set's own split of exams, and the exams that change theirs.

    A data set may have a patient in several of its splits. All exams of such a patient are in ``test`` where one is, else in ``val``: what is
    measured stays apart from what is trained on.

    Args:
      own: exam -> one of ``OWN``.
      exam_patients: exam -> patient.
    """
    of_patient: dict[str, str] = {}
    known = {exam: split for exam, split in own.items() if exam in exam_patients}
    for exam, split in known.items():
        patient = exam_patients[exam]
        of_patient[patient] = max(of_patient.get(patient, split), split, key=OWN.index)
    return of_patient, sorted(exam for exam, split in known.items() if of_patient[exam_patients[exam]] != split)


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
