"""Shares, means and their differences with intervals by patient, and rank correlations.

    shares = intervals({"AP": (is_ap, known)}, patients)          # {"AP": {"value": 0.456, "low": 0.449, "high": 0.463, "exams": 26684}}
    rho = spearman(age, spacing)

Intervals are made of how much each patient moves a figure, all exams of one together (metrics/interval.py): exams of a patient resemble each other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.metrics.jackknife import Ratio


def intervals(
    figures: Mapping[str, tuple[np.ndarray, np.ndarray]],
    patients: np.ndarray,
    *,
    differences: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return ratios of sums over exams, with 95% intervals.

    Args:
      figures: name -> ((N,) numerator, (N,) denominator) of each exam; the figure is the ratio of their sums: a share where both are 0 or 1,
        a mean where the numerator is a value times the denominator.
      patients: (N,) int64, the same for the exams of one patient.
      differences: name -> (a, b), names of figures: a minus b, patient by patient.

    Returns:
      name -> ``value``, ``low``, ``high``, as ``interval.of``, and for figures ``exams``, the sum of the denominator. An interval is None
      where there are too few patients.
    """
    ratios = {name: Ratio(np.asarray(top, np.float64), np.asarray(bottom, np.float64)) for name, (top, bottom) in figures.items()}
    moved = {name: one.moved(patients, kind="share" if _is_share(one) else "mean") for name, one in ratios.items()}
    estimates = {name: interval.of(moved[name]) | {"exams": int(one.whole.sum())} for name, one in ratios.items()}
    for name, (a, b) in (differences or {}).items():
        # patient by patient, so that what both have in common cancels out
        estimates[name] = interval.of(moved[a].less(moved[b]))
    return estimates


def _is_share(figure: Ratio) -> bool:
    return bool(((figure.part >= 0) & (figure.part <= figure.whole)).all())


def is_shown(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference leaves out 0."""
    low, high = difference["low"], difference["high"]
    return low is not None and not low <= 0 <= high


def spearman(a: np.ndarray, b: np.ndarray) -> tuple[float | None, int]:
    """Return (Spearman's rank correlation, number of exams) of two (N,) float arrays over the exams where neither is NaN.

    Ties get their mean rank; between two values that are 0 or 1 this is the phi coefficient. None where one of them does not vary.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    ranks = [_ranks(one[known]) for one in (a, b)]
    # without variance a correlation is 0 by 0
    if known.sum() < 2 or min(np.ptp(one) for one in ranks) == 0:
        return None, int(known.sum())
    return float(np.corrcoef(ranks)[0, 1]), int(known.sum())


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # the mean of the ranks that equal values share
    return (counts.cumsum() - (counts - 1) / 2)[place]
