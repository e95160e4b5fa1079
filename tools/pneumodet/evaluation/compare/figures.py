"""The figures of each run with intervals, and what each differs by from the baseline on the same resamples of patients.

figures = of_side(side, resamples=1000, seed=0)                         # key -> {"value": 0.21, "low": 0.19, "high": 0.23}
paired = difference(baseline, side, resamples=1000, seed=0)           # key -> the same of side - baseline, and a sentence
"""

import functools
from collections.abc import Mapping
from typing import Any

from pneumodet.data import label_map
from pneumodet.evaluation.compare.matching import RULES, Side
from pneumodet.evaluation.metrics import bootstrap

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


def of_side(side: Side, *, resamples: int, seed: int) -> dict[str, Figure]:
    """Return key -> figure of one run: those of ``IMAGE_FIGURES``, and those of ``BOX_FIGURES`` where it has boxes.

    Raises:
      ConfigError: resamples are out of range.
    """
    drawn = functools.partial(bootstrap.intervals, rules=RULES, class_name=label_map.PNEUMONIA, resamples=resamples, seed=seed)
    # image-level figures have an operating point of their own, which need not be that of the boxes
    image = drawn(side.image, score_threshold=side.image_at)["figures"]
    of_images = {key: image[key] for key in IMAGE_FIGURES}
    if side.boxes is None:
        return of_images
    boxes = image if side.boxes is side.image else drawn(side.boxes, score_threshold=side.boxes_at)["figures"]
    return {key: boxes[key] for key in BOX_FIGURES} | of_images


def difference(baseline: Side, side: Side, *, resamples: int, seed: int) -> dict[str, Figure]:
    """Return key -> ``a`` (the baseline's value), ``b``, ``value`` (b - a), ``low``, ``high`` and ``sentence``, of all figures that both have."""
    names = (baseline.entry.name, side.entry.name)
    paired = functools.partial(bootstrap.compare, names=names, rules=RULES, class_name=label_map.PNEUMONIA, resamples=resamples, seed=seed)
    image = paired(baseline.image, side.image, thresholds=(baseline.image_at, side.image_at))["figures"]
    of_images = {key: image[key] for key in IMAGE_FIGURES}
    if baseline.boxes is None or side.boxes is None:
        return of_images
    boxes = image
    # where boxes give the image-level scores, too, one bootstrap serves both
    if baseline.boxes is not baseline.image or side.boxes is not side.image:
        boxes = paired(baseline.boxes, side.boxes, thresholds=(baseline.boxes_at, side.boxes_at))["figures"]
    return {key: boxes[key] for key in BOX_FIGURES} | of_images
