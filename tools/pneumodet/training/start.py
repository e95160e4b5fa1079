"""From a resolved config to a finished run: everything that needs TensorFlow, in the order in which it must happen.

outcome = train(config, folder, data, Options(plan=Plan(evaluate_every=200)), cluster=cluster, observer=observer, started=0.0)
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet import pictures
from pneumodet.data.record_sets import RecordSet
from pneumodet.detection import anchors, checkpoints, models, resizing
from pneumodet.errors import ConfigError, DataError
from pneumodet.training import augmentation_sheet, freezing, learning_rate_finder, loop, normalizing, reproducible, saving
from pneumodet.training import cluster as clusters
from pneumodet.training.augmentation_settings import RADIOGRAPH, Augmentation
from pneumodet.training.feeding import Feed
from pneumodet.training.loop import Outcome, Plan, Run
from pneumodet.training.step import TOTAL_LOSS, Trainer, new_memory
from pneumodet.training.validation import Validation

RATES_CSV, RATES_PICTURE = "learning_rate.csv", "learning_rate.png"
"""What the learning-rate finder writes."""

PREVIEW = "augmentation.png"
"""What augmentation does, as a picture."""

PREVIEWED = 5
"""Radiographs on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a run trains, beside what its config says.

    Attributes:
      plan: when it saves and evaluates.
      seed: of the initial weights, the order of the records and their augmentation.
      augmentation: how images are varied.
      positive_share: share of radiographs with pneumonia among the samples; None leaves it as it is in the records.
      freeze: patterns of variables that are not trained.
      skip_corrupt: leave corrupt records out, and count them.
      precision: as ``models.build``.
    """

    plan: Plan = Plan()
    seed: int = 0
    augmentation: Augmentation = RADIOGRAPH
    positive_share: float | None = None
    freeze: tuple[str, ...] = ()
    skip_corrupt: bool = False
    precision: str = models.PRECISIONS[0]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Options":
        """Return the options that run.json keeps.

        Raises:
          DataError: it lacks one of them.
        """
        try:
            return cls._of(record)
        except KeyError as error:
            raise DataError(f"run.json does not say {error} of the run. It was made by another pneumodet; start a new run.") from error

    @classmethod
    def _of(cls, record: Mapping[str, Any]) -> "Options":
        return cls(
            plan=Plan(**{field.name: record[field.name] for field in dataclasses.fields(Plan)}),
            seed=record["seed"],
            augmentation=Augmentation(**record["augmentation"]),
            positive_share=record["positive_share"],
            freeze=tuple(record["freeze"]),
            skip_corrupt=record["skip_corrupt"],
            precision=record["precision"],
        )


def device() -> str:
    """Return what training runs on, for the user: the GPUs' names, or the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU ({', '.join(names)})" if names else "CPU (TensorFlow sees no GPU)"


@dataclasses.dataclass
class Assembled:
    """All that a run consists of."""

    trainer: Trainer
    feed: Feed
    cluster: clusters.Cluster
    notes: list[str]


