"""metrics.json of an evaluation: its figures by key, their intervals, the operating point, and what they are of.

metrics = read(run / "eval" / "metrics.json", hint="Evaluate the run again.")
metrics["rsna_metric"], metrics.interval("rsna_metric"), metrics.why_undefined("image.roc_auc")
metrics.operating_point.threshold, metrics.images, metrics.checkpoint

The file is one flat JSON object, which other tools read by key: keys are only added, never renamed. ``version`` stands in files from version 1 on;
a file without it is read alike. A detector, a classifier and a segmenter leave out of it what they do not have.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import DataError

VERSION = 1
"""Of what is written. Raised only where a field that is read here changes its meaning."""

Interval = tuple[float, float]
"""Lower and upper end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The score from which on a detection counts, and where it is from.

    Attributes:
      aim: what it was chosen for, as ``aims.parse_aim`` takes it; None where it was given.
      threshold: the score; None where no exam has a finding to choose by.
      threshold_is: a phrase where ``threshold`` is for new data and figures are at thresholds that other patients gave; else None.
      source: where it is from, for a sentence.
      reached: figures at ``threshold`` on the exams that it was chosen on, which flatter; empty where it was given.
    """

    aim: str | None = None
    threshold: float | None = None
    threshold_is: str | None = None
    source: str | None = None
    reached: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


class Metrics(Mapping[str, Any]):
    """The content of a metrics.json, checked: a mapping by its keys, with types for the fields that this library reads.

    A field that is left out is None, or empty; other keys are kept as they are.
    """

    def __init__(self, content: Mapping[str, Any], *, where: str = "The metrics") -> None:
        """Check the content.

        Args:
          content: JSON object.
          where: what it is, for messages: a file's path.

        Raises:
          DataError: a field is of another kind than it must be; the message names it.
        """
        _check(content, where)
        self._content = dict(content)

    def __getitem__(self, key: str) -> Any:
        """Return the field ``key``."""
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over keys, in the file's order."""
        return iter(self._content)

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self._content)

    @property
    def version(self) -> int:
        """Of the file; 0 where it was written before there were versions."""
        return self._content.get("version", 0)

    @property
    def class_name(self) -> str:
        """The class that is evaluated."""
        return self._content.get("class_name") or "pneumonia"

    @property
    def images(self) -> int | None:
        """How many images."""
        return self._content.get("images")

    @property
    def patients(self) -> int | None:
        """How many patients."""
        return self._content.get("patients")

    @property
    def threshold(self) -> float | None:
        """Score threshold of a detector: the one given, or the one for new data."""
        return self._content.get("rsna_threshold")

    @property
    def threshold_source(self) -> str | None:
        """How ``threshold`` was chosen, for a sentence."""
        return self._content.get("rsna_threshold_source")

    @functools.cached_property
    def operating_point(self) -> OperatingPoint | None:
        """Aim and threshold; None where the file has none."""
        point = self._content.get("operating_point")
        if not point:
            return None
        return OperatingPoint(
            aim=point.get("aim"),
            threshold=point.get("threshold"),
            threshold_is=point.get("threshold_is"),
            source=point.get("source"),
            reached=(point.get("chosen") or {}).get("reached") or {},
        )

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that was evaluated."""
        return self._content.get("checkpoint")

    @property
    def manifest_sha256(self) -> str | None:
        """Of the record set that it was evaluated on."""
        return self._content.get("manifest_sha256")

    @property
    def split(self) -> str | None:
        """Of the record set."""
        return self._content.get("split")

    @property
    def warnings(self) -> list[str]:
        """What a reader has to know, a sentence each."""
        return list(self._content.get("warnings") or ())

    def interval(self, key: str) -> Interval | None:
        """Return the 95 % interval of a figure; None where it has none."""
        ends = (self._content.get("intervals") or {}).get(key)
        return None if ends is None else (ends[0], ends[1])

    def why_undefined(self, key: str) -> str | None:
        """Return why a figure, or where it has a value its interval, is undefined; None where nothing says so."""
        if self._content.get(key) is not None:
            return (self._content.get("intervals_undefined") or {}).get(key)
        # a group of figures shares one reason, such as ``coco.undefined``
        reasons = (self._content.get(f"{one}.undefined") for one in (key, key.partition(".")[0]))
        return next((reason for reason in reasons if reason), None)


def read(path: Path, *, hint: str) -> Metrics:
    """Read metrics.json.

    Args:
      path: the file.
      hint: the next step where it cannot be used, for the message ("Evaluate the run again.").

    Raises:
      DataError: the file is missing, no JSON, of a newer version, or a field is wrong.
    """
    content = paths.read_json(path, what="the run's metrics", hint=hint)
    try:
        return Metrics(content, where=str(path))
    except DataError as error:
        raise DataError(f"{error} {hint}") from None


def _is_number(value: object) -> bool:
    # a bool is an int in Python, and no figure
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


_NUMBER, _COUNT = (_is_number, "a number"), (_is_count, "a whole number of at least 0")
_TEXT, _OBJECT = (_is_text, "text"), (_is_object, "a JSON object")

_FIELDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("version", "images", "patients", "positive_images", "boxes", "detections", "step", "parameters"), _COUNT),
    **dict.fromkeys(("rsna_threshold", "training_seconds", "milliseconds_an_image", "checkpoint_chosen_of"), _NUMBER),
    **dict.fromkeys(("class_name", "rsna_rules", "rsna_threshold_source", "checkpoint", "split", "manifest_sha256", "family"), _TEXT),
    **dict.fromkeys(
        ("intervals", "intervals_undefined", "bootstrap", "operating_point", "calibrator", "curves", "slices", "comparison"), _OBJECT
    ),
}
"""Field -> what it must be where it is not null."""

_POINT = {"threshold": _NUMBER, "aim": _TEXT, "source": _TEXT, "threshold_is": _TEXT, "chosen": _OBJECT}
"""The same of ``operating_point``."""

_GROUPS = ("rsna_metric", "coco", "froc", "image", "lesion", "segmentation", "classes")
"""Beginnings of the keys of figures. Those that hold an object, as ``image.confusion``, are no figures."""


def _check(content: object, where: str) -> None:
    if not isinstance(content, Mapping):
        raise DataError(f"{where}: metrics are a JSON object, but this is {type(content).__name__}.")
    for key, (fits, what) in _FIELDS.items():
        _refuse(content, key, fits, what, where)
    if content.get("version", 0) > VERSION:
        raise DataError(f"{where} is of version {content['version']}; this pneumodet reads up to {VERSION}. Update pneumodet.")
    for key, (fits, what) in _POINT.items():
        _refuse(content.get("operating_point") or {}, key, fits, what, where, inside="operating_point.")
    # by prefix: files hold figures of any class, and later ones may hold more
    for key, value in content.items():
        if key.partition(".")[0] in _GROUPS and not isinstance(value, Mapping | list):
            reason = key.endswith(".undefined")
            _refuse(content, key, *(_TEXT if reason else _NUMBER), where)
    for key, ends in (content.get("intervals") or {}).items():
        if not (isinstance(ends, list | tuple) and len(ends) == 2 and all(map(_is_number, ends))):
            raise DataError(f"{where}: intervals.{key} must be [low, high], two numbers, but is {ends!r}.")


def _refuse(content: Mapping[str, Any], key: str, fits: Callable[[object], bool], what: str, where: str, *, inside: str = "") -> None:
    value = content.get(key)
    if value is not None and not fits(value):
        raise DataError(f"{where}: {inside}{key} must be {what}, but is {value!r}.")
