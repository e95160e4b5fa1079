"""The settings of a run as a flat TOML file: read, overridden by KEY=VALUE, checked, written. No TensorFlow.

    settings = load(ClassifierSettings, "mobilenetv2", overrides=["steps=300"], folder=paths.CONFIG_DIR / "classification")
    save(settings, folder / runs.SETTINGS)

A family of models adds fields to ``Settings`` by inheritance. An unknown key is an error that names the nearest one.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pneumodet.core import paths, suggest
from pneumodet.core.errors import ConfigError
from pneumodet.data.equalizing import NORMALIZATIONS
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.options import Options, Plan, check_seed, check_share, ten_times

OPTIMIZERS = ("adamw", "adam", "momentum")
"""Names of optimizers."""

TEN_TIMES = -1
"""Of ``evaluate_every``, where nothing is said of it: TOML has no value for that."""

SMALLEST_IMAGE, LARGEST_IMAGE = 32, 1024
"""Sides in px that make sense: records have 1024 px at the most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """What all families have in common; ``best_metric``, ``patience``, ``checkpoint_every`` and ``keep`` are as in ``Plan``.

    Attributes:
      image_size: side in px of the square that the model takes.
      normalization: what is done to gray values before all else, one of ``NORMALIZATIONS``.
      augmentation: a preset's name, or JSON, as ``augmentation_settings.load``; of a file ``load`` keeps the text.
      batch_size: images a step.
      steps: in all.
      optimizer: one of ``OPTIMIZERS``.
      learning_rate: peak.
      warmup_steps: over which the rate rises.
      weight_decay: decoupled.
      clip_norm: largest global norm of the gradients; 0 for any.
      positive_share: share of radiographs with pneumonia among the samples; 0 leaves it as it is in the records.
      evaluate_every: steps from one evaluation to the next; 0 for never, -1 for ten evaluations a run.
      aim: what the operating point is chosen for, as ``aims.parse_aim``.
      seed: of weights, order and augmentation.
      skip_corrupt: leave corrupt records out, and count them.
    """

    image_size: int = 224
    normalization: str = "none"
    augmentation: str = augmentation_settings.DEFAULT
    batch_size: int = 16
    steps: int = 1000
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    positive_share: float = 0.0
    evaluate_every: int = TEN_TIMES
    best_metric: str = "image.roc_auc"
    aim: str = "f1"
    seed: int = Options.seed
    skip_corrupt: bool = Options.skip_corrupt

    METRICS: ClassVar[tuple[str, ...]] = ("image.roc_auc", "image.pr_auc")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in px of what the model takes."""
        return self.image_size, self.image_size

    @property
    def files(self) -> dict[str, Path]:
        """Setting -> the file that it names and that training reads at each start; a family adds its own."""
        return {}

    @property
    def between_evaluations(self) -> int:
        """Steps from one evaluation to the next; 0 for never."""
        return ten_times(self.steps) if self.evaluate_every == TEN_TIMES else self.evaluate_every

    def check(self) -> None:
        """Check all values; a family checks its own, too.

        Raises:
          ConfigError: one is out of range.
        """
        one_of("normalization", self.normalization, NORMALIZATIONS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("best_metric", self.best_metric, self.METRICS)
        between("image_size", self.image_size, SMALLEST_IMAGE, LARGEST_IMAGE)
        for name in ("batch_size", "steps", "checkpoint_every", "keep"):
            between(name, getattr(self, name), 1)
        for name in ("warmup_steps", "patience", "weight_decay", "clip_norm"):
            between(name, getattr(self, name), 0)
        between("evaluate_every", self.evaluate_every, TEN_TIMES)
        if self.patience and self.evaluate_every == 0:
            raise ConfigError("patience counts evaluations, but evaluate_every = 0 leaves none. Leave one of them out.")
        between("learning_rate", self.learning_rate, 1e-9, 10)
        check_seed(self.seed, name="seed")
        if self.positive_share:
            check_share(self.positive_share, name="positive_share")
        augmentation_settings.load(self.augmentation)


Any_Settings = TypeVar("Any_Settings", bound=Settings)


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a ConfigError where a value is not one of those allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}. {suggest.sentence(value, allowed)}")


def between(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise a ConfigError where a value is not in [low, high]."""
    if not low <= value <= high:
        limit = f"from {low:g} to {high:g}" if high < float("inf") else f"at least {low:g}"
        raise ConfigError(f"{name} is {value:g}, must be {limit}.")


