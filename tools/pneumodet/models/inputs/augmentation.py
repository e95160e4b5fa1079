"""Vary training images and their boxes: one resampling from the decoded image to the model's input, then gray values. Runs in tf.data.

    augmented = augment(image, boxes_yxyx_norm, augmentation=load("radiograph"), seed=seed, output_hw=(320, 320))
    augmented.image, augmented.boxes_yxyx_norm[augmented.keep]

Flip, zoom, shift, rotation, shear and the resize are one affine map, so that an image is interpolated once and costs the same however many of
them there are; gamma, contrast and brightness are one table of gray values. TensorFlow draws and computes these few numbers and moves the
boxes; OpenCV does the pixels, in less than a third of the time that TensorFlow's operations for it take. All randomness comes from the seed:
the same image and seed give the same result in any order, process and thread.

Points are continuous px, as in ``core.boxes``: the centre of the first px is at 0.5. Indices of px are half a px less.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from pneumodet.models.inputs.augmentation_settings import NONE, PRESETS, RADIOGRAPH, Augmentation, load, to_json

__all__ = [
    "NONE",
    "PRESETS",
    "RADIOGRAPH",
    "SMALLEST_VISIBLE",
    "Augmentation",
    "Augmented",
    "Crop",
    "GrayChange",
    "augment",
    "crop",
    "load",
    "photometric",
    "to_json",
    "transform",
    "warp",
    "warp_boxes",
    "warp_masks",
]

SMALLEST_VISIBLE = 0.3
"""Share of a box's area that must be left inside the image; with less of an opacity nobody would draw its box."""

HW = Sequence[int] | Any
"""Height and width in px: two ints, or a (2,) int32 tensor, which has no type that a checker knows."""

# A change of the order changes what every seed gives.
_DRAWS = ("zoom", "rotation", "shear", "shift_x", "shift_y", "flip", "brightness", "contrast", "gamma", "kernel", "strength")
"""What is drawn for an image, in this order."""

_RADIANS = math.pi / 180
_UNSHARP_SIGMA_PX = 1.0
_CROP_ATTEMPTS = 100  # as in the API
_KERNEL_PX = 7

cv2.setNumThreads(1)  # tf.data has several images in work; threads for one image would only wait for one another


class GrayChange(NamedTuple):
    """What happens to gray values, as ``photometric`` draws it.

    Attributes:
      sigma_px: () float32 of a Gaussian, in px of the model's input.
      weight: () float32 of the image smoothed by it, the rest is the image itself: 1 blurs, below 0 sharpens, 0 does nothing.
      table: (256,) uint8, the new value of each old one, after that.
    """

    sigma_px: tf.Tensor
    weight: tf.Tensor
    table: tf.Tensor


class Crop(NamedTuple):
    """The part of an image that takes the whole's place, as ``crop`` draws it.

    Attributes:
      start_yx: (2,) float32 px, its upper left corner.
      hw: (2,) float32 px.
      least: () float32, the share of a box's area below which the box is dropped.
    """

    start_yx: tf.Tensor
    hw: tf.Tensor
    least: tf.Tensor


class Augmented(NamedTuple):
    """An image and what belongs to it, for the model.

    Attributes:
      image: (h, w, 1) uint8.
      boxes_yxyx_norm: (N, 4) float32 in [0, 1], all that were given, in their order.
      keep: (N,) bool, False for a box of which less than ``SMALLEST_VISIBLE``, or than a crop shall hold, is left.
      masks: (N, h, w) uint8 with the values given, or None.
    """

    image: tf.Tensor
    boxes_yxyx_norm: tf.Tensor
    keep: tf.Tensor
    masks: tf.Tensor | None


