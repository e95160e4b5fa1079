"""Pictures of a classifier's evaluation: ROC and precision-recall curves with their operating point, and confusion matrices.

roc(folder / ROC, metrics, title="my_first")
confusion(folder / CONFUSION, [("pneumonia", counts, names)], title="my_first")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import formatting
from pneumodet.viz import figures

ROC, CONFUSION = "roc.png", "confusion.png"

_HEIGHT_PX = 560
_CELL_COLOURS = "Blues"
_DARK = 0.6  # share of a row from which on white is read more easily than black


def roc(path: Path, metrics: Mapping[str, Any], *, title: str) -> None:
    """Draw ROC and precision-recall curves of ``evaluation.image_level.summarize``'s metrics, areas with intervals in the headings.

    Raises:
      DataError: the file cannot be written.
    """
    figure, axes = figures.new_figure(1, 2, title=title, height_px=_HEIGHT_PX)
    curves = metrics["curves"]
    left, right = axes[0]
    figures.line(left, curves["roc"]["false_positive_rate"], curves["roc"]["sensitivity"], index=0, label="model")
    figures.line(left, [0, 1], [0, 1], index=6, label="chance")
    figures.line(right, curves["pr"]["sensitivity"], curves["pr"]["precision"], index=0, label="model")
    # calling every exam positive has this precision at any recall
    share = metrics["positive_images"] / metrics["images"]
    figures.line(right, [0, 1], [share, share], index=6, label="chance")
    specificity, sensitivity, precision = (metrics[f"image.{name}"] for name in ("specificity", "sensitivity", "precision"))
    marks = [(left, None if specificity is None else 1 - specificity, sensitivity), (right, sensitivity, precision)]
    label = f"operating point ({metrics['operating_point']['aim']})"
    for one, x, y in marks:
        if x is not None and y is not None:
            one.plot(x, y, marker="o", markersize=9, color=figures.COLOURS[1], linestyle="none", label=label)
    for one, key, name, x, y in (
        (left, "image.roc_auc", "ROC AUC", "false-positive rate", "sensitivity (recall)"),
        (right, "image.pr_auc", "PR AUC", "sensitivity (recall)", "precision"),
    ):
        one.set_title(f"{name} {formatting.with_interval(metrics[key], metrics['intervals'].get(key))}", fontsize=11, loc="left")
        one.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
        figures.legend(one)
    figures.save(path, figure)


def confusion(path: Path, matrices: Sequence[tuple[str, np.ndarray, Sequence[str]]], *, title: str) -> None:
    """Draw confusion matrices beside one another: counts, and the share of each row.

    Args:
      path: PNG.
      matrices: (heading, (K, K) counts with the truth in rows, K names).
      title: above all.

    Raises:
      DataError: the file cannot be written.
    """
    figure, axes = figures.new_figure(1, len(matrices), title=title, height_px=_HEIGHT_PX)
    for one, (heading, counts, names) in zip(axes[0], matrices, strict=True):
        counts = np.asarray(counts)
        # a row without exams is 0, not NaN
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        one.grid(visible=False)
        one.imshow(shares, cmap=_CELL_COLOURS, vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            dark = shares[row, column] > _DARK
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            one.text(column, row, text, ha="center", va="center", fontsize=12, color="white" if dark else "black")
        wrapped = [name.replace(" / ", " /\n") for name in names]
        one.set_xticks(range(len(names)), wrapped)
        one.set_yticks(range(len(names)), wrapped)
        one.set(xlabel="model", ylabel="truth")
        one.set_title(heading, fontsize=11, loc="left")
    figures.save(path, figure)
