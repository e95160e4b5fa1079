"""From what a single-stage model says of every anchor to its detections, as the API's post-processing does it, in numpy.

The order is the API's (``core/post_processing.multiclass_non_max_suppression``): of each class the boxes that score more than the threshold, the best
ones that do not overlap a better one, at most so many; then all classes by score, clipped to the image, and at most so many.

answer = detections(boxes_yxyx_norm, scores, settings)            # as the API's own output
"""

import dataclasses

import numpy as np

from pneumodet import inference
from pneumodet.core.json_fields import Fields

_BLOCK = 100
"""Candidates that are compared with one another at a time; the limit of a class is mostly reached within the first block."""

_SIGMOID, _SOFTMAX, _IDENTITY = "SIGMOID", "SOFTMAX", "IDENTITY"

CONVERTERS = (_SIGMOID, _SOFTMAX, _IDENTITY)
"""The API's score converters."""

BOUNDED_TOP = 6.0
"""A quantized model answers with (value - low) * 6 / (high - low), cut off at 0 and 6 by the activation ReLU6; see ``export.quantizing``."""

_LEAST_SCALE, _LARGEST = 1e-6, 1e6
"""Of what a model card says of scales and thresholds; the API's are 1 to 10, and from 0 to 1."""

Range = tuple[float, float]
"""(low, high), what a value is cut off at."""


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What the outputs of a feature map are cut off at.

    Attributes:
      encodings: of boxes.
      logits: of scores; what is cut off below is not kept.
    """

    encodings: Range
    logits: Range

    @classmethod
    def of_fields(cls, fields: Fields) -> "Ranges":
        """Return the ranges of ``dataclasses.asdict`` that went through JSON.

        Raises:
          PneumodetError: a field is missing or wrong.
        """
        (encodings_low, encodings_high), (logits_low, logits_high) = fields.numbers("encodings", 2), fields.numbers("logits", 2)
        return cls((encodings_low, encodings_high), (logits_low, logits_high))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The ``post_processing`` of a config, and what else belongs to it.

    Attributes:
      score_converter: one of CONVERTERS.
      logit_scale: logits are divided by it first.
      background: the first column of the logits is the background's.
      box_scales: y, x, height and width scale of the box encodings; 10, 10, 5, 5 mostly.
      score_threshold: boxes that do not score more are left out.
      iou_threshold: boxes that overlap a better one of their class by more are left out.
      max_detections_per_class: at the most.
      max_total_detections: of all classes.
      change_coordinate_frame: boxes are relative to the image without its padding afterwards.
    """

    score_converter: str
    logit_scale: float
    background: bool
    box_scales: tuple[float, float, float, float]
    score_threshold: float
    iou_threshold: float
    max_detections_per_class: int
    max_total_detections: int
    change_coordinate_frame: bool

    @classmethod
    def of_fields(cls, fields: Fields) -> "Settings":
        """Return the settings of ``dataclasses.asdict`` that went through JSON; other keys are left alone.

        Raises:
          PneumodetError: a field is missing or wrong.
        """
        y, x, height, width = fields.numbers("box_scales", 4)
        for name, values in (("logit_scale", [fields.required("logit_scale", float)]), ("box_scales", [y, x, height, width])):
            if not all(_LEAST_SCALE <= abs(one) <= _LARGEST for one in values):  # logits and encodings are divided by it
                raise fields.wrong(name, f"numbers from {_LEAST_SCALE:g} to {_LARGEST:g}")
        for name in ("score_threshold", "iou_threshold"):
            if not abs(fields.required(name, float)) <= _LARGEST:
                raise fields.wrong(name, "a number of single precision")
        for name in ("max_detections_per_class", "max_total_detections"):
            fields.count(name)
        return cls(
            score_converter=fields.choice("score_converter", CONVERTERS),
            logit_scale=fields.required("logit_scale", float),
            background=fields.required("background", bool),
            box_scales=(y, x, height, width),
            score_threshold=fields.required("score_threshold", float),
            iou_threshold=fields.required("iou_threshold", float),
            max_detections_per_class=fields.required("max_detections_per_class", int),
            max_total_detections=fields.required("max_total_detections", int),
            change_coordinate_frame=fields.required("change_coordinate_frame", bool),
        )


def unbounded(values: np.ndarray, limits: Range) -> np.ndarray:
    """Return what values in [0, BOUNDED_TOP] stand for, in [low, high]."""
    low, high = limits
    return np.float32(low) + values * np.float32((high - low) / BOUNDED_TOP)


def scores_of(logits: np.ndarray, settings: Settings) -> np.ndarray:
    """Return (N, C) float32 scores, without the background's, of (N, C) or (N, C + 1) logits."""
    scaled = np.asarray(logits, np.float32) / np.float32(settings.logit_scale)
    if settings.score_converter == _SIGMOID:
        with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is 0, as it should be
            scaled = 1 / (1 + np.exp(-scaled))
    elif settings.score_converter == _SOFTMAX:
        # less the largest one: the shares are the same, and exp cannot overflow
        scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        scaled = scaled / scaled.sum(axis=-1, keepdims=True)
    return scaled[:, 1:] if settings.background else scaled


