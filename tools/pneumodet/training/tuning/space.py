"""What a study varies: ``--param`` texts, checked against the config, and what a choice of values means for a run.

    space = Space.of("ssd_mobilenet", ["learning_rate=1e-4:0.1:log", "batch_size=4,8", "model.ssd.loss.localization_weight=0.5:2"], steps=1000)
    space.own                                          # {"learning_rate": 0.0125, "batch_size": "8", …}: the config's values
    space.request({"learning_rate": 0.003, "batch_size": "4"})    # keyword arguments of a run

A range is low:high, then :log, :int or :step=…; anything else is a list with commas. Nothing here imports TensorFlow.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumodet.core import suggest
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection.odapi import Config
from pneumodet.training.tuning import fields

CLASSIC = ("optimizer", "loss", "learning_rate", "batch_size")
"""What is varied where nothing is named."""

SHORT = ("learning_rate", "batch_size", "optimizer", "loss", "augmentation")
"""Parameters that are no fields of the config: peak of the schedule, images a step, and three that stand for a group of fields."""

CLASSIC_RATES = "1e-4:0.1:log"
"""Peak learning rates that hold what Adam (about 1e-3) and SGD with momentum (about 1e-2) usually need."""

SIGNIFICANT_DIGITS = 6
"""Of the numbers that are tried, so that a table and a command line repeat a trial exactly."""

_OPTIONS = "low:high, then :log, :int or :step=…, for example 1e-4:0.1:log, or a list with commas, for example 4,8,16"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing that is varied: a range of numbers, or a list.

    Attributes:
      name: a field's path, or one of SHORT.
      choices: of a list, as typed; empty for a range.
      low, high: ends of a range, which are part of it.
      log: whether the range is searched by its logarithm.
      step: distance of the values of a range; None for any value between the ends.
      whole: whether the values of a range are whole numbers.
      ends: the ends as typed.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    step: float | None = None
    whole: bool = False
    ends: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """Return how many values there are, None for a continuous range."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.whole else None)
        return None if step is None else round((self.high - self.low) / step) + 1

    def holds(self, value: Any) -> str | float | None:
        """Return a value of the config as this parameter spells it, or None where it is not among the values."""
        if self.choices:
            return next((choice for choice in self.choices if _same(choice, value)), None)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return None
        if self.step and not _multiple(value - self.low, self.step):
            return None
        return value

    def plain(self, value: Any) -> Any:
        """Return a proposed number with few digits, within the ends; a choice as it is."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high)


def parse(text: str) -> Parameter:
    """Read one ``NAME=VALUES``.

    Raises:
      ConfigError: it is not of that form, or the range or list makes no sense.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name or not values:
        raise ConfigError(f"--param {text!r} is not of the form NAME=VALUES; VALUES is {_OPTIONS}.")
    choices = _split(values)
    if len(choices) > 1:
        if "" in choices:
            raise ConfigError(f"--param {name}: the list {values!r} has an empty entry.")
        double = next((choice for index, choice in enumerate(choices) if any(_same(choice, other) for other in choices[:index])), None)
        if double is not None:
            raise ConfigError(f"--param {name}: {double!r} occurs twice in the list.")
        return Parameter(name=name, choices=choices)
    if ":" not in values or values.startswith("{"):
        raise ConfigError(f"--param {name}: {values!r} is a single value. Give {_OPTIONS}; what is the same in all trials goes to --set.")
    return _range(name, values)