def augment(
    image: tf.Tensor,
    boxes_yxyx_norm: tf.Tensor,
    *,
    augmentation: Augmentation,
    seed: tf.Tensor,
    output_hw: HW,
    masks: tf.Tensor | None = None,
) -> Augmented:
    """Resize an image to the model's input and vary it.

    Where no box would be kept, the image is not moved and only its gray values are varied: a positive must not turn into a negative by the
    way it is cut. Crops are those of the API, which has no such rule.

    Args:
      image: (H, W, 1) uint8.
      boxes_yxyx_norm: (N, 4) float32; N may be 0.
      augmentation: what is varied.
      seed: (2,) int64, other for each image and epoch.
      output_hw: of the model's input. The whole image fills it where nothing is varied.
      masks: (N, H, W) uint8.
    """
    image_hw = tf.shape(image)[:2]
    coefficients = transform(NONE, seed, image_hw=image_hw, output_hw=output_hw)
    boxes, keep = warp_boxes(boxes_yxyx_norm, coefficients, image_hw=image_hw, output_hw=output_hw)
    if augmentation.moves:
        part = crop(augmentation, seed, boxes_yxyx_norm, image_hw=image_hw) if augmentation.crop else None
        drawn = transform(augmentation, seed, image_hw=image_hw, output_hw=output_hw, part=part)
        least = part.least if part else SMALLEST_VISIBLE
        moved, visible = warp_boxes(boxes_yxyx_norm, drawn, image_hw=image_hw, output_hw=output_hw, least=least)
        # of boxes that were visible before: a degenerate box in the records must not switch augmentation off
        all_lost = tf.constant(False) if part else tf.reduce_any(keep) & ~tf.reduce_any(visible)
        coefficients = tf.where(all_lost, coefficients, drawn)
        boxes, keep = tf.where(all_lost, boxes, moved), tf.where(all_lost, keep, visible)
    if augmentation == NONE:  # exactly as the exported model resizes, up to the rounding
        image = tf.cast(tf.round(tf.image.resize(image, output_hw)), tf.uint8)
    else:
        image = warp(image, coefficients, photometric(augmentation, seed), output_hw=output_hw)
    return Augmented(image, boxes, keep, None if masks is None else warp_masks(masks, coefficients, output_hw=output_hw))


def crop(augmentation: Augmentation, seed: tf.Tensor, boxes_yxyx_norm: tf.Tensor, *, image_hw: HW) -> Crop:
    """Draw a part of an image as the API's ``random_crop_image`` and ``ssd_random_crop`` do, from the seed alone.

    Args:
      augmentation: with a probability ``crop`` above 0.
      seed: (2,) int64, that of ``transform``.
      boxes_yxyx_norm: (N, 4) float32; N may be 0.
      image_hw: size of the decoded image.

    Returns:
      The part; the whole image where the probability leaves it, or where no part of 100 holds enough of a box.
    """
    image_hw = tf.convert_to_tensor(image_hw, tf.int32)
    # a seed of its own, so that the draws of what else is varied are the same with and without crops
    seed = tf.random.experimental.stateless_fold_in(seed, 1)
    happens, which = tf.unstack(tf.random.stateless_uniform((2,), seed, alg="philox"))
    holds = tf.constant(augmentation.crop_holds, tf.float32)
    least = tf.gather(holds, tf.cast(which * len(augmentation.crop_holds), tf.int32))
    start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([image_hw, [1]], axis=0),
        tf.clip_by_value(boxes_yxyx_norm, 0.0, 1.0)[:, tf.newaxis],
        tf.random.experimental.stateless_fold_in(seed, 1),
        min_object_covered=least,
        aspect_ratio_range=augmentation.crop_aspect,
        area_range=augmentation.crop_area,
        max_attempts=_CROP_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    whole = happens >= augmentation.crop
    return Crop(
        start_yx=tf.where(whole, tf.zeros(2), tf.cast(start[:2], tf.float32)),
        hw=tf.cast(tf.where(whole, image_hw, size[:2]), tf.float32),
        least=tf.where(whole, SMALLEST_VISIBLE, least),
    )


