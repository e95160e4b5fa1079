"""pipeline.config: load, patch, check, write. The file *is* the experiment; there is no second config language.

    config = load("ssd_mobilenet")
    use_records(config, records, label_map_path=run / "label_map.pbtxt")
    keys = override(config, ["train_config.batch_size=4"])
    scale_schedule(config, reference_steps=2000, reference_batch=8, overridden=keys)
    check(config, records.label_map)
    save(config, run / "pipeline.config")

Nothing here imports TensorFlow, so that a mistake is answered in a second.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from pneumodet.core import paths, suggest
from pneumodet.core.errors import ConfigError
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection import field_paths, odapi
from pneumodet.models.detection.choices import CHECKPOINT_TYPES
from pneumodet.models.detection.odapi import Config, Message

PLACEHOLDER = "PATH_TO_BE_CONFIGURED"
"""What the API's sample configs write where a path belongs; none may be left when training starts."""


def names() -> list[str]:
    """Return the names of the configs that come with the project."""
    return sorted(path.stem for path in paths.CONFIG_DIR.glob("*.config"))


def load(name_or_path: str) -> Config:
    """Read a config by its name in configs/ or by its path.

    Args:
      name_or_path: ``ssd_mobilenet``, or the path of any pipeline.config of the API.

    Returns:
      A TrainEvalPipelineConfig.

    Raises:
      ConfigError: there is no such config (the message lists those there are), or it is no pipeline.config.
    """
    path = Path(name_or_path)
    if path.suffix != ".config" and not paths.is_file(path):
        path = paths.CONFIG_DIR / f"{name_or_path}.config"
    if not paths.is_file(path):
        raise ConfigError(
            f"There is no config {name_or_path!r}{suggest.clause(name_or_path, names())} Configs: {', '.join(names())}, or a path."
        )
    config = odapi.protos().pipeline.TrainEvalPipelineConfig()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a pipeline.config: {error}. Compare it with configs/ssd_mobilenet.config.") from error


def save(config: Config, path: Path) -> None:
    """Write ``config`` as text, atomically; the API's own tools read it as it is."""
    with paths.atomic_path(path) as tmp:
        tmp.write_text(text_format.MessageToString(config), encoding="utf-8")


def architecture(config: Config) -> Message:
    """Return the model's own message (``ssd``, ``faster_rcnn``, ``center_net`` …)."""
    kind = config.model.WhichOneof("model")
    if kind is None:
        raise ConfigError("The config has no model. Start from one of configs/.")
    return getattr(config.model, kind)


def longest_side(config: Config) -> int:
    """Return the longer side, in px, of what the config's image resizer makes of a radiograph.

    Raises:
      ConfigError: the resizer's kind is another one than the two in common use.
    """
    resizer = architecture(config).image_resizer
    if resizer.HasField("fixed_shape_resizer"):
        return max(resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width)
    if resizer.HasField("keep_aspect_ratio_resizer"):
        return resizer.keep_aspect_ratio_resizer.max_dimension
    raise ConfigError("The config's image resizer has no fixed size. Give --max-side instead of --for.")


def use_records(config: Config, records: RecordSet, *, label_map_path: Path) -> None:
    """Point both input readers at a record set, and set num_classes from the label map.

    ``input_path`` and ``eval_input_reader`` are repeated fields, to which a merge would append: they are cleared first.

    Args:
      config: changed in place.
      records: the record set.
      label_map_path: where the run's label map will be.
    """
    folder = records.folder.resolve()
    # a config of the API may evaluate on several sets; there is one validation split here
    del config.eval_input_reader[1:]
    if not config.eval_input_reader:
        config.eval_input_reader.add().MergeFrom(config.train_input_reader)
    for reader, split in ((config.train_input_reader, "train"), (config.eval_input_reader[0], "val")):
        reader.label_map_path = str(label_map_path)
        reader.tf_record_input_reader.ClearField("input_path")
        reader.tf_record_input_reader.input_path.extend(str(folder / shard.name) for shard in records.manifest.splits[split].shards)
    # evaluation reads each record once and in order: its detections are matched with the ground truth by number
    config.eval_input_reader[0].shuffle = False
    config.eval_input_reader[0].num_epochs = 1
    set_classes(config, len(records.label_map))


