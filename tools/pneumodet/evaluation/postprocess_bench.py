"""Recipes on trial: each run on all exams, its figure on the patients it is chosen on, and the best one by coordinate search.

bench = Bench([cases], of_fold, None, "rsna", "strict")
recipe = bench.tuned(0, Recipe(), [grid])          # on the patients outside fold 0
Row(bench, [recipe, …]).figure(weights)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import jackknife, rsna
from pneumodet.evaluation.metrics.average_precision import PrecisionRecall
from pneumodet.evaluation.metrics.interval import Moved
from pneumodet.evaluation.metrics.jackknife import Ratio
from pneumodet.evaluation.metrics.matching import HIT_IOU
from pneumodet.evaluation.metrics.operating_point import just_below
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.postprocess.steps import Overlaps, checked_gate, replaced

MARGIN = 0.05
"""By how much another value of a step must better the objective, times the root of the number of positive exams.

By a step an exam's RSNA score changes by 0.1 to 0.25 (standard deviation of the change over exams), so that this is a fifth to a half of the
standard error of the gain.
"""

MAX_PASSES = 3
"""Rounds of coordinate search after each step; it usually ends after two."""

KEPT_DETECTIONS = 8_000_000
"""How many detections after fusion, and as many after NMS, are kept for candidates that differ in later steps only: 400 MB each."""

_FUSION_FIELDS = ("sources", "fusion", "fusion_iou")
_NMS_FIELDS = ("nms", "nms_iou", "nms_sigma")
_AP50_IOU = np.array([HIT_IOU])

Changes = Mapping[str, Any]
"""Fields of a recipe with the values that a candidate has; ``Recipe`` checks them."""


class Bench:
    """Runs recipes on all cases, and remembers what came out.

    Args of the constructor:
      sources: sets of detections.
      of_fold: (C, F) bool: the case is in the fold.
      gate, objective, rules: as in ``search``.
    """

    def __init__(self, sources: Sequence[Cases], of_fold: np.ndarray, gate: np.ndarray | None, objective: str, rules: str) -> None:
        self.sources, self.of_fold, self.objective, self.rules = sources, of_fold, objective, rules
        self.gate = None if gate is None else checked_gate(sources[0], gate)
        # what is outside each fold, and at last everything
        self._chosen_on = np.column_stack([~of_fold, np.ones(len(of_fold), bool)])
        self._margins = MARGIN / np.sqrt(self._chosen_on[sources[0].positive].sum(axis=0))
        self._fused, self._suppressed = _Kept(), _Kept()
        self._overlaps: tuple[Cases, Overlaps] | None = None
        self._evaluated: dict[Recipe, list[tuple[float, float]]] = {}

    def run(self, recipe: Recipe) -> Cases:
        """Return all cases after a recipe."""
        fusion = _only(recipe, _FUSION_FIELDS)
        # candidates mostly differ in later steps, and share what earlier ones gave
        fused = self._fused.get(fusion, lambda: recipes.fused(fusion, self.sources))
        if recipe.nms == "none":
            return recipes.finished(recipe, fused, self.gate)
        suppression = _only(recipe, _FUSION_FIELDS + _NMS_FIELDS)
        suppressed = self._suppressed.get(suppression, lambda: recipes.suppressed(recipe, fused, overlaps=self._overlaps_of(fused)))
        return recipes.finished(recipe, suppressed, self.gate)

    def evaluate(self, recipe: Recipe) -> list[tuple[float, float]]:
        """Return (objective, best score threshold) on all cases but those of each fold, and at last on all cases."""
        if recipe not in self._evaluated:  # as most are, plain already
            recipe = _plain(recipe)
        if recipe not in self._evaluated:
            cases = self.run(recipe)
            self._evaluated[recipe] = self._ap50(cases) if self.objective == "ap50" else self._rsna(cases)
        return self._evaluated[recipe]

    def tuned(self, index: int, recipe: Recipe, grids: Sequence[Sequence[Changes]]) -> Recipe:
        """Return the best recipe by coordinate search from ``recipe``, evaluated on the cases outside fold ``index``; on all for the last index."""
        for _ in range(MAX_PASSES):
            start = recipe
            for grid in grids:
                candidates = [_plain(dataclasses.replace(recipe, **changes)) for changes in grid]
                values = np.array([self.evaluate(candidate)[index][0] for candidate in candidates])
                # of equal ones the first: a grid begins with leaving the step out
                best = int(np.argmax(values >= values.max() - rsna.TIE_TOLERANCE))
                if values[best] >= self.evaluate(recipe)[index][0] + self._margins[index]:
                    recipe = candidates[best]
            # nothing changed in a whole round, and nothing would in the next
            if recipe == start:
                break
        return recipe

    def with_thresholds(self, chosen: Sequence[Recipe]) -> list[Recipe]:
        """Return the recipe of each index with the score threshold that is best on the cases that it was chosen on.

        Those of folds are used on these very detections; the last one is for new data, and is moved as ``operating_point.just_below`` says.
        """
        of_folds = [dataclasses.replace(one, score_threshold=self.evaluate(one)[index][1]) for index, one in enumerate(chosen)]
        last = of_folds.pop()
        below = just_below(last.score_threshold, self.run(chosen[-1]).scores)
        return [*of_folds, dataclasses.replace(last, score_threshold=below)]

    def _rsna(self, cases: Cases) -> list[tuple[float, float]]:
        first = np.diff(cases.box_case, prepend=-1) > 0
        cases = cases.where(first | cases.positive[cases.box_case])  # in a negative exam only the most confident box makes a difference
        evaluated = []
        for thresholds, values in rsna.threshold_curves(cases, self._chosen_on, rules=self.rules):
            best = int(np.argmax(values >= values.max() - rsna.TIE_TOLERANCE))
            evaluated.append((float(values[best]), float(thresholds[best])))
        return evaluated

    def _ap50(self, cases: Cases) -> list[tuple[float, float]]:
        values = PrecisionRecall(cases, iou_thresholds=_AP50_IOU).average_precision(self._chosen_on.astype(np.float64))[0]
        return [(float(value), 0.0) for value in values]

    def _overlaps_of(self, fused: Cases) -> Overlaps:
        if self._overlaps is None or self._overlaps[0] is not fused:
            self._overlaps = None  # frees their memory before the next ones are computed
            self._overlaps = fused, Overlaps(fused)
        return self._overlaps[1]


class _Kept:
    """The last results of a step, as many as ``KEPT_DETECTIONS`` allows."""

    def __init__(self) -> None:
        self._found: dict[Recipe, Cases] = {}

    def get(self, key: Recipe, compute: Callable[[], Cases]) -> Cases:
        if key in self._found:
            self._found[key] = self._found.pop(key)  # now the last one to go
        else:
            cases = compute()
            while self._found and sum(len(one.scores) for one in self._found.values()) + len(cases.scores) > KEPT_DETECTIONS:
                # the first in a dict is the one not used for longest
                del self._found[next(iter(self._found))]
            self._found[key] = cases
        return self._found[key]


class Row:
    """A row of the table: the cases of each fold after the recipe that the others gave.

    Args of the constructor:
      bench: runs recipes.
      chosen: F + 1 recipes without thresholds, chosen on all cases but those of each fold, and on all.
    """

    def __init__(self, bench: Bench, chosen: Sequence[Recipe]) -> None:
        self.recipes = bench.with_thresholds(chosen)
        self._of_fold = bench.of_fold
        parts = []
        for recipe, inside in zip(self.recipes, bench.of_fold.T, strict=False):  # not the last one, which is chosen on all
            cases = bench.run(recipe)
            parts.append(cases.where(inside[cases.box_case]))
        arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes_xyxy_px", "scores", "box_case"))
        self.cases = replaced(bench.sources[0], *arrays)
        if bench.objective == "rsna":
            scores = rsna.case_scores(self.cases, rules=bench.rules)
            self._ratio = Ratio(np.nan_to_num(scores), (~np.isnan(scores)).astype(np.float64))
        self._curve = PrecisionRecall(self.cases, iou_thresholds=_AP50_IOU) if bench.objective == "ap50" else None

    def moved(self, patients: np.ndarray, *, resamples: int, seed: int) -> Moved:
        """Return the objective with what moves it, by the methods of ``evaluation.metrics.interval``; arguments as of ``postprocess_table.Figures``."""
        if self._curve is None:
            return self._ratio.moved(patients)
        carriers = {"": self.cases.positive}
        return jackknife.of_figures(lambda weights: {"": self.figure(weights)}, patients, carriers=carriers, groups=resamples, seed=seed)[
            ""
        ]

    def figure(self, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) objective for (C, B) float64 weights of the cases.

        AP is the mean of the folds' APs: scores of two recipes need not be comparable, and AP over all cases would rank one against the other.
        """
        if self._curve is None:
            return self._ratio(weights)
        of_folds = np.stack([self._curve.average_precision(weights * inside[:, None])[0] for inside in self._of_fold.T])
        return jackknife.ratio(np.nansum(of_folds, axis=0), (~np.isnan(of_folds)).sum(axis=0))


def _plain(recipe: Recipe) -> Recipe:
    """Return the recipe without score threshold, and with defaults for the values that have no part in it."""
    without = ["score_threshold"]
    without += ["nms_iou"] * (recipe.nms not in ("hard", "linear")) + ["nms_sigma"] * (recipe.nms != "gaussian")
    without += ["fusion_iou"] * (recipe.fusion != "wbf") + ["gate_threshold"] * (recipe.gate != "drop")
    return dataclasses.replace(recipe, **{name: getattr(Recipe, name) for name in without})


def _only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    return Recipe(**{name: getattr(recipe, name) for name in names})
