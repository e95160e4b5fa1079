"""The headline figures of one model: prepared once, then computed for many weightings of the cases, which is what intervals are made of.

figures = Figures(cases, score_threshold=0.3)
figures(np.ones((len(cases), 1)))                   # key -> (1,) float64: the figures themselves
figures.ratios["image.sensitivity"]                 # the sums over cases that a figure is a quotient of
"""

import copy
from collections.abc import Mapping

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import froc, image_level, rsna
from pneumodet.evaluation.metrics.average_precision import IOU_THRESHOLDS, MAX_DETECTIONS, PrecisionRecall
from pneumodet.evaluation.metrics.jackknife import Ratio
from pneumodet.evaluation.metrics.matching import match


class Figures:
    """The headline figures of one model on C cases: prepared once, then asked for many weightings of the cases.

    Args of the constructor:
      cases: ground truth and detections of one class.
      score_threshold: for the figures at an operating point.
      rules: of the RSNA metric, ``strict`` or ``community``.
      class_name: stands in the keys of COCO's figures, ``coco.<class_name>.AP50``.
      iou_thresholds: of COCO's figures; 0.50 and 0.75 are among them.

    Attributes:
      ratios: key -> sums over cases, of the figures that are quotients of such.

    Raises:
      DataError: there are no cases, or the rules are unknown.
    """

    def __init__(
        self,
        cases: Cases,
        *,
        score_threshold: float | np.ndarray,
        rules: str = "strict",
        class_name: str = "pneumonia",
        iou_thresholds: np.ndarray = IOU_THRESHOLDS,
    ) -> None:
        if not len(cases):
            raise DataError("No figure can be computed of no cases. Give at least one image.")
        self._prefix = f"coco.{class_name}."
        operating = at_threshold(cases, score_threshold, rules=rules)
        self._precision_recall = PrecisionRecall(cases, iou_thresholds=iou_thresholds)
        # 0.745 and not 0.75, which need not be the double in the list
        self._iou_75 = int(np.searchsorted(iou_thresholds, 0.745))
        self._froc = froc.prepared(cases)
        self._positive = positive = cases.positive
        self._case_scores = cases.case_scores
        self._areas = image_level.Areas(positive, self._case_scores)
        self._truth = truth = np.bincount(cases.truth_case, minlength=len(cases)).astype(np.float64)
        reached = self._precision_recall.reached
        self.ratios: Mapping[str, Ratio] = {
            "rsna_metric": operating.pop("rsna_metric"),
            **{f"{self._prefix}AR{limit}": Ratio(of_limit, truth) for limit, of_limit in zip(MAX_DETECTIONS, reached, strict=True)},
            **operating,
        }

    def take(self, cases: np.ndarray) -> "Figures":
        """Return the same of the cases of rising (R,) int64 indices, at least one; nothing is matched again."""
        part = copy.copy(self)
        part._precision_recall, part._froc = self._precision_recall.take(cases), self._froc.take(cases)
        part._positive, part._case_scores, part._truth = self._positive[cases], self._case_scores[cases], self._truth[cases]
        part._areas = image_level.Areas(part._positive, part._case_scores)
        part.ratios = {key: Ratio(one.part[cases], one.whole[cases]) for key, one in self.ratios.items()}
        return part

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> (B,) float64 for (C, B) float64 weights >= 0; NaN where a figure is undefined."""
        return {key: one(weights) for key, one in self.ratios.items()} | self.curves(weights)

    def curves(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the figures that are no ratios, as ``__call__`` does: AP, FROC and the areas."""
        ap = self._precision_recall.average_precision(weights)
        roc_auc, pr_auc = self._areas.areas(weights)
        return {
            f"{self._prefix}AP": ap.mean(axis=0),
            f"{self._prefix}AP50": ap[0],
            f"{self._prefix}AP75": ap[self._iou_75],
            **froc.named(self._froc.sensitivities(weights)),
            "image.roc_auc": roc_auc,
            "image.pr_auc": pr_auc,
        }

    @property
    def carriers(self) -> dict[str, np.ndarray]:
        """Key -> (C,) bool: the cases that a figure of ``curves`` is of; of ROC AUC those of the rarer kind."""
        positive, with_boxes = self._positive, self._truth > 0
        keys = [f"{self._prefix}{key}" for key in ("AP", "AP50", "AP75")] + [
            *(f"{level}_{rate:g}" for level in froc.LEVELS for rate in froc.RATES),
            *froc.MEANS,
        ]
        return {**dict.fromkeys(keys, with_boxes), "image.roc_auc": image_level.rarer(positive), "image.pr_auc": positive}


def at_threshold(cases: Cases, score_threshold: float | np.ndarray, *, rules: str = "strict") -> dict[str, Ratio]:
    """Return the figures at an operating point, ``refitted.KEYS``, as sums over cases; arguments and errors as of ``Figures``."""
    scores = rsna.case_scores(cases, rules=rules, score_threshold=score_threshold)
    kept = cases.above(score_threshold)
    hit = match(kept).hit
    hits, false, truth = (
        np.bincount(case, minlength=len(cases)).astype(np.float64) for case in (kept.box_case[hit], kept.box_case[~hit], cases.truth_case)
    )
    return {
        # a negative exam without detections is in neither sum
        "rsna_metric": Ratio(np.nan_to_num(scores), (~np.isnan(scores)).astype(np.float64)),
        **image_level.ratios(cases.positive, image_level.called_positive(cases, score_threshold)),
        "lesion.sensitivity": Ratio(hits, truth),
        "lesion.precision": Ratio(hits, hits + false),
        "lesion.fp_per_image": Ratio(false, np.ones(len(cases))),
    }