def set_classes(config: Config, count: int) -> None:
    """Set the model's number of classes, background not counted."""
    model = architecture(config)
    if "num_classes" not in model.DESCRIPTOR.fields_by_name:
        raise ConfigError(f"Models of kind {config.model.WhichOneof('model')!r} have no num_classes; pneumodet cannot train them.")
    model.num_classes = count


def override(config: Config, settings: Iterable[str]) -> tuple[str, ...]:
    """Apply ``KEY=VALUE`` settings, in order.

    KEY is a field's path (``train_config.batch_size``, ``eval_input_reader[0].shuffle``). VALUE is a number, true/false, an enum's
    name, a string with or without quotes, a comma-separated list for a repeated field, or a message in text format in braces.

    Args:
      config: a TrainEvalPipelineConfig, changed in place.
      settings: the settings.

    Returns:
      The keys that were set.

    Raises:
      ConfigError: no such field (the message has the nearest name), or the value is of another type.
    """
    keys = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {setting!r} is not of the form KEY=VALUE, for example --set train_config.batch_size=4.")
        field_paths.set_field(config, key, value.strip())
        keys.append(key)
    return tuple(keys)


def learning_rate(config: Config) -> Message | None:
    """Return the message of the learning-rate schedule, or None where none is set."""
    optimizer = config.train_config.optimizer
    kind = optimizer.WhichOneof("optimizer")
    schedule = getattr(optimizer, kind).learning_rate if kind else None
    branch = schedule.WhichOneof("learning_rate") if schedule is not None else None
    return getattr(schedule, branch) if branch else None


_NO_RATE = "train_config.optimizer has no learning rate. Set one, as in configs/ssd_mobilenet.config."

# Of all schedules of the API (optimizer.proto): what grows with the batch size, and what is a number of steps.
_RATES = {
    "learning_rate",
    "learning_rate_base",
    "warmup_learning_rate",
    "initial_learning_rate",
    "burnin_learning_rate",
    "min_learning_rate",
}
_SPANS = {"total_steps", "warmup_steps", "decay_steps", "burnin_steps", "hold_base_rate_steps", "step"}


def scale_schedule(config: Config, *, reference_steps: int, reference_batch: int, overridden: Sequence[str]) -> None:
    """Scale the learning-rate schedule with the run's steps and batch size, but for what was set by hand.

    Rates scale linearly with the batch size (Goyal et al., 2017, arXiv:1706.02677), spans of steps with ``num_steps``.

    Args:
      config: changed in place; has the run's batch_size and num_steps.
      reference_steps: the num_steps that the config file was written for.
      reference_batch: the batch_size that the config file was written for.
      overridden: keys set by hand; a schedule among them stays as it is.
    """
    schedule = learning_rate(config)
    if schedule is None:
        return
    steps, batch = config.train_config.num_steps, config.train_config.batch_size
    by_hand = {key.rpartition(".")[2] for key in overridden if "learning_rate" in key}
    # a group that was given as a whole: all of its fields were set by hand, also those that its text does not name
    if any(key.endswith(("optimizer", "_optimizer", ".learning_rate", "_decay_learning_rate")) for key in overridden):
        by_hand |= _SPANS | _RATES

    _scale(schedule, _RATES - by_hand, batch / reference_batch)
    _scale(schedule, _SPANS - by_hand, steps / reference_steps)


def peak_rate(config: Config) -> float | None:
    """Return the highest rate of the schedule, or None where none is set."""
    schedule = learning_rate(config)
    # each schedule of the API has one of these: cosine decay; exponential decay and manual steps; a constant rate
    names = ("learning_rate_base", "initial_learning_rate", "learning_rate")
    name = next((one for one in names if schedule and one in schedule.DESCRIPTOR.fields_by_name), None)
    return None if name is None else float(getattr(schedule, name))


def set_peak_rate(config: Config, rate: float) -> None:
    """Set the schedule's peak to ``rate`` and everything else of it in proportion.

    Raises:
      ConfigError: the config has no learning rate.
    """
    schedule, before = learning_rate(config), peak_rate(config)
    if schedule is None or before is None:
        raise ConfigError(_NO_RATE)
    _scale(schedule, _RATES, rate / before)


def _scale(message: Message, names: set[str], factor: float) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for element in getattr(message, field.name):  # manual_step's schedule, the only group in any of them
                _scale(element, names, factor)
        elif field.name in names and message.HasField(field.name):
            value = getattr(message, field.name) * factor
            # a run may go without warm-up, but a schedule of 0 steps divides by 0
            least = 0 if field.name in ("warmup_steps", "burnin_steps", "hold_base_rate_steps") else 1
            setattr(message, field.name, max(least, round(value)) if field.cpp_type in field_paths.INTEGERS else value)


