"""Records -> batches for Keras 3 models: images, and whatever of masks, targets and metadata a model learns from.

    feed = Feed(split.shards, size_hw=(224, 224), batch_size=16, augmentation=augmentation_settings.load("radiograph"), seed=0,
                normalization="none", positive=split.positive, masks_from_boxes=True)
    for batch in feed.batches(first_step=0, steps=1000): ...

Order, reading ahead, corrupt records: ``models.inputs.feeding.Samples``. How images are varied: ``models.inputs.augmentation``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pneumodet.core.errors import DataError
from pneumodet.models.inputs import augmentation as augmenting
from pneumodet.models.inputs import images
from pneumodet.models.inputs.augmentation_settings import Augmentation
from pneumodet.models.inputs.feeding import Samples


class Feed(Samples):
    """The training records of one run.

    Its batches have ``image`` (B, h, w, 1) uint8 and, where they are asked for, ``mask`` (B, h, w, 1) float32 (1 where a box is), ``positive`` (B,)
    float32, ``target`` (B, …) of the targets' dtype, ``metadata`` (B, F) float32.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        *,
        size_hw: tuple[int, int],
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        normalization: str = "none",
        positive: np.ndarray | None = None,
        positive_share: float | None = None,
        masks_from_boxes: bool = False,
        metadata: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        """Find the records, N in all.

        Args:
          shards: TFRecord files with the API's keys.
          size_hw: of the model's input; the whole image fills it where nothing is varied.
          batch_size: images a step.
          augmentation: how images are varied; masks follow.
          seed: of order and augmentation.
          normalization: of gray values, as ``data.equalizing.equalized``; it comes before the augmentation.
          positive: (N,) bool, which records have pneumonia; needed for ``positive_share``.
          positive_share: as ``sampling.Order``; None leaves the share as it is.
          masks_from_boxes: make masks.
          metadata: (N, F) float32, a row for each record.
          targets: (N, …), a row for each record.
          skip_corrupt: take the next record for a corrupt one, and note it in ``skipped``.

        Raises:
          DataError: a file cannot be read, there are no records, or not as many as rows.
        """
        super().__init__(
            shards, batch_size=batch_size, seed=seed, positive=positive, positive_share=positive_share, skip_corrupt=skip_corrupt
        )
        rows = {"positive": None if positive is None else positive.astype(np.float32), "metadata": metadata, "target": targets}
        # constants of the graph: rows are looked up by number there, without a call into Python
        self._rows = {name: tf.constant(values) for name, values in rows.items() if values is not None}
        for name, values in self._rows.items():
            if len(values) != len(self):
                raise DataError(f"There are {len(self)} training records, but {len(values)} rows of {name}. Make the records again.")
        self._size_hw, self._normalization, self._masks = size_hw, normalization, masks_from_boxes
        self._augmentation, self._seed = augmentation, seed

    def _sample(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        image, boxes_yxyx_norm, masks, number = tf.numpy_function(self._load, [position], (tf.uint8, tf.float32, tf.uint8, tf.int64))
        # a numpy_function forgets all shapes, of which the graph behind it needs at least the ranks
        image.set_shape([None, None, 1])
        boxes_yxyx_norm.set_shape([None, 4])
        masks.set_shape([None, None, None])
        number.set_shape([])
        augmented = augmenting.augment(
            image,
            boxes_yxyx_norm,
            augmentation=self._augmentation,
            seed=tf.stack([tf.constant(self._seed, tf.int64), position]),
            output_hw=self._size_hw,
            masks=masks if self._masks else None,
        )
        sample = {"image": tf.ensure_shape(augmented.image, (*self._size_hw, 1))}
        if augmented.masks is not None:
            mask = tf.cast(augmented.masks[0], tf.float32)[..., tf.newaxis]
            sample["mask"] = tf.ensure_shape(mask, (*self._size_hw, 1))
        return sample | {name: values[number] for name, values in self._rows.items()}

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        """Return image (H, W, 1) uint8, boxes (N, 4) float32, masks (1, H, W) uint8 of all boxes together, () int64 number.

        The mask is (1, 0, 0) where none is asked for.
        """
        record = images.read(self._examples.read(number), size_hw=self._size_hw, normalization=self._normalization)
        height, width = record.pixels.shape
        mask = images.box_mask(record.boxes_yxyx_norm, (height, width)) if self._masks else np.zeros((0, 0), np.uint8)
        return record.pixels[:, :, np.newaxis], record.boxes_yxyx_norm, mask[np.newaxis], np.array(number, np.int64)
