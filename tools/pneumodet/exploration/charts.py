"""What only this report draws: a matrix of correlations, inline SVG as in reporting/charts.py, and the rules of style besides.

svg = matrix("Correlation", ["age", "AP view"], [[1.0, -0.1], [-0.1, 1.0]])
"""

import html
from collections.abc import Sequence

from pneumodet.reporting.charts import figure

_LEFT, _NAMES_PX, _CELL_PX, _HEAD_PX = 2, 150, 38, 20

CSS = """
.cell.minus { fill: var(--c0); } .cell.plus { fill: var(--c1); } .matrix { max-width: 560px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 24px; align-items: start; }
.sheet { max-width: 100%; height: auto; display: block; border-radius: 4px; background: #000; }
.radiographs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 16px; margin: 12px 0; }
.radiographs img { width: 100%; height: auto; display: block; border-radius: 4px; background: #000; }
.note { color: var(--quiet); font-size: .92rem; } .conclusions li { margin: 8px 0; max-width: 78ch; } summary { margin: 8px 0; }
.exams { columns: 22rem auto; font-size: .82rem; padding-left: 20px; overflow-wrap: anywhere; }
"""
"""Rules beside those of ``reporting.style``."""


def matrix(title: str, names: Sequence[str], values: Sequence[Sequence[float | None]]) -> str:
    """Return a matrix of correlations with their numbers: blue below 0, orange above, the stronger the further from 0."""
    parts = []
    for index, name in enumerate(names):
        y, x = _HEAD_PX + index * _CELL_PX, _NAMES_PX + index * _CELL_PX
        parts.append(f'<text class="axis" x="{_LEFT}" y="{y + 23}">{index + 1} {html.escape(name)}</text>')
        parts.append(f'<text class="axis" x="{x + _CELL_PX / 2:.0f}" y="14" text-anchor="middle">{index + 1}</text>')
    for row, of_row in enumerate(values):
        for column, value in enumerate(of_row):
            x, y = _NAMES_PX + column * _CELL_PX, _HEAD_PX + row * _CELL_PX
            if value is not None and row != column:
                kind = "plus" if value > 0 else "minus"
                where = f'x="{x + 1}" y="{y + 1}" width="{_CELL_PX - 2}" height="{_CELL_PX - 2}"'
                parts.append(f'<rect class="cell {kind}" {where} fill-opacity="{0.65 * abs(value):.2f}"/>')
            text = (
                "–" if value is None else "1" if row == column else f"{value + 0.0:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")
            )
            parts.append(f'<text class="value" x="{x + _CELL_PX / 2:.0f}" y="{y + 23}" text-anchor="middle">{text}</text>')
    side = len(names) * _CELL_PX
    return figure(title, parts, (_NAMES_PX + side, _HEAD_PX + side), kind="matrix")
