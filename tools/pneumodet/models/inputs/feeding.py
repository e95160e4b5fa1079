"""Records -> batches that a training step takes, in an order that is a function of seed and step alone.

feed = Feed(shards, config=config, classes=2, seed=0)
for batch in feed.batches(first_step=0, steps=2000): ...

A batch stays gray and uint8 until it is on the device that trains, a twelfth of what the API's pipeline carries.
"""

import dataclasses
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet.core.errors import DataError
from pneumodet.core.processes import cpus
from pneumodet.data import sampling
from pneumodet.data.examples import Examples
from pneumodet.models.detection import resizing
from pneumodet.models.inputs import augmentation as augmenting

MOST_SKIPPED = 0.05
"""Largest share of records that may be left out as corrupt: with more, the record set itself is wrong."""

_SETTLED_SECONDS = 0.2
"""So long nothing is read before reading is taken to have come to rest; an image takes some milliseconds."""

_PREFETCH = 4
"""Batches made ahead of the step at hand."""


@dataclasses.dataclass
class Skipped:
    """Records that were left out.

    Attributes:
      reasons: where -> why.
      lock: several threads of tf.data read at once.
    """

    reasons: dict[str, str] = dataclasses.field(default_factory=dict)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, where: str, why: str, *, most: int) -> None:
        """Note a record.

        Raises:
          DataError: more than ``most`` were left out.
        """
        with self.lock:
            self.reasons[where] = why
            if len(self.reasons) > most:
                raise DataError(f"{len(self.reasons)} records are corrupt, more than {MOST_SKIPPED:.0%}; the last one: {why}")


