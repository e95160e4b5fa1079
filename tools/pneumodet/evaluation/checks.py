"""What may be wrong with ground truth and detections although their form is right, each in one sentence.

refuse_other_layouts(boxes_xyxy_px, sizes_hw, "detections.json")       # DataError where they cannot be [x, y, width, height] in px
warnings = of_truth(...) + of_detections(...)                          # what is counted all the same, how often it is there, and how it counts

No box is changed: figures are those that pycocotools and Kaggle give for the same files.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core.boxes import area_px
from pneumodet.core.errors import DataError
from pneumodet.data import coco_objects
from pneumodet.evaluation.metrics.average_precision import MAX_DETECTIONS

DETECTOR, MASKS, SCORES, NONE = "detector", "masks", "scores", "none"
"""What detections are of: boxes of a detector, boxes around masks, or image-level scores as boxes of the whole image; none where ground truth is read alone."""

OUTSIDE_TOLERANCE_PX = 1.0
"""A box may reach so far over the edge before it is called outside: detectors and labels round."""

SWAPPED_SHARE = 0.2
"""If more boxes than this share leave the image as x, y, width, height, and ``FITTING_SHARE`` fit as x, y, right, bottom, they are the latter."""

FITTING_SHARE = 0.95

NORMALIZED_MOST = 1.0
"""Where no box has a coordinate beyond this, all lie in the first pixel: they are shares of the image, as the Object Detection API returns them."""


def refuse_other_layouts(xyxy_px: np.ndarray, sizes_hw: np.ndarray, name: str) -> None:
    """Refuse boxes that cannot be COCO's x, y, width, height in px.

    Args:
      xyxy_px: (N, 4) float64 boxes, read as if they were that.
      sizes_hw: (N, 2) float64 height and width in px of the image of each; NaN where not known.
      name: of their file.

    Raises:
      DataError: they seem to be x, y, right, bottom, or shares of the image.
    """
    sides = xyxy_px[:, 2:] - xyxy_px[:, :2]  # what the file has in the third and fourth place
    # by the four numbers of the file: right and bottom of shares may be above 1
    if len(xyxy_px) and max(xyxy_px[:, :2].max(), sides.max()) <= NORMALIZED_MOST and sides.any():
        raise DataError(
            f"{name}: no box has a coordinate above {NORMALIZED_MOST:g}, so that they seem to be shares of the image. COCO's boxes are "
            "[x, y, width, height] in px: multiply them by the image's width and height."
        )
    outside, fit = _as_corners(xyxy_px, sizes_hw)
    if outside > SWAPPED_SHARE and fit >= FITTING_SHARE:
        raise DataError(
            f"{name}: {outside:.0%} of the boxes leave their image as [x, y, width, height], and {fit:.0%} fit as [x, y, right, bottom]. "
            "COCO's boxes have width and height: subtract x and y."
        )


def refuse_unlisted_categories(categories: np.ndarray, listed: Mapping[int, str], name: str) -> None:
    """Refuse (D,) int64 category ids of detections that the ground truth, category id -> class, does not list.

    Raises:
      DataError: says which, and how many detections are of each.
    """
    numbers, first, counts = (column.tolist() for column in np.unique(categories, return_index=True, return_counts=True))
    strange = [(number, entry, count) for number, entry, count in zip(numbers, first, counts, strict=True) if number not in listed]
    if strange:
        unlisted = ", ".join(f"{number} ({count:,}, the first in entry {entry})" for number, entry, count in strange)
        raise DataError(
            f"{name}: {sum(count for *_, count in strange):,} of {len(categories):,} detections are of a category that the ground truth does not "
            f"list: {unlisted}. It lists {_named(listed)}. Does one of the two files count from 0?"
        )


def of_truth(
    instances: Mapping[str, Any], xyxy_px: np.ndarray, case: np.ndarray, sizes_hw: np.ndarray, *, exams: Sequence[str], class_name: str
) -> list[str]:
    """Return warnings about ground truth.

    Args:
      instances: COCO object.
      xyxy_px: (T, 4) float64 boxes of the class that is evaluated.
      case: (T,) int64 image of each box.
      sizes_hw: (C, 2) float64 height and width in px of each image; NaN where not known.
      exams: C names.
      class_name: the class that is evaluated.
    """
    warnings = []
    unknown = int(np.isnan(sizes_hw[:, 0]).sum())
    if unknown:
        warnings.append(
            f"The ground truth does not say height and width of {unknown:,} of {len(exams):,} images: whether boxes lie inside them was not "
            "checked, and in maps and sizes of boxes each counts as large as the boxes of all images reach."
        )
    warnings += _outside(xyxy_px, case, sizes_hw, exams, "ground-truth boxes")
    flat = area_px(xyxy_px) == 0
    if flat.any():
        where = exams[case[np.argmax(flat)]]
        warnings.append(f"{flat.sum():,} of {len(flat):,} ground-truth boxes have no area (first in {where}): no detection can find them.")
    rows = np.column_stack([case, xyxy_px])
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.delete(np.arange(len(rows)), first)
    if len(again):
        warnings.append(
            f"{len(again):,} of {len(rows):,} ground-truth boxes repeat another one of the same image (first in {exams[case[again[0]]]}): each counts by "
            "itself, so that one detection cannot hit both. Remove the copies."
        )
    crowds = sum(bool(row.get("iscrowd")) for row in instances["annotations"])
    if crowds:
        warnings.append(
            f"iscrowd marks {crowds:,} of {len(instances['annotations']):,} ground-truth boxes: COCO's numbers neither ask for them nor call "
            "detections on them false; all other figures, and the intervals of COCO's, take them like any other box."
        )
    without_boxes = np.flatnonzero(coco_objects.image_level(instances.get("images", []), class_name))
    positive = len(np.union1d(case, without_boxes))
    if not positive:
        warnings.append(
            f"No image has a ground-truth box of {class_name!r}: most figures are undefined, the RSNA metric, sensitivity and ROC AUC among them."
        )
    elif positive == len(exams):
        warnings.append(
            f"Every image has a ground-truth box of {class_name!r}: specificity and ROC AUC are undefined without negative images."
        )
    return warnings


def of_detections(
    xyxy_px: np.ndarray,
    scores: np.ndarray,
    case: np.ndarray,
    categories: np.ndarray,
    sizes_hw: np.ndarray,
    truth_xyxy_px: np.ndarray,
    *,
    exams: Sequence[str],
    classes: Mapping[int, str],
    category: int,
    source: str = DETECTOR,
) -> list[str]:
    """Return warnings about detections.

    Args:
      xyxy_px: (D, 4) float64 boxes of all classes.
      scores: (D,) float64.
      case: (D,) int64 image of each.
      categories: (D,) int64.
      sizes_hw: (C, 2) float64 height and width in px of each image; NaN where not known.
      truth_xyxy_px: (T, 4) float64 ground-truth boxes.
      exams: C names.
      classes: category id -> name, of the ground truth.
      category: of the class that is evaluated.
      source: what they are of: ``DETECTOR``, ``MASKS``, ``SCORES`` or ``NONE``.
    """
    without = len(exams) - len(np.unique(case))
    is_odd = source == DETECTOR and 0 < without < len(exams)  # a mask without a spot is a finding, too
    warnings = [f"{without:,} of {len(exams):,} images have no detection of any class."] if is_odd else []
    warnings += ["There is no detection at all: every image counts as one in which nothing is detected."] if without == len(exams) else []
    warnings += _outside(xyxy_px, case, sizes_hw, exams, "detected boxes")
    unsized = np.isnan(sizes_hw[case, 0])
    if unsized.any() and len(truth_xyxy_px):
        # only a warning, since detections may reach beyond the ground truth and be right
        reach_hw = np.tile(truth_xyxy_px[:, [3, 2]].max(axis=0), (int(unsized.sum()), 1))
        outside, fit = _as_corners(xyxy_px[unsized], reach_hw)
        if outside > SWAPPED_SHARE and fit >= FITTING_SHARE:
            warnings.append(
                f"{outside:.0%} of the detected boxes reach beyond all ground truth, and {fit:.0%} would not if they were meant as [x, y, right, "
                "bottom]: check whether they are; the third and fourth number are taken for width and height."
            )
    of_class = categories == category
    xyxy_px, scores, case, name = xyxy_px[of_class], scores[of_class], case[of_class], classes[category]
    if len(of_class) and not len(scores):
        there = {number: classes[number] for number in np.unique(categories).tolist()}
        warnings.append(f"None of {len(of_class):,} detections is of {name!r}, the class that is evaluated; they are of {_named(there)}.")
    if len(scores) > 1 and scores.min() == scores.max():
        what, figures = ("exams", "ROC AUC and PR AUC") if source == SCORES else (f"detections of {name!r}", "AP, FROC and ROC")
        warnings.append(
            f"All {len(scores):,} {what} have the score {scores[0]:g}: no threshold parts them, and {figures}, which rank by score, say little."
        )
    most, limit = np.bincount(case, minlength=len(exams)), MAX_DETECTIONS[-1]
    if most.max(initial=0) > limit:
        beyond = int(np.maximum(most - limit, 0).sum())
        warnings.append(
            f"{int((most > limit).sum()):,} images have more than {limit} detections of {name!r} (at most {int(most.max()):,}, in "
            f"{exams[int(most.argmax())]}): AP and AR take the {limit} most confident ones of each, as COCO does, and leave out {beyond:,}; all other "
            "figures take all."
        )
    copies = _copies(xyxy_px, scores, case)
    if len(copies):
        warnings.append(
            f"{len(copies):,} of {len(scores):,} detections of {name!r} repeat another one with the same image, box and score (first in "
            f"{exams[case[copies[0]]]}): each counts by itself, mostly as a false one."
        )
    return warnings


def of_facts(known: Collection[str], exams: Sequence[str]) -> list[str]:
    """Return warnings about the names of exams that facts are given of, and of the ground truth's.

    Raises:
      DataError: they have none in common.
    """
    there = set(exams)
    strange, missing = sum(exam not in there for exam in known), sum(exam not in known for exam in there)
    # gaps are usual, but no exam in common is another data set
    if missing == len(there):
        raise DataError(
            f"None of the {len(known):,} exams in the facts is in the ground truth (such as {exams[0]}). Are they of other images?"
        )
    warnings = [f"{strange:,} of {len(known):,} exams in the facts are not in the ground truth; they were passed over."] if strange else []
    return warnings + ([f"{missing:,} of {len(there):,} images have no row in the facts."] if missing else [])


def _as_corners(xyxy_px: np.ndarray, sizes_hw: np.ndarray) -> tuple[float, float]:
    """Return the shares of boxes in images of known size that leave them, and that would fit were right and bottom meant by width and height."""
    known = ~np.isnan(sizes_hw[:, 0])
    if not known.any():
        return 0.0, 0.0
    if not known.all():
        xyxy_px, sizes_hw = xyxy_px[known], sizes_hw[known]
    outside, fit = np.zeros(len(xyxy_px), bool), np.ones(len(xyxy_px), bool)
    for axis in (0, 1):  # column by column: what goes along two numbers takes many times as long
        low, high, limit = xyxy_px[:, axis], xyxy_px[:, 2 + axis], sizes_hw[:, 1 - axis] + OUTSIDE_TOLERANCE_PX
        side = high - low
        outside |= high > limit
        fit &= (side >= low) & (side <= limit)
    return float(outside.mean()), float(fit.mean())


def _outside(xyxy_px: np.ndarray, case: np.ndarray, sizes_hw: np.ndarray, exams: Sequence[str], what: str) -> list[str]:
    outside = np.zeros(len(case), bool)
    for column in range(4):
        edges, high = xyxy_px[:, column], sizes_hw[:, 1 - column % 2][case] + OUTSIDE_TOLERANCE_PX
        outside |= (edges < -OUTSIDE_TOLERANCE_PX) | (edges > high)  # a comparison with NaN is False
    if not outside.any():
        return []
    where = exams[case[np.argmax(outside)]]
    return [
        f"{outside.sum():,} of {len(outside):,} {what} reach over the edge of their image (first in {where}); they count as they are, as in "
        "pycocotools and on Kaggle."
    ]


def _copies(xyxy_px: np.ndarray, scores: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Return the rising indices of detections that equal an earlier one."""
    # most files have a case after the other, and its scores fall: then equal ones lie together
    steps = np.diff(case)
    by_case = ((steps > 0) | ((steps == 0) & (np.diff(scores) <= 0))).all()
    order = np.arange(len(case)) if by_case else np.lexsort((scores, case))
    same = (np.diff(case[order]) == 0) & (np.diff(scores[order]) == 0)
    tied = (
        np.sort(order[np.append(same, False) | np.append(False, same)]) if len(order) else order
    )  # few: only these need their boxes compared
    rows = np.column_stack([case[tied], scores[tied], xyxy_px[tied]])
    _, first = np.unique(rows, axis=0, return_index=True)
    return np.delete(tied, first)


def _named(classes: Mapping[int, str]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in classes.items())
