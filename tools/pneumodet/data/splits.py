"""Patient-level splits that are the same on every machine and stay put when exams are added.

A patient's side depends on nothing but the patient, the seed and the fraction: no sorting, no random state.
"""

import hashlib
from collections.abc import Iterable, Mapping

from pneumodet.errors import DataError

TRAIN = "train"
VAL = "val"


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
    if len(ordered) >= 2 and 0 < val_fraction < 1:
        if VAL not in sides.values():
            sides[ordered[0]] = VAL
        elif TRAIN not in sides.values():
            sides[ordered[-1]] = TRAIN
    return sides


def audit(exam_sides: Mapping[str, str], exam_patients: Mapping[str, str]) -> int:
    """Check that no patient has exams on two sides.

    Args:
      exam_sides: patientId -> side.
      exam_patients: patientId -> patient.

    Returns:
      The number of patients.

    Raises:
      DataError: a patient is on two sides.
    """
    seen: dict[str, str] = {}
    for exam, side in exam_sides.items():
        other = seen.setdefault(exam_patients[exam], side)
        if other != side:
            raise DataError(f"The split leaks: the patient of exam {exam} is in {other} and in {side}. Split by patient, not by exam.")
    return len(seen)
