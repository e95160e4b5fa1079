"""Checkpoints of Keras models that the engine has trained."""

import keras
import tensorflow as tf

from pneumodet.core.errors import CheckpointError, first_line


def restore(model: keras.Model, path: str) -> None:
    """Restore every variable of a model from a checkpoint of training.

    Args:
      model: as the one that was trained.
      path: the checkpoint's prefix, up to and with ``ckpt-N``.

    Raises:
      CheckpointError: it cannot be read, a variable is not in it, or is of another shape.
    """
    hint = "Was it written by a run with this config.toml?"
    try:
        # asserted, because TensorFlow otherwise restores what fits and leaves the rest with its initial values, without a word
        # expect_partial: the optimizer and the counters of training are in the file, too, and are not asked for
        tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        raise CheckpointError(f"Checkpoint {path} does not fit the model: {first_line(error)}. {hint}") from error
    except (tf.errors.OpError, OSError) as error:
        raise CheckpointError(f"Checkpoint {path} cannot be read: {first_line(error)}. {hint}") from error
