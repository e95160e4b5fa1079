"""The style of the charts that training leaves in a run's folder. matplotlib is imported when one is drawn, without pyplot.

figure, axes = new_figure(2, 2, title="run")
line(axes[0, 0], steps, losses, index=0, label="total")
save(folder / "curves.png", figure)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import paths

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), without yellow, which is lost on white."""

DASHES = ((), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1), (1, 1), (10, 3))
"""A dash pattern to each colour, so that lines differ without colour, too."""

WIDTH_PX = 1200
_DPI = 100
_LEGEND_BELOW = -0.12  # of the chart's height: under the name of its horizontal axis

LOG_RATIO = 20.0
"""Positive values that span a larger ratio are drawn on a logarithmic axis."""

_FEW_DECADES = 1000.0
"""Below this ratio an axis has numbers at 1, 2 and 5 of each power of ten: at the powers alone there might be a single one."""


def new_figure(rows: int, columns: int, *, title: str, height_px: int) -> tuple[Any, np.ndarray]:
    """Return a matplotlib Figure ``WIDTH_PX`` wide and its (rows, columns) axes."""
    # not pyplot: it keeps every figure in a global list, and may want a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_PX / _DPI, height_px / _DPI), dpi=_DPI, layout="constrained")
    # a dollar sign in a run's name is no formula
    figure.suptitle(title, fontsize=14, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(color="#dddddd", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=10)
    return figure, axes


def line(axes: Any, xs: Sequence[float], ys: Sequence[float], *, index: int, label: str = "", dots: bool = False) -> None:
    """Draw a line in colour and dashes number ``index``; a single point, or each one if asked for, as a dot."""
    number = index % len(COLOURS)
    style = {"marker": "o", "markersize": 4} if dots or len(xs) == 1 else {}
    axes.plot(xs, ys, color=COLOURS[number], dashes=DASHES[number], linewidth=1.8, label=label, **style)


def legend(axes: Any) -> None:
    """Name the lines below the chart, where they hide nothing; nothing where none is named."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=9, frameon=False, handlelength=3, loc="upper center", bbox_to_anchor=(0.5, _LEGEND_BELOW), ncols=3)


def log_if_wide(axes: Any, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic where the values are positive and far apart."""
    if len(values) and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        if max(values) < _FEW_DECADES * min(values):
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())


def save(path: Path, figure: Any) -> None:
    """Write a PNG atomically; the same figure gives the same bytes.

    Raises:
      DataError: the file cannot be written.
    """
    with paths.atomic_path(path) as tmp:
        # by default matplotlib writes its version here
        figure.savefig(tmp, format="png", metadata={"Software": None})