class Samples:
    """Records in an order that is a function of seed and step alone, read ahead of the step at hand; a subclass makes samples of them.

    Attributes:
      skipped: records that were left out.
      failure: why reading ended, where it did.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        *,
        batch_size: int,
        seed: int,
        positive: np.ndarray | None = None,
        positive_share: float | None = None,
        skip_corrupt: bool = False,
        workers: int = 1,
        worker: int = 0,
        replicas: int = 1,
    ) -> None:
        """Find the records.

        Args:
          shards: TFRecord files with the API's keys.
          batch_size: of all devices together, a multiple of ``replicas``.
          seed: of the order.
          positive: (N,) bool, which records have pneumonia; needed for ``positive_share``.
          positive_share: as ``sampling.Order``.
          skip_corrupt: take the next record for a corrupt one, and note it in ``skipped``.
          workers: processes that train together, each on its slice of every batch.
          worker: which of them this one is.
          replicas: devices of all processes together; a batch is divided among them.

        Raises:
          DataError: a file cannot be read, there are no records, or not as many as ``positive`` has.
        """
        self._examples = Examples(shards)
        if not len(self._examples):
            raise DataError("The training records are empty. Make them again with a smaller --val-fraction.")
        if positive is not None and len(positive) != len(self._examples):  # the order would draw records that are not there
            raise DataError(
                f"There are {len(self._examples)} training records, but {len(positive)} in their ground truth. Make the records again."
            )
        self._order = sampling.Order(len(self._examples), seed=seed, positive=positive, positive_share=positive_share)
        self._batch, self._workers, self._worker, self._replicas = batch_size, workers, worker, replicas
        self._skip, self.skipped = skip_corrupt, Skipped()
        self.failure: DataError | None = None
        self._closed, self._calls = False, 0

    def __len__(self) -> int:
        return len(self._examples)

    def batches(self, *, first_step: int, steps: int, parallel: int | None = None) -> tf.data.Dataset:
        """Return the batches of steps ``first_step`` to ``first_step + steps``.

        Args:
          first_step: steps done before.
          steps: how many.
          parallel: images in work at once; as many as there are processors where it is None.

        Returns:
          A dataset of dicts, for each step one for each device of this process, as the subclass says.
        """
        self._closed = False
        share = self._batch // self._workers
        # positions are computed from the step, so that a resumed run begins in the middle of the order without reading what came before
        start = tf.range(first_step, first_step + steps, dtype=tf.int64) * self._batch + self._worker * share
        dataset = tf.data.Dataset.from_tensor_slices(start).flat_map(lambda first: tf.data.Dataset.range(first, first + share))
        # deterministic: batches must not depend on which image was decoded first, or a resumed run would differ
        # samples are made without Python's own if and while on tensors; looking for such (AutoGraph) takes seconds
        sample = tf.autograph.experimental.do_not_convert(self._sample)
        dataset = dataset.map(sample, num_parallel_calls=parallel or cpus(), deterministic=True)
        options = tf.data.Options()
        options.autotune.enabled = False  # the end of its thread is waited for, which may take a minute
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        # nothing is dropped, since a share is a multiple of a device's batch; but the shape is static, and a step is traced once
        return dataset.batch(self._batch // self._replicas, drop_remainder=True).prefetch(_PREFETCH).with_options(options)

    def close(self) -> None:
        """End reading ahead; to be called before the last iterator goes out of use.

        An iterator that is deleted holds Python's lock and waits for its threads, which must not be waiting for that lock in turn.
        """
        self._closed = True
        calls = -1
        while calls != self._calls:
            calls = self._calls
            time.sleep(_SETTLED_SECONDS)

    def _sample(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the sample at a () int64 position of the run's endless sequence; calls ``_load`` by ``tf.numpy_function``."""
        raise NotImplementedError

    def _load(self, position: np.int64) -> tuple[np.ndarray, ...]:
        """Return what ``_decode`` makes of the record at a position."""
        self._calls += 1
        if self._closed:
            raise DataError("Reading has ended.")
        index = self._order.at(int(position))
        # the next record in file order, so that which one stands in depends on nothing but the records
        for attempt in range(len(self._examples)):
            number = (index + attempt) % len(self._examples)
            try:
                return self._decode(number)
            except DataError as error:
                if not self._skip:
                    self.failure = self.failure or error  # tf.data would only report the exception's class, and where it was in TensorFlow
                    raise
                try:
                    self.skipped.add(self._examples.where(number), str(error), most=int(MOST_SKIPPED * len(self._examples)) + 1)
                except DataError as too_many:
                    self.failure = self.failure or too_many
                    raise
        raise self.failure or DataError("No record can be read.")

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        """Return what is read of a record.

        Raises:
          DataError: it is corrupt.
        """
        raise NotImplementedError


