"""COCO's 12 numbers, average precision and recall, for all classes and for each.

    metrics = coco_metrics(instances, detections)     # {"coco.AP50": 0.41, "coco.pneumonia.AP50": 0.41, "coco.no-pneumonia.AP50": None, …}

Computed by hotcoco, which equals pycocotools (a test compares them) and takes columns: no dict is made for each of millions of detections.
COCO's sizes are of its photographs: small is below 32 x 32 px, large from 96 x 96 px on, so that on radiographs of 1024 px nearly all
opacities are large.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.detection_columns import Columns
from pneumodet.evaluation.metrics.average_precision import MAX_DETECTIONS

SIZES = ("small", "medium", "large")
"""COCO's names of box sizes, in its order, after all sizes."""

_IOU_50, _IOU_75 = 0, 5  # places of 0.50 and 0.75 among COCO's IoU thresholds 0.50, 0.55 … 0.95
_ALL_SIZES = 0


def coco_metrics(instances: Mapping[str, Any], detections: Sequence[Mapping[str, Any]] | Columns) -> dict[str, float | None]:
    """Evaluate COCO results against COCO annotations.

    Args:
      instances: a COCO object with ``images``, ``annotations`` (``bbox`` xywh px) and ``categories``. Images without annotations count:
        whatever is detected there is false.
      detections: COCO results: dicts with ``image_id``, ``category_id``, ``bbox`` (xywh px) and ``score``; may be empty. Or columns, of listed
        categories.

    Returns:
      Flat keys: ``coco.AP`` (mean over IoU 0.50 … 0.95), ``coco.AP50``, ``coco.AP75``, ``coco.AP_small``, ``coco.AP_medium``,
      ``coco.AP_large``, ``coco.AR1``, ``coco.AR10``, ``coco.AR100``, ``coco.AR_small``, ``coco.AR_medium``, ``coco.AR_large``, and the same
      for each class as ``coco.<class name>.AP`` …, each in [0, 1]. A class without ground-truth boxes (of that size) has None, and the means
      are over the classes that have some; None where no class has.

    Raises:
      DataError: an annotation or detection names an image or category that ``instances`` does not list, or lacks a field.
    """
    categories = sorted(instances["categories"], key=lambda category: category["id"])
    image_ids = sorted(image["id"] for image in instances["images"])
    category_ids = [category["id"] for category in categories]
    truth = _columns("annotation", instances["annotations"], image_ids, category_ids)
    if isinstance(detections, Columns):
        results = _of_checked(detections, [image["id"] for image in instances["images"]], image_ids, category_ids)
    else:
        results = _columns("detection", detections, image_ids, category_ids)
    precision = recall = None
    if len(truth["image"]):
        precision, recall = _evaluate(len(image_ids), len(categories), truth, results)
    metrics = _summary("coco.", precision, recall)
    for index, category in enumerate(categories):
        metrics |= _summary(f"coco.{category['name']}.", precision, recall, of_class=index)
    return metrics


def _summary(
    prefix: str, precision: np.ndarray | None, recall: np.ndarray | None, *, of_class: int | None = None
) -> dict[str, float | None]:
    """Average precision (T, R, K, A, M) and recall (T, K, A, M) over what has ground truth; COCO marks the rest by -1."""
    if precision is None or recall is None:
        precision, recall = np.full((10, 0, 0, 4, 3), -1.0), np.full((10, 0, 4, 3), -1.0)
    elif of_class is not None:
        precision, recall = precision[:, :, [of_class]], recall[:, [of_class]]

    def mean(values: np.ndarray) -> float | None:
        # COCO's mark of a class or size without ground truth, which has no part in a mean
        values = values[values > -1]
        return float(values.mean()) if values.size else None

    all_sizes = precision[..., _ALL_SIZES, -1]
    parts = {"AP": all_sizes, "AP50": all_sizes[_IOU_50], "AP75": all_sizes[_IOU_75]}
    parts |= {f"AP_{size}": precision[..., index, -1] for index, size in enumerate(SIZES, 1)}
    parts |= {f"AR{limit}": recall[..., _ALL_SIZES, index] for index, limit in enumerate(MAX_DETECTIONS)}
    parts |= {f"AR_{size}": recall[..., index, -1] for index, size in enumerate(SIZES, 1)}
    return {prefix + key: mean(values) for key, values in parts.items()}