def names(folder: Path) -> list[str]:
    """Return the names of the configs in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(kind: type[Any_Settings], name_or_path: str | Path, *, folder: Path, overrides: Iterable[str] = ()) -> Any_Settings:
    """Return the settings of a config, with overrides, checked.

    Args:
      kind: the family's settings.
      name_or_path: name in ``folder``, or path of a .toml file.
      folder: of the family's configs.
      overrides: ``KEY=VALUE``; the value as in TOML, quotes may be left out.

    Raises:
      ConfigError: there is no such config, it cannot be read, a key is unknown, or a value is of another type or out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder / f"{name_or_path}.toml"
        if not paths.is_file(path):
            raise ConfigError(f"There is no config {str(name_or_path)!r} in {folder}. {suggest.sentence(str(name_or_path), names(folder))}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML file ({error}).") from error
    given = parsed(kind, overrides)
    try:
        return of(kind, values | given, where=str(path))
    except ConfigError:
        if given:  # what was given is wrong where the file alone is right
            of(kind, values, where=str(path))
            of(kind, values | given, where="Of the settings given")
        raise


def of(kind: type[Any_Settings], values: Mapping[str, Any], *, where: str) -> Any_Settings:
    """Return checked settings of plain values; ``where`` names their origin in messages.

    Raises:
      ConfigError: a key is unknown, or a value is of another type or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    taken: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{where} has the unknown key {key!r}. {suggest.sentence(key, fields)}")
        wanted = type(fields[key].default)
        # TOML has two kinds of numbers; a user who writes learning_rate = 1 means the same as 1.0
        if wanted is float and type(value) is int:
            value = float(value)
        if wanted is tuple and isinstance(value, list):
            value = tuple(value)
        # by the exact type: True is an int to isinstance, and would pass for a number of steps
        if type(value) is not wanted:
            raise ConfigError(f"{where}: {key} is {value!r}, must be {_KINDS[wanted]}.")
        taken[key] = value
    settings = kind(**taken)
    try:
        settings.check()
        # the file's text, not its path: a resumed run must not depend on a file that may have changed since
        return dataclasses.replace(settings, augmentation=augmentation_settings.inlined(settings.augmentation))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple: "a list",
}


def parsed(kind: type[Settings], overrides: Iterable[str]) -> dict[str, Any]:
    """Return key -> value of ``KEY=VALUE`` texts.

    Raises:
      ConfigError: one is not of this form, or its key is unknown.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(f"{text!r} is no KEY=VALUE.")
        if key not in fields:
            raise ConfigError(f"There is no setting {key!r}. {suggest.sentence(key, fields)}")
        try:
            values[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[key] = value  # a text without quotes
        if isinstance(fields[key].default, str) and not isinstance(values[key], str):
            values[key] = value  # a text that TOML takes for something else: a run named 007, the option none
    return values


def save(settings: Settings, path: Path) -> None:
    """Write all settings as TOML, atomically; ``load`` of it gives equal settings."""
    lines = [f"{key} = {_toml(value)}\n" for key, value in dataclasses.asdict(settings).items()]
    with paths.atomic_path(path) as tmp:
        tmp.write_text("".join(lines), encoding="utf-8")


def _toml(value: Any) -> str:
    # its repr, True, is no TOML
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # TOML's basic strings have the same escapes, but for pairs of surrogates
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # repr gives the shortest text that reads back as the same float
    return repr(value)
