"""Train a model of the API: one process, checkpoints, TensorBoard, resume, and a stop at the first loss that is not finite.

outcome = train(config, folder, seed=0, on_progress=print)
"""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet import run_folder
from pneumodet.data import boxes
from pneumodet.detection import checkpoints, models, odapi
from pneumodet.errors import CheckpointError, DataError, TrainingError, first_line
from pneumodet.pictures import draw_boxes

CHECKPOINTS_KEPT = 3
"""How many of the newest checkpoints stay."""

PICTURES = 4
"""How many training images, as the model sees them, go to TensorBoard at the start."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
      step: steps done, of ``total``.
      loss: total loss, mean over the steps since the last report.
      images_per_second: since the last report.
      seconds_per_step: since the last report.
    """

    step: int
    total: int
    loss: float
    images_per_second: float
    seconds_per_step: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What training did.

    Attributes:
      step: steps done in all.
      completed: False when it was stopped by a signal.
      restored: variables restored from the fine-tune checkpoint, 0 without one.
      checkpoint: the newest checkpoint's prefix.
      seconds_to_first_step: wall time from the call to the end of the first step.
      images_per_second: over all steps but the first of this call; None where there was no second.
    """

    step: int
    completed: bool
    restored: int
    checkpoint: str
    seconds_to_first_step: float | None
    images_per_second: float | None


def device() -> str:
    """Return what training runs on, for the user: the GPUs' names, or the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU ({', '.join(names)})" if names else "CPU (TensorFlow sees no GPU)"


