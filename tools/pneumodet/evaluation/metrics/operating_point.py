"""The score from which on a detection counts, chosen for a stated aim, and never reported on the patients it was chosen on.

    point = choose(validation_cases, "sensitivity>=0.9")       # {"threshold": 0.31, "met": True, "reached": {...}, ...}
    folds = patient_folds(cases, 5, seed=0)                    # where there are no separate validation data
    thresholds, spread = cross_fitted(cases, "rsna", folds=folds)
    kept = cases.above(thresholds[cases.box_case])             # each exam by the threshold that other patients gave

Aims: ``rsna`` (highest RSNA metric), ``f1`` (highest image-level F1), ``sensitivity>=X`` (image-level; the highest threshold that reaches
it), ``sensitivity>=X@95%`` (the highest threshold at which the lower 95 % bound of the sensitivity, one-sided, reaches it), ``fp_per_image<=X`` (false
boxes an image, as in FROC; the lowest threshold that keeps it). Every distinct score is tried, and a
threshold above all scores, which keeps no detection. Of the thresholds of the highest RSNA metric or F1 the highest wins: the fewest boxes.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from pneumodet.core.aims import as_text, confidence_of, parse_aim
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import froc, image_level, interval, rsna
from pneumodet.evaluation.metrics.matching import match

FOLDS = 5
"""Default number of groups of patients in a nested choice."""

MARGIN = 0.001
"""How far below the score that it was chosen by a threshold for new data lies at the most."""


def choose(cases: Cases, aim: str, *, rules: str = "strict") -> dict:
    """Choose a threshold: keep detections of ``score >= threshold``.

    Args:
      cases: validation data; at least one case has a ground-truth box.
      aim: see the module.
      rules: of the RSNA metric.

    Returns:
      ``aim``; ``threshold``, in [0, 1] but for "no detection at all", which is one float32 step above the highest score; ``met``: whether the
      aim is reached; ``note``, a sentence where it is not, in which case the threshold is the one that comes nearest; ``reached``: the figures
      of ``at`` on these very cases, which flatter; ``chosen_on``: the number of exams, patients and positive exams.

    Raises:
      ConfigError: the aim is unknown.
      DataError: no case is positive, or the rules are unknown.
    """
    point = _point(cases, aim, rules)
    patients = len(np.unique(cases.patients))
    chosen_on = {"exams": len(cases), "patients": patients, "positive_exams": int(cases.positive.sum())}
    return {**point, "reached": at(cases, point["threshold"], rules=rules), "chosen_on": chosen_on}


def _point(cases: Cases, aim: str, rules: str) -> dict:
    """Return ``choose`` without what is reached, which takes the most of the time."""
    name, level = parse_aim(aim)
    if not cases.positive.any():
        raise DataError(
            f"No operating point can be chosen for {aim!r}: none of {len(cases)} exams has a ground-truth box. Choose it on a set with positives."
        )
    if confidence := confidence_of(aim):
        return {"aim": aim.strip(), **_with_confidence(cases, level or 0.0, confidence)}
    point: dict = {"aim": aim.strip(), "threshold": _threshold(cases, name, level, rules), "met": True}
    # only this aim can fail: a threshold above all scores keeps any rate of false positives
    if name == "sensitivity":
        reached = image_level.called_positive(cases, point["threshold"])[cases.positive].mean()
        if reached < (level or 0.0):
            point["met"] = False
            point["note"] = (
                f"No threshold reaches a sensitivity of {level:g}: with every detection kept it is {reached:.3f}, "
                "since nothing was detected in the other positive exams."
            )
    return point


def _with_confidence(cases: Cases, level: float, confidence: float) -> dict:
    """Return ``threshold``, the highest at which the lower bound of the image-level sensitivity reaches a level, ``met``, and a ``note`` where none does."""
    positive = cases.positive
    candidates = np.unique(cases.case_scores[positive & (np.bincount(cases.box_case, minlength=len(cases)) > 0)])[::-1]

    def bound(place: int) -> float:
        called = image_level.called_positive(cases, candidates[place])
        moved = image_level.ratios(positive, called)["image.sensitivity"].moved(cases.patients)
        return interval.lower_bound(moved, confidence=confidence) or 0.0

    # as the threshold falls sensitivity only rises, and its bound with it
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) >= level else (middle + 1, high)
    if low < len(candidates):
        return {"threshold": float(candidates[low]), "met": True}
    lowest = len(candidates) - 1
    patients = len(np.unique(cases.patients[positive]))
    # as many, all of them detected, are the fewest whose bound reaches the level
    needed = int(np.ceil(np.log(1 - confidence) / np.log(level)))
    return {
        "threshold": float(candidates[lowest]) if len(candidates) else _above_all(cases),
        "met": False,
        "note": f"No threshold reaches a sensitivity of {level:g} with {confidence:.3g} confidence: with every detection kept its lower bound is "
        f"{bound(lowest) if len(candidates) else 0.0:.3f}. There are {patients:,} patients with a positive exam; at least {needed:,} are needed, all of "
        "them detected.",
    }


def at(cases: Cases, threshold: float | np.ndarray, *, rules: str = "strict") -> dict[str, float | None]:
    """Return the figures at an operating point.

    Args:
      cases: to report on.
      threshold: one for all, or (D,) float64, one for each detection.
      rules: of the RSNA metric.

    Returns:
      ``rsna_metric``, ``image.sensitivity``, ``image.specificity``, ``image.f1``, ``lesion.sensitivity``, ``lesion.fp_per_image``; None where there
      is nothing to divide by.

    Raises:
      DataError: the rules are unknown.
    """
    kept = cases.above(threshold)
    scores = rsna.case_scores(kept, rules=rules)
    image, lesion = image_level.image_level(kept, score_threshold=0.0), froc.at_threshold(kept, 0.0)
    return {
        "rsna_metric": float(np.nanmean(scores)) if not np.isnan(scores).all() else None,
        **{key: _number(image[key]) for key in ("image.sensitivity", "image.specificity", "image.f1")},
        **{key: _number(lesion[key]) for key in ("lesion.sensitivity", "lesion.fp_per_image")},
    }


def _number(value: object) -> float | None:
    """Return a figure of a dict that has sentences and counts as well."""
    return value if isinstance(value, int | float) else None


def patient_numbers(patients: Sequence[Hashable]) -> np.ndarray:
    """Return (C,) int64 numbers of the cases' patients, in order of appearance: ``patient_folds`` shuffles numbers, so that all must number alike."""
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
    return np.array([numbers[patient] for patient in patients], np.int64)


