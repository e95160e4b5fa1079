"""COCO's average precision and recall, for all classes and for each.

    metrics = coco_metrics(instances, detections)     # {"coco.AP50": 0.41, "coco.pneumonia.AP50": 0.41, "coco.no-pneumonia.AP50": None, …}

Computed by faster-coco-eval, which equals pycocotools (a test compares them).
"""

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.errors import DataError

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits of detections per image and class; AP is taken at the last."""

_IOU_50, _IOU_75 = 0, 5  # places of 0.50 and 0.75 among COCO's IoU thresholds 0.50, 0.55 … 0.95
_ALL_AREAS = 0


def coco_metrics(instances: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Evaluate COCO results against COCO annotations.

    Args:
      instances: a COCO object with ``images``, ``annotations`` (``bbox`` xywh px) and ``categories``. Images without annotations count:
        whatever is detected there is false.
      detections: COCO results: dicts with ``image_id``, ``category_id``, ``bbox`` (xywh px) and ``score``; may be empty.

    Returns:
      Flat keys: ``coco.AP`` (mean over IoU 0.50 … 0.95), ``coco.AP50``, ``coco.AP75``, ``coco.AR1``, ``coco.AR10``, ``coco.AR100``, and the
      same for each class as ``coco.<class name>.AP`` …, each in [0, 1]. A class without ground-truth boxes has None, and the means are
      over the classes that have some; None where no class has.

    Raises:
      DataError: an annotation or detection names an image or category that ``instances`` does not list, or lacks a field.
    """
    categories = sorted(instances["categories"], key=lambda category: category["id"])
    truth, found = _checked(instances, detections)
    precision, recall = _evaluate({**instances, "annotations": truth}, found) if truth else (None, None)
    metrics = _summary("coco.", precision, recall)
    for index, category in enumerate(categories):
        one = slice(index, index + 1)
        metrics |= _summary(f"coco.{category['name']}.", *((None, None) if precision is None else (precision[:, :, one], recall[:, one])))
    return metrics


def _summary(prefix: str, precision: np.ndarray | None, recall: np.ndarray | None) -> dict[str, float | None]:
    """Average precision (T, R, K, A, M) and recall (T, K, A, M) over what has ground truth; COCO marks the rest by -1."""

    def mean(values: np.ndarray) -> float | None:
        values = values[values > -1]
        return float(values.mean()) if values.size else None

    parts: dict[str, np.ndarray] = {key: np.zeros(0) for key in ("AP", "AP50", "AP75", *(f"AR{limit}" for limit in MAX_DETECTIONS))}
    if precision is not None:
        at_most = precision[..., _ALL_AREAS, -1]
        parts |= {"AP": at_most, "AP50": at_most[_IOU_50], "AP75": at_most[_IOU_75]}
        parts |= {f"AR{limit}": recall[..., _ALL_AREAS, index] for index, limit in enumerate(MAX_DETECTIONS)}
    return {prefix + key: mean(values) for key, values in parts.items()}


def _checked(instances: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> tuple[list[dict], list[dict]]:
    """Return copies of annotations and detections that the evaluator may write into, with everything it needs."""
    images = {image["id"] for image in instances["images"]}
    categories = {category["id"] for category in instances["categories"]}
    copies: list[list[dict]] = []
    for what, rows, needed in (("annotation", instances["annotations"], ()), ("detection", detections, ("score",))):
        copied = []
        for index, row in enumerate(rows):
            missing = [key for key in ("image_id", "category_id", "bbox", *needed) if key not in row]
            if missing:
                raise DataError(f"COCO {what} {index} has no {missing[0]}.")
            if row["image_id"] not in images:
                raise DataError(f"COCO {what} {index} is of image {row['image_id']}, which the ground truth does not list.")
            if row["category_id"] not in categories:
                raise DataError(f"COCO {what} {index} is of category {row['category_id']}; the ground truth has {sorted(categories)}.")
            if not np.isfinite([*row["bbox"], row.get("score", 0.0)]).all():
                raise DataError(f"COCO {what} {index} has a box or score that is not finite.")
            area = row.get("area", row["bbox"][2] * row["bbox"][3])
            # ids from 1: COCO's matching takes id 0 for "no match"
            copied.append({**row, "bbox": list(row["bbox"]), "area": area, "iscrowd": row.get("iscrowd", 0), "id": index + 1})
        copies.append(copied)
    return copies[0], copies[1]


def _evaluate(instances: dict[str, Any], detections: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Return COCO's precision (T, R, K, A, M) and recall (T, K, A, M): IoU, recall, class by id, area, detections per image."""
    from faster_coco_eval import COCO, COCOeval_faster  # here, because it imports OpenCV where there is one

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(instances)
        found = COCO({**copy.copy(instances), "annotations": detections})  # what loadRes makes, which cannot be given an empty list
        run = COCOeval_faster(truth, found, "bbox", print_function=lambda *_: None)
        run.params.maxDets = list(MAX_DETECTIONS)
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"]), np.asarray(run.eval["recall"])
