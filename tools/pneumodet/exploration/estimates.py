"""Shares, means and their differences with intervals by patient, and rank correlations.

    shares = intervals({"AP": (is_ap, known)}, patients)          # {"AP": {"value": 0.456, "low": 0.449, "high": 0.463, "exams": 26684}}
    rho = spearman(age, spacing)

Patients are drawn with replacement, all exams of one together (see metrics/bootstrap.py): exams of a patient resemble each other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet.evaluation.metrics import bootstrap

SEED = 0
"""Of the resamples: the same data give the same report."""


def intervals(
    figures: Mapping[str, tuple[np.ndarray, np.ndarray]],
    patients: np.ndarray,
    *,
    differences: Mapping[str, tuple[str, str]] | None = None,
    resamples: int = bootstrap.RESAMPLES,
) -> dict[str, dict[str, Any]]:
    """Return ratios of sums over exams, with 95% percentile intervals.

    Args:
      figures: name -> ((N,) numerator, (N,) denominator) of each exam; the figure is the ratio of their sums: a share where both are 0 or 1,
        a mean where the numerator is a value times the denominator.
      patients: (N,) int64, the same for the exams of one patient.
      differences: name -> (a, b), names of figures: a minus b, both on the same resamples.
      resamples: at least 1.

    Returns:
      name -> ``value``, ``low``, ``high``, as ``bootstrap.interval``, and for figures ``exams``, the sum of the denominator. An interval is None
      where there is only one patient, or where more than ``bootstrap.MOST_UNDEFINED`` of the resamples give no value.
    """
    names = list(figures)
    # sums by matrix products, so that no resample is ever built
    top, bottom = (np.array([figures[name][part] for name in names], np.float64).reshape(len(names), -1) for part in (0, 1))

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, _ratios(top @ weights, bottom @ weights), strict=True))

    value, drawn = bootstrap.resampled(of, patients, resamples=resamples, seed=SEED)
    estimates = {
        name: bootstrap.interval(value[name], drawn[name], patients) | {"exams": int(count)}
        for name, count in zip(names, bottom.sum(axis=1), strict=True)
    }
    for name, (a, b) in (differences or {}).items():
        # paired: both figures are of the same resample, so that what they share cancels out
        estimates[name] = bootstrap.interval(value[a] - value[b], drawn[a] - drawn[b], patients)
    return estimates


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


def _ratios(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
