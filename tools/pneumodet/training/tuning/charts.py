"""report.png: the history of a study, the importance of its parameters, and the metric against each of them.

draw(path, rows, ["learning_rate", "optimizer"], metric="rsna_metric", importances={"learning_rate": 0.7, "optimizer": 0.3}, notes=[])
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumodet.training.tuning import trial

if TYPE_CHECKING:
    from pneumodet.training.tuning.report import Row

COLOURS = {trial.COMPLETE: "#0072b2", trial.PRUNED: "#e69f00", trial.FAILED: "#d55e00"}
"""Okabe and Ito's, which all readers can distinguish; the markers differ besides."""

MARKERS = {trial.COMPLETE: "o", trial.PRUNED: "v", trial.FAILED: "x"}

COLUMNS = 3
"""Panels in a row of parameters."""


def draw(
    path: Path, rows: Sequence["Row"], names: Sequence[str], *, metric: str, importances: Mapping[str, float], notes: Sequence[str]
) -> None:
    """Draw all panels to a PNG.

    Args:
      path: the file; whatever its suffix is.
      rows: all trials.
      names: the parameters.
      metric: its name, for the axes.
      importances: parameter's name -> share.
      notes: sentences to stand below.
    """
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for, and no state is left

    below = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(12, 4 + 3.2 * below), layout="constrained")
    grid = figure.add_gridspec(1 + below, 2 * COLUMNS, height_ratios=[1.2] + [1] * below)
    _history(figure.add_subplot(grid[0, :4]), rows, metric)
    _bars(figure.add_subplot(grid[0, 4:]), importances)
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        _against(figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2]), rows, name, metric)
    figure.supxlabel("\n".join(textwrap.fill(note, 150) for note in notes), fontsize=9)
    figure.savefig(path, format="png", dpi=100)


def _history(axes: Any, rows: Sequence["Row"], metric: str) -> None:
    axes.set(title="Trials in their order", xlabel="trial", ylabel=metric)
    for state, marker in MARKERS.items():
        chosen = [row for row in rows if row.state == state and row.value is not None]
        if chosen:
            axes.scatter([row.number for row in chosen], [row.value for row in chosen], c=COLOURS[state], marker=marker, label=state)
    # a trial without a value has no height; a mark at the lower edge shows that it was tried
    without = [row.number for row in rows if row.state == trial.FAILED and row.value is None]
    if without:
        axes.plot(
            without,
            [0.02] * len(without),
            "x",
            c=COLOURS[trial.FAILED],
            transform=axes.get_xaxis_transform(),
            label="failed before any evaluation",
        )
    complete = [row for row in rows if row.state == trial.COMPLETE and row.value is not None]  # a complete one has a value
    best = np.maximum.accumulate(np.array([row.value for row in complete], np.float64))
    axes.plot([row.number for row in complete], best, drawstyle="steps-post", c="#1b1f24", lw=1, label="best so far")
    for row in complete:
        if row.baseline:
            axes.axhline(row.value, c="#57606a", ls="--", lw=1, label="the config's own values")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, framealpha=0.8)


def _bars(axes: Any, importances: Mapping[str, float]) -> None:
    axes.set(title="Importance (PED-ANOVA)", xlabel="share", xlim=(0, 1))
    if not importances:
        axes.text(0.5, 0.5, "too few complete trials", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    names = list(importances)[::-1]
    axes.barh(range(len(names)), [importances[name] for name in names], color=COLOURS[trial.COMPLETE])
    axes.set_yticks(range(len(names)), [_short(name) for name in names])


def _against(axes: Any, rows: Sequence["Row"], name: str, metric: str) -> None:
    axes.set(title=_short(name), ylabel=metric)
    tried = [row for row in rows if row.state in MARKERS and name in row.values and row.value is not None]
    if not tried:
        return
    # choices are texts, also those that are numbers, and stand at equal distances
    if all(isinstance(row.values[name], str) for row in tried):
        ticks = sorted({row.values[name] for row in tried}, key=_order)
        place = {value: index for index, value in enumerate(ticks)}
        axes.set_xticks(range(len(ticks)), [textwrap.shorten(tick, 24) for tick in ticks])
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    else:
        place = {row.values[name]: row.values[name] for row in tried}
        low, high = min(place), max(place)
        if low > 0 and high / low > 20:
            axes.set_xscale("log")
    for row in tried:
        axes.scatter(place[row.values[name]], row.value, c=COLOURS[row.state], marker=MARKERS[row.state], alpha=0.8)


def _order(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _short(name: str) -> str:
    """Return the last two steps of a field's path, which distinguish it from the others."""
    return ".".join(name.split(".")[-2:])
