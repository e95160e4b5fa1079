"""What in a split's boxes spoils training, known before the first step.

report = audit(instances, split="train", resized_hw=lambda image_hw: anchors.resized_hw(config, image_hw)[0], max_boxes=100)
report.check()                           # DataError where training could not learn anything
for sentence in report.warnings: ...
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pneumodet.core import boxes as box_math
from pneumodet.core.errors import DataError
from pneumodet.data import label_map
from pneumodet.data.record_sets import RecordSet
from pneumodet.data.splits import TRAIN

SMALL_PX = 8.0
"""A box with a shorter side than this in the model's input is smaller than a cell of the finest feature map that usual detectors have."""

WHOLE_IMAGE = 0.9
"""Share of the image from which a box marks the image rather than a place in it."""

SAME_IOU = 0.95
"""Two boxes of one class in one image that overlap more are one box written twice."""

FEW_POSITIVES = 20
"""A split with fewer positive images says little, whatever is made of it."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is wrong with the boxes of one split.

    Attributes:
      split: its name.
      errors: sentences; with one of them, training learns nothing.
      warnings: sentences with counts and the first exam of each kind.
      facts: the same as numbers, for run.json.
    """

    split: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: dict[str, Any]

    def check(self) -> None:
        """Raise a DataError with the errors, where there are any."""
        if self.errors:
            raise DataError(" ".join(self.errors))


def audit(
    instances: Mapping[str, Any],
    *,
    split: str,
    resized_hw: Callable[[np.ndarray], np.ndarray],
    max_boxes: int,
    best_iou: np.ndarray | None = None,
    matched_threshold: float = 0.5,
    anchors_fitted: bool = False,
) -> Audit:
    """Check a split's ground truth.

    Args:
      instances: COCO object; whole-image boxes of the class ``no-pneumonia`` (make_tfrecords --negatives full-image) make no exam positive
        and are left out.
      split: the name of the split; of ``train``, having no positive is an error.
      resized_hw: (N, 2) heights and widths of images in px -> (N, 2) of what the model sees, without padding.
      max_boxes: most boxes of an image that are used (train_config.max_number_of_boxes).
      best_iou: (N,) IoU of every box with the anchor that fits it best, in the annotations' order; None for models without anchors.
      matched_threshold: IoU from which the matcher makes an anchor a positive.
      anchors_fitted: whether the anchors were fitted to the boxes already, so that fitting them is no advice.

    Returns:
      The errors, warnings and numbers.
    """
    images = {image["id"]: image for image in instances["images"]}
    negative = {category["id"] for category in instances["categories"] if category["name"] == label_map.NO_PNEUMONIA}
    kept = np.array([row["category_id"] not in negative for row in instances["annotations"]], bool)
    rows = [row for row, keep in zip(instances["annotations"], kept, strict=True) if keep]
    of_image: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        of_image[row["image_id"]].append(index)
    exams = [str(images[row["image_id"]]["file_name"]) for row in rows]
    image_hw = np.array([[images[row["image_id"]][side] for side in ("height", "width")] for row in rows], np.float64).reshape(-1, 2)
    xyxy_px = box_math.xywh_to_xyxy_px(np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4))
    sides_hw = (xyxy_px[:, 2:] - xyxy_px[:, :2])[:, ::-1]
    shortest = (sides_hw * resized_hw(image_hw) / image_hw).min(axis=1) if rows else np.zeros(0)
    twice = _twice(rows, of_image, xyxy_px)
    over = [images[number]["file_name"] for number, of_one in of_image.items() if len(of_one) > max_boxes]

    def first(mask: np.ndarray) -> str:
        return f"the first in exam {exams[int(mask.argmax())]}"

    def some(mask: np.ndarray, one: str, several: str) -> str:
        return f"{mask.sum()} of the {len(rows)} boxes of {split} {one if mask.sum() == 1 else several}"

    errors, warnings = _of_exams(split, len(images), len(of_image))
    small, whole = shortest < SMALL_PX, sides_hw.prod(axis=1) / image_hw.prod(axis=1) > WHOLE_IMAGE
    if small.any():
        warnings.append(
            f"{some(small, 'has', 'have')} a side below {SMALL_PX:g} px in the model's input "
            f"(least {shortest.min():.1f} px), {first(small)}. A larger input would show them."
        )
    if whole.any():
        warnings.append(f"{some(whole, 'covers', 'cover')} more than {WHOLE_IMAGE:.0%} of the image, {first(whole)}.")
    if twice.any():
        warnings.append(
            f"{some(twice, 'repeats', 'repeat')} another one of {'its' if twice.sum() == 1 else 'their'} image, {first(twice)}."
        )
    if over:
        warnings.append(
            f"Exams of {split} with more boxes than train_config.max_number_of_boxes = {max_boxes}: {len(over)}, the first is {over[0]}; "
            "the rest of their boxes is not used."
        )
    facts: dict[str, Any] = {
        "exams": len(images),
        "positive_exams": len(of_image),
        "negative_exams": len(images) - len(of_image),
        "boxes": len(rows),
        "boxes_by_category": {str(number): count for number, count in sorted(Counter(row["category_id"] for row in rows).items())},
        "small_boxes": int(small.sum()),
        "whole_image_boxes": int(whole.sum()),
        "repeated_boxes": int(twice.sum()),
        "exams_over_max_boxes": len(over),
    }
    if best_iou is not None:
        missed = best_iou[kept] < matched_threshold
        facts |= {"unmatched_boxes": int(missed.sum()), "mean_best_iou": float(best_iou[kept].mean()) if rows else None}
        if missed.any():
            warnings.append(
                f"{some(missed, 'reaches', 'reach')} no anchor at IoU {matched_threshold:g}, {first(missed)}. "
                + (
                    "Anchors were fitted to the boxes already; a larger input image makes small boxes reachable."
                    if anchors_fitted
                    else "--fit-anchors may fix it."
                )
            )
    return Audit(split, tuple(errors), tuple(warnings), facts)


