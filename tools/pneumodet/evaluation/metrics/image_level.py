"""Does the image have pneumonia? ROC, precision-recall and the confusion matrix of cases.

    image_level(cases, score_threshold=0.3)     # {"image.roc_auc": 0.85, "image.pr_auc": 0.6, "image.sensitivity": 0.8, …}
    roc_curve(cases), pr_curve(cases)           # points for plots

A case's score is its highest detection's, 0 where nothing was detected. A case is called positive at a threshold if it has a detection
that scores at least as much. The areas are scikit-learn's ``roc_auc_score`` and ``average_precision_score`` (no interpolation; equal
scores are one step). What cannot be computed is None, and ``<key>.undefined`` says why.
"""

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics.froc import thinned
from pneumodet.evaluation.metrics.jackknife import Ratio

NO_POSITIVES = "no case is positive"
"""Why a figure has no value."""
NO_NEGATIVES = "no case is negative"
"""Why a figure has no value."""
NONE_CALLED = "no case is called positive"
"""Why a precision has no value."""
NO_POSITIVES_NOR_CALLED = "no case is positive or called positive"
"""Why an F1 has no value."""

_UNDEFINED = {
    "image.roc_auc": (NO_POSITIVES, NO_NEGATIVES),
    "image.pr_auc": (NO_POSITIVES,),
    "image.sensitivity": (NO_POSITIVES,),
    "image.specificity": (NO_NEGATIVES,),
    "image.precision": (NONE_CALLED,),
    "image.f1": (NO_POSITIVES_NOR_CALLED,),
}


