"""What only this report draws: a matrix of correlations, inline SVG as in viz/charts.py.

svg = matrix("Correlation", ["age", "AP view"], [[1.0, -0.1], [-0.1, 1.0]])
"""

from collections.abc import Sequence

from markupsafe import Markup

from pneumodet.viz.charts import figure
from pneumodet.viz.svg import element

_LEFT, _NAMES_PX, _CELL_PX, _HEAD_PX = 2, 150, 38, 20


def matrix(title: str, names: Sequence[str], values: Sequence[Sequence[float | None]]) -> Markup:
    """Return a matrix of correlations with their numbers: blue below 0, orange above, the stronger the further from 0."""
    parts = []
    for index, name in enumerate(names):
        y, x = _HEAD_PX + index * _CELL_PX, _NAMES_PX + index * _CELL_PX
        parts.append(element("text", f"{index + 1} {name}", class_="axis", x=_LEFT, y=y + 23))
        parts.append(element("text", str(index + 1), class_="axis", x=f"{x + _CELL_PX / 2:.0f}", y=14, text_anchor="middle"))
    for row, of_row in enumerate(values):
        for column, value in enumerate(of_row):
            x, y = _NAMES_PX + column * _CELL_PX, _HEAD_PX + row * _CELL_PX
            if value is not None and row != column:
                kind = "plus" if value > 0 else "minus"
                where = {"x": x + 1, "y": y + 1, "width": _CELL_PX - 2, "height": _CELL_PX - 2}
                parts.append(element("rect", class_=f"cell {kind}", **where, fill_opacity=f"{0.65 * abs(value):.2f}"))
            text = (
                # a correlation that rounds to 0 has no sign
                "–" if value is None else "1" if row == column else f"{value + 0.0:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")
            )
            parts.append(element("text", text, class_="value", x=f"{x + _CELL_PX / 2:.0f}", y=y + 23, text_anchor="middle"))
    side = len(names) * _CELL_PX
    return figure(title, parts, (_NAMES_PX + side, _HEAD_PX + side), kind="matrix")