def assemble(
    config: Any, data: RecordSet, options: Options, *, fresh: bool, rate: tf.Variable | None = None, cluster: clusters.Cluster | None = None
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
    if batch_size > cluster.replicas and not size.canvas_hw:
        shapes = {size.of((int(image["height"]), int(image["width"]))) for image in data.train.instances["images"]}
        if len(shapes) > 1:
            raise ConfigError(
                f"The config keeps the aspect ratio, so that images have {len(shapes)} sizes, which do not go into one batch. Set --batch-size 1, "
                "fixed_shape_resizer, or pad_to_max_dimension of keep_aspect_ratio_resizer."
            )
    if options.precision != models.PRECISIONS[0] and not tf.config.list_physical_devices("GPU"):
        notes.append(f"warning: --precision {options.precision} is meant for GPUs; processors compute faster in float32")
    tf.keras.utils.set_random_seed(options.seed)
    reproducible.sum_in_order()
    memory = new_memory()
    with cluster.strategy.scope():
        model = models.build(config, is_training=True, precision=options.precision)
        normalizing.together(model, cluster.strategy)
        if fresh and config.train_config.fine_tune_checkpoint:
            notes.append(checkpoints.restore_fine_tune(model, config.train_config).sentence())
        frozen = freezing.freeze(model, options.freeze, train_config=config.train_config)
        if frozen.count:
            notes.append(frozen.sentence())
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


def train(
    config: Any,
    folder: Path,
    data: RecordSet,
    options: Options,
    *,
    cluster: clusters.Cluster,
    observer: Callable[[int], loop.Observer],
    started: float,
) -> Outcome:
    """Train from the run's newest checkpoint, or from the start where there is none.

    Args:
      config: a resolved and checked TrainEvalPipelineConfig.
      folder: the run's folder.
      data: the records.
      options: how to train.
      cluster: the devices.
      observer: makes what is told of the run, when its first step is known.
      started: time.perf_counter() of the start.

    Raises:
      PneumodetError: as ``assemble`` and ``loop.Run``.
    """
    newest = saving.newest(folder)
    step = checkpoints.step_of(newest) if newest else 0
    if step != cluster.of_chief(step):
        raise DataError(
            f"Worker {cluster.worker} sees another newest checkpoint than worker 0 in {folder}. All workers need one workspace."
        )
    parts = assemble(config, data, options, fresh=newest is None, cluster=cluster)
    watcher = observer(step)
    for note in parts.notes:
        watcher.note(note)
    if newest is None:
        watcher.anchors(_anchor_matches(config, data.train.instances))
    evaluates = options.plan.evaluate_every and len(data.val)
    run = Run(
        parts.trainer,
        parts.feed,
        folder,
        plan=options.plan,
        total=config.train_config.num_steps,
        batch_size=config.train_config.batch_size,
        validation=Validation(parts.trainer.model, config, data.val, skip_corrupt=options.skip_corrupt) if evaluates else None,
        cluster=cluster,
        observer=watcher,
        started=started,
    )
    run.resume()
    try:
        outcome = run.train()
    finally:
        watcher.close()
    outcome.parameters = sum(int(np.prod(variable.shape)) for variable in parts.trainer.model.variables)
    return outcome


def _anchor_matches(config: Any, instances: dict[str, Any]) -> dict[str, float]:
    """Return how well the best anchor fits each training box: a box that none reaches is learned from one forced match at best."""
    if config.model.WhichOneof("model") not in anchors.WITH_ANCHORS:
        return {}
    best = anchors.best_iou(config, instances)
    if not len(best):
        return {}
    without = (best < anchors.matched_threshold(config)).mean()
    return {"anchors/boxes_without_match_share": float(without), "anchors/best_iou_mean": float(best.mean())}


def find_rate(
    config: Any,
    folder: Path,
    data: RecordSet,
    options: Options,
    *,
    steps: int,
    on_note: Callable[[str], None],
    on_progress: Callable[[int], None],
) -> learning_rate_finder.Found:
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
        found = learning_rate_finder.find(step, steps=steps)
    finally:
        parts.feed.close()
    learning_rate_finder.to_csv(folder / RATES_CSV, found)
    learning_rate_finder.draw(folder / RATES_PICTURE, found)
    return found


def preview(config: Any, folder: Path, data: RecordSet, options: Options) -> Path:
    """Draw what augmentation makes of the first training images, those with pneumonia before others, at the model's scale.

    Raises:
      DataError: the records cannot be read.
    """
    size = resizing.of_config(config)
    images, norms, output_hw = [], [], None
    for number in np.argsort(~data.train.positive, kind="stable")[:PREVIEWED].tolist():
        example = data.train.read(number)
        output_hw = output_hw or size.of(example.image_hw)
        images.append(example.pixels(output_hw))
        norms.append(example.boxes_yxyx_norm.astype(np.float32))
    picture = augmentation_sheet.preview(images, norms, options.augmentation, seed=options.seed, output_hw=output_hw)
    pictures.save(folder / PREVIEW, picture)
    return folder / PREVIEW