def _of_exams(split: str, exams: int, positives: int) -> tuple[list[str], list[str]]:
    """Return (errors, warnings) of a split's number of exams, and of those with boxes."""
    if not exams:
        return [f"The split {split} has no exams. Make the records again with another --val-fraction."], []
    if not positives and split == TRAIN:
        return [
            f"None of the {exams} exams of the split {split} has a box: a detector cannot learn from negatives alone. "
            "Check the labels, or make the records again with another --seed."
        ], []
    if not positives:
        return [], [f"None of the {exams} exams of {split} has a box: no metric of it is defined, and none can choose a checkpoint."]
    if positives < FEW_POSITIVES:
        return [], [f"Only {positives} of the {exams} exams of {split} have boxes; figures over so few vary much."]
    return [], []


def _twice(rows: list[dict[str, Any]], of_image: Mapping[int, list[int]], xyxy_px: np.ndarray) -> np.ndarray:
    """Return (N,) bool: boxes that repeat an earlier one of their image and class."""
    repeated = np.zeros(len(rows), bool)
    for indices in of_image.values():
        if len(indices) < 2:
            continue
        overlap = box_math.iou(xyxy_px[indices], xyxy_px[indices])
        kinds = np.array([rows[index]["category_id"] for index in indices])
        # the lower triangle: of two equal boxes the later one counts, and none repeats itself
        same = np.tril((overlap > SAME_IOU) & (kinds[:, None] == kinds[None]), -1)
        repeated[np.array(indices)[same.any(axis=1)]] = True
    return repeated


def check_has_boxes(records: RecordSet, what: str = "A detector") -> None:
    """Check a record set for what learns from boxes.

    Args:
      records: with training and validation exams.
      what: learns, as a sentence begins.

    Raises:
      DataError: exams are positive without a box.
    """
    for split in (records.train, records.val):
        if split.image_level.any():
            first = split.names[int(split.image_level.argmax())]
            raise DataError(
                f"{what} needs boxes, but {int(split.image_level.sum())} of {int(split.positive.sum())} positive exams in {split.name} of "
                f"{records.folder} have none (first: {first}). Train a classifier on them (tools/train_classifier.py), or make the records with "
                "--image-level leave-out."
            )
