"""The single steps of post-processing, each from Cases to Cases; nothing loops over radiographs.

    cases = to_cases(detections, category_id=2)            # exam -> Detections
    cases = hard_nms(cases, iou_threshold=0.3)
    cases = scale_boxes(cases, 0.875)
    detections = from_cases(cases, category_id=2)

A step never changes cases, patients or ground truth, and it keeps what Cases promise: the most confident detection of a case comes first.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from pneumodet.core.boxes import area_px
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases

BLOCK_PAIRS = 2_000_000
"""Pairs of detections of which IoU is computed at once: 16 MB, with as much again for each of the overlap's width and height."""

CACHED_PAIRS = 40_000_000
"""Pairs of which ``Overlaps`` keeps IoU: 320 MB, enough for 4,000 exams with 100 detections."""


def to_cases(detections: Mapping[str, Detections], *, category_id: int) -> Cases:
    """Return the detections of one class as cases without ground truth, each exam a patient of its own.

    Args:
      detections: exam -> Detections.
      category_id: the class; those of others are left out.
    """
    names = tuple(detections)
    each = [detections[name].of_class(category_id) for name in names]
    box_case = np.repeat(np.arange(len(names)), [len(one) for one in each])
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes_xyxy_px for one in each)]).astype(np.float64)
    scores = np.concatenate([np.zeros(0), *(one.scores for one in each)]).astype(np.float64)
    # lexsort takes its last key first: by case, then by falling score
    order = np.lexsort((-scores, box_case))
    patients = np.arange(len(names))
    return Cases(names, patients, np.zeros((0, 4)), np.zeros(0, np.int64), boxes[order], scores[order], box_case[order])


def from_cases(cases: Cases, *, category_id: int) -> dict[str, Detections]:
    """Return exam -> Detections, all of one class, the most confident first; the inverse of ``to_cases``."""
    # box_case rises, so that the detections of a case lie together
    ends = np.searchsorted(cases.box_case, np.arange(len(cases) + 1))
    return {
        name: Detections(cases.boxes_xyxy_px[start:end], cases.scores[start:end], np.full(end - start, category_id))
        for name, start, end in zip(cases.names, ends[:-1], ends[1:], strict=True)
    }


def replaced(cases: Cases, boxes_xyxy_px: np.ndarray, scores: np.ndarray, box_case: np.ndarray) -> Cases:
    """Return the same cases with other detections, given in any order; equal scores stay in the order given."""
    order = np.lexsort((-scores, box_case))
    return dataclasses.replace(cases, boxes_xyxy_px=boxes_xyxy_px[order], scores=scores[order], box_case=box_case[order])


def scale_boxes(cases: Cases, factor: float) -> Cases:
    """Multiply every box's width and height by ``factor``; its centre stays."""
    boxes = cases.boxes_xyxy_px
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return dataclasses.replace(cases, boxes_xyxy_px=np.concatenate([center - half, center + half], axis=1))