def _columns(what: str, rows: Sequence[Mapping[str, Any]], image_ids: list, category_ids: list) -> dict[str, np.ndarray]:
    """Return checked columns: ``image`` and ``category`` (N,) int64, numbered from 1 in the order of ids, ``xywh_px`` (N, 4), and the rest."""
    images = {one: index for index, one in enumerate(image_ids, 1)}  # numbers of our own: any id is exact in float64
    categories = {one: index for index, one in enumerate(category_ids, 1)}
    try:
        columns = {
            "image": np.array([images[row["image_id"]] for row in rows], np.int64),
            "category": np.array([categories[row["category_id"]] for row in rows], np.int64),
            "xywh_px": _boxes([row["bbox"] for row in rows]),
        }
        if what == "detection":
            columns["score"] = np.array([row["score"] for row in rows], np.float64)
        else:
            # COCO sorts by this area, of a mask where there is one, and not by that of the box
            columns["area"] = np.array([row.get("area", row["bbox"][2] * row["bbox"][3]) for row in rows], np.float64)
            columns["iscrowd"] = np.array([row.get("iscrowd", 0) for row in rows], bool)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        # only here row by row: the loop is slow, and good files do not need it
        raise _error_of(what, rows, images, categories) from error
    finite = np.isfinite(columns["xywh_px"]).all(axis=1) & np.isfinite(columns["score" if what == "detection" else "area"])
    if not finite.all():
        raise DataError(
            f"COCO {what} {int(np.argmin(finite))} has a box or {'score' if what == 'detection' else 'area'} that is not finite."
        )
    return columns


def _of_checked(detections: Columns, ids: list, image_ids: list, category_ids: list) -> dict[str, np.ndarray]:
    """Return ``_columns`` of detections that were checked, on exams whose ids are ``ids``."""
    images = {one: index for index, one in enumerate(image_ids, 1)}
    return {
        "image": np.array([images[one] for one in ids], np.int64)[detections.case],
        "category": np.searchsorted(category_ids, detections.categories) + 1,
        "xywh_px": detections.xywh_px,
        "score": detections.scores,
    }


def _boxes(boxes: list[Sequence[float]]) -> np.ndarray:
    """Return (N, 4) float64; faster than np.array, which first goes for the shape of millions of lists."""
    if not set(map(len, boxes)) <= {4}:
        raise ValueError("a box needs four numbers")
    return np.fromiter(itertools.chain.from_iterable(boxes), np.float64, count=4 * len(boxes)).reshape(-1, 4)


def _error_of(what: str, rows: Sequence[Mapping[str, Any]], images: Mapping, categories: Mapping) -> DataError:
    """Return the error that says which row does not fit, and why."""
    for index, row in enumerate(rows):
        missing = [key for key in ("image_id", "category_id", "bbox", *(["score"] if what == "detection" else [])) if key not in row]
        if missing:
            return DataError(f"COCO {what} {index} has no {missing[0]}.")
        if row["image_id"] not in images:
            return DataError(f"COCO {what} {index} is of image {row['image_id']}, which the ground truth does not list.")
        if row["category_id"] not in categories:
            return DataError(f"COCO {what} {index} is of category {row['category_id']}; the ground truth has {list(categories)}.")
        try:
            numbers = np.array([*row["bbox"], row.get("score", 0.0), row.get("area", 0.0)], np.float64)
        except (TypeError, ValueError):
            numbers = np.zeros(0)
        if len(numbers) != 6:
            return DataError(f"COCO {what} {index} needs a bbox of four numbers, x, y, width and height in px, and numbers beside it.")
    return DataError(f"The COCO {what}s cannot be read. Each needs image_id, category_id, bbox and, as a result, score.")


def _evaluate(images: int, categories: int, truth: dict[str, np.ndarray], detected: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return COCO's precision (T, R, K, A, M) and recall (T, K, A, M): IoU, recall, class by id, size, detections per image."""
    from hotcoco import COCO, COCOeval  # here, because only evaluation needs it

    # numbers as names of classes: matching is by id alone
    listed = [{"id": index + 1} for index in range(images)], [{"id": index + 1, "name": str(index)} for index in range(categories)]
    boxes = COCO.from_arrays(*listed, truth["image"], truth["category"], truth["xywh_px"], area=truth["area"], iscrowd=truth["iscrowd"])
    # the columns of pycocotools' loadNumpyAnnotations: image, x, y, width, height, score, class
    results = np.column_stack([detected["image"], detected["xywh_px"], detected["score"], detected["category"]])
    run = COCOeval(boxes, boxes.load_res(results), "bbox")
    run.params.maxDets = list(MAX_DETECTIONS)
    run.evaluate()
    run.accumulate()
    accumulated: dict[str, Any] = run.eval or {}  # None only before ``accumulate``
    return accumulated["precision"], accumulated["recall"]
