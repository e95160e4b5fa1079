"""Choose a recipe on validation detections, and say what each step gains on patients that had no part in the choice.

    result = search([cases], folds=patient_folds(cases, 5), gate=gate)
    result.recipe                                           # chosen on all patients; this one is saved
    result.table["rows"][2]["gain"]                         # {"value": 0.034, "low": 0.021, "high": 0.047}

Steps are added in turn. After each, all steps added so far are tuned by coordinate search over the grids below: one step after the other takes
its best value while the others are held, until nothing changes. The score threshold is no grid: for the RSNA metric every candidate is evaluated at
its best threshold, which takes one pass over the scores. For AP50, to which a threshold can only do harm, there is none.

The choice is made once for each fold on all other folds, and each exam is then processed by the recipe that other patients gave (cross-fitting);
the table's figures and intervals are of these. The recipe that is saved is chosen on all patients by the same search, and is what the figures
estimate. Another value is taken only where it betters the objective by a ``MARGIN``, so that noise does not switch steps on.

Cost on 2 cores: 3,000 exams with 100 detections each take 20 s and 0.5 GB, two sets of them to fuse 110 s and 0.9 GB; time rises faster than the
number of exams once results of NMS no longer fit in ``KEPT_DETECTIONS``.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import bootstrap, rsna
from pneumodet.evaluation.metrics.average_precision import PrecisionRecall
from pneumodet.evaluation.metrics.matching import HIT_IOU
from pneumodet.evaluation.metrics.operating_point import check_folds
from pneumodet.evaluation.postprocess_table import Figures, Rows, tabulated
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.postprocess.steps import Overlaps, checked_gate, replaced

OBJECTIVES = ("rsna", "ap50")
"""What is made as high as possible: the RSNA metric at its best score threshold, or AP at IoU 0.5."""

MARGIN = 0.05
"""By how much another value of a step must better the objective, times the root of the number of positive exams.

