"""Boxes from heatmaps, of a classifier that never saw one: weakly supervised localization.

detections = weak_boxes(heatmap, share=0.4, image_hw=(1024, 1024), probability=0.8)      # Detections in px of the radiograph
shares = cross_fitted(overlaps, folds=folds)                                     # of each exam, chosen on other patients

The heatmap is cut off at a share of its maximum, and each connected piece gives a box (B. Zhou et al., CVPR 2016, section 3.2, who take 20 % and the
largest piece; radiographs have findings in both lungs, so that all pieces are kept here).
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pneumodet.core import boxes
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError

SHARES = tuple(round(0.05 * step, 2) for step in range(2, 20))
"""Shares of the maximum that are tried: 0.1 to 0.95."""

DEFAULT_SHARE = 0.5
"""Where there are too few patients to choose one."""

GRID = 256
"""Side in px to which heatmaps are enlarged: on a radiograph of 1,024 px boxes are then exact to 4 px, far finer than a feature map."""


def enlarged(heatmap: np.ndarray, size_hw: tuple[int, int] = (GRID, GRID)) -> np.ndarray:
    """Return a (h, w) heatmap >= 0 at another size, float32, scaled to a maximum of 1; all 0 where it is empty."""
    # OpenCV takes width before height
    large = cv2.resize(np.asarray(heatmap, np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    most = large.max()
    return large / most if most > 0 else np.zeros_like(large)


def weak_boxes(heatmap: np.ndarray, *, share: float, image_hw: tuple[float, float], probability: float, category_id: int = 1) -> Detections:
    """Return a box around each piece of a heatmap that is hot enough.

    Args:
      heatmap: (h, w) >= 0 over the whole radiograph, of any size and scale.
      share: of the maximum, from which on a px is hot, in (0, 1].
      image_hw: height and width of the radiograph in px.
      probability: of pneumonia, in [0, 1].
      category_id: class of the boxes.

    Returns:
      Boxes in px of the radiograph; the score is the probability times the mean of the heatmap, as a share of its maximum, over the box's piece. The most
      confident comes first. None where the heatmap is empty.

    Raises:
      ConfigError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ConfigError(f"The threshold of heatmaps is {share:g}, must be a share of their maximum, above 0 and at most 1.")
    pieces_xyxy_norm, mean = pieces(enlarged(heatmap), share)
    order = np.argsort(-mean, kind="stable")
    scores = np.clip(mean[order] * probability, 0, 1)
    return Detections(_in_px(pieces_xyxy_norm[order], image_hw), scores, np.full(len(order), category_id))


def pieces(large: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the hot pieces of a heatmap.

    Args:
      large: (H, W) float32 as from ``enlarged``.
      share: from which on a px is hot.

    Returns:
      (N, 4) float64 boxes around them, left, top, right and bottom as shares of the sides; and (N,) float64, the mean of the heatmap over each.
    """
    if not large.any():
        return np.zeros((0, 4)), np.zeros(0)
    # 8 neighbours: pieces that touch at a corner are one finding
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.uint8(large >= share), connectivity=8)
    # label 0 is the background
    mean = np.bincount(labels.ravel(), weights=large.ravel(), minlength=count)[1:] / stats[1:, cv2.CC_STAT_AREA]
    xywh = stats[1:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    return boxes.xywh_to_xyxy_px(xywh) / np.array([*large.shape[::-1]] * 2, np.float64), mean


def _in_px(boxes_xyxy_norm: np.ndarray, image_hw: tuple[float, float]) -> np.ndarray:
    return boxes_xyxy_norm * np.array([*image_hw[::-1]] * 2, np.float64)


def best_overlaps(truth_xyxy_px: np.ndarray, weak_xyxy_px: np.ndarray) -> np.ndarray:
    """Return for each of (T, 4) ground-truth boxes the greatest IoU with one of (N, 4) boxes, (T,) float64; 0 where there is none."""
    return boxes.iou(truth_xyxy_px, weak_xyxy_px).max(axis=1, initial=0.0)


def boxes_by_share(heatmap: np.ndarray) -> list[np.ndarray]:
    """Return the (N, 4) boxes of ``pieces`` for each of ``SHARES``."""
    large = enlarged(heatmap)
    return [pieces(large, share)[0] for share in SHARES]


def overlaps_by_share(weak_xyxy_norm: Sequence[np.ndarray], truth_xyxy_px: np.ndarray, *, image_hw: tuple[float, float]) -> np.ndarray:
    """Return (S,) float64, for each share the sum over (T, 4) ground-truth boxes of the greatest IoU with one of its ``boxes_by_share``."""
    return np.array([best_overlaps(truth_xyxy_px, _in_px(one, image_hw)).sum() for one in weak_xyxy_norm])


def cross_fitted(overlaps: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Choose for each exam the share that gave the greatest overlap with the true boxes of other patients.

    Args:
      overlaps: (C, S) of ``overlaps_by_share``; rows of exams without boxes are 0.
      folds: (C,) int64 of ``operating_point.patient_folds``, no patient in two.

    Returns:
      (C,) float64 share of each exam.
    """
    of_exams = np.empty(len(folds))
    for fold in np.unique(folds):
        of_exams[folds == fold] = chosen(overlaps[folds != fold])
    return of_exams


def chosen(overlaps: np.ndarray) -> float:
    """Return that of ``SHARES`` with the greatest sum of (C, S) overlaps; the highest of equal ones."""
    total = overlaps.sum(axis=0)
    # a higher share gives smaller boxes; of equal ones the tightest
    return float(SHARES[np.flatnonzero(total == total.max())[-1]])
