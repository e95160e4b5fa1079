"""Radiographs with the ground truth and the detections of one class, as flat arrays: what every metric takes.

cases = Cases(names, patients, truth_xyxy_px, truth_case, boxes_xyxy_px, scores, box_case, facts)
cases.take(rows)                       # some radiographs, or some of them several times
cases.above(0.3)                       # without detections of lower score
"""

import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from pneumodet.core.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """Radiographs, one a case.

    Attributes:
      names: C exam ids.
      patients: (C,) int64, the same number for the exams of one patient.
      truth_xyxy_px: (T, 4) float64 ground-truth boxes.
      truth_case: (T,) int64 in [0, C), not falling: the case of each ground-truth box.
      boxes_xyxy_px: (D, 4) float64 detections.
      scores: (D,) float64 in [0, 1].
      box_case: (D,) int64 in [0, C), not falling: the case of each detection. Within a case the most confident detection comes first; equal
        scores stay in the order given.
      facts: what is known of each case besides, name -> C values or None: ``view_position``, ``sex``, ``age`` (years), ``rsna_class``.
      image_level: (C,) bool, the cases that are positive as a whole, without a ground-truth box; None where there are none.

    Raises:
      DataError: shapes or orders do not fit, a value is not finite, a box is inverted, or a score is outside [0, 1].
    """

    names: tuple[str, ...]
    patients: np.ndarray
    truth_xyxy_px: np.ndarray
    truth_case: np.ndarray
    boxes_xyxy_px: np.ndarray
    scores: np.ndarray
    box_case: np.ndarray
    facts: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    image_level: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        for boxes, case, what in (
            (self.truth_xyxy_px, self.truth_case, "ground-truth boxes"),
            (self.boxes_xyxy_px, self.box_case, "detections"),
        ):
            if boxes.shape != (len(case), 4) or not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
                raise DataError(f"Cases need finite {what} of shape (N, 4), right >= left and bottom >= top, and the case of each.")
            if len(case) and (case[0] < 0 or case[-1] >= count or (np.diff(case) < 0).any()):
                raise DataError(f"The cases of the {what} must rise from 0 to {count - 1}.")
        if self.patients.shape != (count,) or any(len(values) != count for values in self.facts.values()):
            raise DataError(f"{count} cases need as many patients and facts.")
        if self.scores.shape != self.box_case.shape or not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise DataError("Every detection needs a score from 0 to 1.")
        if ((np.diff(self.scores) > 0) & (np.diff(self.box_case) == 0)).any():
            raise DataError("Within a case the most confident detection comes first.")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positive(self) -> np.ndarray:
        """(C,) bool: whether a case has a ground-truth box, or is positive as a whole."""
        with_box: np.ndarray = np.bincount(self.truth_case, minlength=len(self)) > 0
        return with_box if self.image_level is None else with_box | self.image_level

    @property
    def case_scores(self) -> np.ndarray:
        """(C,) float64: a case's highest score, 0 where nothing was detected; the usual image-level score of a detector."""
        scores = np.zeros(len(self))
        first = np.flatnonzero(np.diff(self.box_case, prepend=-1) > 0)  # the most confident one, by the order that is checked above
        scores[self.box_case[first]] = self.scores[first]
        return scores

    @property
    def rank(self) -> np.ndarray:
        """(D,) int64: how many detections of the same case are more confident, or as confident and before it."""
        sizes = np.bincount(self.box_case, minlength=len(self))
        # the place within the case, by the order that is checked above
        return np.arange(len(self.box_case)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def above(self, threshold: float | np.ndarray) -> "Cases":
        """Return the same cases with the detections that score at least ``threshold``: one, or (D,), one for each."""
        return self.where(self.scores >= threshold)

    def where(self, mask: np.ndarray) -> "Cases":
        """Return the same cases with the detections of a (D,) bool mask; themselves where these are all."""
        if mask.all():  # so that nothing of them is computed again
            return self
        return dataclasses.replace(self, boxes_xyxy_px=self.boxes_xyxy_px[mask], scores=self.scores[mask], box_case=self.box_case[mask])

    def take(self, rows: np.ndarray) -> "Cases":
        """Return the cases of (R,) int64 indices, in that order; a case that is named twice occurs twice, as the same patient."""
        rows = np.asarray(rows, np.int64)
        truth, truth_case = _gather(self.truth_case, rows, len(self))
        boxes, box_case = _gather(self.box_case, rows, len(self))
        return Cases(
            tuple(self.names[row] for row in rows),
            self.patients[rows],
            self.truth_xyxy_px[truth],
            truth_case,
            self.boxes_xyxy_px[boxes],
            self.scores[boxes],
            box_case,
            {name: tuple(values[row] for row in rows) for name, values in self.facts.items()},
            None if self.image_level is None else self.image_level[rows],
        )


def _gather(case: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices of the entries of the cases ``rows``, the place in ``rows`` of each)."""
    # without a loop over cases: folds do this often
    starts = np.searchsorted(case, np.arange(count + 1))
    sizes = np.diff(starts)[rows]
    place = np.repeat(np.arange(len(rows)), sizes)
    offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return starts[rows][place] + offset, place


Given = ParamSpec("Given")
Result = TypeVar("Result")


def once(function: Callable[Concatenate[Cases, Given], Result]) -> Callable[Concatenate[Cases, Given], Result]:
    """Let a function of cases be computed once for the same object and arguments; what it returned lives as long as the cases, and is not to be changed.

    What it returns must not hold the cases themselves. A second thread waits for what the first one computes.
    """
    kept: weakref.WeakKeyDictionary[Cases, dict[Any, Result]] = weakref.WeakKeyDictionary()
    computing = threading.RLock()

    @functools.wraps(function)
    def call(cases: Cases, *args: Given.args, **named: Given.kwargs) -> Result:
        key = (args, tuple(named.items()))
        with computing:
            known = kept.setdefault(cases, {})
            if key not in known:
                known[key] = function(cases, *args, **named)
            return known[key]

    return call
