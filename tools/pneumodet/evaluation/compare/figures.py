"""The figures of each run with intervals, and what each differs by from the baseline, patient by patient.

moved = moves(side, resamples=1000, seed=0)
interval.as_intervals(moved)                            # key -> {"value": 0.21, "low": 0.19, "high": 0.23}
uncertainty.differences(of_baseline, moved)             # key -> the same of side - baseline, p, and a sentence
"""

from collections.abc import Mapping
from typing import Any

from pneumodet.data import label_map
from pneumodet.evaluation.compare.matching import RULES, Side
from pneumodet.evaluation.metrics import uncertainty
from pneumodet.evaluation.metrics.interval import Moved

BOX_FIGURES = {
    "rsna_metric": "RSNA metric",
    f"coco.{label_map.PNEUMONIA}.AP50": "AP50",
    "froc.mean_sensitivity": "FROC mean sensitivity",
}
"""Figures of runs that have boxes -> their names."""

IMAGE_FIGURES = {
    "image.roc_auc": "ROC AUC",
    "image.pr_auc": "PR AUC",
    "image.sensitivity": "Sensitivity",
    "image.specificity": "Specificity",
    "image.f1": "F1",
}
"""Figures of all runs -> their names."""

FIGURES = BOX_FIGURES | IMAGE_FIGURES

Figure = Mapping[str, Any]
"""``value``, ``low`` and ``high``, floats or None, and ``undefined``, why one is None."""


def moves(side: Side, *, resamples: int, seed: int) -> dict[str, Moved]:
    """Return key -> figure of one run with what moves it: those of ``BOX_FIGURES`` where it has boxes, and those of ``IMAGE_FIGURES``.

    Raises:
      ConfigError: resamples are out of range.
    """
    how: dict[str, Any] = {"rules": RULES, "class_name": label_map.PNEUMONIA, "resamples": resamples, "seed": seed}
    # image-level figures have an operating point of their own, which need not be that of the boxes
    image = uncertainty.moves(side.image, score_threshold=side.image_at, choice=side.image_choice, **how)
    of_images = {key: image[key] for key in IMAGE_FIGURES}
    if side.boxes is None:
        return of_images
    boxes = (
        image if side.boxes is side.image else uncertainty.moves(side.boxes, score_threshold=side.boxes_at, choice=side.boxes_choice, **how)
    )
    return {key: boxes[key] for key in BOX_FIGURES} | of_images
