"""How a model's anchors match ground-truth boxes: a box that no anchor reaches is learned from one forced match at best.

anchor_matches(anchors_yxyx_norm, boxes_yxyx_norm, 0.5)["anchors/boxes_without_match_share"]
"""

import numpy as np

from pneumodet.data.boxes import iou

_PAIRS_AT_ONCE = 1 << 22  # of an anchor and a box: 32 MB of float64 an array


def anchor_matches(model_anchors_yxyx_norm: np.ndarray, boxes_yxyx_norm: np.ndarray, matched_threshold: float) -> dict[str, float | None]:
    """Count the anchors whose IoU with a box reaches the matcher's threshold, before the matcher forces the best one on each box.

    IoU is taken in normalized coordinates, as the API's target assigner does.

    Args:
      model_anchors_yxyx_norm: (A, 4) float, top, left, bottom, right; parts outside [0, 1] count.
      boxes_yxyx_norm: (N, 4) float ground-truth boxes of many images; each is compared with all anchors.
      matched_threshold: IoU in (0, 1] from which on an anchor is trained on the box.

    Returns:
      ``anchors/matched_per_box_median``: anchors at or above the threshold, the median over boxes.
      ``anchors/boxes_without_match_share``: boxes without one, in [0, 1].
      ``anchors/best_iou_mean``: the highest IoU of a box with any anchor, the mean over boxes, in [0, 1].
      Without boxes all are None; without anchors there is no match.
    """
    anchors, boxes = (np.asarray(values, np.float64).reshape(-1, 4) for values in (model_anchors_yxyx_norm, boxes_yxyx_norm))
    names = ("anchors/matched_per_box_median", "anchors/boxes_without_match_share", "anchors/best_iou_mean")
    if len(boxes) == 0:
        return dict.fromkeys(names)
    matched, best = np.zeros(len(boxes), np.int64), np.zeros(len(boxes))
    at_once = max(1, _PAIRS_AT_ONCE // max(1, len(anchors)))
    for start in range(0, len(boxes), at_once):
        part = slice(start, start + at_once)
        overlap = iou(boxes[part], anchors)  # the same whichever axis comes first
        matched[part] = (overlap >= matched_threshold).sum(axis=1)
        best[part] = overlap.max(axis=1, initial=0)
    return dict(zip(names, (float(np.median(matched)), float((matched == 0).mean()), float(best.mean())), strict=True))
