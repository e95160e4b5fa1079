"""Evaluation within training and after it: the model at hand on the validation records, batch by batch.

runner = Runner(model, split, size_hw=(224, 224))
for seen in runner.batches(): seen.numbers, seen.images, seen.outputs["pneumonia"]
validation = Validation(runner, evaluate=lambda batches: Evaluation({"image.roc_auc": …}))
validation.run().figures
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pneumodet.core.errors import TrainingError
from pneumodet.data.cases import Cases
from pneumodet.data.examples import Example
from pneumodet.data.record_sets import Split
from pneumodet.models.inputs import images
from pneumodet.models.inputs.split_images import SplitImages

BATCH = 16
"""Images at once."""

TIMED = 30
"""Images, one by one, whose median time is a model's speed."""

# the first calls trace the graph and allocate memory, and would count as the model's speed
_WARM = 3


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
      figures: name -> value, None where it is undefined.
      pictures: for TensorBoard.
      cases: ground truth and boxes, for a curve of precision over recall; None where there are no boxes.
      moves: as ``training.parts.Evaluation``.
    """

    figures: dict[str, float | None]
    pictures: Sequence[Image.Image] = ()
    cases: Cases | None = None
    moves: Callable[[str], np.ndarray | None] = lambda _: None


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What a model made of a batch.

    Attributes:
      numbers: (B,) int64, which records.
      images: (B, h, w, 1) uint8, the input that it was given.
      outputs: name -> (B, …) float32.
      read: (B,) bool, False where a record is corrupt and the model was shown black.
    """

    numbers: np.ndarray
    images: np.ndarray
    outputs: Mapping[str, np.ndarray]
    read: np.ndarray


class Runner:
    """A model with the records that it is run on, not varied, in their order; a graph that is traced once."""

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
        """Open the records.

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
        self.split, self.size_hw = split, (size_hw[0], size_hw[1])
        self._images = SplitImages(
            split,
            batch=BATCH,
            read=lambda example: (read(example, size_hw=self.size_hw, normalization=normalization),),
            black=lambda number: (np.zeros((*self.size_hw, 1), np.uint8),),
            skip_corrupt=skip_corrupt,
        )
        self._metadata = metadata
        # a network may leave out an input that the data has, such as metadata: it is fed what it names
        self._names = [tensor.name for tensor in model.inputs]
        # the last batch has another size: without reduced retracing it would cost a second graph
        self._call = tf.function(lambda inputs: model(inputs, training=False), autograph=False, reduce_retracing=True)

    @property
    def skipped(self) -> dict[str, str]:
        """Where a record could not be read -> why."""
        return self._images.skipped

    def batches(self) -> Iterator[Seen]:
        """Show the model all records.

        Raises:
          DataError: a record cannot be read.
          TrainingError: an output is not finite.
        """
        for batch in self._images.batches():
            (pixels,) = batch.arrays
            outputs = {name: value.numpy() for name, value in self._call(self._inputs(batch.numbers, pixels)).items()}
            # NaN would pass through every figure below as "undefined", and hide that training diverged
            if not all(np.isfinite(one).all() for one in outputs.values()):
                raise TrainingError(
                    "The network's output is not finite, so that its weights are broken. Train it again with a lower learning rate (--set learning_rate=…)."
                )
            yield Seen(batch.numbers, pixels, outputs, batch.read)

    def milliseconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Return the median time in ms that the model takes for an image, one by one, without reading it."""
        # the same image each time: reading and decoding are no part of the model's time
        (pixels,) = self._images.first()
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


def read(example: Example, *, size_hw: tuple[int, int], normalization: str) -> np.ndarray:
    """Return a record's image at the size that a model takes, not varied: (h, w, 1) uint8.

    Raises:
      DataError: the image is damaged.
    """
    sample = images.read(example, size_hw=size_hw, normalization=normalization)
    return images.resized(sample.pixels, size_hw)[:, :, np.newaxis]


class Validation:
    """What ``training.loop.Run`` evaluates with."""

    def __init__(self, runner: Runner, evaluate: Callable[[Iterator[Seen]], Evaluation]) -> None:
        """Take what runs the model, and what makes figures of all its outputs."""
        self._runner, self._evaluate = runner, evaluate

    @property
    def skipped(self) -> dict[str, str]:
        """Where a record could not be read -> why."""
        return self._runner.skipped

    def run(self) -> Evaluation:
        """Evaluate the model as it is now.

        Raises:
          DataError: a record cannot be read.
        """
        return self._evaluate(self._runner.batches())
