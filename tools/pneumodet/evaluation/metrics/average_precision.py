"""COCO's average precision and recall of one class, on ``Cases``, also under many weightings of the cases at once (jackknife).

    average_precision(cases)                               # AP50
    curves = PrecisionRecall(cases)                        # prepared once
    curves.average_precision(weights)                      # (10, B) for (C, B) weights: AP at IoU 0.50, 0.55 … 0.95
    curves.average_recall(weights)                         # (3, B): AR1, AR10, AR100

AP is COCO's (cocoeval.py, ``accumulate``): the mean of the precision at recall 0, 0.01 … 1, where the precision at a recall is the highest
at this recall or beyond, and 0 where the recall is never reached. Each detection is one step, also among equal scores; those stand in the
order of cases (in COCO's: of image ids), which is the only way in which the two can differ.
"""

import copy

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import matching
from pneumodet.evaluation.metrics.ranking import ranked

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's, each the double that COCO uses."""

RECALLS = np.linspace(0, 1, 101)
"""COCO's recall thresholds."""

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits of detections a case; AP is taken at the last."""


_MANY_HITS = 500
"""Of more hits the 101 recalls are looked up one weighting after the other, of fewer all hits at once."""


def average_precision(cases: Cases, *, iou_threshold: float = matching.HIT_IOU) -> float | None:
    """Return COCO's AP in [0, 1] at one IoU threshold, over the 100 most confident detections of each case; None without ground truth."""
    value = float(PrecisionRecall(cases, iou_thresholds=np.array([iou_threshold])).average_precision(np.ones((len(cases), 1)))[0, 0])
    return None if np.isnan(value) else value


class PrecisionRecall:
    """What AP and AR of C cases need, sorted and matched once.

    Args of the constructor:
      cases: ground truth and detections.
      iou_thresholds: (K,) float64 in (0, 1].

    Attributes:
      reached: for each of ``MAX_DETECTIONS`` (C,) float64, how many boxes of a case are hit with at most so many detections, a mean over IoU thresholds.
    """

    def __init__(self, cases: Cases, *, iou_thresholds: np.ndarray = IOU_THRESHOLDS) -> None:
        rank = cases.rank
        # COCO drops what is beyond, so that a detector gains nothing by more boxes
        if rank.max(initial=0) >= MAX_DETECTIONS[-1]:
            cases, rank = cases.where(rank < MAX_DETECTIONS[-1]), rank[rank < MAX_DETECTIONS[-1]]
        # few pairs reach any of the thresholds
        pairs = matching.reaching(matching.pairs_of(cases), iou_thresholds.min())
        hits = [matching.coco_hits(pairs, threshold)[0] for threshold in iou_thresholds]
        ranking = ranked(cases)
        hits = [box[np.argsort(ranking.place[box])] for box in hits]
        # hits at any of the thresholds: what stands before each is counted once for all ten
        any_place = np.unique(np.concatenate([ranking.place[box] for box in hits]))
        self._before = ranking.counter(any_place)
        self._rows = [np.searchsorted(any_place, ranking.place[box]) for box in hits]
        self._hit_case = [cases.box_case[box] for box in hits]
        self._truth = np.bincount(cases.truth_case, minlength=len(cases)).astype(np.float64)
        every = np.concatenate(hits)
        self.reached = [
            np.bincount(cases.box_case[every[rank[every] < limit]], minlength=len(cases)) / len(hits) for limit in MAX_DETECTIONS
        ]

    def take(self, cases: np.ndarray) -> "PrecisionRecall":
        """Return the same of the cases of rising (R,) int64 indices; nothing is sorted or matched again."""
        part, place = copy.copy(self), np.full(len(self._truth), -1)
        place[cases] = np.arange(len(cases))
        keeps = [place[case] >= 0 for case in self._hit_case]
        rows = [row[keep] for row, keep in zip(self._rows, keeps, strict=True)]
        any_row = np.unique(np.concatenate(rows))
        part._before = self._before.take(cases, any_row)
        part._rows = [np.searchsorted(any_row, row) for row in rows]
        part._hit_case = [place[case[keep]] for case, keep in zip(self._hit_case, keeps, strict=True)]
        part._truth, part.reached = self._truth[cases], [one[cases] for one in self.reached]
        return part

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Return the (K, B) AP for (C, B) float64 weights >= 0 of the cases; NaN where no weighted case has ground truth."""
        before = self._before(weights)
        total = self._truth @ weights
        values = np.empty((len(self._rows), weights.shape[1]))
        for index, (rows, case) in enumerate(zip(self._rows, self._hit_case, strict=True)):
            here = weights[case]
            tp = np.cumsum(here, axis=0)
            seen = before[rows] + here
            precision = tp / np.maximum(seen, np.finfo(np.float64).tiny)  # 0 where nothing is seen
            # the highest precision at this recall or beyond, by running maxima from the end
            envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            values[index] = _interpolated(tp, envelope, total)
        return values

    def average_recall(self, weights: np.ndarray) -> np.ndarray:
        """Return (3, B): the recall with at most 1, 10 and 100 detections a case, averaged over the IoU thresholds; NaN as in AP."""
        total = self._truth @ weights
        hits = np.array([counts @ weights for counts in self.reached])
        return np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)


def _interpolated(tp: np.ndarray, envelope: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return (B,) means of the (H, B) envelope over ``RECALLS``, for (H, B) summed hits of (B,) ground truth; NaN without any."""
    # a recall that is never reached has precision 0, so that the sum is divided by all 101
    if len(tp) > _MANY_HITS:
        return np.array([_column(tp[:, b], envelope[:, b], total[b]) for b in range(len(total))])
    recall = np.divide(tp, total, out=np.zeros_like(tp), where=total > 0)
    # a level of recall is reached at the first hit that has it: each hit counts as often as there are levels that it reaches first
    levels = np.diff(np.searchsorted(RECALLS, recall, side="right"), axis=0, prepend=0)
    return np.where(total > 0, (levels * envelope).sum(axis=0) / len(RECALLS), np.nan)


def _column(tp: np.ndarray, envelope: np.ndarray, total: float) -> float:
    if total == 0:
        return np.nan
    first = np.searchsorted(tp / total, RECALLS, side="left")
    return float(envelope[first[first < len(envelope)]].sum()) / len(RECALLS)