def transform(augmentation: Augmentation, seed: tf.Tensor, *, image_hw: HW, output_hw: HW, part: Crop | None = None) -> tf.Tensor:
    """Draw where each px of the output comes from.

    Args:
      augmentation: what is varied.
      seed: (2,) int64.
      image_hw: size of the decoded image.
      output_hw: size of the model's input.
      part: of the image, to be varied in its place.

    Returns:
      (8,) float32 coefficients as of ImageProjectiveTransformV3, from indices of output px to indices of input px; the last two are 0.
      Without variation they are those of ``tf.image.resize`` with half-px centres.
    """
    image_hw, output_hw = (tf.cast(hw, tf.float32) for hw in (image_hw if part is None else part.hw, output_hw))
    image_wh = image_hw[::-1]
    ratio_x, ratio_y = tf.unstack(image_wh / output_hw[::-1])
    if augmentation.moves:
        draw = _draws(seed)
        zoom = _log_between(augmentation.scale, draw["zoom"])
        angle = _either_side(augmentation.rotation_degrees, draw["rotation"]) * _RADIANS
        lean = tf.tan(_either_side(augmentation.shear_degrees, draw["shear"]) * _RADIANS)
        mirror = tf.where(draw["flip"] < augmentation.flip, -1.0, 1.0)
        shift_xy = _either_side(augmentation.shift, tf.stack([draw["shift_x"], draw["shift_y"]]))
        cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
        # the inverse of rotation * shear * mirror * zoom, in px of the image, which are as high as wide
        back = tf.stack([mirror * (cos + lean * sin), mirror * (sin - lean * cos), -sin, cos])
    else:
        back, shift_xy = tf.constant([1.0, 0.0, 0.0, 1.0]), tf.zeros(2)
    linear = tf.reshape(back, (2, 2))
    middle = image_wh / 2
    # the image's middle comes to lie where the shift puts it
    start = middle - tf.linalg.matvec(linear, middle + shift_xy * image_wh)
    # by px of the output instead of the image, then from points to indices, which are half a px less on both ends
    linear *= tf.stack([ratio_x, ratio_y])
    start += tf.reduce_sum(linear, axis=1) / 2 - 0.5
    if part is not None:
        start += part.start_yx[::-1]
    return tf.concat([linear[0], start[:1], linear[1], start[1:], tf.zeros(2)], axis=0)


def photometric(augmentation: Augmentation, seed: tf.Tensor) -> GrayChange:
    """Draw what happens to gray values: blur or sharpen, then gamma, contrast about the middle gray, brightness.

    Contrast and brightness do what width and centre of a window do (DICOM PS3.3, C.11.2).

    Args:
      augmentation: what is varied.
      seed: (2,) int64, that of ``transform``.
    """
    draw = _draws(seed)
    low, high = augmentation.blur_sigma_px
    # from both ends of one draw, so that no image gets both
    blurred, sharpened = draw["kernel"] < augmentation.blur, draw["kernel"] >= 1 - augmentation.sharpen
    sigma_px = tf.where(blurred, low + (high - low) * draw["strength"], _UNSHARP_SIGMA_PX)
    weight = tf.where(blurred, 1.0, tf.where(sharpened, -augmentation.sharpen_amount * draw["strength"], 0.0))
    table = tf.range(256, dtype=tf.float32) / 255
    if augmentation.gamma != (1, 1):
        table **= _log_between(augmentation.gamma, draw["gamma"])
    if augmentation.contrast != (1, 1) or augmentation.brightness:
        brightness = _either_side(augmentation.brightness, draw["brightness"])
        table = (table - 0.5) * _log_between(augmentation.contrast, draw["contrast"]) + 0.5 + brightness
    return GrayChange(sigma_px, weight, tf.cast(tf.round(255 * tf.clip_by_value(table, 0.0, 1.0)), tf.uint8))


def warp(image: tf.Tensor, coefficients: tf.Tensor, change: GrayChange, *, output_hw: HW) -> tf.Tensor:
    """Sample an image bilinearly and change its gray values; outside it is black, as beyond a collimator.

    Args:
      image: (H, W, 1) uint8.
      coefficients: (8,) float32 of ``transform``.
      change: of ``photometric``.
      output_hw: size of the result.

    Returns:
      (h, w, 1) uint8. Where an image is enlarged, its outermost half px fades into the black.
    """
    image = tf.ensure_shape(image, (None, None, 1))
    # stateless: what is drawn comes in from outside, so that tf.data may save its place in the data
    image = tf.numpy_function(_pixels, [image, coefficients, output_hw, *change], tf.uint8, stateful=False)
    return tf.ensure_shape(image, (*_static(output_hw), 1))


def warp_masks(masks: tf.Tensor, coefficients: tf.Tensor, *, output_hw: HW) -> tf.Tensor:
    """Return the (N, h, w) uint8 nearest px of (N, H, W) uint8 masks, 0 outside; arguments as of ``warp``."""
    masks = tf.numpy_function(_mask_pixels, [masks, coefficients, output_hw], tf.uint8, stateful=False)
    return tf.ensure_shape(masks, (None, *_static(output_hw)))