class Feed(Samples):
    """The training records of one run of a detector.

    Its batches have ``image`` (B, h, w, 1) uint8, ``true_shape`` (B, 3) int32 (what of ``image`` is not padding), ``boxes_yxyx_norm`` (B, M, 4)
    float32 of the padded image, ``classes`` (B, M, C) float32 one-hot, ``weights`` (B, M) float32 (0 for padding), ``count`` (B,) int32, and
    ``masks`` (B, M, h, w) float32 where they are read.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        *,
        size: resizing.Size,
        classes: int,
        batch_size: int,
        max_boxes: int,
        augmentation: augmenting.Augmentation,
        seed: int,
        masks: bool = False,
        **order: Any,
    ) -> None:
        """Find the records.

        Args:
          shards: TFRecord files with the API's keys.
          size: how the model sizes images.
          classes: of the label map.
          batch_size: of all devices together, a multiple of ``replicas``.
          max_boxes: boxes of an image that the model is given; the first ones of an image that has more.
          augmentation: how images are varied.
          seed: of order and augmentation.
          masks: read instance masks, too.
          order: as ``Samples`` takes it.

        Raises:
          DataError: a file cannot be read, or there are no records.
        """
        super().__init__(shards, batch_size=batch_size, seed=seed, **order)
        self._size, self._classes, self._max_boxes, self._masks = size, classes, max_boxes, masks
        self._augmentation, self._seed = augmentation, seed

    def _sample(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        kinds = (tf.uint8, tf.float32, tf.int64, tf.uint8, tf.int32)
        image, boxes_yxyx_norm, labels, masks, target_hw = tf.numpy_function(self._load, [position], kinds)
        # a numpy_function forgets all shapes, of which the graph behind it needs at least the ranks
        image.set_shape([None, None, 1])
        boxes_yxyx_norm.set_shape([None, 4])
        labels.set_shape([None])
        masks.set_shape([None, None, None])
        target_hw.set_shape([2])
        augmented = augmenting.augment(
            image,
            boxes_yxyx_norm,
            augmentation=self._augmentation,
            seed=tf.stack([tf.constant(self._seed, tf.int64), position]),
            output_hw=target_hw,
            masks=masks if self._masks else None,
        )
        # boxes that augmentation has moved out of the image teach nothing; the API would raise for those without an area
        kept = tf.where(augmented.keep)[:, 0][: self._max_boxes]
        count = tf.size(kept, out_type=tf.int32)
        # padded to one number of boxes, or images could not be stacked, and a step would be traced for each number
        pad = self._max_boxes - count
        canvas_hw = self._size.canvas_hw or target_hw
        sample = {
            "image": _padded(augmented.image, canvas_hw) if self._size.padded else augmented.image,
            "true_shape": tf.concat([target_hw, [3]], 0),
            "boxes_yxyx_norm": tf.pad(_of_canvas(tf.gather(augmented.boxes_yxyx_norm, kept), target_hw, canvas_hw), [[0, pad], [0, 0]]),
            "classes": tf.pad(tf.one_hot(tf.gather(labels, kept) - 1, self._classes), [[0, pad], [0, 0]]),
            "weights": tf.cast(tf.range(self._max_boxes) < count, tf.float32),
            "count": count,
        }
        height, width = self._size.canvas_hw or (None, None)
        sample["image"].set_shape([height, width, 1])
        sample["boxes_yxyx_norm"].set_shape([self._max_boxes, 4])
        sample["classes"].set_shape([self._max_boxes, self._classes])
        if self._masks:
            of_image = tf.cast(tf.gather(augmented.masks, kept), tf.float32)[..., tf.newaxis]
            if self._size.padded:
                of_image = _padded(of_image, canvas_hw)
            sample["masks"] = tf.pad(of_image[..., 0], [[0, pad], [0, 0], [0, 0]])
            sample["masks"].set_shape([self._max_boxes, height, width])
        return sample

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        """Return image (H, W, 1), boxes, class ids, masks (N, H, W) and the (h, w) that the model's input shall have."""
        example = self._examples.read(number)
        target_hw = self._size.of(example.image_hw)
        # whole where parts of it are enlarged
        pixels = example.pixels(None if self._augmentation.crop else target_hw)
        labels = np.array(example.record.class_ids, np.int64)
        unknown = labels[(labels < 1) | (labels > self._classes)]
        if len(unknown):
            raise DataError(f"{example.where}: class label {unknown[0]} is not in the label map, which has 1 to {self._classes}.")
        masks = example.masks(pixels.shape) if self._masks else np.zeros((0, *pixels.shape), np.uint8)
        return pixels[:, :, np.newaxis], example.boxes_yxyx_norm.astype(np.float32), labels, masks, np.array(target_hw, np.int32)


def _padded(image: tf.Tensor, canvas_hw: Any) -> tf.Tensor:
    return tf.image.pad_to_bounding_box(image, 0, 0, canvas_hw[0], canvas_hw[1])


def _of_canvas(boxes_yxyx_norm: tf.Tensor, image_hw: tf.Tensor, canvas_hw: Any) -> tf.Tensor:
    """Return boxes relative to the padded image."""
    scale = tf.cast(image_hw, tf.float32) / tf.cast(canvas_hw, tf.float32)
    return boxes_yxyx_norm * tf.tile(scale, [2])