def decode(encodings: np.ndarray, anchors_yxyx_norm: np.ndarray, settings: Settings) -> np.ndarray:
    """Return (N, 4) float32 yxyx_norm of (N, 4) encodings ty, tx, th, tw (Ren et al., Faster R-CNN, 2015, equation 2) and their anchors."""
    codes = np.asarray(encodings, np.float32) / np.array(settings.box_scales, np.float32)
    anchors = np.asarray(anchors_yxyx_norm, np.float32)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = codes[:, :2] * sizes + (anchors[:, :2] + sizes / 2)
    halves = np.exp(codes[:, 2:]) * sizes / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def from_encodings(
    encodings: np.ndarray,
    logits: np.ndarray,
    anchors_yxyx_norm: np.ndarray,
    settings: Settings,
    *,
    window_hw: tuple[float, float] = (1.0, 1.0),
) -> dict[str, np.ndarray]:
    """As ``detections``, of (N, 4) encodings, (N, C) or (N, C + 1) logits and the (N, 4) anchors; only what may be a detection is decoded."""
    scores = scores_of(logits, settings)
    may = (scores > _least(settings)).any(axis=1)
    return detections(decode(encodings[may], anchors_yxyx_norm[may], settings), scores[may], settings, window_hw=window_hw)


def detections(
    boxes_yxyx_norm: np.ndarray, scores: np.ndarray, settings: Settings, *, window_hw: tuple[float, float] = (1.0, 1.0)
) -> dict[str, np.ndarray]:
    """Suppress what overlaps, clip and limit.

    Args:
      boxes_yxyx_norm: (N, 4) float32, relative to what the model takes, padding included.
      scores: (N, C) float32 in [0, 1], without a background.
      settings: as the config has them.
      window_hw: the part of height and width of what the model takes that is no padding.

    Returns:
      As the API's output for a batch of one: ``detection_boxes`` (1, M, 4) float32 yxyx_norm, ``detection_scores`` (1, M), falling,
      ``detection_classes`` (1, M), ids from 1, ``num_detections`` (1,). Detections below ``inference.SCORE_FLOOR`` are left out, which changes none
      above it.
    """
    rows, classes = [], []
    for number in range(scores.shape[1]):
        (candidates,) = np.nonzero(scores[:, number] > _least(settings))
        # stable: of equal scores the earlier anchor stays, as in TensorFlow
        candidates = candidates[np.argsort(-scores[candidates, number], kind="stable")]
        kept = candidates[suppress(boxes_yxyx_norm[candidates], settings.iou_threshold, most=settings.max_detections_per_class)]
        rows.append(kept)
        classes.append(np.full(len(kept), number))
    row, column = np.concatenate(rows), np.concatenate(classes)
    order = np.argsort(-scores[row, column], kind="stable")
    row, column = row[order], column[order]
    height, width = window_hw
    window = np.array([height, width, height, width], np.float32)
    boxes = np.clip(boxes_yxyx_norm[row], 0, window)
    # clipped before the limit, as in the API: a box outside of the window takes no place
    inside = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1).nonzero()[0][: settings.max_total_detections]
    inside_boxes = boxes[inside] / window if settings.change_coordinate_frame else boxes[inside]
    row, column = row[inside], column[inside]
    return {
        "detection_boxes": inside_boxes[None],
        "detection_scores": scores[row, column][None],
        "detection_classes": (column + 1)[None],
        "num_detections": np.array([len(row)]),
    }


def suppress(boxes_yxyx: np.ndarray, iou_threshold: float, *, most: int) -> np.ndarray:
    """Return the places of those of (N, 4) boxes, best first, that no better one that is kept overlaps by more than ``iou_threshold``."""
    kept = np.zeros(0, np.int64)
    for start in range(0, len(boxes_yxyx), _BLOCK):
        block = boxes_yxyx[start : start + _BLOCK]
        free = ~(iou(block, boxes_yxyx[kept]) > iou_threshold).any(axis=1)
        (places,) = np.nonzero(free)
        overlaps = iou(block[places], block[places]) > iou_threshold
        # one after the other within a block: a box that is suppressed suppresses nothing itself
        alive = np.ones(len(places), bool)
        for place in range(len(places)):
            if alive[place]:
                alive[place + 1 :] &= ~overlaps[place, place + 1 :]
        kept = np.concatenate([kept, start + places[alive]])[:most]
        if len(kept) == most:
            break
    return kept


def iou(a_yxyx: np.ndarray, b_yxyx: np.ndarray) -> np.ndarray:
    """Return the (N, M) float32 intersection over union of every pair, as TensorFlow's non_max_suppression computes it; 0 without area."""
    lengths = []
    for axis in (0, 1):  # apart, since an array with a last axis of two takes six times as long
        low = np.maximum(a_yxyx[:, axis, None], b_yxyx[None, :, axis])
        length = np.minimum(a_yxyx[:, axis + 2, None], b_yxyx[None, :, axis + 2])
        length -= low
        lengths.append(np.maximum(length, 0, out=length))
    overlap: np.ndarray = np.multiply(lengths[0], lengths[1], out=lengths[0])
    a_area, b_area = (np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (a_yxyx, b_yxyx))
    union = np.subtract(a_area[:, None] + b_area[None, :], overlap, out=lengths[1])
    # with out= no more arrays are made: this is most of what suppression takes
    np.divide(overlap, np.maximum(union, np.finfo(union.dtype).tiny, out=union), out=overlap)
    return overlap


def _least(settings: Settings) -> float:
    """Return the score that a detection must exceed; the floor itself is kept, as it is wherever detections are read."""
    return max(settings.score_threshold, float(np.nextafter(np.float32(inference.SCORE_FLOOR), np.float32(0))))