def warp_boxes(
    boxes_yxyx_norm: tf.Tensor, coefficients: tf.Tensor, *, image_hw: HW, output_hw: HW, least: tf.Tensor | float = SMALLEST_VISIBLE
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move boxes with the image.

    A box becomes the one around the moved ellipse that it holds (Kalra et al., Towards Rotation Invariance in Object Detection, ICCV 2021,
    arXiv:2109.13488): without rotation and shear that is the moved box; with them it does not grow by the box's corners, where an opacity has
    nothing.

    Args:
      boxes_yxyx_norm: (N, 4) float32 in the image; N may be 0.
      coefficients: (8,) float32 of ``transform``.
      image_hw: size of the decoded image.
      output_hw: size of the model's input.
      least: share of a box's area.

    Returns:
      (N, 4) float32 yxyx_norm in the output, cut off at its edges; and (N,) bool, whether at least ``least`` of the area is left.
    """
    image_wh, output_wh = (tf.cast(hw, tf.float32)[::-1] for hw in (image_hw, output_hw))
    rows = tf.reshape(coefficients[:6], (2, 3))
    forward = tf.linalg.inv(rows[:, :2])
    start = rows[:, 2] + 0.5 - tf.reduce_sum(rows[:, :2], axis=1) / 2
    corners = tf.reshape(boxes_yxyx_norm, (-1, 2, 2))[..., ::-1] * image_wh  # (N, 2, 2): low and high, xy
    centre = tf.reduce_mean(corners, axis=1)
    half = (corners[:, 1] - corners[:, 0]) / 2
    centre = tf.linalg.matmul(centre - start, forward, transpose_b=True)
    # the extent of a moved ellipse along an axis is the root of the squares of what its two half-axes reach there
    half = tf.sqrt(tf.linalg.matmul(half * half, forward * forward, transpose_b=True))
    whole = tf.stack([centre - half, centre + half], axis=1) / output_wh
    inside = tf.clip_by_value(whole, 0.0, 1.0)
    # a box without an area would pass the share alone: 0 is at least 0.3 of 0
    area, left = (tf.reduce_prod(box[:, 1] - box[:, 0], axis=1) for box in (whole, inside))
    return tf.reshape(inside[..., ::-1], (-1, 4)), (left > 0) & (left >= least * area)


def _pixels(
    image: np.ndarray, coefficients: np.ndarray, output_hw: np.ndarray, sigma_px: np.ndarray, weight: np.ndarray, table: np.ndarray
) -> np.ndarray:
    sampled = _sampled(image, coefficients, output_hw, cv2.INTER_LINEAR)
    if weight:
        smooth = cv2.GaussianBlur(sampled, (_KERNEL_PX, _KERNEL_PX), float(sigma_px), borderType=cv2.BORDER_REFLECT)
        sampled = cv2.addWeighted(smooth, float(weight), sampled, 1 - float(weight), 0)  # uint8 saturates
    return cv2.LUT(sampled, table)[..., np.newaxis]


def _mask_pixels(masks: np.ndarray, coefficients: np.ndarray, output_hw: np.ndarray) -> np.ndarray:
    result = np.zeros((len(masks), *output_hw), np.uint8)
    for index, mask in enumerate(masks):
        result[index] = _sampled(mask, coefficients, output_hw, cv2.INTER_NEAREST)
    return result


def _sampled(pixels: np.ndarray, coefficients: np.ndarray, output_hw: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = map(int, output_hw)
    # the coefficients are from output to input already; without the flag, OpenCV would invert them
    return cv2.warpAffine(pixels, coefficients[:6].reshape(2, 3), (width, height), flags=interpolation | cv2.WARP_INVERSE_MAP)


def _static(output_hw: HW) -> tuple[int | None, int | None]:
    known = tf.get_static_value(tf.convert_to_tensor(output_hw))
    return (None, None) if known is None else (int(known[0]), int(known[1]))


def _draws(seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return name -> () float32 in [0, 1); by Philox, so that the numbers do not depend on the device."""
    values = tf.unstack(tf.random.stateless_uniform((len(_DRAWS),), seed, alg="philox"))
    return dict(zip(_DRAWS, values, strict=True))


def _either_side(largest: float, drawn: tf.Tensor) -> tf.Tensor:
    return largest * (2 * drawn - 1)


def _log_between(bounds: tuple[float, float], drawn: tf.Tensor) -> tf.Tensor:
    low, high = (tf.math.log(float(bound)) for bound in bounds)
    return tf.exp(low + (high - low) * drawn)
