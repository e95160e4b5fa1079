"""Do scores mean what they say? Reliability, before calibration and after it.

    reliability(cases.case_scores, cases.positive)                     # curve, ECE and Brier score
    report = evaluate(cases, folds=patient_folds(cases, seed=0))       # both levels, calibrated by other patients

Two levels. Image: the probability that the image has pneumonia, from its highest score. Box: the probability that a detection is a hit at
IoU >= 0.5. They differ, and each needs a calibrator of its own (``calibrators``).

ECE is the expected calibration error (Naeini et al., AAAI 2015) over bins of equal count (Nguyen and O'Connor, EMNLP 2015: bins of equal
width are nearly empty where detectors have no scores): the mean over bins, weighted by count, of |mean score - share of true outcomes|.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics.calibrators import fit, fitted
from pneumodet.evaluation.metrics.jackknife import Ratio, in_threads
from pneumodet.evaluation.metrics.matching import match
from pneumodet.evaluation.metrics.operating_point import check_folds
from pneumodet.inference.probability import METHODS, Calibrator, logit

OWN = "own"
"""Of methods: the calibrator that the model has, which was fitted on other exams."""

BINS = 10
"""Default number of bins of equal count."""


OWN_NOTE = (
    "The model's own calibrator ({method}) is the one that predict and the page take probabilities from; it was fitted on validation, and these exams had no "
    "part in it."
)
OTHERS_NOTE = "The other calibrators are fits on these exams, to compare with, and no part of the model."
"""Of ``with_own``."""

Z95 = 1.959963984540054
"""Quantile of the normal distribution for 95 % intervals."""

_MANY = 100_000
"""Scores from which on fits begin where that of all ended, and two are made at once."""


def reliability(scores: np.ndarray, outcomes: np.ndarray, *, bins: int = BINS, patients: np.ndarray | None = None) -> dict:
    """Compare scores with outcomes.

    Args:
      scores: (N,) float in [0, 1].
      outcomes: (N,) bool.
      bins: about how many bins of equal count; equal scores stay in one bin, so that there may be fewer.
      patients: (N,) int64, the same number for what is of one patient; without, each score is taken for one of its own.

    Returns:
      ``ece``, ``brier`` (mean squared difference of score and outcome), ``brier_of_base_rate`` (that of the constant share of true outcomes: a
      score is of use below it), ``count``, ``true``, and ``curve``: a list of bins, by rising score, of ``low``, ``high`` and ``mean_score``,
      ``count``, ``true``, ``rate`` (true / count) and its 95 % interval ``rate_low``, ``rate_high``: Wilson's,
      for as many outcomes as patients show them to be worth. Without any score the figures are None
      and ``undefined`` says so.

    Raises:
      ConfigError: bins are not positive.
    """
    if bins < 1:
        raise ConfigError(f"A reliability curve needs at least one bin, not {bins}.")
    order = np.argsort(scores, kind="stable")
    scores, outcomes = np.asarray(scores, np.float64)[order], np.asarray(outcomes, np.float64)[order]
    if not len(scores):
        reason = "There is no score to compare."
        return {"ece": None, "brier": None, "brier_of_base_rate": None, "count": 0, "true": 0, "curve": [], "undefined": reason}
    ends = np.linspace(0, len(scores), bins + 1).round().astype(np.int64)[1:]
    ends = np.unique(np.searchsorted(scores, scores[ends[ends > 0] - 1], side="right"))  # equal scores are not parted
    starts = np.append(0, ends[:-1])
    counts = ends - starts
    mean, true = np.add.reduceat(scores, starts) / counts, np.add.reduceat(outcomes, starts)
    # Wilson's interval stays within 0 and 1, and has a width where all or none of a bin are true
    worth = counts.astype(np.float64) if patients is None else _worth(outcomes, patients[order], starts, ends)
    low, high = wilson(true * worth / counts, worth)
    columns = {
        "low": scores[starts],
        "high": scores[ends - 1],
        "mean_score": mean,
        "rate": true / counts,
        "rate_low": low,
        "rate_high": high,
    }
    columns |= {"count": counts, "true": true.astype(np.int64)}
    base = outcomes.mean()
    return {
        "ece": float(np.abs(mean * counts - true).sum() / len(scores)),
        "brier": float(np.square(scores - outcomes).mean()),
        "brier_of_base_rate": float(base * (1 - base)),
        "count": len(scores),
        "true": int(outcomes.sum()),
        "curve": [dict(zip(columns, row, strict=True)) for row in zip(*(column.tolist() for column in columns.values()), strict=True)],
    }


def wilson(true: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper end of the 95 % interval of true / counts (Wilson, J. Am. Stat. Assoc. 1927), for counts > 0."""
    rate, square = true / counts, Z95**2
    middle = (rate + square / (2 * counts)) / (1 + square / counts)
    half = Z95 / (1 + square / counts) * np.sqrt(rate * (1 - rate) / counts + square / (4 * counts**2))
    return np.clip(middle - half, 0, rate), np.clip(middle + half, rate, 1)


