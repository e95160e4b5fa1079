"""What a user asks for of a detector, brought together with a record set, checked, and resolved into a pipeline.config. TensorFlow is not needed.

prepared = new(folder, Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")), say=print, on_download=print)
prepared = resumed(folder, Request(run="my_first", resume=True), runs.read(folder))
prepared.config, prepared.data, prepared.record       # TrainEvalPipelineConfig, the record set, what run.json holds
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pneumodet.core import runs
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.run_record import RunRecord
from pneumodet.core.seen import Seen
from pneumodet.data import box_audit, foreign_records
from pneumodet.data.record_sets import RecordSet
from pneumodet.models import pretrained
from pneumodet.models.detection import anchor_fitting, anchors, pipeline_config, recipes
from pneumodet.models.detection.odapi import Config
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.inputs.augmentation_settings import Augmentation
from pneumodet.models.options import Options, Plan, check_batch, check_seed, check_share, ten_times
from pneumodet.training import engine, experiment
from pneumodet.training.engine import Prepared, Say
from pneumodet.training.families import starting

RECORDS = "records"
"""Folder in a run's with the view of record sets that other tools made."""

AUTO = "auto"
"""In place of a batch size: as many images as fit into memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(engine.Request):
    """What a user asks for; None leaves it as the config, the run that is resumed, or ``models.options`` has it.

    Attributes:
      config: name in configs/, or path of a pipeline.config.
      data: record set; None for the records that the config itself names.
      steps: train_config.num_steps; the learning-rate schedule is stretched with it.
      batch_size: train_config.batch_size, or ``AUTO``; the learning rate is scaled with it.
      learning_rate: peak of the schedule.
      recipe: one of ``choices.RECIPES``, in place of what the config says for radiographs, and of what suits the set; what else is given wins over it.
      pretrained: where training starts from, as ``pretrained.resolve``.
      fine_tune_checkpoint: the same as a path.
      fine_tune_checkpoint_type: as the API's, where it shall not follow from what the checkpoint holds.
      freeze: patterns of variables that are not trained; None for what suits the set, see ``starting.choose``.
      settings: ``KEY=VALUE`` of any field of the config.
      fit_anchors: fit the anchors to the training set's boxes; None likewise.
      augmentation: a preset's name, or a JSON file.
      positive_share: as ``Options``; 0 for that of the records, None likewise.
      precision, seed, skip_corrupt: as ``Options``.
      evaluate_every: as ``Plan``; None for ten evaluations.
      best_metric, patience, checkpoint_every, keep: as ``Plan``.
    """

    steps: int | None = None
    batch_size: int | str | None = None
    learning_rate: float | None = None
    recipe: str | None = None
    pretrained: str | None = None
    fine_tune_checkpoint: str | None = None
    fine_tune_checkpoint_type: str | None = None
    freeze: tuple[str, ...] | None = None
    settings: tuple[str, ...] = ()
    fit_anchors: bool | None = None
    augmentation: str | None = None
    positive_share: float | None = None
    precision: str | None = None
    seed: int | None = None
    evaluate_every: int | None = None
    best_metric: str | None = None
    patience: int | None = None
    checkpoint_every: int | None = None
    keep: int | None = None
    skip_corrupt: bool = False


def new(folder: Path, request: Request, *, say: Say, on_download: pretrained.Progress, weights: bool = True) -> Prepared:
    """Return all that is known of a new run before TensorFlow starts.

    Args:
      folder: the run's.
      request: what is asked for.
      say: takes a sentence about what happens.
      on_download: takes (bytes there, bytes in all or None) of a pretrained checkpoint.
      weights: whether the model will be trained; otherwise it does not matter what it would start from.

    Raises:
      ConfigError: config and request do not fit together.
      CheckpointError: there is no such checkpoint, or it cannot be had.
      DataError: the records cannot be used.
    """
    _check(request)
    request = _by_recipe(request)
    data_dir = request.data or _adopted(request, folder)
    records = RecordSet.open(data_dir).check_has_train()
    box_audit.check_has_boxes(records)
    if not records.manifest.splits["train"].exams:
        raise DataError(f"The record set {data_dir} has no training exams. Make it again with a smaller --val-fraction.")
    config, keys = _resolved(request, folder, records=records)
    start = None
    if weights:
        start, request = starting.choose(request, config, folder.name, records=records, say=say, on_download=on_download)
    else:
        if request.fit_anchors:
            say(anchor_fitting.fit(config, records.train.instances).sentence())
        request = starting.settled(request, config, None, records=records, say=say)
    options = Options(**{"augmentation": _augmentation(request, config, say), **_given(request, Options)})
    pipeline_config.check(config, records.label_map)
    if request.batch_size != AUTO:
        check_batch(config.train_config.batch_size, len(records.train), asked=_asked_for_batch(request, keys), say=say)
    if config.train_input_reader.load_instance_masks and records.manifest.arguments.get("masks") is False:
        raise ConfigError(f"The config reads instance masks, but the records have none. Make {data_dir} again with --masks.")
    if request.batch_size == AUTO:
        _fit_batch(config, request, records, options, say)
    # after the config is complete: what a box is worth depends on its image size and anchors
    audit = _audit(config, records, say, anchors_fitted=bool(request.fit_anchors))
    options = dataclasses.replace(options, plan=_plan(request, config, records, say))
    # the config itself may name a checkpoint
    own = config.train_config.fine_tune_checkpoint
    before = start.seen if start else runs.seen_by_weights(Path(own)) if own and weights else Seen()
    record = RunRecord(
        family=runs.DETECTION,
        config=request.config,
        settings=tuple(request.settings),
        seed=options.seed,
        steps=config.train_config.num_steps,
        batch_size=config.train_config.batch_size,
        seen=experiment.seen_by(records, before=before, say=say),
        facts={
            "fine_tune_checkpoint_type": config.train_config.fine_tune_checkpoint_type or None,
            "pretrained": None if start is None else {"name": start.source, "licence": start.licence, "sha256": start.sha256},
        }
        | ({"recipe": request.recipe} if request.recipe else {}),
        training=options.to_json(),
        data=experiment.data_record(records, audit=audit),
        provenance=runs.provenance(),
    )
    return _of(config, records, record)


def _of(config: Config, records: RecordSet, record: RunRecord) -> Prepared:
    train = config.train_config
    return Prepared(config=config, data=records, record=record, steps=train.num_steps, batch_size=train.batch_size)


def _by_recipe(request: Request) -> Request:
    """Return a request with a recipe that leaves a small set without what would suit it, but for what the user gives."""
    if not request.recipe:
        return request
    plain: dict[str, Any] = {"freeze": (starting.NOTHING,), "fit_anchors": False, "positive_share": 0.0}
    return dataclasses.replace(request, **{name: value for name, value in plain.items() if getattr(request, name) is None})


def _augmentation(request: Request, config: Config, say: Say) -> Augmentation:
    """Return how images are varied: as asked for, else by the API's operations where a recipe names some, else as suits radiographs."""
    asked = request.augmentation or augmentation_settings.DEFAULT
    if not config.train_config.data_augmentation_options:
        return augmentation_settings.load(asked)
    if request.recipe and not request.augmentation:
        say(
            f"--recipe {request.recipe}: images are varied by the API's flips and crops; configs/{request.recipe}/ has all that is otherwise"
        )
        return recipes.augmentation_of(config)
    say(f"The config's data_augmentation_options are for the stock API. Here images are varied by --augmentation {asked}.")
    return augmentation_settings.load(asked)