def has_masks(config: Config) -> bool:
    """Return whether the model gives a mask of each detection: Mask R-CNN, which is a Faster R-CNN of three stages."""
    return bool(config.model.WhichOneof("model") == "faster_rcnn" and config.model.faster_rcnn.number_of_stages == 3)


def averaged(config: Config) -> bool:
    """Return whether the model is evaluated with averages of its weights: the optimizer has to keep them, and the evaluation to use them."""
    return bool(config.train_config.optimizer.use_moving_average and config.eval_config.use_moving_averages)


def check(config: Config, label_map: dict[str, int], *, begun: bool = False) -> None:
    """Raise ConfigError for what would fail, or silently do nothing, once TensorFlow has started.

    Args:
      config: the resolved config.
      label_map: name -> id, of the records.
      begun: the run has checkpoints of its own, so that the one that it started from is not needed any more.
    """
    train = config.train_config
    model = architecture(config)
    if model.num_classes != len(label_map):
        raise ConfigError(
            f"The model has num_classes {model.num_classes}, but the label map has {len(label_map)} classes ({', '.join(label_map)})."
        )
    for key, value in _strings(config):
        if PLACEHOLDER in value:
            raise ConfigError(f"{key} still holds the placeholder {value!r}. Set it by --set {key}=…, or remove it.")
    if train.batch_size < 1:
        raise ConfigError(f"train_config.batch_size is {train.batch_size}; it must be at least 1.")
    if train.num_steps < 1:
        raise ConfigError(f"train_config.num_steps is {train.num_steps}; it must be at least 1. Give --steps.")
    if train.fine_tune_checkpoint and not begun:
        if train.fine_tune_checkpoint_type not in CHECKPOINT_TYPES:
            raise ConfigError(
                f"train_config.fine_tune_checkpoint_type is {train.fine_tune_checkpoint_type!r}; it must be one of {', '.join(CHECKPOINT_TYPES)}: "
                "'classification' for a backbone, 'detection' for a detector of other classes, 'full' for one of the same classes."
            )
        if not paths.is_file(Path(train.fine_tune_checkpoint + ".index")):
            raise ConfigError(
                f"There is no checkpoint {train.fine_tune_checkpoint!r} (no {Path(train.fine_tune_checkpoint).name}.index beside it). "
                "Give the path up to and with 'ckpt-N', without .index or .data."
            )
    if config.eval_config.use_moving_averages and not train.optimizer.use_moving_average and not begun:
        raise ConfigError(
            "eval_config.use_moving_averages is true, but train_config.optimizer.use_moving_average is false: there would be no averages to evaluate. "
            "Set both true or both false."
        )
    schedule = learning_rate(config)
    if schedule is None:
        raise ConfigError(_NO_RATE)
    fields = schedule.DESCRIPTOR.fields_by_name
    if "total_steps" in fields and schedule.total_steps < train.num_steps:
        raise ConfigError(
            f"The learning rate reaches zero at step {schedule.total_steps}, before the run's {train.num_steps} steps are done."
        )
    if "total_steps" in fields and schedule.total_steps > train.num_steps:
        raise ConfigError(
            f"The learning rate falls until step {schedule.total_steps}, but the run ends at step {train.num_steps}, when it is still high. Set "
            f"total_steps to {train.num_steps}, too; --steps stretches it unless it is set by hand."
        )
    last = max((one.step for one in schedule.schedule), default=0) if "schedule" in fields else 0
    if last >= train.num_steps:
        raise ConfigError(
            f"The learning rate falls for the last time at step {last}, but the run ends at step {train.num_steps}. Set the schedule's steps to less."
        )
    if "total_steps" in fields and schedule.warmup_steps >= schedule.total_steps:
        raise ConfigError(f"warmup_steps ({schedule.warmup_steps}) must be fewer than total_steps ({schedule.total_steps}).")


def _strings(message: Message, prefix: str = "") -> Iterable[tuple[str, str]]:
    for field, value in message.ListFields():
        key = prefix + field.name
        for index, element in enumerate(value if field_paths.is_repeated(field) else [value]):
            name = f"{key}[{index}]" if field_paths.is_repeated(field) else key
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                yield from _strings(element, name + ".")
            elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                yield name, element
