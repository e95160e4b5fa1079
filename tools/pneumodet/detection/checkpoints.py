"""Checkpoints: find them, and restore them with a count of what was restored.

restored = restore_fine_tune(model, config.train_config)     # 260
"""

from pathlib import Path
from typing import Any

import tensorflow as tf

from pneumodet.errors import CheckpointError, first_line

_LISTED = 5
"""How many variables a message names before it says how many more there are."""


def latest(folder: Path) -> str:
    """Return the path prefix of the newest checkpoint in ``folder``.

    Raises:
      CheckpointError: there is none.
    """
    state = tf.train.get_checkpoint_state(str(folder))
    if state is None:
        raise CheckpointError(f"There is no checkpoint in {folder}. Train the run first, or let it run until its first checkpoint.")
    path = state.model_checkpoint_path
    if not Path(f"{path}.index").is_file():
        raise CheckpointError(f"The newest checkpoint of {folder} is {Path(path).name}, but its files are gone. Train the run again.")
    return path


def step_of(path: str) -> int:
    """Return the step that a checkpoint's prefix, ``…/ckpt-N``, names."""
    return int(path.rpartition("-")[2])


def restore_fine_tune(model: Any, train_config: Any) -> int:
    """Restore ``fine_tune_checkpoint`` into a model that has been built.

    Args:
      model: a DetectionModel of the API with all its variables.
      train_config: has fine_tune_checkpoint and fine_tune_checkpoint_type, checked by ``pipeline_config.check``.

    Returns:
      The number of variables that were restored.

    Raises:
      CheckpointError: the checkpoint does not fit; the message names the variables.
    """
    kind = train_config.fine_tune_checkpoint_type
    try:
        parts = model.restore_from_objects(fine_tune_checkpoint_type=kind)
    except ValueError as error:
        raise CheckpointError(f"This model cannot start from a checkpoint of type {kind!r}: {error}") from error
    return restore(parts, train_config.fine_tune_checkpoint, hint=f"Is fine_tune_checkpoint_type {kind!r} right for it?")


def restore(parts: dict[str, Any], path: str, *, hint: str) -> int:
    """Restore every variable of ``parts`` from a checkpoint.

    Args:
      parts: name in the checkpoint -> trackable object whose variables exist.
      path: the checkpoint's prefix, up to and with ``ckpt-N``.
      hint: the next step, for the message.

    Returns:
      The number of variables that were restored, at least 1.

    Raises:
      CheckpointError: the file cannot be read, a shape differs, or a variable of ``parts`` is not in it.
    """
    try:
        # read, not restore: restore also demands a save_counter, which Checkpoint.write does not store
        status = tf.train.Checkpoint(**parts).read(path)
        status.expect_partial()
    except ValueError as error:  # TensorFlow's message has the variable's name and both shapes
        raise CheckpointError(f"Checkpoint {path} does not fit this model: {error} {hint}") from error
    except (tf.errors.OpError, OSError, IndexError) as error:  # IndexError: the file is cut off
        raise CheckpointError(f"Checkpoint {path} cannot be read: {first_line(error)}. Is the file whole?") from error
    wanted = [variable for part in parts.values() for variable in _variables(part)]
    matched = {id(found) for found in status._checkpoint.object_by_proto_id.values()}  # no public accessor
    missing = [variable.name for variable in wanted if id(variable) not in matched]
    if missing or not wanted:
        rest = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise CheckpointError(
            f"Checkpoint {path} does not fit this model: {len(missing)} of {len(wanted)} variables are not in it "
            f"({', '.join(missing[:_LISTED])}{rest}). {hint}"
        )
    return len(wanted)


def _variables(part: Any) -> list[tf.Variable]:
    found = {}
    for thing in tf.train.TrackableView(part).descendants():
        if isinstance(thing, tf.Variable):
            found[id(thing)] = thing
    return list(found.values())
