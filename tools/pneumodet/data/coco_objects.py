"""The parts of a COCO object that records are described by: one form for all record sets, whoever wrote their shards.

image = image_entry("0004cfab-…", 1024, 1024)
rows = annotation_entries(image["id"], record.boxes_xyxy_px, record.class_ids)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core import boxes
from pneumodet.core.detections import image_id
from pneumodet.data.annotations import Outline


def image_entry(exam: str, height: int, width: int) -> dict[str, Any]:
    """Return an exam's image; ``file_name`` is the exam."""
    # ids are hashes of the exam: the same in every split and every set, so that detections fit any of them
    return {"id": image_id(exam), "file_name": exam, "width": width, "height": height}


def image_level(images: Sequence[Mapping[str, Any]], class_name: str) -> np.ndarray:
    """Return (N,) bool: which images have the class as a whole (``findings`` names it), with no need of a box."""
    return np.array([class_name in (image.get("findings") or ()) for image in images], bool)


def annotation_entries(
    image: int,
    boxes_xyxy_px: np.ndarray,
    class_ids: Sequence[int],
    *,
    difficult: Sequence[bool] = (),
    outlines: Sequence[Outline | None] = (),
) -> list[dict[str, Any]]:
    """Return the objects of an image, without ids of their own, which count over a whole file.

    Args:
      image: id of the image.
      boxes_xyxy_px: (N, 4) float64.
      class_ids: N ids of the label map.
      difficult: N marks as Pascal VOC has them, or none.
      outlines: N outlines in px, None for an object that has only a box; or none. ``area`` is that of the box in any case, by which COCO sorts sizes.
    """
    rows: list[dict[str, Any]] = [
        {"image_id": image, "category_id": class_id, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0}
        for xywh, class_id in zip(boxes.xyxy_to_xywh_px(boxes_xyxy_px).tolist(), class_ids, strict=True)
    ]
    for row, marked, outline in zip(rows, difficult or (False,) * len(rows), outlines or (None,) * len(rows), strict=True):
        if marked:
            row["difficult"] = 1
        if outline:
            row["segmentation"] = [list(polygon) for polygon in outline]
    return rows


def whole(images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return a COCO object of such entries; annotations get ids from 1, as pycocotools takes 0 for "no match"."""
    return {
        "images": list(images),
        "annotations": [{"id": number, **row} for number, row in enumerate(annotations, start=1)],
        "categories": [{"id": number, "name": name} for name, number in classes.items()],
    }