def patient_folds(cases: Cases, count: int = FOLDS, *, seed: int = 0) -> np.ndarray:
    """Return the (C,) int64 fold in [0, count) of each case.

    All exams of a patient are in one fold. Patients are shuffled, those with a positive exam are dealt out first and the others after them,
    so that folds differ by one patient at most in size and in positives. The order of cases makes no difference.

    Raises:
      ConfigError: there are less than two folds.
      DataError: there are fewer patients, or fewer than two with a positive exam.
    """
    if count < 2:
        raise ConfigError(f"Choosing on other patients needs at least 2 folds, not {count}.")
    patients, patient = np.unique(cases.patients, return_inverse=True)
    positive = np.bincount(patient, weights=cases.positive, minlength=len(patients)) > 0
    if len(patients) < count or positive.sum() < 2:
        raise DataError(
            f"Too few patients ({len(patients):,}, with a positive exam {int(positive.sum()):,}) for {count} folds with positives outside each. Use a "
            "larger set, or a threshold that was chosen on other data."
        )
    # by number of the patient and not by order of exams: the same patients are in the same folds whatever the order of cases
    shuffled = np.random.default_rng(seed).permutation(len(patients))
    dealt = shuffled[np.argsort(~positive[shuffled], kind="stable")]
    fold = np.empty(len(patients), np.int64)
    fold[dealt] = np.arange(len(patients)) % count
    return fold[patient]


def just_below(threshold: float, scores: np.ndarray) -> float:
    """Return the threshold for new data of one that was chosen: one that calls the same detections positive, and is not the score of one of them.

    That detection would be lost where another file of the same model computes its score a little lower. What is returned lies halfway to the next lower
    score, and ``MARGIN`` away at the most.

    Args:
      threshold: that was chosen.
      scores: (D,) of all detections.
    """
    below = float(scores[scores < threshold].max(initial=0.0))
    return max((threshold + below) / 2, threshold - MARGIN)


