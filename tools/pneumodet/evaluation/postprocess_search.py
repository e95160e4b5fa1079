"""Choose a recipe on validation detections, and say what each step gains on patients that had no part in the choice.

    result = search([cases], folds=patient_folds(cases, 5), gate=gate)
    result.recipe                                           # chosen on all patients; this one is saved
    result.table["rows"][2]["gain"]                         # {"value": 0.034, "low": 0.021, "high": 0.047}

Steps are added in turn. After each, all steps added so far are tuned by coordinate search over the grids below: one step after the other takes
its best value while the others are held, until nothing changes. The score threshold is no grid: for the RSNA metric every candidate is evaluated at
its best threshold, which takes one pass over the scores. For AP50, to which a threshold can only do harm, there is none.

The choice is made once for each fold on all other folds, and each exam is then processed by the recipe that other patients gave (cross-fitting);
the table's figures and intervals are of these. The recipe that is saved is chosen on all patients by the same search, and is what the figures
estimate. Another value is taken only where it betters the objective by ``postprocess_bench.MARGIN``, so that noise does not switch steps on.

Cost on 2 cores: 3,000 exams with 100 detections each take 20 s and 0.5 GB, two sets of them to fuse 110 s and 0.9 GB; time rises faster than the
number of exams once results of NMS no longer fit in ``postprocess_bench.KEPT_DETECTIONS``.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import uncertainty
from pneumodet.evaluation.metrics.operating_point import check_folds
from pneumodet.evaluation.postprocess_bench import Bench, Changes, Row
from pneumodet.evaluation.postprocess_table import Figures, Rows, tabulated
from pneumodet.inference.postprocess.recipe import Recipe

OBJECTIVES = ("rsna", "ap50")
"""What is made as high as possible: the RSNA metric at its best score threshold, or AP at IoU 0.5."""

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


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """The outcome of ``search``.

    Attributes:
      recipe: chosen on all patients.
      cross_fitted: the cases, each processed by the recipe that the patients of other folds gave; figures on these are honest.
      table: JSON-able; see ``search``.
      moves: (rows, G) float64: by how much each group of patients moves the figure of each row.
    """

    recipe: Recipe
    cross_fitted: Cases
    table: dict
    moves: np.ndarray


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
    resamples: int = uncertainty.RESAMPLES,
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
      resamples: most groups of patients that are left out in turn for the intervals.
      seed: of these groups.
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
    bench = Bench(sources, of_fold, gate, objective, rules)
    grid_of = grids(len(sources), gate)
    # one for each fold, chosen on all others, and one for everybody, which is saved
    chosen = [Recipe(sources=len(sources))] * (len(fold_names) + 1)
    for number, step in enumerate(grid_of, start=1):
        # from the first entry of the grid on, since its "leave it out" is pooling, which needs NMS
        if step == FUSION:
            chosen = [dataclasses.replace(one, **grid_of[FUSION][0]) for one in chosen]
        active = list(grid_of.values())[:number][::-1]  # the newest first
        chosen = [bench.tuned(index, one, active) for index, one in enumerate(chosen)]
        # the first gain is over the best model alone, unless a row of fused plain views stands between
        before = alone if number == 1 and len(table.rows) == len(sources) else len(table.rows) - 1
        table.add(Row(bench, chosen), VIEWS if step == FUSION and views > 1 else step, before)
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
    of_rows = tabulated(table, figures, alone=alone, folds=len(fold_names))
    return SearchResult(last.recipes[-1], last.cases, head | of_rows, figures.moves)


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

    Arguments as of ``search``; ``of_fold`` as of ``Bench``.

    Returns:
      The place of the best model's row, in its plain view.
    """
    recipes_of_nothing = [Recipe()] * (of_fold.shape[1] + 1)
    labels: Sequence[str] = [AS_THEY_ARE if objective == "ap50" else THRESHOLD]
    if len(sources) > 1:
        labels = [f"{name} alone" for name in names or [f"detections {number}" for number in range(1, len(sources) + 1)]]
    for source, label in zip(sources, labels, strict=True):
        table.add(Row(Bench([source], of_fold, None, objective, rules), recipes_of_nothing), label, None)
    everyone = np.ones((len(of_fold), 1))
    # over the best model, not the first: fusion has to be better than choosing one model
    alone = views * int(np.argmax([row.figure(everyone)[0] for row in table.rows[::views]]))
    plain = sources[::views]
    if 1 < len(plain) < len(sources):
        grid = grids(len(plain), None)[FUSION]
        start = [Recipe(sources=len(plain), **grid[0])] * (of_fold.shape[1] + 1)
        bench = Bench(plain, of_fold, None, objective, rules)
        table.add(Row(bench, [bench.tuned(index, one, [grid]) for index, one in enumerate(start)]), FUSION, alone)
    return alone


def _check_sources(sources: Sequence[Cases], of_fold: np.ndarray) -> None:
    if any(one.names != sources[0].names or not np.array_equal(one.truth_xyxy_px, sources[0].truth_xyxy_px) for one in sources):
        raise DataError("All sets of detections must be of the same exams with the same ground truth. Give files of one set.")
    positive = sources[0].positive
    if of_fold[positive].all(axis=0).any():
        raise DataError(
            f"{int(positive.sum())} of {len(positive)} exams have a ground-truth box, and none of them is outside one of {of_fold.shape[1]} folds: "
            "nothing can be chosen there. Use fewer folds or a larger set."
        )