By a step an exam's RSNA score changes by 0.1 to 0.25 (standard deviation of the change over exams), so that this is a fifth to a half of the
standard error of the gain.
"""

MAX_PASSES = 3
"""Rounds of coordinate search after each step; it usually ends after two."""

HARD_IOU = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
LINEAR_IOU = (0.05, 0.1, 0.2, 0.3, 0.5)
GAUSSIAN_SIGMA = (0.05, 0.1, 0.2, 0.5, 1.0)
FUSION_IOU = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7)
BOX_SCALES = (1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.825, 0.8)
MIN_SIDES_PX = (0.0, 16.0, 32.0, 48.0, 64.0, 96.0, 128.0)
MAX_BOXES = (None, 6, 4, 3, 2, 1)
GATE_QUANTILES = np.arange(1, 20) / 20
"""Thresholds of the gate that are tried: these quantiles of its scores, without regard to labels."""

THRESHOLD, AS_THEY_ARE, FUSION, VIEWS = "score threshold", "as they are", "fusion", "views fused"
"""The first row of the table for the RSNA metric and for AP50, the step that needs several sources, and its name where these are views."""

KEPT_DETECTIONS = 8_000_000
"""How many detections after fusion, and as many after NMS, are kept for candidates that differ in later steps only: 400 MB each."""

_FUSION_FIELDS = ("sources", "fusion", "fusion_iou")
_NMS_FIELDS = ("nms", "nms_iou", "nms_sigma")
_AP50_IOU = np.array([HIT_IOU])

Changes = Mapping[str, Any]
"""Fields of a recipe with the values that a candidate has; ``Recipe`` checks them."""


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """The outcome of ``search``.

    Attributes:
      recipe: chosen on all patients.
      cross_fitted: the cases, each processed by the recipe that the patients of other folds gave; figures on these are honest.
      table: JSON-able; see ``search``.
    """

    recipe: Recipe
    cross_fitted: Cases
    table: dict


def grids(sources: int, gate: np.ndarray | None) -> dict[str, list[Changes]]:
    """Return step -> what is tried, in the order of the table; the first of each step is to leave it out.

    Args:
      sources: how many sets of detections there are; with one, nothing is fused.
      gate: (C,) image-level scores, or None, with which there is no gate.
    """
    of_step: dict[str, list[Changes]] = {}
    if sources > 1:
        pooled: list[Changes] = [{"fusion": "pool", "nms": "hard", "nms_iou": iou} for iou in sorted(HARD_IOU, reverse=True)]
        of_step[FUSION] = pooled + [{"fusion": "wbf", "fusion_iou": iou, "nms": "none"} for iou in FUSION_IOU]
    of_step["nms"] = [
        {"nms": "none"},
        *({"nms": "hard", "nms_iou": iou} for iou in HARD_IOU),
        *({"nms": "linear", "nms_iou": iou} for iou in LINEAR_IOU),
        *({"nms": "gaussian", "nms_sigma": sigma} for sigma in GAUSSIAN_SIGMA),
    ]
    of_step["box scale"] = [{"box_scale": scale} for scale in BOX_SCALES]
    of_step["minimum size"] = [{"min_side_px": side} for side in MIN_SIDES_PX]
    of_step["boxes an exam"] = [{"max_boxes": number} for number in MAX_BOXES]
    if gate is not None:
        thresholds = np.unique(np.quantile(gate, GATE_QUANTILES).round(4)).clip(0, 1).tolist()
        of_step["gate"] = [
            {"gate": "none"},
            {"gate": "multiply"},
            *({"gate": "drop", "gate_threshold": threshold} for threshold in thresholds),
        ]
    return of_step


def search(
    sources: Sequence[Cases],
    *,
    folds: np.ndarray,
    gate: np.ndarray | None = None,
    objective: str = "rsna",
    rules: str = "strict",
    views: int = 1,
    names: Sequence[str] | None = None,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
) -> SearchResult:
    """Choose a recipe.

    Args:
      sources: one or more sets of detections of the same C cases, with ground truth.
      folds: (C,) int64 fold of each case, as of ``operating_point.patient_folds``; no patient in two.
      gate: (C,) float64 image-level scores in [0, 1], or None.
      objective: one of ``OBJECTIVES``.
      rules: of the RSNA metric.
      views: how many views of each model the sources are, one model after another, the plain one first: what these gain has a row of its own.
      names: of the sources, for the table.
      resamples: of the bootstrap of patients.
      seed: of the bootstrap.
      on_step: called with the name of each step once it is tuned.

    Returns:
      The recipe, the cross-fitted cases, and the table: ``objective``, ``rules``, ``exams``, ``patients``, ``positive_exams``, ``folds``,
      ``resamples``, ``seed``, ``note`` and ``rows``. A row has ``step``, ``figure`` and ``gain`` (each with ``value``, ``low`` and ``high``; the gain is
      that over the row before, None in the first; with several sources the row before ``fusion`` is the best model alone in its plain view),
      ``chosen`` (what was chosen on all patients up to this step) and ``in_folds`` (the same for each fold, which shows how firm a choice is).
      ``total`` is the gain of the last row over the first, or over the best model alone.

    Raises:
      ConfigError: the objective is unknown.
      DataError: sources, folds or gate do not fit; all positive cases are in one fold; the rules are unknown.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"The objective is {objective!r}, must be one of {', '.join(OBJECTIVES)}.")
    fold_names = check_folds(sources[0], folds)
    of_fold = np.stack([folds == name for name in fold_names], axis=1)
    _check_sources(sources, of_fold)
    table = Rows([], [], [])
    alone = _models_alone(table, sources, of_fold, objective=objective, rules=rules, views=views, names=names)
    bench = _Bench(sources, of_fold, gate, objective, rules)
    grid_of = grids(len(sources), gate)
    chosen = [Recipe(sources=len(sources))] * (len(fold_names) + 1)
    for number, step in enumerate(grid_of, start=1):
        if step == FUSION:
            chosen = [dataclasses.replace(one, **grid_of[FUSION][0]) for one in chosen]
        active = list(grid_of.values())[:number][::-1]  # the newest first
        chosen = [bench.tuned(index, one, active) for index, one in enumerate(chosen)]
        before = alone if number == 1 and len(table.rows) == len(sources) else len(table.rows) - 1
        table.add(_Row(bench, chosen), VIEWS if step == FUSION and views > 1 else step, before)
        on_step(step)
    figures = Figures(sources[0].patients, table.rows, resamples=resamples, seed=seed)
    head = {
        "objective": objective,
        "rules": rules,
        "exams": len(folds),
        "patients": len(np.unique(sources[0].patients)),
        "positive_exams": int(sources[0].positive.sum()),
        "folds": len(fold_names),
        "resamples": resamples,
        "seed": seed,
    }
    last = table.rows[-1]
    return SearchResult(
        last.recipes[-1], last.cases, head | tabulated(table, figures, alone=alone, folds=len(fold_names), resamples=resamples)
    )