def keep_large(cases: Cases, min_side_px: float) -> Cases:
    """Keep the boxes of which the shorter side has at least ``min_side_px``, in px of the radiograph."""
    boxes = cases.boxes_xyxy_px
    return cases.where((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= min_side_px)


def keep_first(cases: Cases, max_boxes: int) -> Cases:
    """Keep the ``max_boxes`` most confident detections of each case."""
    # scores fall within a case: the first ones are the best
    return cases.where(cases.rank < max_boxes)


def gate_drop(cases: Cases, gate: np.ndarray, threshold: float) -> Cases:
    """Drop all detections of the cases whose image-level score is below ``threshold``.

    Args:
      cases: C cases.
      gate: (C,) float64 in [0, 1].
      threshold: in [0, 1].

    Raises:
      DataError: the gate does not fit the cases.
    """
    return cases.where(checked_gate(cases, gate)[cases.box_case] >= threshold)


def gate_multiply(cases: Cases, gate: np.ndarray) -> Cases:
    """Multiply the scores of each case's detections by its image-level score, (C,) float64 in [0, 1].

    Raises:
      DataError: the gate does not fit the cases.
    """
    return dataclasses.replace(cases, scores=cases.scores * checked_gate(cases, gate)[cases.box_case])


def checked_gate(cases: Cases, gate: np.ndarray) -> np.ndarray:
    """Return ``gate``; DataError unless it is (C,) in [0, 1]."""
    if np.shape(gate) != (len(cases),) or not ((gate >= 0) & (gate <= 1)).all():
        raise DataError(
            f"{len(cases)} exams need an image-level score from 0 to 1 each, but got shape {np.shape(gate)}. Check the gate's CSV."
        )
    return gate


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Some cases, padded to the same number of detections.

    Attributes:
      index: (B, M) int64: the detection in each place, the most confident first.
      valid: (B, M) bool: the place is not padding.
    """

    index: np.ndarray
    valid: np.ndarray


def blocks(cases: Cases, *, largest: int, power: int) -> Iterator[Block]:
    """Yield all cases with at least two detections, those with as many detections together, so that little is padding.

    Args:
      cases: their detections are cut into blocks.
      largest: a block has at most so many values …
      power: … where one of B cases and M places has B * M ** power of them; a single case may have more.
    """
    sizes = np.bincount(cases.box_case, minlength=len(cases))
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(-sizes, kind="stable")
    # a case with one detection has no pair that could overlap
    order = order[: np.count_nonzero(sizes > 1)]
    while len(order):
        # the largest case comes first, so that its number of places is enough for the whole block
        places = int(sizes[order[0]])
        here, order = np.split(order, [max(1, largest // places**power)])
        offset = np.arange(places)
        valid = offset < sizes[here][:, None]
        yield Block(starts[here][:, None] + np.where(valid, offset, 0), valid)


class Overlaps:
    """IoU of all detections of a case with one another: computed once where that is not too much, else whenever it is asked for.

    Args of the constructor:
      cases: whose detections.
    """

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        sizes = np.bincount(cases.box_case, minlength=len(cases))
        self._kept = list(self._computed()) if (sizes**2).sum() <= CACHED_PAIRS else None

    def __iter__(self) -> Iterator[tuple[Block, np.ndarray]]:
        """Yield blocks with their (B, M, M) float64 IoU; nonsense where a place is padding."""
        return iter(self._kept) if self._kept is not None else self._computed()

    def _computed(self) -> Iterator[tuple[Block, np.ndarray]]:
        boxes = self._cases.boxes_xyxy_px
        for block in blocks(self._cases, largest=BLOCK_PAIRS, power=2):
            yield block, paired_iou(boxes[block.index][:, :, None], boxes[block.index][:, None])


def paired_iou(a_xyxy_px: np.ndarray, b_xyxy_px: np.ndarray) -> np.ndarray:
    """Return the (…) float64 IoU of boxes (…, 4) that broadcast with one another; 0 where both have no area."""
    a, b = np.moveaxis(a_xyxy_px, -1, 0), np.moveaxis(b_xyxy_px, -1, 0)
    width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), 0)
    overlap = np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), 0)
    overlap *= width
    union = area_px(a_xyxy_px).reshape(a.shape[1:]) + area_px(b_xyxy_px).reshape(b.shape[1:]) - overlap
    shares: np.ndarray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return shares


def hard_nms(cases: Cases, iou_threshold: float, *, overlaps: Overlaps | None = None) -> Cases:
    """Non-maximum suppression: drop each detection that overlaps a kept one of higher score by IoU **above** ``iou_threshold``.

    Args:
      cases: C cases.
      iou_threshold: in [0, 1].
      overlaps: of these cases, where it is there already.
    """
    keep = np.ones(len(cases.scores), bool)
    for block, iou in overlaps or Overlaps(cases):
        kept = block.valid.copy()
        # place by place, for all cases of the block at once: whether a box stays depends on those before it
        for place in range(kept.shape[1] - 1):
            kept[:, place + 1 :] &= ~(kept[:, place, None] & (iou[:, place, place + 1 :] > iou_threshold))
        keep[block.index[block.valid]] = kept[block.valid]
    return cases.where(keep)


def soft_nms(cases: Cases, *, iou_threshold: float | None = None, sigma: float | None = None, overlaps: Overlaps | None = None) -> Cases:
    """Soft non-maximum suppression (Bodla et al., ICCV 2017): lower the scores of what overlaps a more confident detection, and drop nothing.

    Detections are taken by falling score. Each lowers the scores of those that are left: by 1 - IoU from ``iou_threshold`` on (linear), or by
    exp(-IoU ** 2 / sigma) (Gaussian). The next one is the best by the lowered scores.

    Args:
      cases: C cases.
      iou_threshold: in [0, 1], for the linear form.
      sigma: above 0, for the Gaussian form; one of the two is given.
      overlaps: of these cases, where it is there already.
    """
    scores = cases.scores.copy()
    for block, iou in overlaps or Overlaps(cases):
        factor = np.exp(-(iou**2) / sigma) if sigma is not None else np.where(iou >= iou_threshold, 1 - iou, 1.0)
        # -1 stands for taken and for padding: it never is the best while a score is left
        left = np.where(block.valid, cases.scores[block.index], -1.0)
        final = np.zeros_like(left)
        row = np.arange(len(left))
        for _ in range(left.shape[1]):
            best = left.argmax(axis=1)
            final[row, best] = np.maximum(left[row, best], final[row, best])  # -1 where a case has no detection left
            left[row, best] = -1.0
            left = np.where(left < 0, -1.0, left * factor[row, best])
        scores[block.index[block.valid]] = final[block.valid]
    return replaced(cases, cases.boxes_xyxy_px, scores, cases.box_case)
