"""Parameters and the fields of a config behind them: their types, the config's own values, and the groups that a short name stands for.

own_value(config, "train_config.batch_size")       # 8
loss_setting(config, "cross-entropy")              # ["model.ssd.loss={classification_loss {weighted_sigmoid {}} …}"]
"""

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection.field_paths import is_repeated
from pneumodet.models.detection.odapi import Config, Message

if TYPE_CHECKING:
    from pneumodet.training.tuning.space import Parameter

OPTIMIZERS = {"sgd": "momentum_optimizer", "adam": "adam_optimizer", "rmsprop": "rms_prop_optimizer"}
"""Names of optimizers -> field of the API's Optimizer message."""

OPTIMIZER_VALUES = {
    "sgd": {"momentum_optimizer_value": 0.9},
    "adam": {},
    "rmsprop": {"momentum_optimizer_value": 0.9, "decay": 0.9, "epsilon": 1.0},
}
"""What the model zoo's configs give an optimizer besides its learning rate; of an optimizer that the config has, its own values stay."""

LOSSES = ("focal", "cross-entropy", "cross-entropy-mined")
"""Classification losses of SSD: focal (Lin et al., 2017, arXiv:1708.02002), sigmoid cross-entropy over all anchors, or over the hardest negatives,
three for each positive (Liu et al., 2016, arXiv:1512.02325)."""

FOCAL = {"alpha": 0.25, "gamma": 2.0}
"""Of the focal loss where the config has another loss: the values of its paper."""

MINER = {"num_hard_examples": 3000, "iou_threshold": 0.99, "max_negatives_per_positive": 3, "min_negatives_per_image": 3}
"""Hard example mining as in the model zoo's SSD configs."""

PEAKS = ("learning_rate_base", "initial_learning_rate", "learning_rate")
"""Fields that hold a schedule's peak, which --param learning_rate sets."""

CLASHES = {
    "learning_rate": lambda name: name.startswith("train_config.optimizer.") and name.rpartition(".")[2] in PEAKS,
    "batch_size": lambda name: name == "train_config.batch_size",
    "optimizer": lambda name: name.startswith("train_config.optimizer"),
    "loss": lambda name: name.startswith("model.ssd.loss"),
}
"""Short name -> whether a field's path is among what it sets."""


def check(config: Config, parameter: "Parameter") -> "Parameter":
    """Try a parameter's values on a copy of the config.

    Returns:
      The parameter; a range of a whole-number field has whole numbers.

    Raises:
      ConfigError: no such field, or a value that it cannot have.
    """
    name, given = parameter.name, parameter.choices or parameter.ends
    if name in ("optimizer", "loss", "augmentation"):
        return _check_named(config, parameter)
    kinds = {type(_try(config, name, text)) for text in given}
    if parameter.choices:
        return parameter
    if not kinds <= {int, float}:
        raise ConfigError(f"--param {name}: a range needs a field that holds a number. Give a list with commas.")
    if int in kinds and parameter.step and not parameter.step.is_integer():
        raise ConfigError(f"--param {name}: the field holds whole numbers, but the step is {parameter.step:g}.")
    return dataclasses.replace(parameter, whole=parameter.whole or int in kinds)


def _check_named(config: Config, parameter: "Parameter") -> "Parameter":
    name = parameter.name
    if not parameter.choices:
        raise ConfigError(f"--param {name}: give a list with commas, not a range.")
    if name == "loss" and not config.model.HasField("ssd"):
        raise ConfigError(
            f"--param loss is for SSD models; this one is {config.model.WhichOneof('model')!r}. Name fields of its losses by their paths."
        )
    if name == "augmentation":
        from pneumodet.models.inputs import augmentation_settings

        for choice in parameter.choices:
            augmentation_settings.load(choice)
        return parameter
    known = tuple(OPTIMIZERS) if name == "optimizer" else LOSSES
    for choice in parameter.choices:
        if choice not in known:
            raise ConfigError(f"--param {name}: there is no {choice!r}; there are {', '.join(known)}.")
    return parameter


def _try(config: Config, name: str, text: str) -> Any:
    """Set one value on a copy and return what the field holds then."""
    from pneumodet.models.detection import pipeline_config

    # a copy, on which the real setter is tried: it knows the field's type, and its message names the field
    probe = copy.deepcopy(config)
    try:
        if name == "learning_rate":
            value = float(text)
            if not 0 < value < float("inf"):
                raise ConfigError(f"--param learning_rate: {text} is not above 0.")
            pipeline_config.set_peak_rate(probe, value)
            return value
        path = "train_config.batch_size" if name == "batch_size" else name
        pipeline_config.override(probe, [f"{path}={text}"])
    except ValueError as error:
        raise ConfigError(f"--param {name}: {text!r} is not a number.") from error
    except ConfigError as error:
        raise ConfigError(str(error).replace("--set", "--param", 1)) from error
    if path == "train_config.batch_size" and probe.train_config.batch_size < 1:
        raise ConfigError(f"--param {name}: {text} is not a whole number of at least 1.")
    return _read(probe, path)


