"""Masks of detections against masks of the ground truth: COCO's average precision by the overlap of masks, and Dice.

    metrics |= of_loaded(loaded, class_name="pneumonia", score_threshold=0.3)

Where labels have boxes only, the mask of an object is its box, filled: a figure is then of how well masks fill boxes, and says nothing of an
outline. How many are such rectangles stands beside the figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core import boxes, masks
from pneumodet.core.errors import DataError
from pneumodet.data import object_masks
from pneumodet.evaluation.inputs import Loaded

Rows = Sequence[Mapping[str, Any]]

KEY = "segmentation"
"""Of a COCO annotation or result: polygons, or run lengths."""

_AP50, _AP75 = 0, 5
"""Places of 0.50 and 0.75 among COCO's thresholds of IoU."""


def of_loaded(loaded: Loaded, *, class_name: str, score_threshold: float) -> dict[str, Any]:
    """Return ``mask_metrics`` where all detections have masks; nothing otherwise."""
    results = loaded.masked
    if results is None:
        return {}
    category = next(one["id"] for one in loaded.instances["categories"] if one["name"] == class_name)
    return mask_metrics(loaded.instances, results, category=category, score_threshold=score_threshold)


def mask_metrics(instances: Mapping[str, Any], results: Rows, *, category: int, score_threshold: float) -> dict[str, Any]:
    """Evaluate the masks of one class.

    Args:
      instances: COCO object of the ground truth; images have height and width.
      results: COCO results with masks.
      category: id of the class.
      score_threshold: of the operating point, for Dice.

    Returns:
      ``mask.AP`` (mean over IoU 0.50 … 0.95), ``mask.AP50``, ``mask.AP75``: as COCO's ``segm``; None without ground truth. ``mask.dice``: mean over
      the images with ground truth of 2 |A and B| / (|A| + |B|), all masks of an image together, A those at the threshold. ``mask.truth``,
      ``mask.rectangles``: objects, and how many of them are filled boxes for want of an outline.

    Raises:
      DataError: an image has no size, or a mask is none.
    """
    sizes_hw = {image["id"]: (image.get("height"), image.get("width")) for image in instances["images"]}
    wanted = [row for row in instances["annotations"] if row["category_id"] == category]
    detected = [row for row in results if row["category_id"] == category]
    unknown = next((row["image_id"] for row in [*wanted, *detected] if None in sizes_hw[row["image_id"]]), None)
    if unknown is not None:
        raise DataError(f"Masks need the height and width of their image; the ground truth does not say those of image {unknown}.")
    truth = [truth_rle(row, sizes_hw[row["image_id"]]) for row in wanted]
    figures: dict[str, Any] = dict.fromkeys(("mask.AP", "mask.AP50", "mask.AP75", "mask.dice"))
    figures |= {"mask.truth": len(wanted), "mask.rectangles": sum(not is_outlined(row) for row in wanted)}
    if not wanted:
        return figures
    figures["mask.dice"] = _dice(wanted, truth, detected, score_threshold)
    return figures | _average_precision(sorted(sizes_hw), wanted, truth, detected)


def of_rectangles(figures: Mapping[str, Any]) -> list[str]:
    """Return what a report says where masks of the ground truth are rectangles: a sentence, or none."""
    rectangles, truth = figures.get("mask.rectangles"), figures.get("mask.truth")
    if not rectangles:
        return []
    return [
        f"{rectangles} of {truth} masks of the ground truth are rectangles, since the labels have boxes there: mask AP and Dice say how well masks fill "
        "boxes, not how well they follow an outline."
    ]


def is_outlined(annotation: Mapping[str, Any]) -> bool:
    """Return whether a COCO annotation has an outline, and not only a box."""
    return bool(annotation.get(KEY))


def truth_rle(annotation: Mapping[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the mask of a COCO annotation in run lengths: its own, its polygons filled, or its box filled.

    Raises:
      DataError: its segmentation is neither.
    """
    height, width = size_hw
    outline = annotation.get(KEY)
    try:
        if isinstance(outline, Mapping):
            return masks.to_rle(masks.from_rle(outline))
        if outline:
            return masks.to_rle(object_masks.filled(tuple(map(tuple, outline)), height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The segmentation of annotation {annotation.get('id')} is neither polygons nor run lengths: {error}.") from error
    box = boxes.xywh_to_xyxy_px(np.array([annotation["bbox"]], np.float64))[0]
    return masks.to_rle(masks.on_image(np.ones((1, 1)), box, height=height, width=width))


def _dice(wanted: Rows, truth: Rows, detected: Rows, threshold: float) -> float:
    """Return the mean over the images with ground truth."""

    def together(rows: Rows, rles: Rows) -> dict[Any, np.ndarray]:
        of_image: dict[Any, np.ndarray] = {}
        for row, rle in zip(rows, rles, strict=True):
            mask, number = masks.from_rle(rle), row["image_id"]
            of_image[number] = of_image[number] | mask if number in of_image else mask
        return of_image

    kept = [row for row in detected if row["score"] >= threshold]
    there, said = together(wanted, truth), together(kept, [row[KEY] for row in kept])
    values = []
    for number, mask in there.items():
        other = said.get(number, np.zeros_like(mask))
        values.append(2 * np.count_nonzero(mask & other) / (np.count_nonzero(mask) + np.count_nonzero(other)))
    return float(np.mean(values))


def _average_precision(image_ids: Sequence[Any], wanted: Rows, truth: Rows, detected: Rows) -> dict[str, float | None]:
    from hotcoco import COCO, COCOeval  # here, because only evaluation needs it

    place = {number: index for index, number in enumerate(image_ids, 1)}
    listed = {
        "images": [{"id": index, "height": 0, "width": 0} for index in place.values()],
        "categories": [{"id": 1, "name": "1"}],
    }

    def entry(number: int, row: Mapping[str, Any], rle: Mapping[str, Any]) -> dict[str, Any]:
        one = {
            "id": number,
            "image_id": place[row["image_id"]],
            "category_id": 1,
            "bbox": list(row["bbox"]),
            KEY: dict(rle),
            "area": masks.area(rle),
        }
        return one | {"iscrowd": row.get("iscrowd", 0)}

    annotations = [entry(number, row, rle) for number, (row, rle) in enumerate(zip(wanted, truth, strict=True), 1)]
    coco = COCO(listed | {"annotations": annotations})
    results = [entry(number, row, row[KEY]) | {"score": row["score"]} for number, row in enumerate(detected, 1)]
    if not results:
        return {"mask.AP": 0.0, "mask.AP50": 0.0, "mask.AP75": 0.0}
    run = COCOeval(coco, coco.load_res(results), "segm")
    run.evaluate()
    run.accumulate()
    accumulated: dict[str, Any] = run.eval or {}
    precision = np.asarray(accumulated["precision"])[:, :, 0, 0, -1]

    def mean(values: np.ndarray) -> float | None:
        values = values[values > -1]
        return float(values.mean()) if values.size else None

    return {"mask.AP": mean(precision), "mask.AP50": mean(precision[_AP50]), "mask.AP75": mean(precision[_AP75])}
