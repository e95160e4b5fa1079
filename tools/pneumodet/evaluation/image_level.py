"""Image-level scores -> figures with intervals by patient, operating point, curves, and the CSV that the gate of post-processing takes.

loaded = of_scores(split, scores)
headline(loaded).figures["image.roc_auc"]            # for evaluation within training
metrics = summarize(loaded, aim="f1")                   # with intervals, for metrics.json
write_scores(folder / SCORES, split, scores)
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import detections
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import checks, inputs, summary
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.metrics import uncertainty
from pneumodet.evaluation.summary import Headline
from pneumodet.inference.probability import Calibrator

SCORES = "scores.csv"
"""``patientId,score``: the image-level probability of each exam."""

PREFIX = "image."
"""Keys of image-level figures begin with it; recall is ``image.sensitivity``."""

_KEPT = ("version", "bootstrap", "operating_point", "calibration", "calibrator", "images", "patients", "positive_images", "warnings")
_CURVES = ("roc", "pr", "score_histogram")


def of_scores(split: Split, scores: np.ndarray) -> Loaded:
    """Return exams with their ground truth and, as the metrics take it, one detection each, of the whole image.

    Args:
      split: N exams.
      scores: (N,) in [0, 1], the probability of pneumonia.

    Raises:
      DataError: there are not as many scores, or one is not finite or outside [0, 1].
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(split),) or not ((scores >= 0) & (scores <= 1)).all():
        wrong = scores[~((scores >= 0) & (scores <= 1))][:1]
        raise DataError(f"{len(split)} exams need as many scores from 0 to 1; got {scores.size} scores, and among them {wrong}.")
    category = inputs.category_of(split)
    of_exams = {
        # image-level figures take the score alone; a box of the whole image raises no warning about its place
        name: Detections(np.array([[0.0, 0.0, width, height]]), np.array([score]), np.array([category]))
        for name, score, (height, width) in zip(split.names, scores.tolist(), split.sizes_hw, strict=True)
    }
    return inputs.assemble(split.instances, lambda _, __: detections.to_coco(of_exams), class_name=split.class_name, source=checks.SCORES)


def headline(loaded: Loaded, *, aim: str = "f1", seed: int = 0) -> Headline:
    """Return ``image.roc_auc``, ``image.pr_auc``, ``image.sensitivity``, ``.specificity``, ``.precision``, ``.f1``, and what moves them.

    All but the areas are at the threshold that other patients gave for ``aim``.
    """
    of_all = summary.headline(loaded, aim=aim, seed=seed)
    return dataclasses.replace(of_all, figures=_of_images(of_all.figures))


def summarize(
    loaded: Loaded,
    *,
    aim: str = "f1",
    threshold: float | None = None,
    calibrator: Calibrator | None = None,
    resamples: int = uncertainty.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the image-level part of ``evaluation.summary.summarize``; ``threshold`` and ``calibrator`` are those that validation gave.

    Returns:
      ``image.…`` figures and ``image.confusion``; ``intervals`` (key -> [low, high], by patient), ``intervals_undefined`` (key -> why there is
      none), ``bootstrap``, ``operating_point`` (its ``threshold`` is for new data; figures are at thresholds that other patients gave),
      ``calibration``, ``calibrator``, counts, ``curves``, ``warnings``.
    """
    metrics = summary.summarize(
        loaded,
        aim=aim,
        threshold=threshold,
        threshold_source=summary.OF_VALIDATION,
        calibrator=calibrator,
        resamples=resamples,
        seed=seed,
    )
    point = metrics["operating_point"]
    # the figures of boxes are of boxes over whole images, and mean nothing
    for fitted in (point.get("chosen", {}), point.get("cross_fitted", {})):
        if "reached" in fitted:
            fitted["reached"] = _of_images(fitted["reached"])
    of_images = _of_images(metrics) | {key: metrics[key] for key in _KEPT}
    of_images |= {key: _of_images(metrics[key]) for key in ("intervals", "intervals_undefined")}
    return of_images | {"threshold": point["threshold"], "curves": {name: metrics["curves"][name] for name in _CURVES}}


def _of_images(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key.startswith(PREFIX)}


def write_scores(path: Path, split: Split, scores: np.ndarray) -> None:
    """Write ``patientId,score`` of every exam, atomically, in the records' order."""
    detections.write_scores(path, zip(split.names, scores.tolist(), strict=True))
