"""Line charts, bars and maps as inline SVG of their own elements, so that they follow the page's colours, light or dark.

Whatever draws a chart of its own (``forest``, exploration's matrix) takes ``figure`` and ``ticks`` from here.

    svg = line_chart("FROC", [Line("model", xs, ys)], x="false positives an image", y="sensitivity")

Colours are CSS classes of the page (``c0``, ``c1`` … of Okabe and Ito's palette); text is in the page's own colour.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from pneumodet.viz import templating
from pneumodet.viz.svg import element

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 46
_TICKS = 5
_BAR_LEFT, _BAR_NUMBER = 2, 64  # room for a bar's number on its right
_BAR, _BAR_NAME, _BAR_GAP = 13, 17, 7
_MAP = 200
_SAMPLE_HEIGHT = 14
_ROOM = 1.05  # what an axis of bars reaches at least, in heights of the highest one


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      name: in the legend; none where it is empty.
      xs: rising.
      ys: as many.
      steps: a staircase instead of straight lines: from each point the line keeps its height to the next one, and to the chart's end.
      dots: a dot at each point.
      spans: lower and upper end of the interval of each point, drawn as a bar; none where it is empty.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    steps: bool = False
    dots: bool = False
    spans: Sequence[tuple[float, float]] = ()


@dataclasses.dataclass(frozen=True)
class Sample:
    """An entry of a legend.

    Attributes:
      name: text.
      drawing: a piece of a line or a mark, as in the chart; or
      swatch: the CSS class of a block of colour.
    """

    name: str
    drawing: Markup = Markup()
    swatch: str = ""


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point of its own in a chart; its name stands in the legend, where it hides no line."""

    name: str
    x: float
    y: float


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
    log_ticks: Sequence[float] = (),
    mark: Mark | None = None,
) -> Markup:
    """Return a chart, or nothing where no line has points.

    Args:
      title: for screen readers, and as the caption.
      lines: at most eight.
      x: name of the horizontal axis.
      y: name of the vertical axis.
      x_range: its ends; by default those of the points. What lies outside is not drawn.
      y_range: its ends.
      diagonal: draw the diagonal, where a useless or a perfectly calibrated model lies.
      log_ticks: makes the horizontal axis logarithmic, with these ticks, all above 0; its range must be given, and be above 0.
      mark: drawn where it lies inside the ranges.
    """
    lines = [line for line in lines if len(line.xs)]
    if not lines:
        return Markup()
    low_x, high_x = x_range or _ends([value for line in lines for value in line.xs])
    # with 0 by default: a cut axis would make small differences of height large ones
    low_y, high_y = y_range or _ends([0.0, *(value for line in lines for value in line.ys)])
    scale = math.log10 if log_ticks else float

    def place(px: float, py: float) -> tuple[float, float]:
        across = (scale(px) - scale(low_x)) / (scale(high_x) - scale(low_x))
        up = (py - low_y) / (high_y - low_y)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    parts = _axes(x, y, log_ticks or ticks(low_x, high_x), ticks(low_y, high_y), place)
    # first, so that lines and dots lie over it
    if diagonal:
        parts.append(element("path", class_="diagonal", d=_path([place(low_x, low_y), place(high_x, high_y)])))
    for index, line in enumerate(lines):
        inside = [(px, py) for px, py in zip(line.xs, line.ys, strict=True) if low_x <= px <= high_x]
        drawn = [place(px, py) for px, py in (_staircase(line, low_x, high_x) if line.steps else inside)]
        if not drawn:
            continue
        parts.append(element("path", class_=f"line c{index}", d=_path(drawn)))
        for px, (low, high) in zip(line.xs, line.spans, strict=False):
            (across, lower), (_, upper) = place(px, low), place(px, high)
            parts.append(element("path", class_=f"span c{index}", d=f"M{across:.1f} {lower:.1f}V{upper:.1f}"))
        if line.dots:
            parts += [element("circle", class_=f"dot c{index}", cx=f"{px:.1f}", cy=f"{py:.1f}", r=3) for px, py in drawn]
    if mark and low_x <= mark.x <= high_x and low_y <= mark.y <= high_y:
        across, up = place(mark.x, mark.y)
        parts.append(_marked(across, up))
    else:
        mark = None
    named = [(index, line.name) for index, line in enumerate(lines) if line.name]
    legend = [Sample(name, _sample(element("path", class_=f"line c{index}", d="M0 7H34"))) for index, name in named]
    # one line alone is named by the title
    legend = (legend if len(legend) > 1 or mark else []) + ([Sample(mark.name, _sample(_marked(17, 7)))] if mark else [])
    return figure(title, parts, legend=legend)


