"""What a user asks for, brought together with a record set, checked, and resolved into a pipeline.config. TensorFlow is not needed.

config, records, record = new(folder, Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")), say=print)
config, records, record = resumed(folder, Request(run="my_first", resume=True))
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet import paths, pretrained, run_folder
from pneumodet.data import box_audit, foreign_records
from pneumodet.data.record_sets import RecordSet
from pneumodet.detection import anchor_fitting, anchors, pipeline_config
from pneumodet.errors import ConfigError, DataError
from pneumodet.training import augmentation_settings

EVALUATIONS = 10
"""Evaluations of a run where nothing else is asked for."""

RECORDS = "records"
"""Folder in a run's with the view of record sets that other tools made."""

AUTO = "auto"
"""In place of a batch size: as many images as fit into memory."""

_OF_A_RESUMED_RUN = ("run", "resume", "steps", "patience", "skip_corrupt")
"""What may be asked of a run that is gone on with; all else it has from its start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; None leaves it as the config, or the run that is resumed, has it.

    Attributes:
      run: name of the run, or path of its folder.
      config: name in configs/, or path of a pipeline.config.
      data: record set; None for the records that the config itself names.
      steps: train_config.num_steps; the learning-rate schedule is stretched with it.
      batch_size: train_config.batch_size, or ``AUTO``; the learning rate is scaled with it.
      learning_rate: peak of the schedule.
      pretrained: where training starts from, as ``pretrained.resolve``.
      fine_tune_checkpoint: the same as a path.
      fine_tune_checkpoint_type: as the API's, where it shall not be found out.
      freeze: patterns of variables that are not trained.
      settings: ``KEY=VALUE`` of any field of the config.
      fit_anchors: fit the anchors to the training set's boxes.
      augmentation: a preset's name, or a JSON file.
      positive_share: share of radiographs with pneumonia among the samples.
      precision: float32, bfloat16 or float16.
      seed: of weights, order and augmentation.
      evaluate_every: steps from one evaluation to the next; 0 for none.
      best_metric: figure by which the best checkpoint is kept.
      patience: evaluations without a better figure after which training stops; 0 for none.
      checkpoint_every: steps from one checkpoint to the next.
      keep: newest checkpoints that stay.
      skip_corrupt: leave corrupt records out, and count them.
      resume: go on with the run.
    """

    run: str
    config: str | None = None
    data: Path | None = None
    steps: int | None = None
    batch_size: int | str | None = None
    learning_rate: float | None = None
    pretrained: str | None = None
    fine_tune_checkpoint: str | None = None
    fine_tune_checkpoint_type: str | None = None
    freeze: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fit_anchors: bool = False
    augmentation: str | None = None
    positive_share: float | None = None
    precision: str = "float32"
    seed: int = 0
    evaluate_every: int | None = None
    best_metric: str = "rsna_metric"
    patience: int = 0
    checkpoint_every: int = 500
    keep: int = 3
    skip_corrupt: bool = False
    resume: bool = False


Say = Callable[[str], None]