class Areas:
    """ROC and PR AUC of C cases with (C,) bool ``positive`` and (C,) ``scores``, sorted once; then asked for many weightings (jackknife)."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._positive = positive[self._order].astype(np.float64)[:, None]
        self.scores = scores[self._order]
        # the last case of each score, since no threshold parts equal ones
        self.last = np.flatnonzero(np.append(np.diff(self.scores) != 0, True)) if len(scores) else np.zeros(0, np.int64)
        # of the scores that a positive case has, at which alone the areas grow: the last case, and the last one of the score before
        true = np.cumsum(self._positive[:, 0])[self.last].astype(np.int64)
        grows = np.diff(true, prepend=0) > 0
        self._ends, self._before = self.last[grows] + 1, np.append(0, self.last + 1)[:-1][grows]
        self._positives, self._true = self._order[self._positive[:, 0] > 0], true[grows] - 1

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (true, false) positives, each (S + 1, B), at a threshold above all scores and at each of the S distinct scores."""
        here = weights[self._order]
        called, true = np.cumsum(here, axis=0)[self.last], np.cumsum(here * self._positive, axis=0)[self.last]
        zero = np.zeros((1, weights.shape[1]))
        return np.concatenate([zero, true]), np.concatenate([zero, called - true])

    def areas(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (B,) ROC AUC and PR AUC for (C, B) float64 weights >= 0; NaN where undefined."""
        called = np.zeros((len(weights) + 1, weights.shape[1]))
        np.cumsum(weights[self._order], axis=0, out=called[1:])
        true = np.cumsum(weights[self._positives], axis=0)[self._true]
        positives = true[-1] if len(true) else np.zeros(weights.shape[1])
        negatives, steps = called[-1] - positives, np.diff(true, axis=0, prepend=0)
        above = called[self._ends]
        # equal scores are one slanted step: half of the pairs of a positive and a negative at the same score count as right
        false = (above - true + called[self._before] - (true - steps)) / 2
        right = (steps * (negatives - false)).sum(axis=0)
        precision = np.divide(true, above, out=np.zeros_like(above), where=above > 0)
        return _divide(right, positives * negatives), _divide((steps * precision).sum(axis=0), positives)


def rarer(positive: np.ndarray) -> np.ndarray:
    """Return the (C,) bool cases of the rarer kind, of (C,) bool ``positive``: ROC AUC is of pairs, and rests on as many patients as these have."""
    return positive if positive.sum() <= (~positive).sum() else ~positive


def called_positive(cases: Cases, score_threshold: float | np.ndarray) -> np.ndarray:
    """Return (C,) bool: whether a case has a detection of at least ``score_threshold``."""
    return np.bincount(cases.box_case[cases.scores >= score_threshold], minlength=len(cases)) > 0


def confusion(positive: np.ndarray, called: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return (B,) sums ``tp``, ``fp``, ``fn``, ``tn`` of (C, B) weights, for (C,) bool truth and call."""
    cells = {"tp": positive & called, "fp": ~positive & called, "fn": positive & ~called, "tn": ~positive & ~called}
    return {key: cell.astype(np.float64) @ weights for key, cell in cells.items()}


def rates(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> dict[str, np.ndarray]:
    """Return (B,) sensitivity, specificity, precision and F1 of the cells of the confusion matrix by their keys; NaN where undefined."""
    return {
        "image.sensitivity": _divide(tp, tp + fn),
        "image.specificity": _divide(tn, tn + fp),
        "image.precision": _divide(tp, tp + fp),
        "image.f1": _divide(2 * tp, 2 * tp + fp + fn),
    }


def ratios(positive: np.ndarray, called: np.ndarray) -> dict[str, Ratio]:
    """Return the figures of ``rates`` as sums over cases, for (C,) bool truth and call."""
    true, false, missed = (mask.astype(np.float64) for mask in (positive & called, ~positive & called, positive & ~called))
    negative = (~positive).astype(np.float64)
    return {
        "image.sensitivity": Ratio(true, positive.astype(np.float64)),
        "image.specificity": Ratio(negative - false, negative),
        "image.precision": Ratio(true, called.astype(np.float64)),
        "image.f1": Ratio(2 * true, 2 * true + false + missed),
    }


def image_level(cases: Cases, *, score_threshold: float | np.ndarray) -> dict[str, float | str | dict[str, int] | None]:
    """Return the image-level figures.

    Returns:
      ``image.roc_auc``, ``image.pr_auc``, ``image.sensitivity``, ``image.specificity``, ``image.precision``, ``image.f1`` in [0, 1] or None with
      ``<key>.undefined``; ``image.confusion``: counts ``tp``, ``fp``, ``fn``, ``tn``. All but the areas are at ``score_threshold``.
    """
    ones, positive = np.ones((len(cases), 1)), cases.positive
    roc, pr = Areas(positive, cases.case_scores).areas(ones) if len(cases) else (np.array([np.nan]),) * 2
    cells = confusion(positive, called_positive(cases, score_threshold), ones)
    count = {key: int(cell[0]) for key, cell in cells.items()}
    missing = {
        NO_POSITIVES: count["tp"] + count["fn"] == 0,
        NO_NEGATIVES: count["tn"] + count["fp"] == 0,
        NONE_CALLED: count["tp"] + count["fp"] == 0,
        NO_POSITIVES_NOR_CALLED: count["tp"] + count["fn"] + count["fp"] == 0,
    }
    figures: dict[str, float | str | dict[str, int] | None] = {}
    for key, value in {"image.roc_auc": roc, "image.pr_auc": pr, **rates(**cells)}.items():
        figures[key] = None if np.isnan(value[0]) else float(value[0])
        if figures[key] is None:
            figures[f"{key}.undefined"] = next(reason for reason in _UNDEFINED[key] if missing[reason])
    return {**figures, "image.confusion": count}


def roc_curve(cases: Cases) -> dict[str, list[float]]:
    """Return at most 200 points ``threshold``, ``false_positive_rate``, ``sensitivity``; empty without positives or negatives."""
    return roc_of_scores(cases.positive, cases.case_scores)


def roc_of_scores(positive: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Return ``roc_curve`` of (C,) bool and (C,) float64."""
    areas = Areas(positive, scores)
    true, false = (counts[:, 0] for counts in areas.counts(np.ones((len(scores), 1))))
    keep = thinned(np.arange(len(true))) if true[-1] and false[-1] else np.zeros(0, np.int64)
    threshold = np.append(_above(areas), areas.scores[areas.last])
    return {
        "threshold": threshold[keep].tolist(),
        "false_positive_rate": (false[keep] / max(false[-1], 1)).tolist(),
        "sensitivity": (true[keep] / max(true[-1], 1)).tolist(),
    }


def pr_curve(cases: Cases) -> dict[str, list[float]]:
    """Return at most 200 points ``threshold``, ``sensitivity``, ``precision``, by rising sensitivity; empty without positives."""
    areas = Areas(cases.positive, cases.case_scores)
    true, false = (counts[1:, 0] for counts in areas.counts(np.ones((len(cases), 1))))
    keep = thinned(np.arange(len(true))) if len(true) and true[-1] else np.zeros(0, np.int64)
    return {
        "threshold": areas.scores[areas.last][keep].tolist(),
        "sensitivity": (true[keep] / max(true[-1], 1)).tolist() if len(keep) else [],
        "precision": (true[keep] / (true[keep] + false[keep])).tolist(),
    }


def _above(areas: Areas) -> float:
    """Return a threshold above all scores, where nothing is called positive."""
    return float(np.nextafter(areas.scores[0], np.inf)) if len(areas.scores) else 1.0


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
