"""Names of the structures that networks, losses and trainers pass to one another."""

from collections.abc import Callable

import tensorflow as tf

Batch = dict[str, tf.Tensor]
"""Name -> what a model or a loss takes of it, with a first axis of the images."""

Loss = Callable[[Batch, dict[str, tf.Tensor]], dict[str, tf.Tensor]]
"""(batch, outputs) -> name -> () float32 mean over the batch."""
