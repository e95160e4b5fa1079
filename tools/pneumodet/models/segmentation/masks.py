"""Boxes -> masks at the model's size, and maps of probability -> boxes with scores in px of the radiograph.

truth = of_boxes(boxes_xyxy_px, image_hw=(1024, 1024), size_hw=(128, 128))       # (128, 128) bool
detections = to_detections(probabilities, image_hw=(1024, 1024), threshold=0.4, smallest_share=0.002, category_id=2)
"""

import cv2
import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.models.segmentation import touching

LEVELS = (1.0, 1 / 2, 1 / 4, 1 / 8)
"""Boxes are cut out at the threshold, and after that what is not yet in one at these shares of it. The boxes of an exam's faint spots end a
detector's list: without them FROC and ROC end where the threshold cuts, and exams without a box at it cannot be ranked."""

_NEIGHBOURS = 8
"""Px that touch at a corner belong together."""


def to_detections(
    probabilities: np.ndarray, *, image_hw: tuple[int, int], threshold: float, smallest_share: float, category_id: int
) -> Detections:
    """Cut boxes out of a map of probability: one of each spot, and of each piece where two of them touch (``touching``).

    Args:
      probabilities: (h, w) float in [0, 1].
      image_hw: the radiograph's height and width in px.
      threshold: a px of at least this belongs to an opacity; in (0, 1], chosen on other exams.
      smallest_share: of the map's area; smaller spots are passed over.
      category_id: label-map id of the boxes.

    Returns:
      Boxes in px of the radiograph, the most confident first. A box's score is the mean probability of the px of its spot
      or piece.

    Raises:
      ConfigError: the threshold is not in (0, 1], or the share not in [0, 1).
      DataError: the map is no (h, w) array, or has a value that is not finite.
    """
    from scipy import ndimage  # heavy

    if not 0 < threshold <= 1 or not 0 <= smallest_share < 1:
        raise ConfigError(
            f"Boxes need a threshold in (0, 1] and a smallest share of the area in [0, 1), not {threshold:g} and {smallest_share:g}."
        )
    if probabilities.ndim != 2 or not np.isfinite(probabilities).all():
        raise DataError(f"Boxes are cut out of finite (h, w) probabilities, not of shape {probabilities.shape}. The model may be broken.")
    probabilities = probabilities.astype(np.float64)
    taken = np.zeros(probabilities.shape, bool)
    spots_xyxy: list[tuple[float, ...]] = []
    scores: list[float] = []
    for level in LEVELS:  # from the highest: a spot belongs to the level at which it first appears
        above = np.uint8(probabilities >= threshold * level)
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(above, connectivity=_NEIGHBOURS)
        sums = np.bincount(labels.ravel(), weights=probabilities.ravel(), minlength=count)
        known = np.bincount(labels.ravel(), weights=taken.ravel(), minlength=count) > 0  # the same spot, wider
        new = ~known & (statistics[:, cv2.CC_STAT_AREA] >= smallest_share * probabilities.size)
        new[0] = False  # what is below the threshold
        for label in np.flatnonzero(new):
            left, top, width, height, area = statistics[label].tolist()
            around = np.s_[top : top + height, left : left + width]
            pieces = touching.split(labels[around] == label, smallest_px=smallest_share * probabilities.size)
            if pieces.max() == 1:
                spots_xyxy.append((left, top, left + width, top + height))
                scores.append(min(1.0, sums[label] / area))
                continue
            for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
                spots_xyxy.append((left + columns.start, top + rows.start, left + columns.stop, top + rows.stop))
                scores.append(min(1.0, float(probabilities[around][pieces == piece].mean())))
        # spots that are too small are not taken: at a lower level they may grow to be large enough
        taken |= new[labels]
    scale = np.array(image_hw, np.float64)[[1, 0, 1, 0]] / np.array(probabilities.shape)[[1, 0, 1, 0]]
    # stable, so that spots of one score keep the order of the levels
    order = np.argsort(-np.array(scores), kind="stable")
    return Detections(
        np.array(spots_xyxy, np.float64).reshape(-1, 4)[order] * scale,
        np.array(scores, np.float64)[order],
        np.full(len(scores), category_id, np.int64),
    )
