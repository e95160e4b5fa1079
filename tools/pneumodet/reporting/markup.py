"""Numbers, intervals and tables as HTML: what every part of the report is set with.

content = table("Figures", ("figure", "value"), [("AP50", number(0.3214))]) + paragraph("Of 300 radiographs.")
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumodet import wording


def text(value: Any) -> str:
    """Return anything as text that HTML shows as it is."""
    return html.escape(str(value))


def number(value: Any) -> str:
    """Return a count with commas, a figure with three decimals, and a dash for None, NaN and infinity."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return fixed(value) if isinstance(value, float) else text(value)


def fixed(value: float, digits: int = 3) -> str:
    """Return a number with so many decimals, and none that is -0.000."""
    return wording.fixed(value, f".{digits}f")


def between(interval: Sequence[float | None] | None, *, digits: int = 3) -> str:
    """Return "0.118 to 0.139", or nothing where there is no interval."""
    return wording.between(interval, form=f".{digits}f")


def with_interval(figure: Mapping[str, Any], *, digits: int = 3) -> str:
    """Return a cell: the value, and its interval below."""
    below = between((figure.get("low"), figure.get("high")), digits=digits)
    return number(figure.get("value")) + (f"<small>{below}</small>" if below else "")


def paragraph(value: Any) -> str:
    """Return a paragraph of text, or nothing of nothing."""
    return f"<p>{text(value)}</p>" if value else ""


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Return the figures that stand out at the top, or nothing without any.

    Args:
      figures: name, value and what stands below it, HTML.
    """
    parts = [
        f'<li><span class="name">{name}</span><strong>{value}</strong>{f"<small>{below}</small>" if below else ""}</li>'
        for name, value, below in figures
    ]
    return f'<ul class="tiles">{"".join(parts)}</ul>' if parts else ""


def listed(lines: Iterable[str], kind: str = "") -> str:
    """Return a list of texts of a CSS class, or nothing without lines."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    kind = f' class="{kind}"' if kind else ""
    return f"<ul{kind}>{items}</ul>" if items else ""


def warnings(title: str, lines: Iterable[str]) -> str:
    """Return texts that a reader must see, in a box of their own, or nothing without lines."""
    found = listed(lines)
    return f'<div class="warnings"><h3>{text(title)}</h3>{found}</div>' if found else ""


def charts(found: Iterable[str]) -> str:
    """Return charts side by side where there is room, or nothing where all are empty."""
    parts = "".join(found)
    return f'<div class="charts">{parts}</div>' if parts else ""


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, classes: Sequence[str] = (), words: Sequence[int] = ()
) -> str:
    """Return a table, or nothing without rows.

    Args:
      caption: text.
      header: texts, one a column.
      rows: cells that are HTML already; the first of each row is its heading.
      classes: of the rows, from the first.
      words: columns of text, which is set flush left and may wrap.
    """
    kinds = [' class="words"' if column in words else "" for column in range(len(header))]
    lines = []
    for index, (first, *rest) in enumerate(rows):
        kind = f' class="{classes[index]}"' if index < len(classes) and classes[index] else ""
        cells = "".join(f"<td{kinds[column]}>{cell}</td>" for column, cell in enumerate(rest, start=1))
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{cells}</tr>')
    if not lines:
        return ""
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    return (
        f'<div class="wide" role="region" aria-label="{text(caption)}" tabindex="0"><table><caption><span>{text(caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