def own_value(config: Config, name: str) -> Any:
    """Return what a config has for a parameter: a number, bool or string; None where it has nothing that could be compared."""
    from pneumodet.models.detection import pipeline_config

    if name == "augmentation":
        from pneumodet.models.inputs import augmentation_settings

        return augmentation_settings.DEFAULT  # what a run has that names none; the config's own options are for the stock API
    if name == "batch_size":
        return config.train_config.batch_size
    if name == "optimizer":
        kind = config.train_config.optimizer.WhichOneof("optimizer")
        return next((short for short, field in OPTIMIZERS.items() if field == kind), None)
    if name == "loss":
        return _own_loss(config.model.ssd.loss)
    if name == "learning_rate":
        schedule = pipeline_config.learning_rate(config)
        peak = next((field for field in PEAKS if schedule is not None and field in schedule.DESCRIPTOR.fields_by_name), None)
        return None if peak is None else _shortest(getattr(schedule, peak))
    return _read(config, name)


def _own_loss(loss: Message) -> str | None:
    kind = loss.classification_loss.WhichOneof("classification_loss")
    if kind == "weighted_sigmoid":
        return "cross-entropy-mined" if loss.HasField("hard_example_miner") else "cross-entropy"
    return "focal" if kind == "weighted_sigmoid_focal" and not loss.HasField("hard_example_miner") else None


def _read(config: Config, path: str) -> Any:
    """Return the value at a path that is known to exist; None for a group, a list, or what lies in a group that is not set."""
    message, value = config, None
    for step in path.split("."):
        if message is None:
            return None
        name, _, index = step.removesuffix("]").partition("[")  # train_config or eval_input_reader[0]: the path is known to be one
        field, value = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
        if is_repeated(field):
            value = value[int(index or 0)] if index or len(value) == 1 else None
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and not message.HasField(name):
            value = None
        message = value if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE else None
    if value is None or field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return None
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    return _shortest(value) if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else value


def _shortest(value: float) -> float:
    """Return a 32-bit float as the shortest number that means the same: 0.0125, not 0.012500000186264515."""
    return float(str(np.float32(value)))


def loss_setting(config: Config, name: str) -> list[str]:
    """Return the --set that gives an SSD a classification loss; none where it has it already. All else of its losses stays."""
    own = config.model.ssd.loss
    if name == _own_loss(own):
        return []
    loss = copy.deepcopy(own)
    # focal loss weighs all anchors in place of mining; only the loss whose name says so gets a miner back below
    loss.ClearField("hard_example_miner")
    kind = loss.classification_loss
    if name == "focal":
        kind.weighted_sigmoid_focal.SetInParent()
        for field, value in FOCAL.items():
            setattr(kind.weighted_sigmoid_focal, field, value)
    else:
        kind.weighted_sigmoid.SetInParent()
    if name == "cross-entropy-mined":
        for field, value in MINER.items():
            setattr(loss.hard_example_miner, field, value)
        loss.hard_example_miner.loss_type = loss.hard_example_miner.CLASSIFICATION
    return [f"model.ssd.loss={_text(loss)}"]


def optimizer_setting(
    config: Config, name: str, reference: tuple[int, int], steps: int, batch: int, settings: tuple[str, ...]
) -> list[str]:
    """Return the --set that gives a config an optimizer with the schedule that the config has; none where it has that optimizer already.

    An optimizer that is set as a whole keeps its schedule as it is written, so that it is written for the run's steps and batch.

    Args:
      config: with ``settings`` applied.
      name: of OPTIMIZERS.
      reference: (num_steps, batch_size) that the config file was written for.
      steps: of the run.
      batch: of the run.
      settings: KEY=VALUE applied to ``config``, whose learning-rate fields are not scaled.
    """
    from pneumodet.models.detection import pipeline_config

    if name == own_value(config, "optimizer"):
        return []
    config = copy.deepcopy(config)
    config.train_config.num_steps, config.train_config.batch_size = steps, batch
    keys = [setting.partition("=")[0].strip() for setting in settings]
    pipeline_config.scale_schedule(config, reference_steps=reference[0], reference_batch=reference[1], overridden=keys)
    optimizer = config.train_config.optimizer
    kind = optimizer.WhichOneof("optimizer")
    schedule = copy.deepcopy(getattr(optimizer, kind).learning_rate)
    wanted = getattr(optimizer, OPTIMIZERS[name])
    wanted.SetInParent()  # takes the other one's place
    wanted.learning_rate.CopyFrom(schedule)
    for field, value in OPTIMIZER_VALUES[name].items():
        setattr(wanted, field, value)
    return [f"train_config.optimizer={_text(optimizer)}"]


def _text(message: Message) -> str:
    return "{" + text_format.MessageToString(message, as_one_line=True) + "}"