def _models_alone(
    table: Rows,
    sources: Sequence[Cases],
    of_fold: np.ndarray,
    *,
    objective: str,
    rules: str,
    views: int,
    names: Sequence[str] | None,
) -> int:
    """Add the rows of each set of detections as it is, and of several models fused in their plain views where there are other views, too.

    Arguments as of ``search``; ``of_fold`` as of ``_Bench``.

    Returns:
      The place of the best model's row, in its plain view.
    """
    recipes_of_nothing = [Recipe()] * (of_fold.shape[1] + 1)
    labels: Sequence[str] = [AS_THEY_ARE if objective == "ap50" else THRESHOLD]
    if len(sources) > 1:
        labels = [f"{name} alone" for name in names or [f"detections {number}" for number in range(1, len(sources) + 1)]]
    for source, label in zip(sources, labels, strict=True):
        table.add(_Row(_Bench([source], of_fold, None, objective, rules), recipes_of_nothing), label, None)
    everyone = np.ones((len(of_fold), 1))
    alone = views * int(np.argmax([row.figure(everyone)[0] for row in table.rows[::views]]))
    plain = sources[::views]
    if 1 < len(plain) < len(sources):
        grid = grids(len(plain), None)[FUSION]
        start = [Recipe(sources=len(plain), **grid[0])] * (of_fold.shape[1] + 1)
        bench = _Bench(plain, of_fold, None, objective, rules)
        table.add(_Row(bench, [bench.tuned(index, one, [grid]) for index, one in enumerate(start)]), FUSION, alone)
    return alone


