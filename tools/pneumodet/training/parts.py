"""What ``loop.Run`` needs of a trainer, a feed and a validation: those of detection (step, feeding, validation) and of Keras 3 models (keras)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases


class Trainer(Protocol):
    """A model, its optimizer and its counters.

    Attributes:
      model: has ``variables``.
      global_step: () int64 variable, steps done.
      rate_factor: () float32 variable that the schedule's learning rate is multiplied by.
      memory: () string variable for what else training remembers, as JSON.
      advice: a sentence for the user, what helps where training diverges.
      memory_advice: likewise, where the device has too little memory.
    """

    model: Any
    global_step: tf.Variable
    rate_factor: tf.Variable
    memory: tf.Variable
    advice: str
    memory_advice: str

    def step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Train on a batch, and return name of a loss -> its value; ``step.TOTAL_LOSS`` is among them. Where one is not finite, weights stay."""

    def learning_rate(self) -> Any:
        """Return the rate of the step at hand, a number or () tensor."""

    def checkpoint(self) -> tf.train.Checkpoint:
        """Return all that a resumed run needs."""

    def restore_model(self, path: str) -> None:
        """Restore the model's variables; a CheckpointError where the checkpoint does not fit."""

    def evaluated(self) -> AbstractContextManager[None]:
        """Let the model have the weights that are evaluated and kept as the best; afterwards it has those that are trained again."""


class Feed(Protocol):
    """Training samples in an order that is a function of the step.

    Attributes:
      skipped: has ``reasons``: where a record is corrupt -> why.
      failure: why reading ended, where it did.
    """

    skipped: Any
    failure: DataError | None

    def batches(self, *, first_step: int, steps: int) -> tf.data.Dataset:
        """Return the batches of these steps."""

    def close(self) -> None:
        """End reading ahead."""


class Evaluation(Protocol):
    """An evaluation of the model at hand.

    Attributes:
      figures: name -> value, None where it is undefined.
      pictures: for TensorBoard.
      cases: ground truth and boxes, for a curve of precision over recall; None where there are no boxes.
    """

    @property
    def figures(self) -> Mapping[str, float | None]:
        """See above."""

    @property
    def pictures(self) -> Sequence[Image.Image]:
        """See above."""

    @property
    def cases(self) -> Cases | None:
        """See above."""

    @property
    def moves(self) -> Callable[[str], np.ndarray | None]:
        """Gives by how much each group of patients moves a figure, (G,) float64, as ``core.selection`` takes it; None where that is not known."""


class Validation(Protocol):
    """Evaluates the model at hand.

    Attributes:
      skipped: where a record is corrupt -> why.
    """

    skipped: Mapping[str, str]

    def run(self) -> Evaluation:
        """Evaluate."""
