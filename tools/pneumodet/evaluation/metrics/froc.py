"""FROC: how much is found at how many false alarms an image.

    froc(cases)         # {"froc.sensitivity_at_0.125": 0.27, …, "froc.mean_sensitivity": 0.48, "froc.image_sensitivity_at_0.125": …}
    curve(cases)        # points for a plot
    at_threshold(cases, 0.3)   # lesion-level counts at one operating point

Definitions, since papers differ (Bandos et al., Biometrics 2009; the mean over six or seven rates is from the LUNA16 challenge, Setio et
al., Medical Image Analysis 2017, which starts at 1/8):

- A detection is a hit by ``matching.match`` at IoU >= 0.5. All others are false, also a second one of a detected box (LUNA16 ignores those).
- False positives an image are counted over all images, those without boxes included.
- Lesion-level sensitivity: share of ground-truth boxes that are detected. Image-level: share of images with boxes in which at least one is.
- The sensitivity at a rate is the highest that a score threshold reaches with at most that rate. Detections of equal score come and go
  together, and nothing is interpolated: every figure belongs to a threshold that can be set.
"""

import copy

import numpy as np

from pneumodet.core.boxes import iou_of_pairs
from pneumodet.data.cases import Cases, once
from pneumodet.evaluation.metrics.matching import HIT_IOU, match
from pneumodet.evaluation.metrics.ranking import ranked

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives an image."""

LEVELS = ("froc.sensitivity_at", "froc.image_sensitivity_at")
"""Beginnings of the keys: of boxes, of images."""

MEANS = ("froc.mean_sensitivity", "froc.image_mean_sensitivity")
"""Keys of the means over ``RATES``."""

CURVE_POINTS = 200
"""Most points of a curve that is to be drawn."""

NO_TRUTH = "no case has a ground-truth box"
"""Why a sensitivity has no value."""
NOTHING_KEPT = "no detection reaches the threshold"
"""Why a precision has no value."""
ALL_WITH_TRUTH = "every case has a ground-truth box"
"""Why there is no figure of cases without."""
NO_HIT = "no detection is a hit"
"""Why the IoU of hits has no value."""


class Froc:
    """What the FROC of C cases needs, sorted and matched once; then asked for many weightings of the cases (jackknife)."""

    def __init__(self, cases: Cases) -> None:
        hits = np.flatnonzero(match(cases).hit)
        ranking = ranked(cases)
        hits = hits[np.argsort(ranking.place[hits])]
        places = ranking.place[hits]
        # equal scores come and go together, so that false ones are counted up to the last of the same score
        end = ranking.end[places]
        self.thresholds = cases.scores[hits]
        self._before = ranking.counter(end)
        self._case = cases.box_case[hits]
        self._last = np.searchsorted(places, end) - 1  # the last hit of the same score
        # an image counts as detected from its first hit on, which np.unique returns
        self._first_of_case = np.zeros((len(hits), 1))
        self._first_of_case[np.unique(self._case, return_index=True)[1]] = 1
        truth = np.bincount(cases.truth_case, minlength=len(cases))
        self._totals = np.array([truth, truth > 0], np.float64)

    def take(self, cases: np.ndarray) -> "Froc":
        """Return the same of the cases of rising (R,) int64 indices; nothing is sorted or matched again."""
        part, place = copy.copy(self), np.full(self._totals.shape[1], -1)
        place[cases] = np.arange(len(cases))
        keep = place[self._case] >= 0
        part.thresholds, part._case, part._first_of_case = self.thresholds[keep], place[self._case[keep]], self._first_of_case[keep]
        part._before = self._before.take(cases, np.flatnonzero(keep))
        part._last = (np.cumsum(keep) - 1)[self._last[keep]]
        part._totals = self._totals[:, cases]
        return part

    def points(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the curves, one point a hit, the most confident first, with the threshold at the hit's score.

        Args:
          weights: (C, B) float64 >= 0 of the cases.

        Returns:
          (H, B) false positives, summed; (2, H, B) detected boxes and images, summed.
        """
        here = weights[self._case]
        hits = np.stack([here, here * self._first_of_case]).cumsum(axis=1)[:, self._last]
        return self._before(weights) - hits[0], hits

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """Return (2, B): summed weights of ground-truth boxes and of images with boxes."""
        return self._totals @ weights

    def sensitivities(self, weights: np.ndarray) -> np.ndarray:
        """Return (2, 6, B): box- and image-level sensitivity at ``RATES``; NaN where no weighted case has a box."""
        false, hits = self.points(weights)
        allowed = np.array(RATES)[:, None] * weights.sum(axis=0)
        # the last point within the allowance, so that there is a threshold at which the figure is reached; false positives only rise along the curve
        columns = zip(np.ascontiguousarray(false.T), allowed.T, strict=True)
        reached = np.array([np.searchsorted(one, limits, side="right") for one, limits in columns]).T
        # where no point keeps to the rate, nothing is detected
        taken = np.zeros((2, *reached.shape))
        if len(false):
            at = np.broadcast_to(np.maximum(reached - 1, 0), taken.shape)
            taken = np.where(reached > 0, np.take_along_axis(hits, at, axis=1), 0.0)
        total = self.totals(weights)[:, None]
        return np.divide(taken, total, out=np.full_like(taken, np.nan), where=total > 0)