def new(folder: Path, request: Request, *, say: Say, on_download: pretrained.Progress) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return (config, records, what run.json will hold) of a new run.

    Args:
      folder: the run's.
      request: what is asked for.
      say: is told in a sentence what happens.
      on_download: is told (bytes there, bytes in all or None) of a pretrained checkpoint.

    Raises:
      ConfigError: config and request do not fit together.
      CheckpointError: there is no such checkpoint, or it cannot be had.
      DataError: the records cannot be used.
    """
    if not request.config:
        raise ConfigError(f"--config is missing. Configs: {', '.join(pipeline_config.names())}, or the path of a pipeline.config.")
    if request.patience and request.evaluate_every == 0:
        raise ConfigError("--patience counts evaluations, but --evaluate-every 0 leaves none. Leave one of them out.")
    if not 0 <= request.seed < 1 << 32:
        raise ConfigError(f"--seed is {request.seed}; it must be a whole number from 0 to 2^32 - 1.")
    if request.positive_share is not None and not 0 < request.positive_share < 1:
        raise ConfigError(
            f"--positive-share is {request.positive_share:g}; it must lie between 0 and 1. Leave it out for all records alike."
        )
    data_dir = request.data or _adopted(request, folder)
    records = RecordSet.open(data_dir).check_has_train()
    if not records.manifest.splits["train"].exams:
        raise DataError(f"The record set {data_dir} has no training exams. Make it again with a smaller --val-fraction.")
    augmentation = augmentation_settings.load(request.augmentation or augmentation_settings.DEFAULT)
    config, start = _resolve(request, folder, records=records, say=say, on_download=on_download)
    if config.train_input_reader.load_instance_masks and records.manifest.arguments.get("masks") is False:
        raise ConfigError(f"The config reads instance masks, but the records have none. Make {data_dir} again with --masks.")
    if request.batch_size == AUTO:
        _fit_batch(config, request, records, augmentation, say)
    audit = _audit(config, records, say)
    steps = config.train_config.num_steps
    every = max(1, round(steps / EVALUATIONS)) if request.evaluate_every is None else request.evaluate_every
    if every and not records.manifest.splits["val"].exams:
        if request.patience:
            raise DataError(f"--patience needs evaluations, but the record set {data_dir} has no validation exams. Leave it out.")
        say("warning: The record set has no validation exams; nothing is evaluated on the way, and there will be no best checkpoint.")
        every = 0
    if config.train_config.data_augmentation_options:
        used = request.augmentation or augmentation_settings.DEFAULT
        say(f"The config's data_augmentation_options are for the stock API. Here images are varied by --augmentation {used}.")
    record = {
        "config": request.config,
        "settings": list(request.settings),
        "seed": request.seed,
        "steps": steps,
        "batch_size": config.train_config.batch_size,
        "fine_tune_checkpoint_type": config.train_config.fine_tune_checkpoint_type or None,
        "pretrained": None if start is None else {"name": start.source, "licence": start.licence, "sha256": start.sha256},
        "training": {
            "seed": request.seed,
            "augmentation": augmentation_settings.to_json(augmentation),
            "positive_share": request.positive_share,
            "freeze": list(request.freeze),
            "skip_corrupt": request.skip_corrupt,
            "precision": request.precision,
            "evaluate_every": every,
            "best_metric": request.best_metric,
            "patience": request.patience,
            "checkpoint_every": request.checkpoint_every,
            "keep": request.keep,
        },
        "data": {
            "folder": str(data_dir.resolve()),
            "manifest_sha256": records.manifest_sha256,
            "train_exams": records.manifest.splits["train"].exams,
            "val_exams": records.manifest.splits["val"].exams,
            "split_by": records.split_by,
            "audit": audit,
        },
        "provenance": run_folder.provenance(),
    }
    return config, records, record


def _fit_batch(config: Any, request: Request, records: RecordSet, augmentation: Any, say: Say) -> None:
    """Give the config the batch size that fits into memory, and the learning rate that goes with it."""
    from pneumodet.training import batch_sizes, start

    say("--batch-size auto: measuring what fits into memory")
    options = start.Options(augmentation=augmentation, freeze=request.freeze)
    size, before = batch_sizes.fitting(config, records, options), config.train_config.batch_size
    say(f"--batch-size auto: {size} images fit")
    config.train_config.batch_size = size
    by_hand = [setting.partition("=")[0].strip() for setting in request.settings]
    steps = config.train_config.num_steps
    pipeline_config.scale_schedule(config, reference_steps=steps, reference_batch=before, overridden=by_hand)
    if request.learning_rate:
        pipeline_config.set_peak_rate(config, request.learning_rate)


def resumed(folder: Path, request: Request) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return (config, records, what run.json holds) of a run that is gone on with.

    Raises:
      ConfigError: the request has what only a new run can be given.
      DataError: the run or its records are not what they were.
    """
    given = [field.name for field in dataclasses.fields(request) if getattr(request, field.name) != field.default]
    refused = [name for name in given if name not in _OF_A_RESUMED_RUN]
    if refused:
        flag = "--set" if refused[0] == "settings" else "--" + refused[0].replace("_", "-")
        raise ConfigError(
            f"{flag} does not go with --resume: the run goes on as it was started. Only --steps, --patience and --skip-corrupt may be given."
        )
    config = pipeline_config.load(str(folder / run_folder.CONFIG))
    record = paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Start a new run.")
    if "training" not in record:
        raise DataError(
            f"The run {folder.name} was made by an earlier pneumodet and cannot be gone on with. Start a new run from it by "
            f"--pretrained run:{folder.name}."
        )
    data_dir = Path(record["data"]["folder"])
    records = RecordSet.open(data_dir)
    if records.manifest_sha256 != record["data"]["manifest_sha256"]:
        raise DataError(f"The record set {data_dir} is another one than the run was started with. Start a new run.")
    training = record["training"]
    if request.patience:
        if not training["evaluate_every"]:
            raise ConfigError(f"--patience counts evaluations, but the run {folder.name} was started without. Leave it out.")
        training["patience"] = request.patience
    training["skip_corrupt"] |= request.skip_corrupt
    done = run_folder.steps_done(folder)
    if request.steps:
        if request.steps < (done or 0):
            raise ConfigError(f"--steps {request.steps} is less than the {done} steps that the run {folder.name} has done.")
        record["steps"] = request.steps
        before = config.train_config.num_steps
        config.train_config.num_steps = request.steps
        pipeline_config.scale_schedule(config, reference_steps=before, reference_batch=config.train_config.batch_size, overridden=())
    pipeline_config.check(config, records.label_map, begun=done is not None)
    if set(given) & {"steps", "patience", "skip_corrupt"}:
        paths.write_json(folder / run_folder.RECORD, record)
        pipeline_config.save(config, folder / run_folder.CONFIG)
    return config, records, record