def cross_fitted(cases: Cases, aim: str, *, folds: np.ndarray, rules: str = "strict") -> tuple[np.ndarray, dict]:
    """Choose the threshold of each fold on the patients of all other folds.

    Args:
      cases: to report on, where there are no separate validation data.
      aim: see the module.
      folds: (C,) int64 fold of each case, as of ``patient_folds``; no patient in two.
      rules: of the RSNA metric.

    Returns:
      (C,) float64 threshold of each case. With ``thresholds[cases.box_case]`` it serves wherever a ``score_threshold`` is taken.
      A dict: ``aim``, ``folds``, ``thresholds`` (one a fold), ``lowest``, ``highest``, ``met`` (in every fold's choice), ``reached`` (figures of ``at``
      on patients that had no part in the choice) and ``note``, a sentence for the report.

    Raises:
      ConfigError: the aim is unknown.
      DataError: folds do not fit, a patient is in two, there is only one, or no positive case is outside a fold.
    """
    names = check_folds(cases, folds)
    points = _points(cases, folds != names[:, None], aim, rules)
    by_fold = np.array([point["threshold"] for point in points])
    thresholds = by_fold[np.searchsorted(names, folds)]
    return thresholds, {
        "aim": aim.strip(),
        "folds": len(names),
        "thresholds": by_fold.tolist(),
        "lowest": float(by_fold.min()),
        "highest": float(by_fold.max()),
        "met": all(point["met"] for point in points),
        "reached": at(cases, thresholds[cases.box_case], rules=rules),
        "note": _note(aim, points, by_fold),
    }


def _points(cases: Cases, subsets: np.ndarray, aim: str, rules: str) -> list[dict]:
    """Return ``_point`` of each of (F, C) subsets of the cases."""
    if parse_aim(aim)[0] != "rsna" or not (cases.positive & subsets).any(axis=1).all():
        return [_point(cases.take(np.flatnonzero(inside)), aim, rules) for inside in subsets]
    # matching and sorting, which take the most of the time, once for all
    return [{"aim": aim.strip(), "threshold": one, "met": True} for one in rsna.case_thresholds(cases, subsets.T, rules=rules)]


def _note(aim: str, points: list[dict], by_fold: np.ndarray) -> str:
    low, high = (f"{one:#.4g}" for one in (by_fold.min(), by_fold.max()))
    lie = f"it is {by_fold.min():.4g} for all" if low == high else f"the thresholds lie between {low} and {high}"
    missed = "" if all(point["met"] for point in points) else " Where other patients did not let this be reached, the nearest was taken."
    return f"Each exam is evaluated at the score threshold that {as_text(aim)} on other patients ({len(points)} folds); {lie}.{missed}"


def check_folds(cases: Cases, folds: np.ndarray) -> np.ndarray:
    """Return the distinct folds, rising.

    Raises:
      DataError: there is not one for each case, there is only one, or a patient is in two.
    """
    names = np.unique(folds)
    if np.shape(folds) != (len(cases),) or len(names) < 2:
        raise DataError(f"{len(cases)} exams need a fold each, of at least two folds; got shape {np.shape(folds)}, {len(names)} folds.")
    # by patient and then by fold, a patient in two folds shows between neighbours
    order = np.lexsort((folds, cases.patients))
    torn = (np.diff(cases.patients[order]) == 0) & (np.diff(folds[order]) != 0)
    if torn.any():
        name = cases.names[order[np.argmax(torn)]]
        raise DataError(f"The patient of exam {name} is in two folds. Keep all exams of a patient together, as patient_folds does.")
    return names


def _threshold(cases: Cases, name: str, aimed_at: float | None, rules: str) -> float:
    if name == "rsna":
        return rsna.case_threshold(cases, rules=rules)[0]
    level = aimed_at or 0.0  # F1 has none, and does not use it
    if name == "fp_per_image":
        false = np.sort(cases.scores[~match(cases).hit])[::-1]
        scores = np.unique(cases.scores)[::-1]
        # false boxes only grow as the threshold falls: those that keep the aim come first, and the last of them is wanted
        keeps = np.searchsorted(-false, -scores, side="right") / len(cases) <= level
        return float(scores[np.count_nonzero(keeps) - 1]) if keeps.any() else _above_all(cases)
    detected = np.bincount(cases.box_case, minlength=len(cases)) > 0  # a case without detections is positive at no threshold, not even 0
    scores, positive = cases.case_scores[detected], cases.positive[detected]
    candidates = np.unique(scores)[::-1]
    called, true = (np.searchsorted(np.sort(-part), -candidates, side="right") for part in (scores, scores[positive]))
    positives = np.count_nonzero(cases.positive)
    value = true / positives if name == "sensitivity" else 2 * true / (called + positives)
    # in front, the threshold above all scores, where nothing is called positive
    value = np.append(0.0, value)
    # the first is the highest threshold; where none reaches the level, the highest value there is
    best = np.argmax(value >= min(level, value.max()) if name == "sensitivity" else value == value.max())
    return float(candidates[best - 1]) if best else _above_all(cases)


def _above_all(cases: Cases) -> float:
    """Return a threshold above every score, also after a cast to float32, as ``rsna.best_threshold`` does."""
    return float(np.nextafter(np.float32(cases.scores.max()), np.float32(np.inf))) if len(cases.scores) else 1.0
