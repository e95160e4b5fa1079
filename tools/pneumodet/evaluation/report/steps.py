"""What each step of post-processing gains, in terms that need no knowledge of recipes.

html = gains(table)          # as postprocess.py writes it into table.json
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

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


def gains(table: Mapping[str, Any] | None) -> Markup:
    """Return the table of gains, or nothing without one.

    Args:
      table: as ``evaluation.postprocess_search.search`` returns it.
    """
    if not table:
        return Markup()
    rows: list[Sequence[str | markup.Cell]] = []
    before: Mapping[str, Any] = {}
    for one in table["rows"]:
        gain = "" if one["gain"] is None else markup.with_interval(one["gain"])
        name = STEPS.get(one["step"], one["step"])
        rows.append((name, markup.with_interval(one["figure"]), gain, _changes(one["chosen"], before)))
        before = one["chosen"] if gain else {}  # without a gain, a start of its own: the next row need not build on it
    rows.append(("all steps", "", markup.with_interval(table["total"]), _text(table["rows"][-1]["chosen"])))
    objective = OBJECTIVES.get(table["objective"], table["objective"])
    header = ("step", objective, "gain", "chosen on all patients")
    shown = markup.Table("What each step of post-processing gains", header, rows, text_columns=(3,))
    return templating.part("gains", shown, table.get("note"))


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
    if (name, value) in CHOICES:
        return CHOICES[name, value]
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return FIELDS[name].format(shown) if name in FIELDS else f"{name} {shown}"