def _worth(outcomes: np.ndarray, patients: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return (B,) float64 how many outcomes of patients of their own each bin is worth: its outcomes by their design effect (Kish, Survey Sampling, 1965)."""
    worth = np.empty(len(starts))
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        here = Ratio(outcomes[start:end], np.ones(end - start)).moved(patients[start:end])
        binomial = here.value * (1 - here.value)
        # where all are alike nothing shows how patients differ, and each counts once
        alone = here.patients / max(here.patients - 1, 1)
        worth[place] = min(end - start, alone * binomial / here.spread.variance) if here.spread.variance > 0 else here.patients
    return worth


def cross_fitted(scores: np.ndarray, outcomes: np.ndarray, *, folds: np.ndarray, method: str) -> np.ndarray:
    """Return (N,) probabilities, each by a calibrator that was fitted on the other folds.

    Args:
      scores: (N,) float in [0, 1].
      outcomes: (N,) bool.
      folds: (N,) int64; all exams of a patient in one.
      method: one of ``METHODS``.

    Raises:
      ConfigError: the method is unknown.
      DataError: outside some fold all outcomes are the same.
    """
    probabilities, outcomes = np.empty(len(scores)), np.asarray(outcomes, bool)
    values = scores if method == "isotonic" else logit(scores)
    # folds differ little from all of many scores: each fit then is near where it begins
    start = fit(scores, outcomes, method=method) if method != "isotonic" and len(scores) >= _MANY else None

    def calibrate(name: int) -> None:
        here = folds == name
        one = fitted(values[~here], outcomes[~here], method=method, start=start)
        probabilities[here] = one(scores[here])

    # each fold fills places of its own
    in_threads(calibrate, np.unique(folds).tolist(), number=len(scores), fewest=_MANY)
    return probabilities


def evaluate(cases: Cases, *, folds: np.ndarray, methods: tuple[str, ...] = METHODS, bins: int = BINS) -> dict:
    """Return calibration of both levels, before and after each calibrator.

    Args:
      cases: to report on.
      folds: (C,) int64 fold of each case, as of ``operating_point.patient_folds``. No case is calibrated by a fit that saw its patient.
      methods: calibrators to try.
      bins: of the reliability curves.

    Returns:
      ``calibration.image`` and ``calibration.box``, each with ``raw`` and each method -> what ``reliability`` returns. Where a calibrator cannot be
      fitted its figures are None, and ``undefined`` says why. ``note``: a sentence for the report.

    Raises:
      DataError: folds do not fit, or a patient is in two.
      ConfigError: a method is unknown.
    """
    # a patient in two folds would be calibrated by a fit that has seen this very patient
    names = check_folds(cases, folds)
    levels = {
        "calibration.image": (cases.case_scores, cases.positive, folds, cases.patients),
        "calibration.box": (cases.scores, match(cases).hit, folds[cases.box_case], cases.patients[cases.box_case]),
    }
    report: dict = {}
    for level, columns in levels.items():
        # sorted here, so that no fit and no curve has to sort millions of scores again
        order = np.argsort(columns[0], kind="stable")
        scores, outcomes, fold, patients = (column[order] for column in columns)
        report[level] = {"raw": reliability(scores, outcomes, bins=bins, patients=patients)}
        for method in methods:
            try:
                probabilities = cross_fitted(scores, outcomes, folds=fold, method=method)
                report[level][method] = reliability(probabilities, outcomes, bins=bins, patients=patients)
            # a calibrator that cannot be fitted must not cost the report the others
            except DataError as error:
                report[level][method] = {"ece": None, "brier": None, "curve": [], "undefined": str(error)}
    report["note"] = f"Each exam is calibrated by a fit on other patients ({len(names)} folds); ECE over {bins} bins of equal count."
    return report


def with_own(report: Mapping[str, Any], cases: Cases, calibrator: Calibrator, *, bins: int = BINS) -> dict[str, Any]:
    """Return what ``evaluate`` did with the calibration of images by the calibrator that the model has, and by which ``predict`` says probabilities.

    Args:
      report: of these cases; ``undefined``, with a sentence, where there are too few patients for folds.
      cases: that the calibrator was not fitted on.
      calibrator: of the model.
      bins: as ``evaluate``.

    Returns:
      The report with ``OWN`` in ``calibration.image``, after ``raw``, and a note that parts it from the other fits.
    """
    fits = report.get("calibration.image") or {"raw": reliability(cases.case_scores, cases.positive, bins=bins, patients=cases.patients)}
    own = reliability(calibrator(cases.case_scores), cases.positive, bins=bins, patients=cases.patients)
    notes = [OWN_NOTE.format(method=calibrator.method), *([OTHERS_NOTE, report["note"]] if "note" in report else [])]
    images = {"raw": fits["raw"], OWN: own, **fits}
    return {**report, "calibration.image": images, "note": " ".join(notes)}
