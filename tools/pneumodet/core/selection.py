"""The figure of the best of several that were compared on the same patients, freed of the luck by which it was chosen.

figure = cross_fitted(values, moves)      # of 10 checkpoints: (10,) and (10, 50)
log = MovesFile(run / FILE, last_step=0)
log.add(500, "rsna_metric", 0.125, moves)

The highest of n figures is too high: it was chosen for what chance added to it. Here the choice is made again without each tenth of the patients, and what
was chosen is measured on the tenth that had no part in it (nested cross-validation: S. Varma and R. Simon, BMC Bioinformatics 7:91, 2006; of predictions
that are there, without training anything again: I. Tsamardinos et al., Machine Learning 107, 2018). Of figures that differ by chance alone that is their
mean, so that nothing is gained by the choice; one that is better by more than chance is chosen every time, and keeps its figure. Training knows the figure
of all patients, and by how much each group of them moves it (``evaluation.metrics.jackknife``), of which the figure of any part of them is the linear
estimate.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import metrics_table
from pneumodet.core.errors import DataError
from pneumodet.core.files import append

FILE = "validation_moves.jsonl"
"""In a run's folder: of each evaluation on validation exams the figure that checkpoints are chosen by, and what moves it."""

WINDOW = 3
"""Evaluations whose mean says which checkpoint is the best: its own and those before it."""

TOLERANCE = 0.1
"""Share of the highest mean by which a later one may be lower: checkpoints that differ by less are equals, of which the later has learned longer."""

GROUPS = 50
"""Most groups of patients whose moves are kept of an evaluation."""

FEWEST_GROUPS = 10
"""With fewer nothing is said."""

PARTS, REPEATS = 10, 40
"""Each patient is in one of so many parts; the parts are drawn so often, and figures are means over all of them."""

_ROUNDING = 1e-6


def as_good(mean: Any, highest: Any) -> Any:
    """Return whether a mean is no lower than the highest one, but for the tolerance; of numbers or of arrays."""
    return mean >= highest - TOLERANCE * abs(highest)


def cross_fitted(values: np.ndarray, moves: np.ndarray, *, runs: Sequence[int] | None = None, seed: int = 0) -> float | None:
    """Return the figure of what is chosen as the best, on patients that have no part in the choice.

    Args:
      values: (n,) float64 figures, more is better; of equal ones the first is chosen. NaN is never chosen.
      moves: (n, G) float64, by how much each group of patients moves each figure; groups are of about the same size.
      runs: of how many checkpoints each run is, in their order: a run chooses among its own as training does (``of_training``), and of the runs the one whose
        figure is the highest is taken. None where figures are compared as they are. No figure is NaN then.
      seed: of the parts.

    Returns:
      About the mean of ``values`` where they differ by chance, and about the highest where they do not; None where there are too few groups.
    """
    kept = np.isfinite(values) & np.isfinite(moves).all(axis=1)
    values, moves = values[kept], moves[kept]
    groups = moves.shape[1]
    if not len(values) or groups < FEWEST_GROUPS:
        return None
    moves = moves - moves.mean(axis=1, keepdims=True)
    out = _parts(groups, seed)
    size, moved = out.sum(axis=1), moves @ out.T
    # weights whose sum is the number of groups, of which each has weight 1 in the figure itself; all moves together are 0
    of_out, of_others = values[:, None] + moved * (groups / size), values[:, None] - moved * (groups / (groups - size))
    picks = np.arange(len(values))[:, None] + np.zeros(len(out), int)
    if runs is not None:
        ends = np.cumsum(runs)
        picks = np.stack([end - count + of_training(of_others[end - count : end]) for end, count in zip(ends, runs, strict=True)])
    best = np.argmax(np.take_along_axis(of_others, picks, axis=0), axis=0)
    every = np.arange(len(out))
    chosen = of_out[picks[best, every], every]
    return float(chosen @ size / (REPEATS * groups))


