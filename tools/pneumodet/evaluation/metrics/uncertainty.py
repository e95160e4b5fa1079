"""Intervals for all headline figures at once, and the comparison of two models on the same images.

    result = intervals(cases, score_threshold=0.3)
    result["figures"]["froc.mean_sensitivity"]        # {"value": 0.48, "low": 0.46, "high": 0.50}
    compared = compare(cases_a, cases_b, thresholds=(0.3, 0.4))
    compared["figures"]["rsna_metric"]["sentence"]   # "B is better: B - A = +0.021 [+0.004, +0.037] (95% interval, p = 0.013)."

How an interval comes about is said in ``interval``: by how much each patient moves a figure. Where thresholds were chosen on the set itself, on other folds
of patients, a ``Choice`` says so, and the choice is made again in each resample of patients (``refitted``). Intervals are of the patients that happened to be
in the set, and do not know of training.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from pneumodet.core import aims, formatting
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import counted
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import interval, jackknife, refitted
from pneumodet.evaluation.metrics.headline import Figures
from pneumodet.evaluation.metrics.interval import CONFIDENCE, Interval, Moved
from pneumodet.evaluation.metrics.jackknife import Ratio

RESAMPLES = jackknife.GROUPS
"""Default number of groups of patients that are left out in turn, and of resamples in which thresholds are chosen again."""

CLEAREST = 0.6
"""Where the interval of ROC AUC begins below, thresholds that are chosen on the set are next to arbitrary, and so is what depends on them most."""

UNCLEAR = (
    "The detector hardly parts positive from negative exams (the interval of ROC AUC begins below {least:g}), so that another set of patients would give "
    "another threshold: no interval holds its level."
)
"""Why a figure at thresholds that were chosen on the set has no interval."""

UNKNOWN = "ROC AUC has no interval, which says whether thresholds are clear: {why}"
"""Likewise, where that is not known."""

LOWER_IS_BETTER = frozenset({"lesion.fp_per_image"})
"""Figures of which less is better."""

_KINDS = {"lesion.fp_per_image": "rate"}


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """How the thresholds of a set were chosen on that set.

    Attributes:
      aim: as ``operating_point.choose``.
      folds: (C,) int64: each case has the threshold that the others gave.
      rules: of the RSNA metric.
    """

    aim: str
    folds: np.ndarray
    rules: str = "strict"


def moves(
    cases: Cases,
    *,
    score_threshold: float | np.ndarray,
    choice: Choice | None = None,
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Moved]:
    """Return key -> every headline figure with what moves it. Arguments and errors as ``intervals``."""
    if resamples < 2:
        raise ConfigError(f"Resamples must be at least 2, not {resamples}.")
    figures = Figures(cases, score_threshold=score_threshold, rules=rules, class_name=class_name)
    curves = curve_moves(figures, cases.patients, resamples=resamples, seed=seed)
    return curves | ratio_moves(figures.ratios, cases, choice, roc_auc=curves["image.roc_auc"], resamples=resamples, seed=seed)


def fixed_moves(figures: Figures, patients: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Moved]:
    """Return ``moves`` of figures that are prepared, with thresholds held fixed; ``patients`` (C,) int64 of the cases."""
    ratios = {key: one.moved(patients, kind=_KINDS.get(key, "share")) for key, one in figures.ratios.items()}
    return curve_moves(figures, patients, resamples=resamples, seed=seed) | ratios


def curve_moves(figures: Figures, patients: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Moved]:
    """Return ``moves`` of the figures that need no threshold."""
    return jackknife.of_figures(figures.curves, patients, carriers=figures.carriers, groups=resamples, seed=seed)


def ratio_moves(
    ratios: Mapping[str, Ratio],
    cases: Cases,
    choice: Choice | None = None,
    *,
    roc_auc: Moved | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Moved]:
    """Return ``moves`` of the figures that are quotients of sums, those at an operating point among them; ``roc_auc`` says how clear the choice is."""
    drawn: Mapping[str, np.ndarray] = {}
    if choice is not None:
        again = refitted.Refitted(cases, choice.aim, folds=choice.folds, rules=choice.rules)
        drawn = refitted.resampled(again, cases.patients, resamples=resamples, seed=seed)
    moved = {key: one.moved(cases.patients, kind=_KINDS.get(key, "share"), refitted=drawn.get(key)) for key, one in ratios.items()}
    if choice is None or roc_auc is None:
        return moved
    clear = interval.of(roc_auc)
    if clear["low"] is not None and clear["low"] >= CLEAREST:
        return moved
    why = UNCLEAR.format(least=CLEAREST) if "undefined" not in clear else UNKNOWN.format(why=clear["undefined"])
    # what thresholds are chosen for is flat where they are arbitrary, and holds
    holds = {"rsna_metric", "image.f1", aims.FIGURES.get(aims.parse_aim(choice.aim)[0])}
    refused = {key: dataclasses.replace(moved[key], refused=why) for key in drawn if key not in holds}
    return moved | refused


def intervals(
    cases: Cases,
    *,
    score_threshold: float | np.ndarray,
    choice: Choice | None = None,
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict:
    """Return every headline figure with its interval.

    Args:
      cases: ground truth and detections of one class.
      score_threshold: for the figures at an operating point.
      choice: how the thresholds were chosen on these cases; None where they are from elsewhere.
      rules: of the RSNA metric.
      class_name: in the keys of COCO's figures.
      resamples: most groups of patients that are left out in turn, and resamples in which thresholds are chosen again; at least 2.
      seed: of resamples, and of groups of patients.
      confidence: share of sets of as many patients in which an interval holds the truth, in (0, 1).

    Returns:
      ``figures``: key -> ``value``, ``low``, ``high``, each a float or None; with ``undefined``, a sentence, where one is None.
      ``resamples``, ``seed``, ``confidence``, ``patients`` (how many there are) and ``method``, a sentence for the report.

    Raises:
      DataError: there are no cases, or the rules are unknown.
      ConfigError: resamples or confidence are out of range.
    """
    interval.check(confidence)
    moved = moves(cases, score_threshold=score_threshold, choice=choice, rules=rules, class_name=class_name, resamples=resamples, seed=seed)
    return of_moves(moved, cases.patients, choice=choice, resamples=resamples, seed=seed, confidence=confidence)


def of_moves(
    moved: Mapping[str, Moved],
    patients: np.ndarray,
    *,
    choice: Choice | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict:
    """Return ``intervals`` of what ``moves`` returned, with the arguments that it was given."""
    return {"figures": interval.as_intervals(moved, confidence=confidence), **_settings(patients, resamples, seed, confidence, [choice])}


def compare(
    a: Cases,
    b: Cases,
    *,
    thresholds: tuple[float | np.ndarray, float | np.ndarray],
    choices: tuple[Choice | None, Choice | None] = (None, None),
    names: tuple[str, str] = ("A", "B"),
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    comparisons: int = 1,
) -> dict:
    """Compare two models on the same cases, patient by patient, so that what makes patients easy or hard for both cancels out.

    Args:
      a: cases with the detections of the first model.
      b: the same cases, in the same order and with the same ground truth, with the detections of the second.
      thresholds: score thresholds of both.
      choices: how these were chosen, as in ``intervals``.
      names: of both, for the sentences.
      rules, class_name, resamples, seed, confidence: as in ``intervals``.
      comparisons: how many models are compared with the first one: intervals are simultaneous then, and p values corrected (Bonferroni).

    Returns:
      As ``intervals``; a figure has ``a`` and ``b`` (its values), ``value`` (b - a), ``low``, ``high``, ``p``, and ``sentence``.

    Raises:
      DataError: cases or ground truth differ, or as in ``intervals``.
      ConfigError: as in ``intervals``.
    """
    # a paired difference of other exams, or of the same ones in another order, would be noise that seems to be a figure
    _check_same(a, b)
    interval.check(confidence)
    of_a, of_b = (
        moves(cases, score_threshold=at, choice=choice, rules=rules, class_name=class_name, resamples=resamples, seed=seed)
        for cases, at, choice in zip((a, b), thresholds, choices, strict=True)
    )
    of_figures = differences(of_a, of_b, names=names, confidence=confidence, comparisons=comparisons)
    return {"figures": of_figures, **_settings(a.patients, resamples, seed, confidence, choices)}


def differences(
    of_a: Mapping[str, Moved],
    of_b: Mapping[str, Moved],
    *,
    names: tuple[str, str] = ("A", "B"),
    confidence: float = CONFIDENCE,
    comparisons: int = 1,
) -> dict[str, Interval]:
    """Return the ``figures`` of ``compare``, of those that both models have; arguments as there, moves as of ``moves``."""
    of_figures = {}
    for key in [key for key in of_a if key in of_b]:
        one = interval.difference(of_a[key], of_b[key], confidence=confidence, comparisons=comparisons)
        lower = key in LOWER_IS_BETTER
        of_figures[key] = {
            "a": _or_none(of_a[key].value),
            "b": _or_none(of_b[key].value),
            **one,
            "sentence": _sentence(one, names, confidence, comparisons, lower_is_better=lower),
        }
    return of_figures


def _sentence(difference: Interval, names: tuple[str, str], confidence: float, comparisons: int, *, lower_is_better: bool) -> str:
    value, low, high, p = (difference[key] for key in ("value", "low", "high", "p"))
    if low is None:
        return f"{names[0]} and {names[1]} cannot be compared: {difference['undefined']}"
    of_many = f", both for {comparisons} comparisons" if comparisons > 1 else ""
    how = f"({confidence:.0%} interval, {formatting.p_value(p)}{of_many})"
    # always in the direction of the tables, also where the first model is the better one: of two directions on one page one is misread
    shown = f"{names[1]} - {names[0]} = {formatting.with_interval(value, (low, high), form='+.3f')} {how}."
    if low <= 0 <= high:
        return f"No difference shown: {shown}"
    return f"{names[int((low > 0) != lower_is_better)]} is better: {shown}"


def _settings(
    patients: np.ndarray, resamples: int, seed: int, confidence: float, choices: Sequence[Choice | None]
) -> dict[str, int | float | str]:
    count = len(np.unique(patients))
    groups = f"{resamples:,} groups of {count:,} patients" if count > resamples else counted(count, "patient")
    chosen = f"thresholds chosen again in each of {resamples:,} resamples" if any(choices) else "score thresholds fixed"
    method = (
        f"By how much each patient moves a figure ({groups} left out in turn): Jeffreys' interval of shares for the effective number of exams, t interval "
        f"of the log-odds of areas, AP and FROC; {chosen}; seed {seed}."
    )
    return {"resamples": resamples, "seed": seed, "confidence": confidence, "patients": count, "method": method}


def _check_same(a: Cases, b: Cases) -> None:
    if a.names != b.names or not np.array_equal(a.patients, b.patients):
        where = next((one for one, other in zip(a.names, b.names, strict=False) if one != other), "the number of cases or the patients")
        raise DataError(f"Two models can be compared on the same cases in the same order only; {where} differs. Give both the same images.")
    if not np.array_equal(a.truth_case, b.truth_case) or not np.array_equal(a.truth_xyxy_px, b.truth_xyxy_px):
        raise DataError("Two models can be compared against the same ground truth only; its boxes differ. Read it from one file.")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