def bar_chart(title: str, edges: Sequence[float], series: Mapping[str, Sequence[float]], *, x: str, y: str) -> Markup:
    """Return a histogram of several series over the same bins, side by side, or nothing where all are empty.

    Args:
      title: for screen readers, and as the caption.
      edges: N + 1 rising edges of the bins.
      series: name -> N heights, at least 0.
      x: name of the horizontal axis.
      y: name of the vertical axis.
    """
    highest = max((value for values in series.values() for value in values), default=0)
    if not highest:
        return Markup()
    marked = _ticks_above(highest)
    top = marked[-1]

    def place(px: float, py: float) -> tuple[float, float]:
        across = (px - edges[0]) / ((edges[-1] - edges[0]) or 1)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - py / top * (HEIGHT - _TOP - _BOTTOM)

    parts = _axes(x, y, ticks(edges[0], edges[-1]), marked, place)
    for index, values in enumerate(series.values()):
        for bin_, value in enumerate(values):
            (left, upper), (right, lower) = place(edges[bin_], value), place(edges[bin_ + 1], 0)
            width = (right - left) / len(series)
            size = {"width": f"{width:.1f}", "height": f"{lower - upper:.1f}"}
            parts.append(element("rect", class_=f"bar c{index}", x=f"{left + index * width:.1f}", y=f"{upper:.1f}", **size))
    return figure(title, parts, legend=_blocks(list(series)))


def group_bars(
    title: str,
    groups: Mapping[str, Sequence[float]],
    names: Sequence[str],
    *,
    shown: Callable[[float], str],
    spans: Mapping[str, tuple[float, float]] | None = None,
) -> Markup:
    """Return horizontal bars, below the name of each group, or nothing where none is above 0.

    Args:
      title: for screen readers, and as the caption.
      groups: name -> a value for each of the series; one below 0 has no bar.
      names: of the series, for the legend; none is drawn for one series.
      shown: value -> text.
      spans: name -> interval of the first series, drawn as a line through the bar's end.
    """
    spans = spans or {}
    top = max([*(value for values in groups.values() for value in values), *(high for _, high in spans.values())], default=0)
    if top <= 0:
        return Markup()

    def across(value: float) -> float:
        return _BAR_LEFT + max(0.0, value) / top * (WIDTH - _BAR_LEFT - _BAR_NUMBER)

    parts, at = [], 0
    for group, values in groups.items():
        parts.append(element("text", group, class_="axis", x=_BAR_LEFT, y=at + 12))
        at += _BAR_NAME
        for index, value in enumerate(values):
            end = right = across(value)
            width = max(0.5, end - _BAR_LEFT)
            parts.append(element("rect", class_=f"bar c{index}", x=_BAR_LEFT, y=at, width=f"{width:.1f}", height=_BAR - 2))
            if index == 0 and group in spans:
                low, high = map(across, spans[group])
                middle = at + (_BAR - 2) / 2
                ends = f"M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8"
                parts.append(element("path", class_="mark", d=f"M{low:.1f} {middle:.1f}H{high:.1f}{ends}"))
                right = max(end, high)
            parts.append(element("text", shown(value), class_="value", x=f"{right + 5:.1f}", y=at + 10))
            at += _BAR
        at += _BAR_GAP
    return figure(title, parts, (WIDTH, at), legend=_blocks(names))


def heatmap(title: str, values: Sequence[Sequence[float]], *, top: float | None = None, highest: str = "") -> Markup:
    """Return a map, rows from the top, as squares whose opacity is the share of the highest value; nothing where all are 0.

    Args:
      title: for screen readers, and as the caption.
      values: N rows of N, at least 0.
      top: the value of full opacity, where several maps are to be compared.
      highest: this map's highest value as the caption has it; by default the number.
    """
    peak = max((value for row in values for value in row), default=0)
    if not peak:
        return Markup()
    side = _MAP / len(values)
    parts = [element("rect", class_="frame", x=0.5, y=0.5, width=_MAP - 1, height=_MAP - 1)]
    for down, row in enumerate(values):
        for across, value in enumerate(row):
            opacity = f"{min(1, value / (top or peak)):.2f}"
            # a square that nobody sees only makes the page larger
            if opacity != "0.00":
                where = {"x": f"{across * side:.2f}", "y": f"{down * side:.2f}", "width": f"{side:.2f}", "height": f"{side:.2f}"}
                parts.append(element("rect", class_="cell", **where, fill_opacity=opacity))
    return figure(f"{title} (at most {highest or f'{peak:,}'})", parts, (_MAP, _MAP), kind="map")


