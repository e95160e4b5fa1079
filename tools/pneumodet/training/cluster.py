"""The devices that train together: one, the GPUs of one machine, or many machines by TF_CONFIG.

cluster = find()
with cluster.strategy.scope(): ...
"""

import dataclasses
import functools
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pneumodet.errors import first_line
from pneumodet.training import tf_config


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Devices that train together, and this process among them.

    Attributes:
      strategy: TensorFlow's.
      addresses: of all processes; empty where this is the only one.
      worker: which of them this one is.
    """

    strategy: tf.distribute.Strategy
    addresses: tuple[str, ...] = ()
    worker: int = 0

    @property
    def workers(self) -> int:
        """Processes."""
        return max(1, len(self.addresses))

    @property
    def replicas(self) -> int:
        """Devices of all processes together."""
        return self.strategy.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.worker == 0

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Return what yields, for each step, one batch of ``batches`` for each device of this process."""
        return self.strategy.distribute_datasets_from_function(lambda _: batches)

    def any(self, flag: bool) -> bool:
        """Return whether any process says so; all of them must ask at the same time."""
        return self._sum(float(flag)) > 0 if self.workers > 1 else flag

    @functools.cached_property
    def _sum(self) -> Callable[[float], float]:
        @tf.function
        def add(value: tf.Tensor) -> tf.Tensor:
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, args=(value,)), axis=None)

        return lambda value: float(add(tf.constant(value)))

    @functools.cached_property
    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="pneumodet-worker-"))

    def writes_to(self, path: Path) -> Path:
        """Return where this process writes what is meant for ``path``.

        All processes must save a checkpoint, since its variables are gathered from all of them; only the chief's counts.
        """
        return path if self.chief else self._scratch / path.name

    def lost(self, error: tf.errors.OpError) -> str:
        """Return a sentence about the process that TensorFlow's message says is gone, and how to go on."""
        found = re.search(r"/task:(\d+)", error.message or "")
        number = int(found[1]) if found else None
        who = "Another process" if number is None else f"Worker {number} ({(*self.addresses, '?')[min(number, len(self.addresses))]})"
        return f"{who} does not answer any more: {first_line(error)}. Start all workers again with --resume; they go on from the last checkpoint."

    def close(self) -> None:
        """Throw away what a process other than the chief wrote."""
        if not self.chief:
            shutil.rmtree(self._scratch, ignore_errors=True)


def find() -> Cluster:
    """Return the devices that there are: those of TF_CONFIG, else all GPUs of this machine, else one.

    Raises:
      ConfigError: TF_CONFIG cannot be read, or has no such task.
    """
    addresses, worker = tf_config.workers()
    if len(addresses) > 1:
        return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), addresses, worker)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Cluster(tf.distribute.MirroredStrategy())
    return Cluster(tf.distribute.get_strategy())