@once
def prepared(cases: Cases) -> Froc:
    """Return the ``Froc`` of cases; several figures need it."""
    return Froc(cases)


def named(sensitivities: np.ndarray) -> dict[str, np.ndarray]:
    """Return the (B,) figures of (2, 6, B) ``sensitivities`` by their keys, the means included."""
    figures: dict[str, np.ndarray] = {}
    for level, mean, values in zip(LEVELS, MEANS, sensitivities, strict=True):
        figures |= {f"{level}_{rate:g}": at for rate, at in zip(RATES, values, strict=True)} | {mean: values.mean(axis=0)}
    return figures


def froc(cases: Cases) -> dict[str, float | str | None]:
    """Return sensitivities at 1/8 … 4 false positives an image and their means, of boxes and of images, each in [0, 1].

    Without ground truth each is None, and ``froc.undefined`` says why.
    """
    values = named(prepared(cases).sensitivities(np.ones((len(cases), 1))))
    if not len(cases.truth_case):
        return {**dict.fromkeys(values), "froc.undefined": NO_TRUTH}
    return {key: float(value[0]) for key, value in values.items()}


def curve(cases: Cases) -> dict[str, list[float]]:
    """Return at most ``CURVE_POINTS`` points of the curve, by rising false positives.

    Returns:
      Lists of equal length: ``threshold``, ``fp_per_image``, ``sensitivity``, ``image_sensitivity``. The curve is a staircase: between two
      points the sensitivity is that of the first. Empty without ground truth.
    """
    of_cases = prepared(cases)
    ones = np.ones((len(cases), 1))
    false, hits = of_cases.points(ones)
    # one point a threshold: of equal scores the last hit
    keep = np.flatnonzero(np.append(np.diff(of_cases.thresholds) != 0, True)) if len(false) else np.zeros(0, np.int64)
    keep = thinned(keep)
    total = np.maximum(of_cases.totals(ones), 1)
    return {
        "threshold": of_cases.thresholds[keep].tolist(),
        "fp_per_image": (false[keep, 0] / max(len(cases), 1)).tolist(),
        "sensitivity": (hits[0, keep, 0] / total[0]).tolist(),
        "image_sensitivity": (hits[1, keep, 0] / total[1]).tolist(),
    }


def thinned(values: np.ndarray) -> np.ndarray:
    """Return at most ``CURVE_POINTS`` of the values at even steps, always the first and the last."""
    if len(values) <= CURVE_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, CURVE_POINTS).round().astype(int)]


def at_threshold(cases: Cases, score_threshold: float | np.ndarray) -> dict[str, float | int | str | None]:
    """Return what happens to boxes when detections of at least ``score_threshold`` are kept.

    Returns:
      ``lesion.hits``, ``lesion.false_positives``, ``lesion.missed``: counts. ``lesion.sensitivity``, ``lesion.precision``, ``lesion.f1`` and
      ``lesion.mean_iou_of_hits`` in [0, 1], ``lesion.fp_per_image``, and this of the images with and without ground truth alone,
      ``lesion.fp_per_positive_image`` and ``lesion.fp_per_negative_image``; None where there is nothing to divide by, and ``<key>.undefined`` says why.
    """
    kept = cases.above(score_threshold)
    matched = match(kept, HIT_IOU)
    hits, false, missed = int(matched.hit.sum()), int((~matched.hit).sum()), int((~matched.detected).sum())
    of_positive = int(kept.positive[kept.box_case[~matched.hit]].sum())
    positives = int(kept.positive.sum())
    taken = kept.truth_xyxy_px[matched.truth[matched.hit]]
    ious = iou_of_pairs(kept.boxes_xyxy_px[matched.hit], taken)
    reasons = {
        "lesion.sensitivity": NO_TRUTH if not hits + missed else None,
        "lesion.precision": NOTHING_KEPT if not hits + false else None,
        "lesion.f1": f"{NO_TRUTH}, and {NOTHING_KEPT}" if not hits + false + missed else None,
        "lesion.mean_iou_of_hits": NO_HIT if not hits else None,
        "lesion.fp_per_positive_image": NO_TRUTH if not positives else None,
        "lesion.fp_per_negative_image": ALL_WITH_TRUTH if positives == len(cases) else None,
    }
    return {
        **{f"{key}.undefined": reason for key, reason in reasons.items() if reason},
        "lesion.hits": hits,
        "lesion.false_positives": false,
        "lesion.missed": missed,
        "lesion.sensitivity": hits / (hits + missed) if hits + missed else None,
        "lesion.precision": hits / (hits + false) if hits + false else None,
        "lesion.f1": 2 * hits / (2 * hits + false + missed) if hits + false + missed else None,
        "lesion.fp_per_image": false / len(cases) if len(cases) else None,
        "lesion.fp_per_positive_image": of_positive / positives if positives else None,
        "lesion.fp_per_negative_image": (false - of_positive) / (len(cases) - positives) if len(cases) > positives else None,
        "lesion.mean_iou_of_hits": float(np.mean(ious)) if len(ious) else None,
    }
