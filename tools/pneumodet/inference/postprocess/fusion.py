"""Several detectors, folds, or views of one detector on the same radiographs -> one set of detections.

    fused = weighted_boxes([cases_a, cases_b], iou_threshold=0.55)
    both = pool([cases_a, cases_b])                       # then steps.hard_nms or soft_nms: an ensemble by NMS

All sources have the same cases in the same order.
"""

from collections.abc import Sequence

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.inference.postprocess import steps

BLOCK_VALUES = 200_000
"""Boxes that are fused at once."""

_LEAST_WEIGHT = 1e-12  # of a box whose score is 0, so that a cluster of such boxes has a mean


def pool(sources: Sequence[Cases]) -> Cases:
    """Put the detections of all sources together, by falling score; of equal scores those of the first source come first.

    Raises:
      DataError: there is no source, or they are not of the same cases.
    """
    if not sources:
        raise DataError("There is nothing to fuse. Give at least one file of detections.")
    if any(one.names != sources[0].names for one in sources):
        raise DataError("Only detections on the same radiographs in the same order can be fused. Give the files of one set.")
    if len(sources) == 1:
        return sources[0]
    boxes, scores, case = (np.concatenate([getattr(one, name) for one in sources]) for name in ("boxes_xyxy_px", "scores", "box_case"))
    return steps.replaced(sources[0], boxes, scores, case)


def weighted_boxes(sources: Sequence[Cases], *, iou_threshold: float) -> Cases:
    """Weighted boxes fusion (Solovyev, Wang, Gabruseva, Image and Vision Computing 107, 2021, section 3).

    The boxes of all N sources are taken by falling score. Each joins the cluster whose fused box it overlaps most, if by IoU above the threshold,
    else it starts a cluster. The fused box of a cluster of T boxes is their mean weighted by score; its score is their mean score times
    min(T, N) / N, so that what one source alone has detected counts less.

    Args:
      sources: N sets of detections of the same cases; all weigh the same.
      iou_threshold: in [0, 1]; the paper's is 0.55.

    Returns:
      The cases with a detection a cluster.

    Raises:
      DataError: as ``pool``.
    """
    pooled = pool(sources)
    sizes = np.bincount(pooled.box_case, minlength=len(pooled))
    alone = sizes[pooled.box_case] == 1
    # a detection that is alone in its exam is its own fused box; the clusters below are for the others
    parts = [(pooled.boxes_xyxy_px[alone], pooled.scores[alone] / len(sources), pooled.box_case[alone])]
    for block in steps.blocks(pooled, largest=BLOCK_VALUES, power=1):
        boxes, scores, members, filled = _clusters(
            pooled.boxes_xyxy_px[block.index], pooled.scores[block.index], block.valid, iou_threshold
        )
        scores *= np.minimum(members, len(sources)) / len(sources)
        cases = np.broadcast_to(pooled.box_case[block.index[:, :1]], filled.shape)
        parts.append((boxes[filled], scores[filled], cases[filled]))
    return steps.replaced(pooled, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _clusters(boxes: np.ndarray, scores: np.ndarray, valid: np.ndarray, iou_threshold: float) -> tuple[np.ndarray, ...]:
    """Fuse the boxes (B, M, 4) of B cases, taken in their order, the same place of all cases at once.

    Returns:
      boxes (B, M, 4), mean scores (B, M), numbers of members (B, M) and (B, M) bool whether the cluster exists.
    """
    row = np.arange(len(boxes))
    fused, weighted = np.zeros_like(boxes), np.zeros_like(boxes)
    total, weight, members = (np.zeros(scores.shape) for _ in range(3))
    clusters = np.zeros(len(boxes), np.int64)
    for place in range(boxes.shape[1]):
        box, score = boxes[:, place], scores[:, place]
        there = max(1, int(clusters.max()))
        iou = steps.paired_iou(box[:, None], fused[:, :there])
        # the widest case decides how many clusters are compared; where a case has fewer, -1 is below any threshold
        iou[np.arange(there) >= clusters[:, None]] = -1.0
        best = iou.argmax(axis=1)
        joins = iou[row, best] > iou_threshold
        here = valid[:, place]
        # a box that joins none starts a cluster in the next free place
        target = np.where(joins, best, clusters)[here]
        at = (row[here], target)
        share = np.maximum(score[here], _LEAST_WEIGHT)
        weighted[at] += share[:, None] * box[here]
        weight[at] += share
        total[at] += score[here]
        members[at] += 1
        fused[at] = weighted[at] / weight[at][:, None]
        clusters += here & ~joins
    return fused, total / np.maximum(members, 1), members, members > 0
