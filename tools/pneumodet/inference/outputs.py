"""What a model answers -> Detections in px of the radiograph.

detections = from_outputs(outputs, 0, height=1024, width=1024)
detections = from_scores(scores, height=1024, width=1024)            # of a classifier
of_class = to_scores(detections, label_map)                          # and back: class -> score
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet import inference
from pneumodet.core import boxes
from pneumodet.core.detections import Detections


def from_outputs(outputs: dict[str, Any], index: int, *, height: int, width: int) -> Detections:
    """Turn the API's output for one image into Detections.

    Args:
      outputs: ``detection_boxes`` (B, N, 4) float32 yxyx_norm, ``detection_scores`` (B, N), ``detection_classes`` (B, N), ids from 1,
        ``num_detections`` (B,), and of a model with masks ``detection_masks`` (B, N, m, n) in [0, 1] within the boxes, as numpy arrays.
      index: the image's place in the batch.
      height: of the radiograph, px.
      width: of the radiograph, px.

    Returns:
      Its detections that score at least ``inference.SCORE_FLOOR``, best first, clipped to the image; boxes without area are left out.
    """
    # the API fills its rows up to a fixed number; only the first num_detections are detections
    count = int(outputs["num_detections"][index])
    scores = np.asarray(outputs["detection_scores"][index][:count], np.float32)
    xyxy_px = boxes.yxyx_norm_to_xyxy_px(np.asarray(outputs["detection_boxes"][index][:count], np.float32), height=height, width=width)
    xyxy_px = boxes.clip_xyxy_px(xyxy_px, height=height, width=width)
    # classes come as float32
    classes = np.rint(outputs["detection_classes"][index][:count]).astype(np.int64)
    # a box in the padding, or over an edge, may be nothing after clipping
    area = (xyxy_px[:, 2] > xyxy_px[:, 0]) & (xyxy_px[:, 3] > xyxy_px[:, 1])
    # stable: equal scores keep the model's order
    order = np.argsort(-scores, kind="stable")
    keep = order[(area & (scores >= inference.SCORE_FLOOR))[order]]
    masks = None
    if "detection_masks" in outputs:
        masks = np.rint(np.asarray(outputs["detection_masks"][index][:count], np.float32)[keep] * 255).astype(np.uint8)
    return Detections(xyxy_px[keep].astype(np.float32), scores[keep], classes[keep], masks)


def from_scores(scores: np.ndarray, *, height: int, width: int) -> Detections:
    """Return a classifier's scores as they travel: one detection of the whole radiograph for each class.

    Args:
      scores: (C,) in [0, 1], of the classes 1 to C of its label map.
      height: of the radiograph, px.
      width: of the radiograph, px.

    Raises:
      DataError: a score is not finite or outside of [0, 1].
    """
    count = len(scores)
    return Detections(np.tile([0.0, 0.0, width, height], (count, 1)), np.asarray(scores), np.arange(1, count + 1))


def to_scores(detections: Detections, label_map: Mapping[str, int]) -> dict[str, float]:
    """Return class -> score of what ``from_scores`` returned, in the order of the label map."""
    of_id = dict(zip(detections.classes.tolist(), detections.scores.tolist(), strict=True))
    return {name: of_id[number] for name, number in label_map.items()}