def of_training(figures: np.ndarray) -> np.ndarray:
    """Return which checkpoint a run keeps as its best, as ``training.progress.Memory.take`` chooses it evaluation by evaluation.

    Args:
      figures: (n, P) float64, of n evaluations in their order, each column by itself.

    Returns:
      (P,) int64, from 0.
    """
    count = len(figures)
    window = np.tril(np.ones((count, count))) - np.tril(np.ones((count, count)), -WINDOW)
    means = window @ figures / window.sum(axis=1, keepdims=True)
    kept = as_good(means, np.maximum.accumulate(means, axis=0))
    return np.asarray(count - 1 - np.argmax(kept[::-1], axis=0))


@functools.lru_cache(maxsize=4)
def _parts(groups: int, seed: int) -> np.ndarray:
    """Return (REPEATS * PARTS, groups) float64: 1 where a group is in the part, else 0."""
    rng = np.random.default_rng(seed)
    part = np.stack([rng.permutation(groups) % PARTS for _ in range(REPEATS)])
    out: np.ndarray = np.asarray(part[:, None] == np.arange(PARTS)[:, None], np.float64).reshape(-1, groups)
    return out


class MovesFile:
    """The file of a run, to which each evaluation appends."""

    def __init__(self, path: Path, *, last_step: int = 0) -> None:
        """Begin anew, or continue after ``last_step``."""
        self._path = path
        self._end = 0
        if not last_step:
            path.unlink(missing_ok=True)
        elif path.is_file():
            self._end = path.read_bytes().rfind(b"\n") + 1  # what a crash has torn is written over

    def add(self, step: int, metric: str, value: float | None, moves: np.ndarray) -> None:
        """Append an evaluation.

        Raises:
          DataError: it cannot be written.
        """
        # six digits: a choice that turns by less is none
        entry = {"step": step, "metric": metric, "value": value, "moves": [float(f"{one:.6g}") for one in moves.tolist()]}
        if value is None or not np.isfinite(moves).all():
            entry |= {"value": None, "moves": None}
        try:
            self._end = append(self._path, (json.dumps(entry) + "\n").encode(), at=self._end)
        except OSError as error:
            raise DataError(f"Cannot write {self._path}: {error.strerror or error}. Free some disk space.") from error


def of_runs(folders: Sequence[Path], metric: str) -> float | None:
    """Return ``cross_fitted`` of all checkpoints of one or several runs that were compared on the same exams.

    Args:
      folders: of the runs.
      metric: by which the best checkpoint was chosen.

    Returns:
      None where a run has not kept what moves the figure in each evaluation, as runs of earlier versions have not.

    Raises:
      DataError: metrics.csv cannot be read.
    """
    values: list[float] = []
    moves: list[np.ndarray] = []
    counts: list[int] = []
    for folder in folders:
        of_steps = {row.step: value for row in metrics_table.validations(folder) if (value := row.values.get(metric)) is not None}
        kept = _kept(folder / FILE, metric, of_steps)
        if of_steps.keys() != kept.keys():
            return None
        values += of_steps.values()
        counts += [len(of_steps)] if of_steps else []
        moves += [kept[step] for step in of_steps]
    if not values or len({len(one) for one in moves}) > 1:
        return None
    return cross_fitted(np.array(values, np.float64), np.stack(moves), runs=counts)


def _kept(path: Path, metric: str, values: Mapping[int, float]) -> dict[int, np.ndarray]:
    """Return step -> moves of the evaluations that had these figures; of a step that was evaluated again the last one counts."""
    moves: dict[int, np.ndarray] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        entry = _entry(line)
        if entry and entry["metric"] == metric and isinstance(entry["value"], float | int):
            value = values.get(entry["step"])
            if value is not None and math.isclose(value, entry["value"], rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                moves[entry["step"]] = np.array(entry["moves"], np.float64)
    return moves


def _entry(line: str) -> dict[str, Any] | None:
    """Return an evaluation, or None where the line is torn or is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and isinstance(entry.get("step"), int) and {"metric", "value", "moves"} <= entry.keys()
    numbers = whole and isinstance(entry["moves"], list) and all(isinstance(one, float | int) for one in entry["moves"])
    return entry if numbers else None
