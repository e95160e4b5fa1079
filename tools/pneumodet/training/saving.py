"""Checkpoints on disk: which one is the newest, and what becomes of one that cannot be written.

path = save(manager, 500, newest=newest(folder))
"""

import re
import shutil
import time
from pathlib import Path

import tensorflow as tf

from pneumodet.core import runs
from pneumodet.core.errors import DataError, first_line
from pneumodet.models.detection import checkpoint_files, checkpoints


def newest(folder: Path) -> str | None:
    """Return the prefix of a run's newest checkpoint of which the files are there, or None where it has none."""
    train = folder / runs.TRAIN
    return checkpoint_files.find(train) if any(train.glob("ckpt-*.index")) else None


def save(manager: tf.train.CheckpointManager, step: int, *, newest: str | None) -> str:
    """Write a checkpoint whole or not at all, and return its prefix.

    Args:
      manager: knows what is saved, and where.
      step: steps done.
      newest: the last good checkpoint of training, for the message.

    Raises:
      DataError: it cannot be written, most likely for want of space.
    """
    try:
        return manager.save(checkpoint_number=step)
    except (tf.errors.OpError, OSError) as error:
        # TensorFlow writes into such a folder first, and leaves it where the disk was full
        for torn in Path(manager.directory).glob("ckpt-*_temp"):
            shutil.rmtree(torn, ignore_errors=True)
        reason = re.sub(r"{{[^}]*}}\s*|\s*\[Op:\w+\]", "", first_line(error))  # without where in TensorFlow it happened
        good = f"step {checkpoints.step_of(newest)}" if newest else "none"
        raise DataError(
            f"Cannot write a checkpoint in {manager.directory}: {reason}. The last good one is {good}. Free some disk space and continue with --resume."
        ) from error


def keep_only(manager: tf.train.CheckpointManager, kept: list[str]) -> None:
    """Let the checkpoints that a new manager reads be these, of which the last is the newest."""
    now = time.time()
    tf.compat.v1.train.update_checkpoint_state(
        manager.directory,
        kept[-1],
        all_model_checkpoint_paths=kept,
        all_model_checkpoint_timestamps=[now] * len(kept),
        last_preserved_timestamp=now - 1,  # a manager takes older ones for those that shall stay for ever, and forgets them
    )