def figure(
    title: str,
    parts: Sequence[Markup],
    size_wh: tuple[float, float] = (WIDTH, HEIGHT),
    *,
    legend: Sequence[Sample] = (),
    kind: str = "",
    spoken: str = "",
) -> Markup:
    """Return an SVG with its caption.

    Args:
      title: text of the caption, and for screen readers.
      parts: SVG elements.
      size_wh: of the drawing, px.
      legend: its entries.
      kind: CSS class.
      spoken: more text for screen readers.
    """
    label = f"{title}: {spoken}" if spoken else title
    drawing = element("svg", *parts, viewBox=f"0 0 {size_wh[0]:.0f} {size_wh[1]:.0f}", role="img", aria_label=label)
    return templating.part("figure", title, drawing, legend, kind)


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Return about ``count`` round numbers from ``low`` to ``high``."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    # 1e-9: an end that is a round number must not fall out by rounding
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _ticks_above(highest: float) -> list[float]:
    """Return round numbers from 0 to the first that leaves room above the highest bar: it would seem cut off where it touches the chart's end."""
    step = ticks(0, highest)[1]
    return [index * step for index in range(math.ceil(_ROOM * highest / step - 1e-9) + 1)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1)


def _axes(
    x: str, y: str, x_ticks: Sequence[float], y_ticks: Sequence[float], place: Callable[[float, float], tuple[float, float]]
) -> list[Markup]:
    bottom, left = HEIGHT - _BOTTOM, _LEFT
    parts = []
    for value in x_ticks:
        px, _ = place(value, 0)
        parts.append(element("path", class_="grid", d=f"M{px:.1f} {_TOP}V{bottom}"))
        parts.append(element("text", f"{value:g}", x=f"{px:.1f}", y=bottom + 16, text_anchor="middle"))
    for value in y_ticks:
        # any x of the axis does, but 0, which has no logarithm
        _, py = place(x_ticks[0] if x_ticks else 1, value)
        end = WIDTH - _RIGHT
        parts.append(element("path", class_="grid", d=f"M{left} {py:.1f}H{end}"))
        parts.append(element("text", f"{value:g}", x=left - 6, y=f"{py + 4:.1f}", text_anchor="end"))
    middle_x, middle_y = (left + WIDTH - _RIGHT) / 2, (_TOP + bottom) / 2
    parts.append(element("text", x, class_="axis", x=middle_x, y=HEIGHT - 8, text_anchor="middle"))
    parts.append(element("text", y, class_="axis", transform=f"translate(13 {middle_y}) rotate(-90)", text_anchor="middle"))
    return parts


def _staircase(line: Line, low: float, high: float) -> list[tuple[float, float]]:
    """Return the corners of a staircase between two ends; left of its first point there is none."""
    corners: list[tuple[float, float]] = []
    for px, py in zip(line.xs, line.ys, strict=True):
        if px > high:
            break
        if px <= low:
            corners = [(low, py)]  # the last step before the chart begins
        else:
            corners += [(px, corners[-1][1])] if corners else []
            corners.append((px, py))
    return [*corners, (high, corners[-1][1])] if corners else []


def _blocks(names: Sequence[str]) -> list[Sample]:
    """Return the legend of bars; none for one series."""
    return [Sample(name, swatch=f"c{index}") for index, name in enumerate(names)] if len(names) > 1 else []


def _marked(x: float, y: float) -> Markup:
    return element("circle", class_="mark", cx=f"{x:.1f}", cy=f"{y:.1f}", r=5)


def _sample(drawn: Markup) -> Markup:
    """Return a piece of a line, dashed as it is in the chart, or a mark, for the legend."""
    return element("svg", drawn, class_="sample", viewBox=f"0 0 34 {_SAMPLE_HEIGHT}", aria_hidden="true")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
