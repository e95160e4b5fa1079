"""From a resolved config to a finished run: everything that needs TensorFlow, in the order in which it must happen.

made = assemble(config, data, Options(plan=Plan(evaluate_every=200)), fresh=True)
made.trainer.step(batch)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection import anchors, checkpoints, models, pipeline_config, resizing
from pneumodet.models.detection.odapi import Config
from pneumodet.models.inputs import augmentation_sheet
from pneumodet.models.inputs.feeding import Feed
from pneumodet.models.options import Options
from pneumodet.training import cluster as clusters
from pneumodet.training import freezing, learning_rate_finder, normalizing, reproducible
from pneumodet.training.engine import Parts, Prepared
from pneumodet.training.step import TOTAL_LOSS, Trainer, new_memory
from pneumodet.training.validation import Validation
from pneumodet.training.watching import boxes_drawn
from pneumodet.viz import pictures

RATES_CSV, RATES_PICTURE = "learning_rate.csv", "learning_rate.png"
"""What the learning-rate finder writes."""

PREVIEW = "augmentation.png"
"""What augmentation does, as a picture."""

PREVIEWED = 5
"""Radiographs on it."""


@dataclasses.dataclass
class Assembled:
    """All that a run consists of."""

    trainer: Trainer
    feed: Feed
    cluster: clusters.Cluster
    notes: list[str]


def assemble(
    config: Config,
    data: RecordSet,
    options: Options,
    *,
    fresh: bool,
    rate: tf.Variable | None = None,
    cluster: clusters.Cluster | None = None,
) -> Assembled:
    """Build the model, restore what it starts from, freeze, and find the records.

    Args:
      config: a resolved and checked TrainEvalPipelineConfig.
      data: the records.
      options: how to train.
      fresh: restore ``fine_tune_checkpoint``; False where a checkpoint of the run itself will follow.
      rate: in place of the config's schedule.
      cluster: the devices; None for those of this machine.

    Raises:
      ConfigError: config, options and devices do not go together.
      CheckpointError: the fine-tune checkpoint does not fit.
      DataError: the records cannot be read.
    """
    cluster = cluster or clusters.local()
    batch_size, size, notes = config.train_config.batch_size, resizing.of_config(config), []
    if batch_size % cluster.replicas:
        raise ConfigError(
            f"train_config.batch_size is {batch_size}, which {cluster.replicas} devices cannot share evenly. Choose a multiple."
        )
    # checked from the ground truth, in a moment; TensorFlow would fail at the first mixed batch, perhaps hours later
    if batch_size > cluster.replicas and not size.canvas_hw:
        shapes = {size.of((int(image["height"]), int(image["width"]))) for image in data.train.instances["images"]}
        if len(shapes) > 1:
            raise ConfigError(
                f"The config keeps the aspect ratio, so that images have {len(shapes)} sizes, which do not go into one batch. Set --batch-size 1, "
                "fixed_shape_resizer, or pad_to_max_dimension of keep_aspect_ratio_resizer."
            )
    if options.precision != Options.precision and not tf.config.list_physical_devices("GPU"):
        notes.append(f"warning: --precision {options.precision} is meant for GPUs; processors compute faster in float32")
    # before any variable is made: initial weights come from these generators
    tf.keras.utils.set_random_seed(options.seed)
    reproducible.sum_in_order()
    memory = new_memory()  # outside the scope, which would make a string variable on each device
    with cluster.strategy.scope():
        model = models.build(config, is_training=True, precision=options.precision)
        normalizing.together(model, cluster.strategy)
        if fresh and config.train_config.fine_tune_checkpoint:
            notes.append(checkpoints.restore_fine_tune(model, config.train_config).sentence())
        # after the weights are there, and before a step is traced: the trace holds which variables are trained
        frozen = freezing.freeze(model, options.freeze, train_config=config.train_config)
        if frozen.count:
            notes.append(frozen.sentence())
        notes += _of_averages(config)
        trainer = Trainer(
            model, config, cluster.strategy, trained=frozen.trained, rate=rate, scaled=options.precision == "float16", memory=memory
        )
    feed = Feed(
        data.train.shards,
        size=size,
        classes=len(data.label_map),
        batch_size=batch_size,
        max_boxes=min(data.train.most_boxes, config.train_config.max_number_of_boxes),
        augmentation=options.augmentation,
        seed=options.seed,
        masks=config.train_input_reader.load_instance_masks,
        positive=data.train.positive,
        positive_share=options.positive_share,
        skip_corrupt=options.skip_corrupt,
        workers=cluster.workers,
        worker=cluster.worker,
        replicas=cluster.replicas,
    )
    return Assembled(trainer, feed, cluster, notes)


def parts(prepared: Prepared, *, fresh: bool, cluster: clusters.Cluster) -> Parts:
    """Return what a detector's run consists of.

    Args:
      prepared: by ``families.detection_request``.
      fresh: restore ``fine_tune_checkpoint``; False where a checkpoint of the run itself will follow.
      cluster: the devices.

    Raises:
      PneumodetError: as ``assemble``.
    """
    config, record = prepared.config, prepared.record
    options, data = Options.of(record.training or {}), prepared.data
    made = assemble(config, data, options, fresh=fresh, cluster=cluster)
    model, validation = made.trainer.model, None
    if options.plan.evaluate_every and len(data.val):
        validation = Validation(model, config, data.val, skip_corrupt=options.skip_corrupt)
    return Parts(
        trainer=made.trainer,
        feed=made.feed,
        validation=validation,
        plan=options.plan,
        parameters=sum(int(np.prod(variable.shape)) for variable in model.variables),
        about=_settings(prepared, options),
        drawn=boxes_drawn,
        notes=made.notes,
        anchors=_anchor_matches(config, data.train.instances) if fresh else {},
    )


def _of_averages(config: Config) -> list[str]:
    optimizer = config.train_config.optimizer
    if not optimizer.use_moving_average:
        return []
    kept = f"averages of the weights are kept (decay up to {optimizer.moving_average_decay:.6g})"
    if pipeline_config.averaged(config):
        return [f"{kept}, and evaluated, saved as the best and exported in their place"]
    return [
        f"warning: {kept}, and not used; eval_config.use_moving_averages=true uses them, optimizer.use_moving_average=false saves their time"
    ]


def _settings(prepared: Prepared, options: Options) -> dict[str, Any]:
    """Return what TensorBoard's table of runs has of one: by what runs are compared, numbers as numbers, and ``--set`` by its keys."""
    plain = {key: value for key, value in options.to_json().items() if not isinstance(value, dict | list)}
    by_key = dict(setting.split("=", 1) for setting in prepared.record.settings)
    return {
        **plain,
        "freeze": ", ".join(options.freeze),
        "batch_size": prepared.batch_size,
        "steps": prepared.steps,
        "learning_rate": pipeline_config.peak_rate(prepared.config),
        "config": prepared.record.config,
        **{key.strip(): _value(text.strip()) for key, text in by_key.items()},
    }


