"""Evaluation within training and after it: the model at hand on the validation records, batch by batch.

looker = Looker(model, split, size_hw=(224, 224))
for seen in looker.batches(): seen.numbers, seen.images, seen.outputs["pneumonia"]
validation = Validation(looker, judge=lambda batches: Found({"image.roc_auc": …}))
validation.run().figures
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pneumodet.data.record_sets import Split
from pneumodet.errors import DataError, TrainingError
from pneumodet.learning import images

BATCH = 16
"""Images at once."""

MEMORY_BYTES = 1 << 29
"""Images at the model's scale are kept from one evaluation to the next where all of them take no more than this."""

TIMED = 30
"""Images, one by one, whose median time is a model's speed."""

_WARM = 3


@dataclasses.dataclass(frozen=True)
class Found:
    """What an evaluation found.

    Attributes:
      figures: name -> value, None where it is undefined.
      pictures: for TensorBoard.
    """

    figures: dict[str, float | None]
    pictures: Sequence[Image.Image] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What a model made of a batch.

    Attributes:
      numbers: (B,) int64, which records.
      images: (B, h, w, 1) uint8, what it looked at.
      outputs: name -> (B, …) float32.
      read: (B,) bool, False where a record is corrupt and the model was shown black.
    """

    numbers: np.ndarray
    images: np.ndarray
    outputs: Mapping[str, np.ndarray]
    read: np.ndarray


class Looker:
    """A model with the records that it looks at, not varied, in their order; a graph that is traced once."""

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        *,
        size_hw: tuple[int, int],
        normalization: str = "none",
        metadata: np.ndarray | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        """Find the records.

        Args:
          model: takes and gives dicts, as ``trainer.Trainer`` says.
          split: the records, N in all.
          size_hw: of the model's input.
          normalization: of gray values, that of training.
          metadata: (N, F) float32, where the model takes it.
          skip_corrupt: show the model black where a record cannot be read; otherwise it is an error.

        Raises:
          DataError: records and ground truth do not have the same number of images, or a file cannot be read.
        """
        self.split, self.size_hw = split, tuple(size_hw)
        self._examples = split.examples
        self._normalization, self._metadata, self._skip = normalization, metadata, skip_corrupt
        self._names = [tensor.name for tensor in model.inputs]
        self._call = tf.function(lambda inputs: model(inputs, training=False), autograph=False, reduce_retracing=True)
        self._kept: np.ndarray | None = None
        self.skipped: dict[str, str] = {}
        """Where a record could not be read -> why."""

    def batches(self) -> Iterator[Seen]:
        """Show the model all records.

        Raises:
          DataError: a record cannot be read.
          TrainingError: an output is not finite.
        """
        count = len(self.split)
        keeps = count * int(np.prod(self.size_hw)) <= MEMORY_BYTES
        if keeps and self._kept is None:
            kept = np.empty((count, *self.size_hw, 1), np.uint8)  # filled in place: a stack of a list would take twice the memory
            for number in range(count):
                kept[number] = self._read(number)
            self._kept = kept
        for first in range(0, count, BATCH):
            numbers = np.arange(first, min(first + BATCH, count))
            pixels = self._kept[numbers] if keeps else np.stack([self._read(number) for number in numbers.tolist()])
            outputs = {name: value.numpy() for name, value in self._call(self._inputs(numbers, pixels)).items()}
            if not all(np.isfinite(one).all() for one in outputs.values()):
                raise TrainingError(
                    "The network's output is not finite, so that its weights are broken. Train it again with a lower learning rate (--set learning_rate=…)."
                )
            yield Seen(
                numbers, pixels, outputs, np.array([self._examples.where(number) not in self.skipped for number in numbers.tolist()])
            )

    def milliseconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Return the median time in ms that the model takes for an image, one by one, without reading it."""
        pixels = (self._kept if self._kept is not None else self._read(0)[np.newaxis])[:1]
        inputs = self._inputs(np.zeros(1, np.int64), pixels)
        taken = []
        for _ in range(_WARM + TIMED):
            start = clock()
            for value in self._call(inputs).values():
                value.numpy()
            taken.append(1000 * (clock() - start))
        return float(np.median(taken[_WARM:]))

    def _inputs(self, numbers: np.ndarray, pixels: np.ndarray) -> dict[str, tf.Tensor]:
        there = {"image": tf.constant(pixels)}
        if self._metadata is not None:
            there["metadata"] = tf.constant(self._metadata[numbers])
        return {name: there[name] for name in self._names}

    def _read(self, number: int) -> np.ndarray:
        try:
            found = images.read(self._examples, number, size_hw=self.size_hw, normalization=self._normalization)
        except DataError as error:
            if not self._skip:
                raise
            self.skipped[self._examples.where(number)] = str(error)
            return np.zeros((*self.size_hw, 1), np.uint8)
        return images.resized(found.pixels, self.size_hw)[:, :, np.newaxis]


class Validation:
    """What ``training.loop.Run`` evaluates with."""

    def __init__(self, looker: Looker, judge: Callable[[Iterator[Seen]], Found]) -> None:
        """Take what looks, and what makes figures of all that it has seen."""
        self._looker, self._judge = looker, judge

    @property
    def skipped(self) -> dict[str, str]:
        """Where a record could not be read -> why."""
        return self._looker.skipped

    def run(self) -> Found:
        """Evaluate the model as it is now.

        Raises:
          DataError: a record cannot be read.
        """
        return self._judge(self._looker.batches())
