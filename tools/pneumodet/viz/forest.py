"""Forest plots as inline SVG: one row a run, a dot at the value, a bar for its interval.

    svg = forest("RSNA metric", [("ssd", 0.13, 0.11, 0.15), ("unet", 0.12, None, None)])
    svg = forest("against ssd", differences, zero=True)

A run's name stands above its bar, so that the plot fits a phone whatever the names; values stand in a column of their own, where no line runs.
"""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from pneumodet.core import formatting
from pneumodet.viz import charts
from pneumodet.viz.svg import element

WIDTH, ROW = 340, 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 12, 60, 4, 30
_NAME, _BAR = 15, 27
"""px below a row's top at which its name stands and its bar lies."""

_ZERO_FROM = 19
"""px below a row's top from which on the line at 0 is drawn: not through the name."""

_TICKS = 4
_MOST_LETTERS = 36

Row = tuple[str, float | None, float | None, float | None]
"""Name, value, and the ends of its interval; None where there is none."""


def forest(title: str, rows: Sequence[Row], *, zero: bool = False) -> Markup:
    """Return a plot, or nothing where no row has a value.

    Args:
      title: for screen readers, and as the caption.
      rows: from the top.
      zero: draw a line at 0 and let the axis reach it: for differences. Colours then show whether a whole interval lies below or above it.
    """
    numbers = [number for _, *numbers in rows for number in numbers if number is not None]
    if not numbers:
        return Markup()
    low, high = _ends([*numbers, 0.0] if zero else numbers)
    bottom = _TOP + ROW * len(rows)

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    parts = []
    for tick in charts.ticks(low, high, _TICKS):
        x = across(tick)
        parts.append(element("path", class_="grid", d=f"M{x:.1f} {_TOP}V{bottom}"))
        parts.append(element("text", f"{tick:g}", x=f"{x:.1f}", y=bottom + 16, text_anchor="middle"))
    if zero:
        pieces = "".join(f"M{across(0):.1f} {_TOP + ROW * index + _ZERO_FROM}V{_TOP + ROW * (index + 1)}" for index in range(len(rows)))
        parts.append(element("path", class_="zero", d=pieces))
    for index, (name, *of_run) in enumerate(rows):
        parts += _row(name, of_run, _TOP + ROW * index, across, zero)
    return charts.figure(title, parts, (WIDTH, bottom + _BOTTOM), spoken=_spoken(rows))


def _row(name: str, numbers: Sequence[float | None], top: float, across: Callable[[float], float], zero: bool) -> list[Markup]:
    value, low, high = numbers
    shown = "–" if value is None else f"{value:+.3f}" if zero else f"{value:.3f}"
    short = name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
    parts = [
        element("text", short, class_="axis halo", x=_LEFT, y=f"{top + _NAME:.1f}"),
        element("text", shown, x=WIDTH - 2, y=top + _BAR + 4, text_anchor="end"),
    ]
    kind = "c0" if not zero or low is None or high is None or low <= 0 <= high else "better" if low > 0 else "worse"
    if low is not None and high is not None:
        parts.append(element("path", class_=f"bar-line {kind}", d=f"M{across(low):.1f} {top + _BAR}H{across(high):.1f}"))
    if value is not None:
        parts.append(element("circle", class_=f"dot {kind}", cx=f"{across(value):.1f}", cy=top + _BAR, r=4.5))
    return parts


def _spoken(rows: Sequence[Row]) -> str:
    """Return the plot as text, for screen readers."""
    sentences = []
    for name, value, low, high in rows:
        sentences.append(f"{name} {formatting.with_interval(value, (low, high))}")
    return "; ".join(sentences)


def _ends(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    # room, so that no dot lies on an edge; where all numbers are equal there is no width to take a share of
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room
