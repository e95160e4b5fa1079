"""curves.png of a run, drawn from its metrics.csv: losses, validation metrics, learning rate and speed, without TensorBoard.

draw(run / "metrics.csv", run / "curves.png", title="ssd_mobilenet")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import metrics_table
from pneumodet.core.metrics_table import Row
from pneumodet.viz import figures

LOSS_PREFIX = "loss/"
"""Names of losses begin with it, or with ``Loss/`` as the API has it."""

LEARNING_RATE = "learning_rate"
SPEED = "images_per_second"

SMOOTHED_SHARE = 0.05
"""A smoothed value is the mean of this share of all reports, centred, so that it does not lag."""

MOST_LINES = len(figures.COLOURS)
"""Lines of a chart; what comes later in metrics.csv is named as left out."""

_HEIGHT_PX = 820
_RAW_ALPHA = 0.25
_TITLE_PAD_PT = 17  # room for the best step's name between a chart and its title

_Series = Mapping[str, Mapping[int, float]]


def draw(metrics_csv: Path, png: Path, *, title: str) -> None:
    """Draw what metrics.csv holds so far.

    Args:
      metrics_csv: as ``metrics_table`` writes it; of several rows of a step the last counts.
      png: written atomically, 1200 px wide.
      title: above all.

    Raises:
      DataError: the table cannot be read, or the picture not be written.
    """
    rows = metrics_table.read(metrics_csv)
    train = _series(rows, metrics_table.TRAIN)
    validation = _series(rows, metrics_table.VALIDATION)
    figure, axes = figures.new_figure(2, 2, title=title, height_px=_HEIGHT_PX)
    _losses(axes[0, 0], train, validation)
    _validation(axes[0, 1], validation, [row.step for row in rows if row.best])
    _plain(axes[1, 0], train.get(LEARNING_RATE, {}), title="Learning rate", name="learning rate")
    _plain(axes[1, 1], train.get(SPEED, {}), title="Speed", name="images/s", from_zero=True)
    last = max((row.step for row in rows), default=1)
    for one in axes.flat:
        one.set_xlim(0, max(last, 1) * 1.02)
        one.set_xlabel("step")
    figures.save(png, figure)


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Return the (N,) centred running mean over ``SMOOTHED_SHARE`` of (N,) values; shorter at the ends."""
    # an odd number of reports, so that the mean has a middle; the second convolution counts how many there are at the ends
    window = np.ones(2 * round(SMOOTHED_SHARE * len(values) / 2) + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _series(rows: Sequence[Row], kind: str) -> dict[str, dict[int, float]]:
    """Return name -> step -> value of one kind of rows, in order of appearance; undefined values are not in it."""
    series: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.values.items() if row.kind == kind else ():
            if value is not None:
                series.setdefault(name, {})[row.step] = value
    return series


def _is_loss(name: str) -> bool:
    return name.lower().startswith(LOSS_PREFIX)


def _sorted(series: Mapping[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(series)
    return steps, [series[step] for step in steps]


def _losses(axes: Any, train: _Series, validation: _Series) -> None:
    names = [name for name in dict.fromkeys([*train, *validation]) if _is_loss(name)]
    every: list[float] = []
    pale = ""
    for index, name in enumerate(names[:MOST_LINES]):
        label = name[len(LOSS_PREFIX) :]
        if name in train:
            steps, values = _sorted(train[name])
            smooth = smoothed(values)
            if not np.array_equal(smooth, values):
                axes.plot(steps, values, color=figures.COLOURS[index], alpha=_RAW_ALPHA, linewidth=0.8)
                pale = " (pale: as reported)"
            figures.line(axes, steps, smooth.tolist(), index=index, label=label)
            every += values
        if name in validation:
            steps, values = _sorted(validation[name])
            axes.plot(steps, values, color=figures.COLOURS[index], linestyle="none", marker="D", markersize=5, label=f"{label}, validation")
            every += values
    figures.log_if_wide(axes, every)
    _finish(axes, f"Losses{pale}", names)


def _validation(axes: Any, validation: _Series, best: Sequence[int]) -> None:
    """Draw those metrics that are shares; counts and times stay in the table."""
    names = [name for name, series in validation.items() if not _is_loss(name) and max(map(abs, _sorted(series)[1])) <= 1]
    for index, name in enumerate(names[:MOST_LINES]):
        figures.line(axes, *_sorted(validation[name]), index=index, label=name, dots=True)
    if names and best:
        axes.axvline(best[-1], color="#000000", linewidth=1.0, linestyle="--")
        late = best[-1] > 0.5 * max(max(validation[name]) for name in names)
        axes.annotate(
            f"best: step {best[-1]}", (best[-1], 1), xycoords=("data", "axes fraction"), xytext=(3 if late else -3, 3), textcoords="offset points",
            ha="right" if late else "left", va="bottom", fontsize=9,
        )  # fmt: skip
    _finish(axes, "Validation", names)


def _plain(axes: Any, series: Mapping[int, float], *, title: str, name: str, from_zero: bool = False) -> None:
    steps, values = _sorted(series)
    if steps:
        figures.line(axes, steps, values, index=0)
        axes.set_ylabel(name)
        if from_zero:
            axes.set_ylim(bottom=0)
        else:
            figures.log_if_wide(axes, values)
    _finish(axes, title, [name] if steps else [])


def _finish(axes: Any, title: str, names: Sequence[str]) -> None:
    left_out = f" ({len(names) - MOST_LINES} more in {metrics_table.FILE})" if len(names) > MOST_LINES else ""
    axes.set_title(title + left_out, fontsize=11, loc="left", pad=_TITLE_PAD_PT)
    if not names:
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", va="center", color="#57606a")
    figures.legend(axes)
