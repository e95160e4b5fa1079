"""Intervals for all headline figures at once, and the comparison of two models on the same images.

    result = intervals(cases, score_threshold=0.3)
    result["figures"]["froc.mean_sensitivity"]        # {"value": 0.48, "low": 0.46, "high": 0.50}
    compared = compare(cases_a, cases_b, thresholds=(0.3, 0.4))
    compared["figures"]["rsna_metric"]["sentence"]   # "B is better by 0.021 [0.004, 0.037] (95% interval)."

Patients are drawn with replacement, all exams of a patient together, since exams of one patient resemble each other and an interval that
takes them for independent is too narrow (Field and Welsh, J. R. Stat. Soc. B 2007). The interval is the percentile interval (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Thresholds are held fixed: the interval says how figures vary with the
patients that happened to be in the set, not with training, nor with the choice of the threshold.

No resample is ever built. Everything is sorted and matched once, and a resample is how often each case counts, so that a figure is a few
sums weighted by that; all detections take part in each. Where a resample differs from a set of cases that were copied so many times is the
order of detections of equal score in AP, see average_precision.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from pneumodet.core import formatting
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import froc, image_level, rsna
from pneumodet.evaluation.metrics.average_precision import IOU_THRESHOLDS, MAX_DETECTIONS, PrecisionRecall
from pneumodet.evaluation.metrics.matching import match

RESAMPLES = 1000
"""Default number of resamples; the ends of a 95% interval then vary by about 3 % of its width with the seed."""

CONFIDENCE = 0.95
"""Default share of resamples that an interval holds."""

MOST_UNDEFINED = 0.05
"""Largest share of resamples in which a figure may have no value; beyond, the interval would speak of a selection."""

Key = TypeVar("Key")

LOWER_IS_BETTER = frozenset({"lesion.fp_per_image"})
"""Figures of which less is better."""

_CHUNK = 16  # resamples at once; 16 and 32 were fastest of 16 to 100, for what is in use then stays in the processor's cache


def resampled_weights(patients: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw patients with replacement.

    Args:
      patients: (C,) int64, the same number for the exams of one patient.
      resamples: how many.
      seed: of the draws; the same seed gives the same resamples for the same patients.

    Yields:
      (C, B) float64: how often each case is in each of the next B resamples.
    """
    rng = np.random.default_rng(seed)
    unique, patient = np.unique(patients, return_inverse=True)
    for start in range(0, resamples, _CHUNK):
        # each exam counts as often as its patient is drawn
        drawn = rng.integers(0, len(unique), (min(_CHUNK, resamples - start), len(unique)))
        yield np.stack([np.bincount(one, minlength=len(unique)) for one in drawn], axis=1)[patient].astype(np.float64)


def resampled(
    figures: Callable[[np.ndarray], Mapping[Key, np.ndarray]], patients: np.ndarray, *, resamples: int, seed: int
) -> tuple[dict[Key, float], dict[Key, np.ndarray]]:
    """Return figures on all cases, and on each resample of patients, which is the same for all figures.

    Args:
      figures: returns key -> (B,) float64, NaN where a figure is undefined, of (C, B) float64 weights of the cases.
      patients: (C,) int64, as ``resampled_weights``.
      resamples: at least 1.
      seed: as ``resampled_weights``.

    Returns:
      (key -> value, key -> (resamples,) float64), of which ``interval`` makes an interval.
    """
    value = {key: float(one[0]) for key, one in figures(np.ones((len(patients), 1))).items()}
    chunks = [figures(weights) for weights in resampled_weights(patients, resamples=resamples, seed=seed)]
    return value, {key: np.concatenate([chunk[key] for chunk in chunks]) for key in value}


