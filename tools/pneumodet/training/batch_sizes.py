"""How many images at once fit into memory: measured with two small batches, since memory grows linearly with the batch.

size = fitting(config, data, options)           # for --batch-size auto; TensorFlow runs in processes of their own
"""

import multiprocessing
import re
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from pneumodet.core import gpus, processes
from pneumodet.core.errors import TrainingError
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection.odapi import Config
from pneumodet.models.options import Options
from pneumodet.training import tf_config

TRIED = 1, 4
"""Batch sizes that memory is measured with."""

LARGEST = 64
"""No larger batch is chosen: fewer, larger steps over the same number of images learn no better."""

HEADROOM = 0.75
"""Share of free memory that training may take: augmentation, evaluation and other programs need some, too."""

STEPS = 2
"""Steps that are measured: the first one also makes what later ones only use."""


def fitting(config: Config, data: RecordSet, options: Options) -> int:
    """Return the largest power of two for each device that fits into its memory, times the devices; no more than there are records.

    Args:
      config: a resolved TrainEvalPipelineConfig, whose own batch size does not count.
      data: the record set.
      options: how to train.

    Raises:
      TrainingError: not even the smallest batch could be trained.
    """
    # the batch is shared by all devices, which are taken to be alike
    devices = max(1, gpus.count()) * max(1, len(tf_config.workers()[0]))
    largest = min(LARGEST, len(data.train)) // devices
    return devices * choose(lambda size: _in_child(config, data, options, size), available=available(), largest=largest)


def choose(measure: Callable[[int], int], *, available: int, largest: int = LARGEST) -> int:
    """Return the largest power of two up to ``largest`` that fits.

    Args:
      measure: batch size -> most bytes in use while training.
      available: bytes that are free.
      largest: no larger batch is chosen.
    """
    small, large = TRIED
    used = [measure(small), measure(large)]
    # what both have in common is model, optimizer and TensorFlow itself; the rest grows with the images
    each = max(used[1] - used[0], 1) / (large - small)
    size = 1
    while 2 * size <= largest and used[0] + (2 * size - small) * each <= HEADROOM * available:
        size *= 2
    return size


def available() -> int:
    """Return free bytes: of the GPU that has least, or of this machine (of its control group, where that is limited)."""
    if on_gpus := gpus.free_bytes():
        return min(on_gpus)
    match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    free = int(match[1]) << 10 if match else 1 << 32
    group = Path("/sys/fs/cgroup")
    try:
        # memory.max holds the word max where the group has no limit, which is no number: then the machine's own figure counts
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        return free


def _in_child(config: Config, data: RecordSet, options: Options, size: int) -> int:
    # spawn: this process has no TensorFlow yet and shall not get it, and a child's peak memory is its own from the start
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(theirs, config.SerializeToString(), data, options, size), daemon=True)
    with processes.starting():
        child.start()
    theirs.close()  # so that a child that dies is the end of the pipe, not an endless wait
    try:
        return ours.recv()
    except EOFError:
        raise TrainingError(
            f"Training on {size} images at once ended for want of memory, or failed; start with --batch-size 1 to see why. Smaller models and input "
            "sizes: configs/README.md."
        ) from None
    finally:
        child.join()


def _measure(pipe: Connection, config_bytes: bytes, data: RecordSet, options: Options, size: int) -> None:
    """Send the most bytes that were in use."""
    from pneumodet.core import logs

    logs.set_up(verbose=False)
    from pneumodet.models.detection import odapi
    from pneumodet.training import cluster, start

    config = odapi.protos().pipeline.TrainEvalPipelineConfig.FromString(config_bytes)
    config.train_config.batch_size = size
    parts = start.assemble(config, data, options, fresh=False, cluster=cluster.alone())
    for batch in parts.feed.batches(first_step=0, steps=STEPS):
        parts.trainer.step(batch)
    import tensorflow as tf

    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    pipe.send(
        # the allocator's own peak, since TensorFlow takes all of a GPU's memory at its start; ru_maxrss is in KiB on Linux
        tf.config.experimental.get_memory_info("GPU:0")["peak"] if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    )
