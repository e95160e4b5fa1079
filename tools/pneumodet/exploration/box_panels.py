"""The section of the report that is about boxes: a table by view and age, their sizes, and maps of where they are.

shown = boxes(figures)               # ``exploring.measure``'s figures; None where there is no box
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pneumodet.viz import markup
from pneumodet.viz.charts import bar_chart, heatmap
from pneumodet.viz.markup import Cell, Table

FEW_BOXES = 20
"""Fewer make no map."""


def boxes(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return centres, sizes and densities by view and age; None where there is no box."""
    measured = figures["boxes"]
    if measured is None:
        return None
    groups = measured["groups"]
    rows = [
        (_group_name(name), markup.number(one["exams"]), markup.number(one["boxes"]))
        + tuple(_quartiles(one[key]) for key in ("width", "height", "area"))
        + (f"{one['left_half']:.1%}",)
        for name, one in groups.items()
    ]
    header = ("exams", "exams with boxes", "boxes", "width", "height", "area", "centre in the left half")
    views, sizes = measured["views"], []
    if views:
        series = {f"{name} view": normed(measured["sizes"][name]) for name in views}
        chart = bar_chart(
            "Sizes of boxes by view", measured["size_edges"], series, x="root of box area / image area", y="share of the view's boxes"
        )
        sizes.append(chart)
    # a map of a few boxes shows those boxes and no pattern
    names = [name for name in ("all", *views, *measured["ages"]) if groups[name]["boxes"] >= FEW_BOXES or name == "all"]
    # and is named instead, so that a missing map is no riddle
    few = [_group_name(name) for name in (*views, *measured["ages"]) if name not in names]
    return {
        "table": Table("Boxes by view and age: medians, and quartiles below, as shares of the image", header, rows),
        "sizes": sizes,
        "density": _maps(measured, "density", names),
        "centers": _maps(measured, "centers", names),
        "few": f"Without a map, because of fewer than {FEW_BOXES} boxes: {', '.join(few)}." if few else "",
    }


def normed(counts: Sequence[int]) -> list[float]:
    """Return counts as shares of their sum."""
    total = sum(counts) or 1
    return [count / total for count in counts]


def _maps(measured: Mapping[str, Any], key: str, names: Sequence[str]) -> list[Markup]:
    scaled = {}
    for name in names:
        # density is a share already; centres are counts, which groups of other sizes would not compare by
        total = 1 if key == "density" else measured["groups"][name]["boxes"]
        scaled[name] = [[value / total for value in row] for row in measured[key][name]]
    # one scale for all maps, or a faint one would seem as strong as the rest
    top = max(max(map(max, values)) for values in scaled.values())
    if not top:
        return []
    maps = []
    for name, values in scaled.items():
        of = f"{measured['groups'][name]['exams']:,} exams" if key == "density" else f"{measured['groups'][name]['boxes']:,} boxes"
        maps.append(heatmap(f"{_group_name(name)}, {of}", values, top=top, highest=f"{max(map(max, values)):.1%}"))
    return maps


def _group_name(name: str) -> str:
    if name[0].isdigit():
        first, _, rest = name.partition(" and ")
        return f"{first} years" + (f" and {rest}" if rest else "")
    return name if name == "all" else f"{name} view"


def _quartiles(values: Sequence[float]) -> Cell:
    low, middle, high = values
    return Cell(f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