class Figures:
    """The headline figures of one model on C cases: prepared once, then asked for many weightings of the cases.

    Args of the constructor:
      cases: ground truth and detections of one class.
      score_threshold: for the figures at an operating point.
      rules: of the RSNA metric, ``strict`` or ``community``.
      class_name: stands in the keys of COCO's figures, ``coco.<class_name>.AP50``.

    Raises:
      DataError: there are no cases, or the rules are unknown.
    """

    def __init__(self, cases: Cases, *, score_threshold: float | np.ndarray, rules: str = "strict", class_name: str = "pneumonia") -> None:
        if not len(cases):
            raise DataError("No figure can be computed of no cases. Give at least one image.")
        self._prefix = f"coco.{class_name}."
        scores = rsna.case_scores(cases, rules=rules, score_threshold=score_threshold)
        # score and whether it counts: a negative exam without detections is in neither sum
        self._rsna = np.stack([np.nan_to_num(scores), ~np.isnan(scores)])
        self._precision_recall = PrecisionRecall(cases)
        self._froc = froc.Froc(cases)
        self._positive = cases.positive
        self._called = image_level.called_positive(cases, score_threshold)
        self._areas = image_level.Areas(self._positive, cases.case_scores)
        kept = cases.above(score_threshold)
        hit = match(kept).hit
        of_case = [kept.box_case[hit], kept.box_case[~hit], cases.truth_case]
        self._lesions = np.stack([np.bincount(case, minlength=len(cases)) for case in of_case]).astype(np.float64)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> (B,) float64 for (C, B) float64 weights >= 0; NaN where a figure is undefined."""
        score, counted = self._rsna @ weights
        ap, ar = self._precision_recall.average_precision(weights), self._precision_recall.average_recall(weights)
        roc_auc, pr_auc = self._areas.areas(weights)
        hits, false, truth = self._lesions @ weights
        return {
            "rsna_metric": ratio(score, counted),
            f"{self._prefix}AP": ap.mean(axis=0),
            f"{self._prefix}AP50": ap[0],
            # 0.745 and not 0.75, which need not be the double in the list
            f"{self._prefix}AP75": ap[int(np.searchsorted(IOU_THRESHOLDS, 0.745))],
            **{f"{self._prefix}AR{limit}": recall for limit, recall in zip(MAX_DETECTIONS, ar, strict=True)},
            **froc.named(self._froc.sensitivities(weights)),
            "image.roc_auc": roc_auc,
            "image.pr_auc": pr_auc,
            **image_level.rates(**image_level.confusion(self._positive, self._called, weights)),
            "lesion.sensitivity": ratio(hits, truth),
            "lesion.precision": ratio(hits, hits + false),
            "lesion.fp_per_image": ratio(false, weights.sum(axis=0)),
        }


def intervals(
    cases: Cases,
    *,
    score_threshold: float | np.ndarray,
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict:
    """Return every headline figure with its interval.

    Args:
      cases: ground truth and detections of one class.
      score_threshold: for the figures at an operating point; held fixed.
      rules: of the RSNA metric.
      class_name: in the keys of COCO's figures.
      resamples: at least 1.
      seed: of the draws.
      confidence: share of resamples inside an interval, in (0, 1).

    Returns:
      ``figures``: key -> ``value``, ``low``, ``high``, each a float or None; with ``undefined``, a sentence, where one is None.
      ``resamples``, ``seed``, ``confidence``, ``patients`` (how many were drawn from) and ``method``, a sentence for the report.

    Raises:
      DataError: there are no cases, or the rules are unknown.
      ConfigError: resamples or confidence are out of range.
    """
    figures = Figures(cases, score_threshold=score_threshold, rules=rules, class_name=class_name)
    _check(resamples, confidence)
    value, drawn = resampled(figures, cases.patients, resamples=resamples, seed=seed)
    of_figures = {key: interval(value[key], drawn[key], cases.patients, confidence=confidence) for key in value}
    return {"figures": of_figures, **_settings(cases.patients, resamples, seed, confidence)}


def compare(
    a: Cases,
    b: Cases,
    *,
    thresholds: tuple[float | np.ndarray, float | np.ndarray],
    names: tuple[str, str] = ("A", "B"),
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict:
    """Compare two models on the same cases: both are computed on each resample, so that easy and hard patients cancel out.

    Args:
      a: cases with the detections of the first model.
      b: the same cases, in the same order and with the same ground truth, with the detections of the second.
      thresholds: score thresholds of both.
      names: of both, for the sentences.
      rules, class_name, resamples, seed, confidence: as in ``intervals``.

    Returns:
      As ``intervals``; a figure has ``a`` and ``b`` (its values), ``value`` (b - a), ``low``, ``high``, and ``sentence``.

    Raises:
      DataError: cases or ground truth differ, or as in ``intervals``.
      ConfigError: as in ``intervals``.
    """
    # a paired difference of other exams, or of the same ones in another order, would be noise that seems to be a figure
    _check_same(a, b)
    models = [
        Figures(cases, score_threshold=threshold, rules=rules, class_name=class_name)
        for cases, threshold in zip((a, b), thresholds, strict=True)
    ]
    _check(resamples, confidence)

    def figures(weights: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        return {(which, key): one for which, model in zip("ab", models, strict=True) for key, one in model(weights).items()}

    value, drawn = resampled(figures, a.patients, resamples=resamples, seed=seed)
    of_figures = {}
    for key in [key for which, key in value if which == "a"]:
        of_a, of_b = value["a", key], value["b", key]
        # within each resample: what makes patients easy or hard for both models cancels out
        difference = interval(of_b - of_a, drawn["b", key] - drawn["a", key], a.patients, confidence=confidence)
        of_figures[key] = {
            "a": _or_none(of_a),
            "b": _or_none(of_b),
            **difference,
            "sentence": _sentence(difference, names, confidence, lower_is_better=key in LOWER_IS_BETTER),
        }
    return {"figures": of_figures, **_settings(a.patients, resamples, seed, confidence)}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return (B,) numerator / denominator, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1 or not 0 < confidence < 1:
        raise ConfigError(f"A bootstrap needs resamples >= 1 and a confidence between 0 and 1, not {resamples} and {confidence}.")


def interval(value: float, drawn: np.ndarray, patients: np.ndarray, *, confidence: float = CONFIDENCE) -> dict[str, float | str | None]:
    """Return ``value``, ``low`` and ``high`` of the percentile interval, and ``undefined``, the reason, where one of them is None.

    Args:
      value: of the figure on all cases; NaN where it has none.
      drawn: (R,) its values on resamples of patients.
      patients: (N,) the patient of each case.
      confidence: share of the resamples within.
    """
    defined = drawn[~np.isnan(drawn)]
    missing = len(drawn) - len(defined)
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "undefined": "These cases give the figure no value."}
    if (patients == patients[0]).all():  # all resamples are the same, and the interval would have no width
        return {
            "value": float(value),
            "low": None,
            "high": None,
            "undefined": "There is only one patient.",
        }
    # resamples without a value are not drawn at random: they lack positives, so that the rest would be too good
    if missing > MOST_UNDEFINED * len(drawn):
        reason = f"The figure has no value in {missing} of {len(drawn)} resamples: too few patients for an interval."
        return {"value": float(value), "low": None, "high": None, "undefined": reason}
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _sentence(difference: dict, names: tuple[str, str], confidence: float, *, lower_is_better: bool) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if low is None:
        return f"{names[0]} and {names[1]} cannot be compared: {difference['undefined']}"
    if low <= 0 <= high:
        return f"No difference shown: {names[1]} - {names[0]} = {formatting.with_interval(value, (low, high))} ({confidence:.0%} interval)."
    # a loss of the second model is a gain of the first: the interval is turned around with it
    better, (low, high) = (1, (low, high)) if low > 0 else (0, (-high, -low))
    if lower_is_better:
        better = 1 - better
    return f"{names[better]} is better by {formatting.with_interval(abs(value), (low, high))} ({confidence:.0%} interval)."


def _settings(patients: np.ndarray, resamples: int, seed: int, confidence: float) -> dict[str, int | float | str]:
    count = len(np.unique(patients))
    method = f"Percentile bootstrap of {count:,} {'patient' if count == 1 else 'patients'}, {resamples:,} resamples, seed {seed}, score thresholds fixed."
    return {"resamples": resamples, "seed": seed, "confidence": confidence, "patients": count, "method": method}


def _check_same(a: Cases, b: Cases) -> None:
    if a.names != b.names or not np.array_equal(a.patients, b.patients):
        where = next((one for one, other in zip(a.names, b.names, strict=False) if one != other), "the number of cases or the patients")
        raise DataError(f"Two models can be compared on the same cases in the same order only; {where} differs. Give both the same images.")
    if not np.array_equal(a.truth_case, b.truth_case) or not np.array_equal(a.truth_xyxy_px, b.truth_xyxy_px):
        raise DataError("Two models can be compared against the same ground truth only; its boxes differ. Read it from one file.")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
