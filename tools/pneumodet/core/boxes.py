"""Bounding boxes, pure numpy. Layout and unit stand in every name.

``xywh_px``: left, top, width, height. ``xyxy_px``: left, top, right, bottom. ``yxyx_norm``: top, left, bottom, right, each divided by
the image's height or width. Pixels are continuous: the left edge of the image is 0, its right edge is ``width``. Every array is (N, 4).
"""

import numpy as np


def xywh_to_xyxy_px(boxes_xywh_px: np.ndarray) -> np.ndarray:
    """Return (N, 4) xyxy_px of (N, 4) xywh_px."""
    boxes = np.asarray(boxes_xywh_px).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh_px(boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Return (N, 4) xywh_px of (N, 4) xyxy_px."""
    boxes = np.asarray(boxes_xyxy_px).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xyxy_px_to_yxyx_norm(boxes_xyxy_px: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Return (N, 4) yxyx_norm of (N, 4) xyxy_px in an image of ``height`` x ``width`` px."""
    return np.asarray(boxes_xyxy_px).reshape(-1, 4)[:, [1, 0, 3, 2]] / np.array([height, width, height, width], np.float64)


def yxyx_norm_to_xyxy_px(boxes_yxyx_norm: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Return (N, 4) xyxy_px of (N, 4) yxyx_norm in an image of ``height`` x ``width`` px."""
    boxes_yxyx_px = np.asarray(boxes_yxyx_norm).reshape(-1, 4) * np.array([height, width, height, width], np.float64)
    return np.asarray(boxes_yxyx_px)[:, [1, 0, 3, 2]]


def clip_xyxy_px(boxes_xyxy_px: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Return the boxes cut off at the image's edges; a box wholly outside has no area afterwards."""
    boxes = np.asarray(boxes_xyxy_px).reshape(-1, 4)
    # bounds of the boxes' own dtype: int64 ones would make float64 of float32
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype)))


def area_px(boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Return (N,) areas in square px; 0 where right is not right of left or bottom not below top."""
    boxes = np.asarray(boxes_xyxy_px).reshape(-1, 4)
    # without the maximum, a box that is inverted in both directions would have a positive area
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    if sides.dtype.kind in "iu":  # whole numbers of 32 bits do not hold the area of a large radiograph
        sides = sides.astype(np.int64)
    areas: np.ndarray = sides[:, 0] * sides[:, 1]  # np.prod along two numbers takes five times as long
    return areas


def iou_of_pairs(a_xyxy_px: np.ndarray, b_xyxy_px: np.ndarray) -> np.ndarray:
    """Return the (N,) float64 intersection over union of each of N boxes with the one in the same place, as ``iou`` does."""
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (a_xyxy_px, b_xyxy_px))
    overlap = area_px(np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1))
    union = area_px(a) + area_px(b) - overlap
    ious: np.ndarray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return ious


def iou(a_xyxy_px: np.ndarray, b_xyxy_px: np.ndarray) -> np.ndarray:
    """Return the (N, M) float64 intersection over union of every pair, in [0, 1]; 0 where both have no area."""
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (a_xyxy_px, b_xyxy_px))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)
    union = area_px(a)[:, None] + area_px(b)[None, :] - overlap
    ious: np.ndarray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return ious