def _range(name: str, values: str) -> Parameter:
    low_text, high_text, *options = (part.strip() for part in values.split(":"))
    low, high = (_number(name, values, text) for text in (low_text, high_text))
    log = whole = False
    step: float | None = None
    for option in options:
        key, _, value = option.partition("=")
        if option == "log":
            log = True
        elif option == "int":
            whole = True
        elif key == "step" and value:
            step = _number(name, values, value)
        else:
            raise ConfigError(f"--param {name}: {option!r} is no option of a range. A range is {_OPTIONS}.")
    if low >= high:
        raise ConfigError(f"--param {name}: {low_text} is not below {high_text}; a range goes from low to high.")
    if log and low <= 0:
        raise ConfigError(f"--param {name}: a log range starts above 0, not at {low_text}.")
    if step is not None:
        if log:
            raise ConfigError(f"--param {name}: a log range has no step. Leave one of them out.")
        if step <= 0 or not _multiple(high - low, step):
            raise ConfigError(f"--param {name}: steps of {step:g} from {low_text} do not end at {high_text}.")
    if whole and not all(float(one).is_integer() for one in (low, high, step or 1)):
        raise ConfigError(f"--param {name}: {values!r} is to have whole numbers only, but not all of its own are whole.")
    return Parameter(name=name, low=low, high=high, ends=(low_text, high_text), log=log, whole=whole, step=step)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """All that a study varies, checked against its config.

    Attributes:
      parameters: in the order given.
      own: parameter's name -> the config's own value; without those whose own value is not among the values.
      settings: KEY=VALUE that hold in all trials.
      config: the config, with ``settings`` applied; not to be changed.
      reference: (num_steps, batch_size) that the config file was written for.
      steps: of a trial.
    """

    parameters: tuple[Parameter, ...]
    own: Mapping[str, Any]
    settings: tuple[str, ...]
    config: Config
    reference: tuple[int, int]
    steps: int

    @classmethod
    def of(cls, config_name: str, texts: Sequence[str], *, steps: int, settings: Sequence[str] = ()) -> "Space":
        """Read and check a study's parameters.

        Args:
          config_name: a config of configs/, or a path.
          texts: of --param; those of CLASSIC with ranges of ``classic`` where there are none.
          steps: of a trial.
          settings: KEY=VALUE that hold in all trials.

        Raises:
          ConfigError: a parameter is no field of the config, is not of its type, or does not go with another one.
        """
        from pneumodet.models.detection import pipeline_config

        config = pipeline_config.load(config_name)
        reference = (config.train_config.num_steps, config.train_config.batch_size)
        keys = pipeline_config.override(config, settings)
        # parsed first, then compared with one another, then tried on the config: each message assumes that the earlier checks hold
        parameters = tuple(parse(text) for text in texts or classic(config))
        _check_together(parameters, keys)
        parameters = tuple(fields.check(config, parameter) for parameter in parameters)
        own = {one.name: one.holds(fields.own_value(config, one.name)) for one in parameters}
        own = {name: value for name, value in own.items() if value is not None}
        return cls(parameters=parameters, own=own, settings=tuple(settings), config=config, reference=reference, steps=steps)

    @property
    def combinations(self) -> int | None:
        """Return how many combinations of values there are, None where a range is continuous."""
        counts = [parameter.count for parameter in self.parameters]
        known = [count for count in counts if count is not None]
        return math.prod(known) if len(known) == len(counts) else None

    def sha256(self) -> str:
        """Return a digest of the config with the fixed settings, comments not counted."""
        return hashlib.sha256(str(self.config).encode()).hexdigest()

    def request(self, values: Mapping[str, Any], *, steps: int | None = None) -> dict[str, Any]:
        """Return what a choice of values means for a run.

        Args:
          values: parameter's name -> value; a parameter that is left out keeps what the config has.
          steps: of the run; a trial's by default. A learning-rate schedule that is written out is stretched to them.

        Returns:
          Keyword arguments of ``experiment.Request``: batch_size, learning_rate and augmentation (None where the config's holds), settings.
        """
        steps = steps or self.steps
        request: dict[str, Any] = {"batch_size": None, "learning_rate": None, "augmentation": None}
        settings = list(self.settings)
        for parameter in self.parameters:
            if parameter.name not in values:
                continue
            name, value = parameter.name, values[parameter.name]
            if name == "batch_size":
                request[name] = int(value)
            elif name == "learning_rate":
                request[name] = float(value)
            elif name == "augmentation":
                request[name] = value
            elif name == "loss":
                settings += fields.loss_setting(self.config, value)
            elif name != "optimizer":
                settings.append(f"{name}={value}")
        # last: it writes the whole optimizer with its schedule, for which the batch size must be known
        if "optimizer" in values:
            batch = request["batch_size"] or int(values.get("train_config.batch_size", self.config.train_config.batch_size))
            settings += fields.optimizer_setting(self.config, values["optimizer"], self.reference, steps, batch, self.settings)
        return request | {"settings": tuple(settings)}


def classic(config: Config) -> list[str]:
    """Return the parameters of the classic question, which optimizer, loss, learning rate and batch size, for a config."""
    batch = config.train_config.batch_size
    batches = sorted({max(1, batch // 2), batch, 2 * batch})
    texts = {
        "optimizer": "sgd,adam,rmsprop",
        "loss": "focal,cross-entropy",
        "learning_rate": CLASSIC_RATES,
        "batch_size": ",".join(map(str, batches)),
    }
    return [f"{name}={texts[name]}" for name in CLASSIC if name != "loss" or config.model.HasField("ssd")]


def _check_together(parameters: Sequence[Parameter], fixed: Iterable[str]) -> None:
    names = [parameter.name for parameter in parameters]
    if "train_config.num_steps" in fixed:
        raise ConfigError("--set train_config.num_steps does not go with a study: give the steps of a trial by --steps.")
    for index, name in enumerate(names):
        if "." not in name and name not in SHORT:
            hint = suggest.clause(name, SHORT)
            raise ConfigError(
                f"--param {name}: there is no such name{hint} Names are {', '.join(SHORT)}, or a field's path such as train_config.batch_size."
            )
        if name in names[:index]:
            raise ConfigError(f"--param {name} is given twice.")
        if name == "train_config.num_steps":
            raise ConfigError(
                "--param train_config.num_steps: all trials have the same number of steps, --steps, or they could not be compared."
            )
        if name in fixed or (name == "batch_size" and "train_config.batch_size" in fixed):
            raise ConfigError(f"--param {name} is also fixed by --set. Leave one of them out.")
    for short, clash in fields.CLASHES.items():
        for name in names:
            if short in names and clash(name):
                raise ConfigError(f"--param {short} and --param {name} do not go together: one would overwrite the other. Leave one out.")
    if "optimizer" in names and "learning_rate" not in names:
        raise ConfigError(
            f"--param optimizer needs --param learning_rate, for example learning_rate={CLASSIC_RATES}: "
            "optimizers need different rates, and at a single one the comparison says nothing."
        )


def _split(text: str) -> tuple[str, ...]:
    """Split at the commas that are in no braces."""
    parts, depth = [""], 0
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return tuple(part.strip() for part in parts)


def _same(choice: str, value: Any) -> bool:
    if isinstance(value, bool):
        return choice.lower() == str(value).lower()
    try:
        return math.isclose(float(choice), float(value), rel_tol=1e-6)
    except (TypeError, ValueError):
        return choice == value


def _multiple(distance: float, step: float) -> bool:
    # 0.1 is no binary fraction: 0.3 / 0.1 is not quite 3
    return math.isclose(distance / step, round(distance / step), abs_tol=1e-6)


def _number(name: str, values: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--param {name}: {text!r} in {values!r} is not a number. VALUES is {_OPTIONS}.")
    return value
