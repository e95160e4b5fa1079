"""What each step of post-processing gains, in terms that need no knowledge of recipes.

html = gains(table)          # as postprocess.py writes it into table.json
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pneumodet.core.errors import DataError
from pneumodet.core.json_fields import Fields
from pneumodet.evaluation.metrics import interval
from pneumodet.viz import markup, templating

STEPS = {
    "score threshold": "score threshold alone",
    "nms": "suppression of duplicates (NMS)",
    "boxes an exam": "most boxes a radiograph",
    "gate": "gate by an image-level score",
}
"""Steps of the table -> their names in the report, where they differ."""

CHOICES = {
    ("fusion", "pool"): "sources pooled",
    ("fusion", "wbf"): "boxes of the sources fused",
    ("nms", "none"): "no NMS",
    ("nms", "hard"): "the less confident of two boxes dropped",
    ("nms", "linear"): "the less confident of two boxes scored down linearly (soft-NMS)",
    ("nms", "gaussian"): "the less confident of two boxes scored down by a Gaussian (soft-NMS)",
    ("max_boxes", None): "any number of boxes",
    ("gate", "none"): "no gate",
    ("gate", "drop"): "radiographs of low image-level score emptied",
    ("gate", "multiply"): "scores multiplied by the image-level score",
}
"""(field of a recipe, its value) -> what is done."""

FIELDS = {
    "fusion_iou": "fused above IoU {}",
    "nms_iou": "above IoU {}",
    "nms_sigma": "sigma {}",
    "min_side_px": "shorter side at least {} px",
    "max_boxes": "at most {}",
    "box_scale": "sides times {}",
    "gate_threshold": "image-level score at least {}",
    "score_threshold": "score at least {}",
}
"""Field of a recipe -> what its number says."""

OBJECTIVES = {"rsna": "RSNA metric", "ap50": "AP50"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and its interval; None where it is undefined, and why."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    undefined: str | None = None

    def shown(self) -> str | markup.Cell:
        """Return its cell."""
        return markup.with_interval(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """A row: the step, its figure, what it gains over the row before, and what was chosen on all patients so far."""

    step: str
    figure: Figure
    gain: Figure | None = None
    chosen: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gains:
    """What is shown of table.json."""

    rows: tuple[Gain, ...]
    total: Figure
    objective: str
    note: str | None = None


def gains(table: Mapping[str, Any] | None) -> Markup:
    """Return the table of gains, or nothing without one.

    Args:
      table: as ``evaluation.postprocess_search.search`` returns it.

    Raises:
      DataError: a field of it is missing or wrong, which is named.
    """
    if not table:
        return Markup()
    checked = Fields(table, where="The table of gains", error=DataError, hint="Run tools/postprocess.py again.").build(Gains)
    rows: list[Sequence[str | markup.Cell]] = []
    chosen: Mapping[str, Any] = {}
    before: Mapping[str, Any] = {}
    for one in checked.rows:
        gain = "" if one.gain is None else one.gain.shown()
        chosen = one.chosen
        rows.append((STEPS.get(one.step, one.step), one.figure.shown(), gain, _changes(chosen, before)))
        before = chosen if gain else {}  # without a gain, a start of its own: the next row need not build on it
    rows.append(("all steps", "", checked.total.shown(), _text(chosen)))
    objective = OBJECTIVES.get(checked.objective, checked.objective)
    header = ("step", objective, "gain", "chosen on all patients")
    shown = markup.Table("What each step of post-processing gains", header, rows, text_columns=(3,))
    return templating.part("gains", shown, without_interval(table), checked.note)


def without_interval(table: Mapping[str, Any]) -> list[str]:
    """Return why figures and gains of a table have a value and no interval, as ``interval.without``."""
    objective = OBJECTIVES.get(table["objective"], table["objective"])
    named: list[tuple[str, Mapping[str, Any]]] = []
    for row in table["rows"]:
        step = STEPS.get(row["step"], row["step"])
        named += [(f"{objective} of {step}", row["figure"]), (f"gain of {step}", row.get("gain") or {})]
    return interval.without([*named, ("gain of all steps", table["total"])])


def _changes(chosen: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return what differs from the step before, or all of it where there is none, or where something is no longer done."""
    # a field that is gone is back at its default, which a list of changes could not show
    if not before or before.keys() - chosen.keys():
        return _text(chosen)
    return _text(
        {key: value for key, value in chosen.items() if key not in before or before[key] != value}, nothing="as before: not worth it"
    )


def _text(chosen: Mapping[str, Any], *, nothing: str = "nothing") -> str:
    return ", ".join(_text_of(name, value) for name, value in chosen.items()) or nothing


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, str | None) and (name, value) in CHOICES:
        return CHOICES[name, value]
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return FIELDS[name].format(shown) if name in FIELDS else f"{name} {shown}"