class _Bench:
    """Runs recipes on all cases, and remembers what came out.

    Args of the constructor:
      sources: sets of detections.
      of_fold: (C, F) bool: the case is in the fold.
      gate, objective, rules: as in ``search``.
    """

    def __init__(self, sources: Sequence[Cases], of_fold: np.ndarray, gate: np.ndarray | None, objective: str, rules: str) -> None:
        self.sources, self.of_fold, self.objective, self.rules = sources, of_fold, objective, rules
        self.gate = None if gate is None else checked_gate(sources[0], gate)
        self._chosen_on = np.column_stack([~of_fold, np.ones(len(of_fold), bool)])
        self._margins = MARGIN / np.sqrt(self._chosen_on[sources[0].positive].sum(axis=0))
        self._fused, self._suppressed = _Kept(), _Kept()
        self._overlaps: tuple[Cases, Overlaps] | None = None
        self._evaluated: dict[Recipe, list[tuple[float, float]]] = {}

    def run(self, recipe: Recipe) -> Cases:
        """Return all cases after a recipe."""
        fusion = _only(recipe, _FUSION_FIELDS)
        fused = self._fused.get(fusion, lambda: recipes.fused(fusion, self.sources))
        if recipe.nms == "none":
            return recipes.finished(recipe, fused, self.gate)
        suppression = _only(recipe, _FUSION_FIELDS + _NMS_FIELDS)
        suppressed = self._suppressed.get(suppression, lambda: recipes.suppressed(recipe, fused, overlaps=self._overlaps_of(fused)))
        return recipes.finished(recipe, suppressed, self.gate)

    def evaluate(self, recipe: Recipe) -> list[tuple[float, float]]:
        """Return (objective, best score threshold) on all cases but those of each fold, and at last on all cases."""
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
                best = int(np.argmax(values >= values.max() - rsna.TIE_TOLERANCE))
                if values[best] >= self.evaluate(recipe)[index][0] + self._margins[index]:
                    recipe = candidates[best]
            if recipe == start:
                break
        return recipe

    def with_thresholds(self, chosen: Sequence[Recipe]) -> list[Recipe]:
        """Return the recipe of each index with the score threshold that is best on the cases that it was chosen on."""
        return [dataclasses.replace(one, score_threshold=self.evaluate(one)[index][1]) for index, one in enumerate(chosen)]

    def _rsna(self, cases: Cases) -> list[tuple[float, float]]:
        first = np.diff(cases.box_case, prepend=-1) > 0
        cases = cases.where(first | cases.positive[cases.box_case])  # in a negative exam only the most confident box makes a difference
        evaluated = []
        for chosen_on in self._chosen_on.T:
            thresholds, values = rsna.threshold_curve(cases.take(np.flatnonzero(chosen_on)), rules=self.rules)
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
                del self._found[next(iter(self._found))]
            self._found[key] = cases
        return self._found[key]


class _Row:
    """A row of the table: the cases of each fold after the recipe that the others gave.

    Args of the constructor:
      bench: runs recipes.
      chosen: F + 1 recipes without thresholds, chosen on all cases but those of each fold, and on all.
    """

    def __init__(self, bench: _Bench, chosen: Sequence[Recipe]) -> None:
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
            self._sums = np.stack([np.nan_to_num(scores), ~np.isnan(scores)])
        self._curve = PrecisionRecall(self.cases, iou_thresholds=_AP50_IOU) if bench.objective == "ap50" else None

    def figure(self, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) objective for (C, B) float64 weights of the cases.

        AP is the mean of the folds' APs: scores of two recipes need not be comparable, and AP over all cases would rank one against the other.
        """
        if self._curve is None:
            return bootstrap.ratio(*(self._sums @ weights))
        of_folds = np.stack([self._curve.average_precision(weights * inside[:, None])[0] for inside in self._of_fold.T])
        return bootstrap.ratio(np.nansum(of_folds, axis=0), (~np.isnan(of_folds)).sum(axis=0))


def _check_sources(sources: Sequence[Cases], of_fold: np.ndarray) -> None:
    if any(one.names != sources[0].names or not np.array_equal(one.truth_xyxy_px, sources[0].truth_xyxy_px) for one in sources):
        raise DataError("All sets of detections must be of the same exams with the same ground truth. Give files of one set.")
    positive = sources[0].positive
    if of_fold[positive].all(axis=0).any():
        raise DataError(
            f"{int(positive.sum())} of {len(positive)} exams have a ground-truth box, and none of them is outside one of {of_fold.shape[1]} folds: "
            "nothing can be chosen there. Use fewer folds or a larger set."
        )


def _plain(recipe: Recipe) -> Recipe:
    """Return the recipe without score threshold, and with defaults for the values that have no part in it."""
    without = ["score_threshold"]
    without += ["nms_iou"] * (recipe.nms not in ("hard", "linear")) + ["nms_sigma"] * (recipe.nms != "gaussian")
    without += ["fusion_iou"] * (recipe.fusion != "wbf") + ["gate_threshold"] * (recipe.gate != "drop")
    return dataclasses.replace(recipe, **{name: getattr(Recipe, name) for name in without})


def _only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    return Recipe(**{name: getattr(recipe, name) for name in names})
