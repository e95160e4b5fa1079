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
from pneumodet.inference.postprocess.recipe import Recipe


class Row(Protocol):
    """What was chosen up to a step."""

    recipes: list[Recipe]
    """Of each fold, and at last of all patients."""

    cases: Cases
    """Each case after the recipe that the other folds gave."""

    @property
    def carriers(self) -> np.ndarray:
        """(C,) bool: the cases that the objective is of."""

    def figure(self, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) objective for (C, B) float64 weights of the cases."""


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
    """The figures of all rows with what each patient, or each group of patients, moves them by."""

    def __init__(self, patients: np.ndarray, rows: Sequence[Row], *, resamples: int, seed: int) -> None:
        self._moved = jackknife.of_figures(
            lambda weights: {index: row.figure(weights) for index, row in enumerate(rows)},
            patients,
            carriers={index: row.carriers for index, row in enumerate(rows)},
            groups=resamples,
            seed=seed,
        )

    @property
    def moves(self) -> np.ndarray:
        """(rows, G) float64: by how much each group of patients moves each row's figure."""
        return np.stack([one.moved for one in self._moved.values()])

    def of(self, index: int, previous: int | None = None) -> dict[str, float | str | None]:
        """Return value and interval of a row, or of its difference to another."""
        # patient by patient: an interval of two separate figures would be far too wide for their difference
        return interval.of(self._moved[index] if previous is None else self._moved[index].less(self._moved[previous]))


def tabulated(table: Rows, figures: Figures, *, alone: int, folds: int, resamples: int) -> dict[str, object]:
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
        f"Intervals (95 %): by how much each patient moves a figure, in at most {resamples:,} groups, recipes held fixed. The saved recipe is chosen on all "
        "patients.",
    }


def _changes(recipe: Recipe) -> dict[str, object]:
    """Return the fields of a recipe that are not the defaults."""
    return {name: value for name, value in dataclasses.asdict(recipe).items() if value != getattr(Recipe, name) and name != "sources"}