def train(
    config: Any,
    folder: Path,
    *,
    seed: int = 0,
    checkpoint_every: int = 500,
    report_every: int = 20,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Train from the newest checkpoint in ``folder``/train, or from the start where there is none, to ``num_steps``.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint.

    Args:
      config: a resolved and checked TrainEvalPipelineConfig.
      folder: the run's folder.
      seed: of the initial weights, the shuffling and the augmentation.
      checkpoint_every: steps from one checkpoint to the next.
      report_every: steps from one report (``on_progress``, TensorBoard) to the next.
      on_progress: is told where training stands.

    Returns:
      The outcome.

    Raises:
      TrainingError: the loss or a gradient is not finite; no weight has been changed by that step.
      CheckpointError: a checkpoint does not fit.
      DataError: the records cannot be read, or the disk is full.
    """
    started = time.perf_counter()
    api = odapi.load()
    tf.keras.utils.set_random_seed(seed)
    train_dir = folder / run_folder.TRAIN
    total = config.train_config.num_steps
    batch_size = config.train_config.batch_size

    model = models.build(config, is_training=True)
    global_step = tf.Variable(0, trainable=False, dtype=tf.int64, name="global_step")
    optimizer, (learning_rate,) = api.optimizer_builder.build(config.train_config.optimizer, global_step=global_step)
    if config.train_config.optimizer.use_moving_average:
        optimizer.shadow_copy(model)
    current_rate = learning_rate if callable(learning_rate) else lambda: learning_rate
    checkpoint = tf.train.Checkpoint(step=global_step, model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(train_dir), max_to_keep=CHECKPOINTS_KEPT)
    restored = _restore(checkpoint, manager, model, config)

    step = first = int(global_step.numpy())
    tf.random.set_seed(seed + first)  # a resumed run shall not see the first part of its data order again
    dataset = api.inputs.train_input(config.train_config, config.train_input_reader, config.model, model=model).repeat()
    step_fn = _make_step(api, model, optimizer, global_step, config.train_config)
    writer = tf.summary.create_file_writer(str(train_dir))

    first_step_seconds = None
    first_end = None
    losses: list[dict[str, tf.Tensor]] = []
    last_report = time.perf_counter()

    def save() -> None:
        try:
            manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            good = f"step {checkpoints.step_of(manager.latest_checkpoint)}" if manager.latest_checkpoint else "none"
            raise DataError(
                f"Cannot write a checkpoint in {train_dir}: {first_line(error)}. The last good one is {good}. Free some disk space and go on with --resume."
            ) from error

    def report() -> None:
        nonlocal last_report, losses
        now = time.perf_counter()
        means = {key: float(np.mean([loss[key].numpy() for loss in losses])) for key in losses[0]}
        seconds_per_step = (now - last_report) / len(losses)
        speed = batch_size / seconds_per_step
        _check_finite(means, losses, step, float(current_rate()))
        with writer.as_default(step=step):
            for key, value in means.items():
                tf.summary.scalar(key, value)
            tf.summary.scalar("learning_rate", current_rate())
            tf.summary.scalar("images_per_second", speed)
        last_report, losses = now, []
        on_progress(Progress(step, total, means["Loss/total_loss"], speed, seconds_per_step))

    with _stop_signals() as stop, _record_errors(config):
        batches = iter(dataset)
        while step < total and not stop.is_set():
            features, labels = next(batches)
            if step == first:
                _write_pictures(writer, api.fields.InputDataFields, features, labels, step=step)
            losses.append(step_fn(features, labels))
            step += 1
            if first_end is None:
                losses[0]["Loss/total_loss"].numpy()  # wait for the device
                first_end = last_report = time.perf_counter()
                first_step_seconds = first_end - started
            due = step % checkpoint_every == 0
            if due or step % report_every == 0:
                report()
            if due:
                save()
        if losses:
            report()
        speed = (step - first - 1) * batch_size / (time.perf_counter() - first_end) if first_end and step > first + 1 else None
        if manager.latest_checkpoint is None or checkpoints.step_of(manager.latest_checkpoint) != step:
            save()
    writer.close()
    return Outcome(step, step >= total, restored, manager.latest_checkpoint, first_step_seconds, speed)


def _restore(checkpoint: tf.train.Checkpoint, manager: tf.train.CheckpointManager, model: Any, config: Any) -> int:
    if manager.latest_checkpoint is None:
        return checkpoints.restore_fine_tune(model, config.train_config) if config.train_config.fine_tune_checkpoint else 0
    checkpoints.restore({"model": model}, manager.latest_checkpoint, hint="Was it written by this run's pipeline.config?")
    try:
        checkpoint.restore(manager.latest_checkpoint)  # optimizer slots follow when the optimizer makes them
    except ValueError as error:
        raise CheckpointError(f"Checkpoint {manager.latest_checkpoint} does not fit this run's optimizer: {error}") from error
    return 0


def _make_step(api: Any, model: Any, optimizer: Any, global_step: tf.Variable, train_config: Any) -> Callable[..., dict[str, tf.Tensor]]:
    """Return one training step as a graph: features, labels -> losses; it changes nothing unless all of it is finite."""
    clip = train_config.gradient_clipping_by_norm

    @tf.function
    def step(features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        models.set_training(model, True)
        labels = api.model_lib.unstack_batch(labels, unpad_groundtruth_tensors=train_config.unpad_groundtruth_tensors)
        with tf.GradientTape() as tape:
            losses, _ = api.model_lib_v2._compute_losses_and_predictions_dicts(
                model, features, labels, training_step=global_step, add_regularization_loss=train_config.add_regularization_loss
            )
        variables = model.trainable_variables
        gradients = tape.gradient(losses["Loss/total_loss"], variables)
        norm = tf.linalg.global_norm(gradients)
        if clip > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip, use_norm=norm)
        finite = tf.math.is_finite(losses["Loss/total_loss"]) & tf.math.is_finite(norm)

        def update() -> tf.Tensor:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return global_step.assign_add(1)

        tf.cond(finite, update, lambda: tf.identity(global_step))
        return {**losses, "gradient_norm": norm}

    return step


def _check_finite(means: dict[str, float], losses: list[dict[str, tf.Tensor]], step: int, rate: float) -> None:
    if all(np.isfinite(value) for value in means.values()):
        return
    first = next(index for index, loss in enumerate(losses) if not all(np.isfinite(value.numpy()) for value in loss.values()))
    names = ", ".join(f"{key} {value.numpy():g}" for key, value in losses[first].items())
    raise TrainingError(
        f"Training diverged at step {step - len(losses) + first + 1}, learning rate {rate:g}: {names}. The weights were not changed by that step "
        "and the last checkpoint is good. Start again with a lower learning rate (--learning-rate) or stronger clipping "
        "(--set train_config.gradient_clipping_by_norm=1)."
    )


def _write_pictures(writer: Any, fields: Any, features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor], *, step: int) -> None:
    """Write the first images of a batch as the model sees them (resized, augmented, rescaled), with their ground truth."""
    pictures = []
    for index in range(min(PICTURES, int(features[fields.image].shape[0]))):
        image = features[fields.image][index].numpy()
        low, high = float(image.min()), float(image.max())
        pixels = np.uint8(255 * (image - low) / max(high - low, 1e-6))
        count = int(labels[fields.num_groundtruth_boxes][index])
        truth = boxes.yxyx_norm_to_xyxy_px(
            labels[fields.groundtruth_boxes][index, :count].numpy(), height=pixels.shape[0], width=pixels.shape[1]
        )
        pictures.append(np.asarray(draw_boxes(pixels, truth_xyxy_px=truth).convert("RGB")))
    with writer.as_default(step=step):
        for index, picture in enumerate(pictures):
            tf.summary.image(f"training/{index}", picture[np.newaxis])


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second SIGINT interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {}

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _record_errors(config: Any) -> Iterator[None]:
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        if "Node:" in str(error) and "IteratorGetNext" not in str(error):
            raise  # in the model, not in the records: a bug, and its traceback is wanted
        where = ", ".join(sorted({str(Path(path).parent) for path in config.train_input_reader.tf_record_input_reader.input_path}))
        raise DataError(
            f"The training records in {where} cannot be read: {first_line(error)}. Make them again with tools/make_tfrecords.py."
        ) from error
