"""The table of a search for post-processing while it grows, and its figures with intervals by patient.

table.add(row, "box scale", before)
figures = Figures(patients, table.rows, resamples=1000, seed=0)
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import interval, jackknife
from pneumodet.evaluation.metrics.interval import Moved
from pneumodet.inference.postprocess.recipe import Recipe

HELD_FIXED = (
    "Intervals hold recipes and their thresholds fixed. Those that evaluate and compare give of the same figure choose thresholds again in each resample of "
    "patients, so that they may be wider."
)
"""Of the table's intervals, which are made as evaluate's in all else."""


class Row(Protocol):
    """What was chosen up to a step."""

    recipes: list[Recipe]
    """Of each fold, and at last of all patients."""

    cases: Cases
    """Each case after the recipe that the other folds gave."""

    def figure(self, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) objective for (C, B) float64 weights of the cases."""

    def moved(self, patients: np.ndarray, *, resamples: int, seed: int) -> Moved:
        """Return the objective with what moves it; arguments as of ``Figures``."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The table while it grows.

    Attributes:
      rows: of recipes.
      labels: name of each row's step.
      previous: place of the row that each one's gain is over; None where it has none.
    """

    rows: list[Row]
    labels: list[str]
    previous: list[int | None]

    def add(self, row: Row, label: str, previous: int | None) -> None:
        """Add a row."""
        self.rows.append(row)
        self.labels.append(label)
        self.previous.append(previous)


class Figures:
    """The figures of all rows with what each patient, or each group of patients, moves them by.

    Args of the constructor:
      patients: (C,) int64, the same number for the exams of one patient.
      rows: of one objective.
      resamples: most groups of patients.
      seed: of the groups.
    """

    def __init__(self, patients: np.ndarray, rows: Sequence[Row], *, resamples: int, seed: int) -> None:
        self._moved = [row.moved(patients, resamples=resamples, seed=seed) for row in rows]
        self._groups = {"groups": resamples, "seed": seed}

    @property
    def moves(self) -> np.ndarray:
        """(rows, G) float64: by how much each group of patients moves each row's figure."""
        return np.stack([jackknife.by_groups(one.moved, **self._groups) for one in self._moved])

    def of(self, index: int, previous: int | None = None) -> dict[str, float | str | None]:
        """Return value and interval of a row, or of its difference to another."""
        # patient by patient: an interval of two separate figures would be far too wide for their difference
        return interval.of(self._moved[index] if previous is None else self._moved[index].less(self._moved[previous]))


def tabulated(table: Rows, figures: Figures, *, alone: int, folds: int) -> dict[str, object]:
    """Return ``rows``, ``total`` and ``note`` as ``search`` describes them."""
    rows = [
        {
            "step": label,
            "figure": figures.of(index),
            "gain": None if before is None else figures.of(index, before),
            "chosen": _changes(row.recipes[-1]),
            "in_folds": [_changes(one) for one in row.recipes[:-1]],
        }
        for index, (row, label, before) in enumerate(zip(table.rows, table.labels, table.previous, strict=True))
    ]
    return {
        "rows": rows,
        "total": figures.of(len(rows) - 1, alone),
        "note": f"Figures are cross-fitted: each exam is processed by the recipe that the other {folds - 1} of {folds} folds of patients gave. "
        f"95 % intervals: by how much each patient moves a figure. {HELD_FIXED} The saved recipe is chosen on all patients.",
    }


def _changes(recipe: Recipe) -> dict[str, object]:
    """Return the fields of a recipe that are not the defaults."""
    return {name: value for name, value in dataclasses.asdict(recipe).items() if value != getattr(Recipe, name) and name != "sources"}