def _check(request: Request) -> None:
    """Check what needs neither config nor records."""
    named = _named(request)
    if request.recipe:
        recipes.load(request.recipe, named)
    if request.augmentation:
        augmentation_settings.load(request.augmentation)
    if request.patience and request.evaluate_every == 0:
        raise ConfigError("--patience counts evaluations, but --evaluate-every 0 leaves none. Leave one of them out.")
    if request.seed is not None:
        check_seed(request.seed)
    if request.positive_share:
        check_share(request.positive_share)


def _named(request: Request) -> str:
    """Return the name or path of the config that is asked for."""
    if not request.config:
        raise ConfigError(f"--config is missing. Configs: {', '.join(pipeline_config.names())}, or the path of a pipeline.config.")
    return request.config


def _given(request: Request, kind: type) -> dict[str, Any]:
    """Return the fields of a dataclass that a request gives; the others keep their defaults."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in ("plan", "augmentation")]
    return {name: getattr(request, name) for name in names if getattr(request, name) is not None}


def _plan(request: Request, config: Config, records: RecordSet, say: Say) -> Plan:
    """Return when the run evaluates, saves and stops."""
    plan = Plan(**{"evaluate_every": ten_times(config.train_config.num_steps), **_given(request, Plan)})
    if plan.evaluate_every and not records.manifest.splits["val"].exams:
        if plan.patience:
            raise DataError(f"--patience needs evaluations, but the record set {records.folder} has no validation exams. Leave it out.")
        say("warning: The record set has no validation exams; nothing is evaluated on the way, and there will be no best checkpoint.")
        plan = dataclasses.replace(plan, evaluate_every=0)
    return plan


def _fit_batch(config: Config, request: Request, records: RecordSet, options: Options, say: Say) -> None:
    """Give the config the batch size that fits into memory, and the learning rate that goes with it."""
    from pneumodet.training import batch_sizes

    say("--batch-size auto: measuring what fits into memory")
    options = Options(augmentation=options.augmentation, freeze=options.freeze)
    size, before = batch_sizes.fitting(config, records, options), config.train_config.batch_size
    say(f"--batch-size auto: {size} images fit")
    config.train_config.batch_size = size
    by_hand = [setting.partition("=")[0].strip() for setting in request.settings]
    steps = config.train_config.num_steps
    pipeline_config.scale_schedule(config, reference_steps=steps, reference_batch=before, overridden=by_hand)
    if request.learning_rate:
        pipeline_config.set_peak_rate(config, request.learning_rate)


def resumed(folder: Path, request: Request, record: RunRecord) -> Prepared:
    """Return all that is known of a run that is resumed; what the request changes is written.

    Args:
      folder: the run's.
      request: what is asked for.
      record: the run's.

    Raises:
      ConfigError: the request has what only a new run can be given.
      DataError: the run or its records are not what they were.
    """
    given = [field.name for field in dataclasses.fields(request) if getattr(request, field.name) != field.default]
    changed = [name for name in given if name not in ("run", "resume", "log_to")]
    experiment.refuse_changes(changed)
    config = pipeline_config.load(str(folder / runs.CONFIG))
    if record.training is None:
        raise DataError(
            f"The run {folder.name} was made by an earlier pneumodet and cannot be resumed. Start a new run from it by "
            f"--pretrained run:{folder.name}."
        )
    records = experiment.same_records(record)
    training = dict(record.training)
    if request.patience is not None:
        if request.patience and not training["evaluate_every"]:
            raise ConfigError(f"--patience counts evaluations, but the run {folder.name} was started without. Leave it out.")
        training["patience"] = request.patience
    training["skip_corrupt"] |= request.skip_corrupt
    record = dataclasses.replace(record, training=training)
    if request.steps:
        experiment.check_steps(request.steps, folder)
        record = dataclasses.replace(record, steps=request.steps)
        before = config.train_config.num_steps
        config.train_config.num_steps = request.steps
        pipeline_config.scale_schedule(config, reference_steps=before, reference_batch=config.train_config.batch_size, overridden=())
    pipeline_config.check(config, records.label_map, begun=runs.steps_done(folder) is not None)
    if changed:
        runs.write(folder, record)
        pipeline_config.save(config, folder / runs.CONFIG)
    return _of(config, records, record)


def _asked_for_batch(request: Request, keys: Collection[str]) -> bool:
    return request.batch_size not in (None, AUTO) or any(key.endswith("train_config.batch_size") for key in keys)


def _resolved(request: Request, folder: Path, *, records: RecordSet) -> tuple[Config, list[str]]:
    """Return (the named config patched for a record set, a run and what was asked for, the fields that --set has set).

    Raises:
      ConfigError: config and request do not fit together.
    """
    config = pipeline_config.load(_named(request))
    train = config.train_config
    if request.recipe:
        recipes.apply(config, recipes.load(request.recipe, _named(request)))
    reference = {"reference_steps": train.num_steps, "reference_batch": train.batch_size}
    pipeline_config.use_records(config, records, label_map_path=folder.resolve() / runs.LABEL_MAP)
    # the flags first, then --set, which may contradict them and has the last say; then the schedule, which needs the final steps and batch
    if request.steps:
        train.num_steps = request.steps
    if request.batch_size and request.batch_size != AUTO:
        train.batch_size = request.batch_size
    keys = pipeline_config.override(config, request.settings)
    pipeline_config.scale_schedule(config, **reference, overridden=keys)
    if request.learning_rate:
        pipeline_config.set_peak_rate(config, request.learning_rate)
    return config, list(keys)


def _adopted(request: Request, folder: Path) -> Path:
    """Return a view of the records that the config itself names, as the API's own tools would read them."""
    config = pipeline_config.load(_named(request))
    readers = (config.train_input_reader, *config.eval_input_reader[:1])
    inputs = [list(reader.tf_record_input_reader.input_path) for reader in readers]
    if not inputs[0] or any(pipeline_config.PLACEHOLDER in path for of_reader in inputs for path in of_reader):
        raise ConfigError("--data is missing: a folder made by make_tfrecords, or a config whose input readers name records.")
    if not readers[0].label_map_path:
        raise ConfigError("train_input_reader.label_map_path is missing: the label map that the config's records were made with.")
    shards = [[str(path) for path in foreign_records.expand(of_reader)] for of_reader in inputs]
    foreign_records.adopt(
        shards[0],
        shards[1] if len(shards) > 1 else [],
        Path(readers[0].label_map_path),
        folder / RECORDS,
        skip_corrupt=request.skip_corrupt,
        overwrite=True,  # of a start that did not come as far as training
    )
    return folder / RECORDS


def _audit(config: Config, records: RecordSet, say: Say, *, anchors_fitted: bool) -> dict[str, Any]:
    """Check for boxes that spoil training, say what there is, and return the counts.

    Raises:
      DataError: training would be in vain.
    """
    with_anchors = config.model.WhichOneof("model") in anchors.WITH_ANCHORS
    facts = {}
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
            anchors_fitted=anchors_fitted,
        )
        audit.check()
        for warning in audit.warnings:
            say(f"warning: {warning}")
        facts[split.name] = audit.facts
    return facts
