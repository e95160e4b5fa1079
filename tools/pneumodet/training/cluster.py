"""The devices that train together: one, the GPUs of one machine, or many machines by TF_CONFIG.

with joined() as cluster:
    with cluster.strategy.scope(): ...

Worker 0, the chief, decides and writes; the others hear of what it decides by ``of_chief`` and ``any``, at which all must meet.
"""

import atexit
import contextlib
import dataclasses
import functools
import gc
import math
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context

from pneumodet.core.errors import TrainingError, first_line
from pneumodet.training import tf_config

JOIN_SECONDS = 600
"""How long a worker waits for the others: chief and followers are not started at once, and the chief may first download a checkpoint."""

CHECK_SECONDS = 10
"""From one check whether the other workers are there to the next; one that does not answer is given up after three checks."""

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
        # one device a process: its batches need no dealing out
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
        total = self._sum(0.0 if not self.chief else float("nan") if value is None else float(value))
        # each process adds its number once for each of its devices
        return None if math.isnan(total) else total * self.workers / self.replicas

    @functools.cached_property
    def _sum(self) -> Callable[[float], float]:
        @tf.function
        def add(value: tf.Tensor) -> tf.Tensor:
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, args=(value,)), axis=None)

        # float64, so that a figure comes to the others as the chief has it
        return lambda value: float(add(tf.constant(value, tf.float64)))

    def leveler(self, variables: Iterable[tf.Variable]) -> Callable[[], None]:
        """Return what gives all devices the mean of what each gathers of its own images: running means and variances of batch normalizations.

        All processes must call it at the same time, before one of them evaluates or saves. Between two calls, these variables are read as the
        first device has them. TensorFlow by itself gathers the mean from all processes each time such a variable is read, one by one: all of them
        would have to evaluate, and a checkpoint would take seconds.
        """
        own = [one for one in variables if one.synchronization == tf.VariableSynchronization.ON_READ]
        if self.replicas == 1 or not own:
            return lambda: None
        for variable in own:
            variable._aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA

        def each() -> None:
            means = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, [variable.read_value() for variable in own])
            for variable, mean in zip(own, means, strict=True):
                variable.assign(mean)

        return tf.function(lambda: self.strategy.run(each), autograph=False)

    def lost(self, error: tf.errors.OpError) -> str:
        """Return a sentence about the processes that cannot be reached, or that TensorFlow's message names, and about how to resume."""
        named = [int(number) for number in re.findall(r"/task:(\d+)", error.message or "")]
        gone = _absent(self.addresses, self.worker) or [number for number in named if number != self.worker][:1]
        who = _names(self.addresses, gone) or "another worker"
        return f"Lost {who}; its own last lines may say why. Start all workers again with --resume: they continue from the last checkpoint."

    def close(self) -> None:
        """Stop to check whether the others are there."""
        extended = self.strategy.extended
        if getattr(extended, "_check_health_thread", None):
            extended._check_health_thread_should_stop.set()
            extended._check_health_thread = None  # the strategy would wait for its next check


def device() -> str:
    """Return what training runs on, for the user: the GPUs' names, or the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU ({', '.join(names)})" if names else "CPU (TensorFlow sees no GPU)"


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
        raise TrainingError(cluster.lost(error)) from error
    finally:
        cluster.close()


def _join(addresses: tuple[str, ...], worker: int) -> Cluster:
    # TensorFlow has two ways to see that a worker is gone. Its coordination service runs in worker 0, for which the others would wait for ever
    # where its machine is gone; by its older health check all of them watch one another. No public option chooses between them.
    context.context().configure_coordination_service("")
    CollectiveAllReduceExtended._check_health_initial_timeout = JOIN_SECONDS
    CollectiveAllReduceExtended._check_health_interval = CollectiveAllReduceExtended._check_health_timeout = CHECK_SECONDS
    atexit.register(gc.collect)  # a collective that fails leaves a pool of threads, which cannot be thrown away any later
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
