"""A picture of what training will see: radiographs as they are, and varied, with their boxes.

picture = preview(images, boxes, load("radiograph"), seed=0, output_hw=(320, 320))
pictures.save(folder / "preview.png", picture)
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from pneumodet.core import boxes
from pneumodet.core.errors import DataError
from pneumodet.models.inputs.augmentation import NONE, Augmentation, augment
from pneumodet.viz import pictures

COLUMNS = 6
"""Pictures a row: the radiograph as it is, and five variations."""


def preview(
    images: Sequence[np.ndarray],
    boxes_yxyx_norm: Sequence[np.ndarray],
    augmentation: Augmentation,
    *,
    seed: int,
    output_hw: tuple[int, int],
    columns: int = COLUMNS,
) -> Image.Image:
    """Draw a row for each radiograph: first as it is, then varied.

    Args:
      images: (H, W) uint8 each.
      boxes_yxyx_norm: (N, 4) each, as many as images.
      augmentation: what is varied.
      seed: the same seed gives the same sheet.
      output_hw: of the model's input; the pictures are what the model gets.
      columns: pictures a row, at least 2.

    Returns:
      An RGB picture with tiles as wide as the longer side of the model's input, each below its name, and what boxes are at the top.

    Raises:
      DataError: there is no image, not as many sets of boxes, fewer than 2 columns, or an image is no (H, W) uint8 array.
    """
    if not images or len(images) != len(boxes_yxyx_norm) or columns < 2:
        counts = f"{len(images)}, {len(boxes_yxyx_norm)} and {columns}"
        raise DataError(f"A preview needs images, a set of boxes for each, and 2 columns at least, but got {counts}.")
    tiles = []
    for row, (image, truth) in enumerate(zip(images, boxes_yxyx_norm, strict=True)):
        if image.dtype != np.uint8 or image.ndim != 2:
            raise DataError(f"A preview is drawn of (H, W) uint8 pixels, but image {row} is {image.shape} {image.dtype}.")
        for column in range(columns):
            # the first column shows what the model gets in evaluation
            how = augmentation if column else NONE
            # seeds as those of a feed, a pair of seed and position: no two pictures of a sheet are varied alike
            tiles.append(_tile(image, truth, how, seed=(seed, row * columns + column), output_hw=output_hw))
    captions = [("as it is" if not column else f"variant {column}", "") for _ in images for column in range(columns)]
    return pictures.with_key(pictures.contact_sheet(tiles, columns=columns, tile_px=max(output_hw), captions=captions))


def _tile(
    image: np.ndarray, truth: np.ndarray, augmentation: Augmentation, *, seed: tuple[int, int], output_hw: tuple[int, int]
) -> Image.Image:
    truth = tf.constant(np.reshape(truth, (-1, 4)), tf.float32)
    augmented = augment(
        tf.constant(image[..., np.newaxis]), truth, augmentation=augmentation, seed=tf.constant(seed, tf.int64), output_hw=output_hw
    )
    kept = augmented.boxes_yxyx_norm.numpy()[augmented.keep.numpy()]
    kept_xyxy_px = boxes.yxyx_norm_to_xyxy_px(kept, height=output_hw[0], width=output_hw[1])
    return pictures.draw_boxes(augmented.image.numpy()[..., 0], truth_xyxy_px=kept_xyxy_px, panel=False)