def _resolve(request: Request, folder: Path, *, records: RecordSet, say: Say, on_download: pretrained.Progress) -> tuple[Any, Any]:
    """Return (config, pretrained.Start or None): the named config patched for a record set, a run and what was asked for, and checked.

    Raises:
      ConfigError: config and request do not fit together.
      CheckpointError: there is no such checkpoint, or it cannot be had.
    """
    config = pipeline_config.load(request.config)
    train = config.train_config
    reference = {"reference_steps": train.num_steps, "reference_batch": train.batch_size}
    pipeline_config.use_records(config, records, label_map_path=folder.resolve() / run_folder.LABEL_MAP)
    if request.steps:
        train.num_steps = request.steps
    if request.batch_size and request.batch_size != AUTO:
        train.batch_size = request.batch_size
    keys = pipeline_config.override(config, request.settings)
    pipeline_config.scale_schedule(config, **reference, overridden=keys)
    if request.learning_rate:
        pipeline_config.set_peak_rate(config, request.learning_rate)
    if request.fit_anchors:
        say(anchor_fitting.fit(config, records.train.instances).sentence())
    start = None
    choice = request.pretrained or request.fine_tune_checkpoint
    if choice:
        classes, kind = records.label_map, request.fine_tune_checkpoint_type
        start = pretrained.resolve(choice, config=config, label_map=classes, kind=kind, on_progress=on_download, on_notice=say)
        train.fine_tune_checkpoint = start.checkpoint if start else ""
        train.fine_tune_checkpoint_type = start.type if start else ""
        train.fine_tune_checkpoint_version = 2  # V2, object-based: the only kind that TensorFlow 2 restores
    elif request.fine_tune_checkpoint_type:
        train.fine_tune_checkpoint_type = request.fine_tune_checkpoint_type
    pipeline_config.check(config, records.label_map)
    return config, start


def _adopted(request: Request, folder: Path) -> Path:
    """Return a view of the records that the config itself names, as the API's own tools would read them."""
    config = pipeline_config.load(request.config)
    readers = (config.train_input_reader, *config.eval_input_reader[:1])
    inputs = [list(reader.tf_record_input_reader.input_path) for reader in readers]
    if not inputs[0] or any(pipeline_config.PLACEHOLDER in path for of_reader in inputs for path in of_reader):
        raise ConfigError("--data is missing: a folder made by make_tfrecords, or a config whose input readers name records.")
    if not readers[0].label_map_path:
        raise ConfigError("train_input_reader.label_map_path is missing: the label map that the config's records were made with.")
    patterns = [foreign_records.expand(of_reader) for of_reader in inputs]
    foreign_records.adopt(
        patterns[0],
        patterns[1] if len(patterns) > 1 else [],
        Path(readers[0].label_map_path),
        folder / RECORDS,
        skip_corrupt=request.skip_corrupt,
        overwrite=True,  # of a start that did not come as far as training
    )
    return folder / RECORDS


def _audit(config: Any, records: RecordSet, say: Say) -> dict[str, Any]:
    """Look for boxes that spoil training, say what there is, and return the counts.

    Raises:
      DataError: training would be in vain.
    """
    with_anchors = config.model.WhichOneof("model") in anchors.WITH_ANCHORS
    found = {}
    for split in (records.train, records.val):
        if not len(split):
            continue
        audit = box_audit.audit(
            split.instances,
            split=split.name,
            resized_hw=lambda image_hw: anchors.resized_hw(config, image_hw)[0],
            max_boxes=config.train_config.max_number_of_boxes,
            best_iou=anchors.best_iou(config, split.instances) if with_anchors else None,
            matched_threshold=anchors.matched_threshold(config) if with_anchors else 0.5,
        )
        audit.check()
        for warning in audit.warnings:
            say(f"warning: {warning}")
        found[split.name] = audit.facts
    return found
