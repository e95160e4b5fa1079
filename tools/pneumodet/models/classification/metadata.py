"""Age, sex and view position as numbers that a model takes beside the image; what is missing gets a flag. No TensorFlow.

    rows = of_split(records.train)                     # (N, 8) float32, columns NAMES
    sentences = check(records)                         # what is missing, for the user

What ``header_facts`` does not believe counts as missing.
"""

from typing import Any

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.dicom import header_facts

NAMES = ("age", "age_missing", "sex_female", "sex_male", "sex_missing", "view_ap", "view_pa", "view_missing")
"""Columns."""

_MIDDLE, _SPREAD = 50.0, 20.0
"""Years; about mean and standard deviation of RSNA's ages, so that the column is of the order of 1."""

_FACTS = {"age": "age_missing", "sex": "sex_missing", "view_position": "view_missing"}


def of_split(split: Split) -> np.ndarray:
    """Return (N, 8) float32: age in units of 20 years from 50 (0 where it is missing), and flags."""
    values = zip(*(split.facts(name) for name in _FACTS), strict=True)
    return np.array([_row(*one) for one in values], np.float32).reshape(-1, len(NAMES))


def check(records: RecordSet) -> list[str]:
    """Return a sentence for each fact that is missing in some exams.

    Raises:
      DataError: nothing at all is known of the training exams.
    """
    rows = np.concatenate([of_split(records.train), of_split(records.val)])
    missing = {name: rows[:, NAMES.index(flag)].astype(bool) for name, flag in _FACTS.items()}
    train = len(records.train)
    if all(one[:train].all() for one in missing.values()):
        raise DataError(
            f"metadata is set, but the records in {records.folder} know age, sex and view position of no training exam. Make them from DICOM files, "
            "which say them, or leave metadata out."
        )
    return [
        f"{name.replace('_', ' ')} is not known of {int(one.sum())} of {len(rows)} exams, which get a flag instead"
        for name, one in missing.items()
        if one.any()
    ]


def _row(age: Any, sex: Any, view: Any) -> list[float]:
    years, sex, view = header_facts.age_years(age), header_facts.sex(sex), header_facts.view_position(view)
    return [
        0.0 if years is None else (years - _MIDDLE) / _SPREAD,
        years is None,
        sex == "F",
        sex == "M",
        sex not in ("F", "M"),
        view == "AP",
        view == "PA",
        view not in ("AP", "PA"),
    ]
