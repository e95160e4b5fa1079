"""The devices that train together: one, the GPUs of one machine, or many machines by TF_CONFIG.

with joined() as cluster:
    with cluster.strategy.scope(): ...

Worker 0, the chief, decides and writes; the others hear of what it decides by ``of_chief`` and ``any``, at which all must meet.
"""

import contextlib
import dataclasses
import functools
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context

from pneumodet.errors import TrainingError, first_line
from pneumodet.training import tf_config

JOIN_SECONDS = 600
"""How long a worker waits for the others: chief and followers are not started at once, and the chief may first download a checkpoint."""

CHECK_SECONDS = 10
"""From one look whether the other workers are there to the next; one that does not answer is given up after three looks."""

LOST = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError
"""What TensorFlow raises where another worker is gone, does not answer, or is another process than it was."""


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
        if self.replicas == self.workers:
            return batches
        return self.strategy.distribute_datasets_from_function(lambda _: batches)

    def any(self, flag: bool) -> bool:
        """Return whether any process says so; all of them must ask at the same time."""
        return self._sum(float(flag)) > 0 if self.workers > 1 else flag

    def of_chief(self, value: float | None) -> float | None:
        """Return the chief's value on all processes, all of which must ask at the same time; a value that is not a number is None."""
        if self.workers == 1:
            return value
        found = self._sum(0.0 if not self.chief else float("nan") if value is None else float(value))
        return None if found != found else found * self.workers / self.replicas

    @functools.cached_property
    def _sum(self) -> Callable[[float], float]:
        @tf.function
        def add(value: tf.Tensor) -> tf.Tensor:
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, args=(value,)), axis=None)

        return lambda value: float(add(tf.constant(value, tf.float64)))

    def spread(self, variables: Iterable[tf.Variable]) -> None:
        """Give all processes the chief's values, so that it alone needs the file that they are from."""
        if self.workers > 1:
            self._assign(tf.distribute.ReduceOp.SUM, list(variables), share=lambda number, value: tf.where(number == 0, value, 0))

    def level(self, variables: Iterable[tf.Variable]) -> None:
        """Give all devices the mean of what each gathers of its own images: running means and variances of batch normalizations.

        TensorFlow stores this mean in checkpoints. A model that is evaluated must have it, too.
        """
        own = [one for one in variables if one.synchronization == tf.VariableSynchronization.ON_READ]
        if self.replicas > 1 and own:
            self._assign(tf.distribute.ReduceOp.MEAN, own, share=lambda number, value: value)

    def single(self) -> contextlib.AbstractContextManager:
        """Return a context in which the chief computes by itself: variables are those of its first device, and not gathered from all of them."""
        return tf.distribute.ReplicaContext(self.strategy, 0) if self.replicas > 1 else contextlib.nullcontext()

    def _assign(self, operation: Any, variables: list[tf.Variable], *, share: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        def each() -> None:
            replica = tf.distribute.get_replica_context()
            values = [share(replica.replica_id_in_sync_group, variable.read_value()) for variable in variables]
            for variable, value in zip(variables, replica.all_reduce(operation, values), strict=True):
                variable.assign(value)

        tf.function(lambda: self.strategy.run(each), autograph=False)()

    @functools.cached_property
    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="pneumodet-worker-"))

    def writes_to(self, path: Path) -> Path:
        """Return where this process writes what is meant for ``path``.

        All processes must save a checkpoint, since its variables are gathered from all of them; only the chief's counts.
        """
        return path if self.chief else self._scratch / path.name

    def lost(self, error: tf.errors.OpError) -> str:
        """Return a sentence about the processes that cannot be reached, or that TensorFlow's message names, and about how to go on."""
        named = [int(number) for number in re.findall(r"/task:(\d+)", error.message or "")]
        gone = _absent(self.addresses, self.worker) or [number for number in named if number != self.worker][:1]
        who = _names(self.addresses, gone) or "another worker"
        return f"Lost {who}; its own last lines may say why. Start all workers again with --resume: they go on from the last checkpoint."

    def close(self) -> None:
        """Look no more whether the others are there, and throw away what a process other than the chief wrote."""
        extended = self.strategy.extended
        if getattr(extended, "_check_health_thread", None):
            extended._check_health_thread_should_stop.set()
            extended._check_health_thread = None  # the strategy would wait for its next look
        if not self.chief:
            shutil.rmtree(self._scratch, ignore_errors=True)


def alone() -> Cluster:
    """Return one device of this process, whatever there is."""
    return Cluster(tf.distribute.get_strategy())


def local() -> Cluster:
    """Return the devices of this machine: all of its GPUs, or one device."""
    return Cluster(tf.distribute.MirroredStrategy()) if len(tf.config.list_physical_devices("GPU")) > 1 else alone()


@contextlib.contextmanager
def joined() -> Iterator[Cluster]:
    """Yield the devices that there are: those of TF_CONFIG, for whose other processes it waits, else those of this machine.

    Raises:
      ConfigError: TF_CONFIG cannot be read, or has no such task.
      TrainingError: the others did not come, or one of them is lost within the context.
    """
    addresses, worker = tf_config.workers()
    cluster = _join(addresses, worker) if len(addresses) > 1 else local()
    try:
        yield cluster
        cluster.any(False)  # nobody leaves while others may still need it
    except LOST as error:
        if cluster.workers == 1:
            raise
        error.__traceback__ = None
        import gc; gc.collect()
        raise TrainingError(cluster.lost(error)) from error
    finally:
        cluster.close()


def _join(addresses: tuple[str, ...], worker: int) -> Cluster:
    # TensorFlow has two ways to see that a worker is gone. Its coordination service runs in worker 0, for which the others would wait for ever
    # where its machine is gone; by its older health check all of them look after each other. No public option chooses between them.
    context.context().configure_coordination_service("")
    CollectiveAllReduceExtended._check_health_initial_timeout = JOIN_SECONDS
    CollectiveAllReduceExtended._check_health_interval = CollectiveAllReduceExtended._check_health_timeout = CHECK_SECONDS
    try:
        return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), addresses, worker)
    except (tf.errors.OpError, RuntimeError) as error:
        absent = _names(addresses, _absent(addresses, worker))
        raise TrainingError(
            f"The {len(addresses)} workers of TF_CONFIG did not come together within {JOIN_SECONDS} s: "
            f"{f'{absent} cannot be reached' if absent else first_line(error)}. Start all of them; the last lines of each may say what is wrong."
        ) from error


def _names(addresses: tuple[str, ...], workers: Iterable[int]) -> str:
    return ", ".join(f"worker {number} ({addresses[number]})" for number in workers)


def _absent(addresses: tuple[str, ...], worker: int) -> list[int]:
    """Return the processes other than this one that do not listen at their address."""
    absent = []
    for number, address in enumerate(addresses):
        host, _, port = address.rpartition(":")
        try:
            if number != worker:
                socket.create_connection((host, int(port)), timeout=CHECK_SECONDS).close()
        except (OSError, ValueError):
            absent.append(number)
    return absent
