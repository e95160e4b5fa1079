"""Several evaluations brought onto the same exams: by patientId, in one order, with one ground truth.

matched = match(entries, truth, common=False)
matched.sides[0].image                       # Cases of the exams that all have
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import listed
from pneumodet.data.cases import Cases
from pneumodet.evaluation.compare.entries import Entry, Point
from pneumodet.evaluation.compare.truths import Truth
from pneumodet.evaluation.metrics import operating_point
from pneumodet.evaluation.metrics.uncertainty import Choice

RULES = "strict"
"""Of the RSNA metric, for all alike."""

WHOLE_PX = np.array([0.0, 0.0, 1.0, 1.0])
"""Box, xyxy_px, of the one detection by which an image-level score stands among cases; its place is of no account."""

MOST_NAMED = 4
"""Runs that a message names."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One entry on the exams that all have.

    Attributes:
      entry: what it is.
      boxes: with its detections; None where it has no boxes.
      image: with one detection an exam that has the image-level score, or ``boxes``, where the highest score of an exam is that.
      boxes_at, image_at: score thresholds of the operating points, one for all or (D,) float64.
      boxes_choice, image_choice: how these were chosen on the very exams; None where they were not.
      boxes_note, image_note: how these were chosen, a sentence.
    """

    entry: Entry
    boxes: Cases | None
    image: Cases
    boxes_at: float | np.ndarray
    image_at: float | np.ndarray
    boxes_note: str
    image_note: str
    boxes_choice: Choice | None = None
    image_choice: Choice | None = None

    @property
    def detections(self) -> Cases:
        """``boxes``, where they are needed.

        Raises:
          ConfigError: there are none.
        """
        if self.boxes is None:
            raise ConfigError(f"{self.entry.name} has scores and no boxes. Use it as --gate.")
        return self.boxes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """All entries on the exams that all have.

    Attributes:
      base: these exams with their ground truth, and no detections.
      sides: as many as there are entries.
      left_out: how many exams are in some but not in all.
      notes: sentences for the reader.
    """

    base: Cases
    sides: tuple[Side, ...]
    left_out: int
    notes: tuple[str, ...]


def match(entries: Sequence[Entry], truth: Truth, *, common: bool, seed: int = 0) -> Matched:
    """Bring entries onto the same exams.

    Args:
      entries: at least one.
      truth: what all are evaluated by.
      common: take the exams that all have; without, it is an error if some have others.
      seed: of the folds of patients by which operating points are chosen.

    Raises:
      DataError: the exams differ, none is in all, or all that are left are positive or all negative.
    """
    shared = frozenset.intersection(*(entry.exams for entry in entries))
    every = frozenset.union(*(entry.exams for entry in entries))
    unknown = every - set(truth.cases.names)
    # in the order of the ground truth, which is then that of all entries
    there = [index for index, name in enumerate(truth.cases.names) if name in shared]
    if not there:
        names = listed((entry.name for entry in entries), MOST_NAMED)
        raise DataError(
            f"No exam is in all of {names} and in the ground truth {truth.name}{_sets(entries)}. Evaluate them on one record set."
        )
    left_out = len(every) - len(there)
    if left_out and not common:
        raise DataError(f"{_difference(entries, every, unknown, truth)} Give --common to compare on the {len(there):,} that all have.")
    base = truth.cases.take(np.array(there))
    # ROC AUC and the choice of thresholds need both
    if base.positive.all() or not base.positive.any():
        which = "positive" if base.positive.all() else "negative"
        raise DataError(
            f"All {len(base):,} exams that are compared are {which}: no figure can part a good model from a bad one. Compare on others."
        )
    notes = list(truth.warnings)
    if left_out:
        notes.append(
            f"{left_out:,} of {len(every):,} exams are not in all runs and were left out. {_difference(entries, every, unknown, truth)}"
        )
    unseen = len(truth.cases) - len(there) - len((every - shared) & set(truth.cases.names))
    if unseen:
        notes.append(f"{unseen:,} of {len(truth.cases):,} exams of the ground truth {truth.name} are in none of the runs.")
    notes += _of_different_sets(entries, truth, base)
    sides = tuple(_side(entry, base, seed, notes) for entry in entries)
    return Matched(base=base, sides=sides, left_out=left_out, notes=tuple(notes))


def with_scores(base: Cases, scores: np.ndarray) -> Cases:
    """Return cases with one detection each, whose score is the image-level one, (C,) float64 in [0, 1]."""
    count = len(base)
    return dataclasses.replace(base, boxes_xyxy_px=np.tile(WHOLE_PX, (count, 1)), scores=scores, box_case=np.arange(count))


def _with_boxes(base: Cases, cases: Cases) -> Cases:
    """Return ``base`` with the detections of ``cases``, which has its exams and more."""
    place = {name: index for index, name in enumerate(cases.names)}
    taken = cases.take(np.array([place[name] for name in base.names]))
    return dataclasses.replace(base, boxes_xyxy_px=taken.boxes_xyxy_px, scores=taken.scores, box_case=taken.box_case)


def _side(entry: Entry, base: Cases, seed: int, notes: list[str]) -> Side:
    boxes = None if entry.cases is None else _with_boxes(base, entry.cases)
    boxes_at, boxes_note, boxes_choice = (0.0, "", None) if boxes is None else _at(boxes, entry.box_point, seed)
    if entry.scores is not None:
        # a detection for each score, so that all figures of all families are computed by the same code
        image = with_scores(base, np.array([entry.scores[name] for name in base.names], np.float64))
        image_at, image_note, image_choice = _at(image, entry.image_point, seed)
    elif boxes is not None:
        image, image_at, image_note, image_choice = boxes, boxes_at, boxes_note, boxes_choice
    else:
        raise DataError(f"{entry.name} has neither boxes nor scores. Evaluate it again.")
    # after the notes on exams, which are about all runs
    notes += entry.warnings
    return Side(
        entry=entry,
        boxes=boxes,
        image=image,
        boxes_at=boxes_at,
        image_at=image_at,
        boxes_note=boxes_note,
        image_note=image_note,
        boxes_choice=boxes_choice,
        image_choice=image_choice,
    )


def _at(cases: Cases, point: Point, seed: int) -> tuple[float | np.ndarray, str, Choice | None]:
    """Return the threshold of an operating point, one a detection where it is chosen on other patients, a sentence, and how it was chosen."""
    if point.threshold is not None:
        return point.threshold, f"Score of at least {point.threshold:.4g}, as the run was given it.", None
    try:
        folds = operating_point.patient_folds(cases, seed=seed)
        by_case, fitted = operating_point.cross_fitted(cases, point.aim, folds=folds, rules=RULES)
    # a threshold of few patients is still of use, as long as the reader knows that it flatters
    except DataError as error:
        threshold = operating_point.just_below(operating_point.choose(cases, point.aim, rules=RULES)["threshold"], cases.scores)
        return (
            threshold,
            f"Score of at least {threshold:.4g}, chosen on these very exams, which flatters: {error}",
            None,
        )
    return by_case[cases.box_case], fitted["note"], Choice(point.aim, folds, rules=RULES)


def _of_different_sets(entries: Sequence[Entry], truth: Truth, base: Cases) -> list[str]:
    """Return what is to be said where runs were evaluated with different record sets, or with other boxes of the same exams."""
    notes = (
        [f"The runs were evaluated on different record sets{_sets(entries)}; exams were matched by patientId."] if _sets(entries) else []
    )
    for entry in entries:
        # ``Shelf`` reads each ground truth once, so that the same one is the same object
        if entry.truth is truth:
            continue
        place = {name: index for index, name in enumerate(entry.truth.cases.names)}
        theirs = [_boxes_of(entry.truth.cases, place[name]) if name in place else None for name in base.names]
        ours = [_boxes_of(base, index) for index in range(len(base))]
        other = sum(mine is not None and not np.array_equal(mine, own) for mine, own in zip(theirs, ours, strict=True))
        if other:
            notes.append(
                f"{entry.name}: the ground truth that it was evaluated with ({entry.truth.name}) has other boxes in {other:,} of {len(base):,} exams; "
                f"all are evaluated by {truth.name}."
            )
    return notes


def _boxes_of(cases: Cases, index: int) -> np.ndarray:
    """Return the sorted ground-truth boxes of a case, (N, 4)."""
    boxes = cases.truth_xyxy_px[cases.truth_case == index]
    # the order of boxes in a file is no difference
    return boxes[np.lexsort(boxes.T)]


def _difference(entries: Sequence[Entry], every: frozenset[str], unknown: frozenset[str], truth: Truth) -> str:
    """Return a sentence that says who lacks which exams."""
    parts = [
        f"{entry.name} lacks {len(every - entry.exams):,} (such as {min(every - entry.exams)})" for entry in entries if every - entry.exams
    ]
    parts += [f"the ground truth {truth.name} lacks {len(unknown):,} (such as {min(unknown)})"] * bool(unknown)
    shown = parts[:MOST_NAMED] + [f"{len(parts) - MOST_NAMED} more lack some"] * (len(parts) > MOST_NAMED)
    return f"The runs were not evaluated on the same exams{_sets(entries)}: of {len(every):,}, {'; '.join(shown)}."


def _sets(entries: Sequence[Entry]) -> str:
    """Return the record sets in brackets where there are several, else nothing."""
    by_set: dict[str, list[str]] = {}
    for entry in entries:
        if entry.manifest_sha256:
            by_set.setdefault(entry.manifest_sha256, []).append(entry.name)
    return "" if len(by_set) < 2 else " (" + "; ".join(f"manifest {key[:12]}…: {', '.join(names)}" for key, names in by_set.items()) + ")"