def _value(text: str) -> bool | float | str:
    """Return what a setting's text is: true or false, a number, or a text."""
    try:
        return text == "true" if text in ("true", "false") else float(text)
    except ValueError:
        return text


def _anchor_matches(config: Config, instances: dict[str, Any]) -> dict[str, float]:
    """Return how well the best anchor fits each training box: a box that none reaches is learned from one forced match at best."""
    if config.model.WhichOneof("model") not in anchors.WITH_ANCHORS:
        return {}
    best = anchors.best_iou(config, instances)
    if not len(best):
        return {}
    without = (best < anchors.matched_threshold(config)).mean()
    return {"anchors/boxes_without_match_share": float(without), "anchors/best_iou_mean": float(best.mean())}


def find_rate(
    config: Config,
    folder: Path,
    data: RecordSet,
    options: Options,
    *,
    steps: int,
    on_note: Callable[[str], None],
    on_progress: Callable[[int], None],
) -> learning_rate_finder.Suggestion:
    """Train for ``steps`` at a rising learning rate; see ``learning_rate_finder.find``. Writes its curve into ``folder``.

    Raises:
      PneumodetError: as ``assemble``.
    """
    rate = tf.Variable(0.0, trainable=False, name="rate")
    parts = assemble(config, data, options, fresh=True, rate=rate)
    for note in parts.notes:
        on_note(note)
    batches = iter(parts.cluster.distribute(parts.feed.batches(first_step=0, steps=steps)))

    def step(now: float) -> float:
        rate.assign(now)
        loss = float(parts.trainer.step(next(batches))[TOTAL_LOSS])
        on_progress(1)
        return loss

    try:
        suggestion = learning_rate_finder.find(step, steps=steps)
    finally:
        parts.feed.close()
    learning_rate_finder.to_csv(folder / RATES_CSV, suggestion)
    learning_rate_finder.draw(folder / RATES_PICTURE, suggestion)
    return suggestion


def preview(config: Config, folder: Path, data: RecordSet, options: Options) -> Path:
    """Draw what augmentation makes of the first training images, those with pneumonia before others, at the model's scale.

    Raises:
      DataError: the records cannot be read.
    """
    size = resizing.of_config(config)
    images, norms = [], []
    output_hw: tuple[int, int] | None = None
    for number in np.argsort(~data.train.positive, kind="stable")[:PREVIEWED].tolist():
        example = data.train.read(number)
        output_hw = output_hw or size.of(example.image_hw)
        images.append(example.pixels(None if options.augmentation.crop else output_hw))
        norms.append(example.boxes_yxyx_norm.astype(np.float32))
    if output_hw is None:
        raise DataError("The record set has no training exams, of which augmentation could be shown.")
    picture = augmentation_sheet.preview(images, norms, options.augmentation, seed=options.seed, output_hw=output_hw)
    pictures.save(folder / PREVIEW, picture)
    return folder / PREVIEW
