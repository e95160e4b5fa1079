"""Averages of the weights over the steps of training, kept beside the weights and put in their place where a model is evaluated.

    averages = Averages(optimizer, model, trained, strategy=strategy, limit=0.999)
    averages.update(step)                    # in the graph of a step, after the weights have changed
    with averages.in_model():
        evaluate(model)

The averages are the slots ``average`` of the API's own wrapper (``official.modeling.optimization.ExponentialMovingAverage``), so that its tools
find them in a checkpoint. What it does with them is done here instead: it starts them at zero, leaves running means and variances of batch
normalizations as they are, takes three operations where one does, refuses gradients that several devices have summed, and swaps by sums and
differences, after which the weights are no longer the same bit for bit.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from pneumodet.models.detection.checkpoints import AVERAGE


def decay_at(step: tf.Tensor, limit: float) -> tf.Tensor:
    """Return the share that an average keeps at a step, () float32.

    It rises as (1 + n) / (10 + n) and ends at the limit, as in ``tf.train.ExponentialMovingAverage``, so that a short run forgets how it began: after n
    steps the average is, in the main, of the last n / 9.

    Args:
      step: n, the step at hand, the first one is 1.
      limit: ``moving_average_decay``.
    """
    done = tf.cast(step, tf.float32)
    return tf.minimum(limit, (1.0 + done) / (10.0 + done))


class Averages:
    """Exponential moving averages of what training changes: the trained variables, and running means and variances."""

    def __init__(
        self, optimizer: Any, model: Any, trained: Iterable[tf.Variable], *, strategy: tf.distribute.Strategy, limit: float
    ) -> None:
        """Make the averages, which begin as the weights are.

        Args:
          optimizer: the API's wrapper, whose slots they become.
          model: the DetectionModel with all its variables.
          trained: its variables that are trained.
          strategy: that trains; this is called in its scope.
          limit: see ``decay_at``.
        """
        self._strategy, self._limit = strategy, limit
        # each device has its own statistics, so that they alone are put together when they are read
        statistics = [one for one in model.variables if one.synchronization == tf.VariableSynchronization.ON_READ]
        self._weights = [*trained, *statistics]
        self._averages = [optimizer.add_slot(one, AVERAGE, initializer="zeros") for one in self._weights]
        self.start()

    def start(self) -> None:
        """Let the averages be as the weights are."""
        _copy(self._weights, self._averages)

    def update(self, step: tf.Tensor) -> None:
        """Take the weights of a step into the averages; in the graph, and not within a replica.

        Args:
          step: () integer, see ``decay_at``.
        """
        share = 1.0 - decay_at(step, self._limit)
        with self._strategy.scope():
            for average, weight in zip(self._averages, self._weights, strict=True):
                self._strategy.extended.update(average, _approach, args=(weight, share), group=False)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Let the model have the averages for its weights; afterwards it has its own again, bit for bit."""
        own = [tf.identity(weight) for weight in self._weights]
        _copy(self._averages, self._weights)
        try:
            yield
        finally:
            _copy(own, self._weights)


def _approach(average: tf.Variable, weight: tf.Variable, share: tf.Tensor) -> tf.Operation:
    # average -= share * (average - weight), the product and the difference in one pass over the memory
    return tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=share, delta=average - weight)


def _copy(values: Iterable[tf.Tensor | tf.Variable], into: Iterable[tf.Variable]) -> None:
    for value, variable in zip(values, into, strict=True):
        variable.assign(tf.convert_to_tensor(value))
