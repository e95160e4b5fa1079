"""Which detection finds which ground-truth box.

    matched = match(cases, iou_threshold=0.5)
    matched.hit                            # (D,) bool, beside cases.scores

The rule is COCO's (cocoeval.py, ``evaluateImg``): within a case detections are taken in order of confidence, and each takes the free
ground-truth box of highest IoU, if that is at least the threshold; of equal ones the last. A second detection of a box is false.

There is no loop over cases: of the pairs of a detection and a box that overlap enough, the first of every case is certain. Taking it
strikes out the other pairs of both, and the first of what is left is certain again, so that there are as many rounds as a case has boxes.
"""

import dataclasses

import numpy as np

from pneumodet.core.boxes import area_px
from pneumodet.data.cases import Cases, once

HIT_IOU = 0.5
"""IoU from which on a detection is a hit, where nothing else is said."""

_COCO_CEILING = 1 - 1e-10  # COCO lowers its threshold to this, so that an IoU of 1 less rounding still reaches a threshold of 1


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """Detections and ground-truth boxes that belong together.

    Attributes:
      hit: (D,) bool: the detection is a true positive.
      truth: (D,) int64: index of the ground-truth box that it took, or -1.
      iou: (D,) float64: highest IoU with any ground-truth box of its case, taken or not; 0 in a case without.
      detected: (T,) bool: the ground-truth box is taken.
    """

    hit: np.ndarray
    truth: np.ndarray
    iou: np.ndarray
    detected: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Every detection with every ground-truth box of its case, by detection and then by box.

    Attributes:
      box: (P,) int64 index of the detection.
      truth: (P,) int64 index of the ground-truth box.
      case: (P,) int64.
      iou: (P,) float64 in [0, 1].
    """

    box: np.ndarray
    truth: np.ndarray
    case: np.ndarray
    iou: np.ndarray

    def where(self, mask_or_order: np.ndarray) -> "Pairs":
        """Return the pairs of a (P,) bool mask, or of indices in their order."""
        return Pairs(*(getattr(self, field.name)[mask_or_order] for field in dataclasses.fields(self)))


@once
def match(cases: Cases, iou_threshold: float = HIT_IOU) -> Matched:
    """Match the detections of every case with its ground-truth boxes.

    Args:
      cases: C cases with T ground-truth boxes and D detections.
      iou_threshold: in (0, 1]; IoU of at least this is a hit.
    """
    pairs = pairs_of(cases)
    best = np.zeros(len(cases.scores))
    if len(pairs.box):
        starts = np.flatnonzero(np.diff(pairs.box, prepend=-1))
        best[pairs.box[starts]] = np.maximum.reduceat(pairs.iou, starts)
    box, truth = coco_hits(pairs, iou_threshold)
    taken = np.full(len(cases.scores), -1)
    taken[box] = truth
    detected = np.zeros(len(cases.truth_case), bool)
    detected[truth] = True
    return Matched(taken >= 0, taken, best, detected)


@once
def pairs_of(cases: Cases) -> Pairs:
    """Return ``overlaps`` of cases; several figures need them."""
    return overlaps(cases.truth_xyxy_px, cases.truth_case, cases.boxes_xyxy_px, cases.box_case, count=len(cases))


def overlaps(truth_xyxy_px: np.ndarray, truth_case: np.ndarray, boxes_xyxy_px: np.ndarray, box_case: np.ndarray, *, count: int) -> Pairs:
    """Return all pairs of T ground-truth boxes and D detections in ``count`` cases; arrays as in ``Cases``."""
    sizes = np.bincount(truth_case, minlength=count)
    starts = np.cumsum(sizes) - sizes
    repeats = sizes[box_case]
    box = np.repeat(np.arange(len(box_case)), repeats)
    case = box_case[box]
    # the first box of the case, and on by the number of the pair within its detection
    truth = starts[case] + np.arange(len(box)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    a, b = boxes_xyxy_px[box], truth_xyxy_px[truth]
    # 0 where boxes are apart: two negative lengths would make a positive overlap
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    overlap = sides[:, 0] * sides[:, 1]
    union = area_px(a) + area_px(truth_xyxy_px)[truth] - overlap
    return Pairs(box, truth, case, np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0))


def coco_hits(pairs: Pairs, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (detections, the ground-truth box that each took) by COCO's rule at one IoU threshold."""
    fitting = reaching(pairs, iou_threshold)
    # cocoeval replaces its best match at an equal IoU, so that the last of equal boxes comes first here
    return greedy(fitting.where(np.lexsort((-fitting.truth, -fitting.iou, fitting.box))))


def reaching(pairs: Pairs, iou_threshold: float) -> Pairs:
    """Return the pairs that COCO takes for hits at an IoU threshold; those at a higher one are among them."""
    return pairs.where(pairs.iou >= min(iou_threshold, _COCO_CEILING))


def greedy(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Take pairs one by one, each striking out the others of its detection and of its ground-truth box.

    Args:
      pairs: those that count as hits, by detection, and for one detection the preferred ground-truth box first.

    Returns:
      (H,) int64 detections and (H,) int64 the ground-truth box that each took, in no particular order.
    """
    box, truth = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    # marks to look up, since np.isin sorts anew in each round
    box_taken, truth_taken = (np.zeros(int(one.max(initial=-1)) + 1, bool) for one in (pairs.box, pairs.truth))
    while len(pairs.box):
        first = np.flatnonzero(np.diff(pairs.case, prepend=-1))
        box.append(pairs.box[first])
        truth.append(pairs.truth[first])
        box_taken[box[-1]] = True
        truth_taken[truth[-1]] = True
        # what is left of a case has its next detection first, so that each round settles one more detection of every case
        pairs = pairs.where(~(box_taken[pairs.box] | truth_taken[pairs.truth]))
    return np.concatenate(box), np.concatenate(truth)
