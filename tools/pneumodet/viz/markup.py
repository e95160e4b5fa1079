"""Numbers, intervals and tables as templates take them; ``templating`` sets them.

rows = [("AP50", number(0.3214)), ("RSNA metric", with_interval({"value": 0.21, "low": 0.19, "high": 0.23}))]
content = templating.part("table", Table("Figures", ("figure", "value"), rows))
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pneumodet.core import formatting


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in a cell of a table, where that is more than one text.

    Attributes:
      value: text.
      below: small text below it.
      kind: what sort of thing it is, below it.
      breakable: whether a line may end after each underscore and dash of the value.
    """

    value: str
    below: str = ""
    kind: str = ""
    breakable: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; one without rows is not shown.

    Attributes:
      caption: text.
      header: texts, one a column.
      rows: cells, texts or ``Cell``; the first of each row is its heading.
      classes: CSS classes of the rows, from the first.
      text_columns: numbers of the columns of text, from 0; it is set flush left and may wrap.
      notes: footnotes below the table, as of ``formatting.Footnotes``.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    classes: Sequence[str] = ()
    text_columns: Sequence[int] = ()
    notes: Sequence[str] = ()


def number(value: Any) -> str:
    """Return a count with commas, a figure with three decimals, and a dash for None, NaN and infinity."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return fixed(value) if isinstance(value, float) else str(value)


def fixed(value: float, digits: int = 3) -> str:
    """Return a number with so many decimals, and none that is -0.000."""
    return formatting.fixed(value, f".{digits}f")


def between(interval: Sequence[float | None] | None, *, digits: int = 3) -> str:
    """Return "0.118 to 0.139", or nothing where there is no interval."""
    return formatting.between(interval, form=f".{digits}f")


def with_interval(figure: Mapping[str, Any], *, digits: int = 3) -> str | Cell:
    """Return a cell: the value, and its interval below where there is one."""
    below = between((figure.get("low"), figure.get("high")), digits=digits)
    value = number(figure.get("value"))
    return Cell(value, below) if below else value
