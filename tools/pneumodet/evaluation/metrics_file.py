"""metrics.json of an evaluation: its figures by key, their intervals, the operating point, and what they are of.

metrics = read(run / "eval" / "metrics.json", hint="Evaluate the run again.")
metrics["rsna_metric"], metrics.interval("rsna_metric"), metrics.why_undefined("image.roc_auc")
metrics.operating_point.threshold, metrics.images, metrics.checkpoint

The file is one flat JSON object, which other tools read by key: keys are only added, never renamed. ``version`` stands in files from version 1 on;
a file without it is read alike. A detector, a classifier and a segmenter leave out of it what they do not have.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import json_text
from pneumodet.core.errors import DataError
from pneumodet.core.json_fields import Fields
from pneumodet.core.seen import Marks, Seen

VERSION = 1
"""Of what is written. Raised only where a field that is read here changes its meaning."""

SCORED = "scored"
"""Field of a run's evaluation: its exams, as ``Marks``."""

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

    def __init__(self, content: Mapping[str, Any], *, where: str = "The metrics", hint: str = "Evaluate again.") -> None:
        """Check the content.

        Args:
          content: JSON object.
          where: what it is, for messages: a file's path.
          hint: the next step, for messages.

        Raises:
          DataError: a field is of another kind than it must be; the message names it.
        """
        _check(content, where, hint)
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
        """Score threshold: the one given, or the one for new data."""
        point = self.operating_point
        return self._content.get("rsna_threshold", point and point.threshold)

    @property
    def threshold_source(self) -> str | None:
        """How ``threshold`` was chosen, for a sentence."""
        point = self.operating_point
        return self._content.get("rsna_threshold_source", point and point.source)

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
    def scored(self) -> Seen:
        """What an export that takes threshold and calibrator of this evaluation has seen by it; a file of an earlier pneumodet does not record that."""
        scored = self._content.get(SCORED)
        if scored is None:
            return Seen(unrecorded=("the evaluation that chose its threshold",))
        return Seen(chosen=Fields(scored, where="The metrics", error=DataError, hint="Evaluate again.").build(Marks))

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
    return Metrics(json_text.read(path, what="the run's metrics", hint=hint), where=str(path), hint=hint)


_COUNTS = (
    *("images", "patients", "positive_images", "boxes", "detections", "step", "parameters"),
    *("checkpoint_chosen_of", "checkpoint_best_step", "checkpoint_last_step", "test_exams"),
)
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("rsna_threshold", "training_seconds", "milliseconds_an_image", "checkpoint_best", "checkpoint_last"), float),
    "checkpoint_corrected": float,
    **dict.fromkeys(("class_name", "rsna_rules", "rsna_threshold_source", "checkpoint", "split", "manifest_sha256", "family"), str),
    **dict.fromkeys(("figures_on", "checkpoint_metric"), str),
    **dict.fromkeys(("calibrator", "curves", "comparison"), dict),
    "intervals_undefined": dict[str, str | None],
    "operating_point": OperatingPoint,
    "seen": dict,
    SCORED: Marks,
    "warnings": list[str],
    "segmentation.prior": dict[str, Any],
}
"""Fields -> their types."""

_GROUPS = ("rsna_metric", "coco", "froc", "image", "lesion", "segmentation", "classes")
"""Beginnings of the keys of figures."""

_TABLES = ("confusion", "prior", "gain", "classes")
"""Ends of those keys that hold an object or a list, and are no figures."""


@dataclasses.dataclass(frozen=True)
class _Worst:
    """A slice that is worse than all exams."""

    sentence: str


def _check(content: object, where: str, hint: str) -> None:
    fields = Fields(content, where=where, error=DataError, hint=hint)
    fields.version(VERSION, oldest=0)
    for key in _COUNTS:
        fields.count(key)
    for key, kind in _TYPES.items():
        fields.typed(key, kind)
    # by prefix: files hold figures of any class, and later ones may hold more
    for key, value in fields.content.items():
        if key.partition(".")[0] in _GROUPS and not (isinstance(value, Mapping | list) and key.rpartition(".")[2] in _TABLES):
            fields.typed(key, str if key.endswith(".undefined") else float)
    if (point := fields.part("operating_point")) and (chosen := point.part("chosen")):
        chosen.typed("reached", dict[str, float | None])
    if intervals := fields.part("intervals"):
        for key in intervals:
            intervals.numbers(key, 2)
    if seen := fields.part("seen"):
        seen.optional("statement", str)
    if bootstrap := fields.part("bootstrap"):
        bootstrap.optional("method", str)
    if slices := fields.part("slices"):
        slices.optional("caveat", str)
        slices.typed("worst_by", dict[str, _Worst | None])
