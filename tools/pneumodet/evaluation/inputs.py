"""Ground truth and detections as they lie in files -> Cases.

    loaded = load(Path("instances.json"), Path("detections.json"), patient_map=Path("patients.csv"))
    loaded.cases, loaded.warnings

Ground truth is as ``ground_truth.read`` takes it, detections as ``detection_files.read``.
"""

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import boxes
from pneumodet.core.errors import DataError
from pneumodet.data import annotations, coco_objects, detection_files, label_map
from pneumodet.data import ground_truth as ground_truths
from pneumodet.data.cases import Cases
from pneumodet.data.detection_columns import Columns
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import checks, files
from pneumodet.evaluation.metrics import operating_point


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Ground truth and detections.

    Attributes:
      cases: of the class that was asked for.
      instances: COCO object of the ground truth, all classes.
      detected: detections of all classes.
      masked: COCO results of all classes, where all of them have masks; else None.
      sizes_hw: (C, 2) float64 heights and widths in px; NaN where the ground truth does not say.
      warnings: sentences for the user.
    """

    cases: Cases
    instances: dict[str, Any]
    detected: Columns
    sizes_hw: np.ndarray
    warnings: list[str]
    masked: list[dict[str, Any]] | None = None


def load(
    ground_truth: Path,
    detections: Path,
    *,
    class_name: str = label_map.PNEUMONIA,
    patient_map: Path | None = None,
    facts: Path | None = None,
    class_info: Path | None = None,
    class_map: Mapping[str, str] | None = None,
    split: str = "val",
) -> Loaded:
    """Read ground truth and detections.

    Args:
      ground_truth: as ``ground_truth.read``.
      detections: as ``detection_files.read``.
      class_name: the class that ``cases`` are of.
      patient_map: as ``annotations.read_patient_map``; without it ``patient`` of the ground truth's images, else every exam is a patient.
      facts: CSV with one of ``files.EXAM_COLUMNS`` and any of ``files.FACTS``' columns; wins over what the ground truth says.
      class_info: RSNA's detailed class info, for RSNA's label CSV.
      class_map: as ``ground_truth.read``.
      split: of a record set.

    Raises:
      DataError: a file cannot be read, or a row does not fit; the message says which and why.
    """
    truth = ground_truths.read(ground_truth, class_info=class_info, split=split, class_map=class_map, wanted=class_name)
    return assemble(
        truth.instances,
        lambda images, category: detection_files.read_columns(detections, images, category_id=category),
        names=(str(ground_truth), str(detections)),
        class_name=class_name,
        patients=ground_truths.with_exam_names(annotations.read_patient_map(patient_map)) if patient_map else None,
        facts=files.read_facts(facts) if facts else {},
    )


def assemble(
    instances: dict[str, Any],
    read_results: Callable[[dict[str, int], int], list[dict[str, Any]] | Columns],
    *,
    names: tuple[str, str] = ("the ground truth", "the detections"),
    class_name: str = label_map.PNEUMONIA,
    patients: Mapping[str, str] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    source: str = checks.DETECTOR,
) -> Loaded:
    """Put ground truth and detections together that are in memory; arguments and errors as ``load``.

    Args:
      instances: COCO object.
      read_results: (exam -> image id, category id) -> COCO results, or columns of them, whose cases are places among the exams.
      names: of both, for messages.
      class_name: the class that ``cases`` are of.
      patients: exam -> patient.
      facts: exam -> facts.
      source: as ``checks.of_detections``.
    """
    images, category = _images(instances, names[0], class_name)
    exams = list(images)
    place = {number: index for index, number in enumerate(images.values())}
    by_exam = {str(image["file_name"]): image for image in instances["images"]}
    sizes = np.array([_size_hw(by_exam[exam]) for exam in exams])

    truth = [row for row in instances["annotations"] if row["category_id"] == category]
    truth_case = np.array([place[row["image_id"]] for row in truth], np.int64)
    # Cases needs boxes by case; stable, so that the community rules of the RSNA metric see the order of the file
    truth_order = np.argsort(truth_case, kind="stable")
    truth_xyxy = boxes.xywh_to_xyxy_px(np.array([row["bbox"] for row in truth], np.float64).reshape(-1, 4))
    checks.refuse_other_layouts(truth_xyxy, sizes[truth_case], names[0])

    of_images = coco_objects.image_level(instances["images"], class_name) & (np.bincount(truth_case, minlength=len(exams)) == 0)
    results = read_results(images, category)
    if of_images.any() and source == checks.DETECTOR:
        raise DataError(
            f"{int(of_images.sum())} exams of {names[0]} are positive without a box (first: {exams[int(of_images.argmax())]}): boxes cannot be "
            "evaluated on them. Evaluate a classifier, or take labels with boxes."
        )
    columns = results if isinstance(results, Columns) else detection_files.to_columns(results, images, names[1])
    masked = None if isinstance(results, Columns) else with_masks(results)
    del results
    case, detected_xyxy, scores, categories = columns.case, columns.xyxy_px, columns.scores, columns.categories
    classes = {one["id"]: one["name"] for one in instances["categories"]}
    checks.refuse_unlisted_categories(categories, classes, names[1])
    checks.refuse_other_layouts(detected_xyxy, sizes[case], names[1])

    warnings = checks.of_truth(instances, truth_xyxy, truth_case, sizes, exams=exams, class_name=class_name)
    warnings += checks.of_detections(
        detected_xyxy, scores, case, categories, sizes, truth_xyxy, exams=exams, classes=classes, category=category, source=source
    )
    warnings += checks.of_facts(facts, exams) if facts else []
    if patients is None and not all("patient" in image for image in instances["images"]):
        warnings.append("No patient map was given: every image counts as a patient of its own, so that intervals may be too narrow.")
    # after the checks above, which are about detections of all classes
    wanted = categories == category
    case, detected_xyxy, scores = case[wanted], detected_xyxy[wanted], scores[wanted]
    if not _in_order(case, scores):  # most files are by exam, and by score within it
        order = np.lexsort((-scores, case))  # lexsort is stable: equal scores stay in the order given
        case, detected_xyxy, scores = case[order], detected_xyxy[order], scores[order]
    cases = Cases(
        tuple(exams),
        _patient_numbers(exams, by_exam, patients),
        truth_xyxy[truth_order],
        truth_case[truth_order],
        detected_xyxy,
        scores,
        case,
        _facts(exams, by_exam, facts or {}),
        of_images if of_images.any() else None,
    )
    return Loaded(cases, instances, columns, sizes, warnings, masked)


def _in_order(case: np.ndarray, scores: np.ndarray) -> bool:
    """Whether (D,) detections are by case, and by falling score within it."""
    step = np.diff(case)
    return bool(((step > 0) | ((step == 0) & (np.diff(scores) <= 0))).all())


def with_masks(results: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return COCO results where there are some and all have masks, else None."""
    return results if results and all("segmentation" in row for row in results) else None


def category_of(split: Split) -> int:
    """Return the category id of a split's class.

    Raises:
      DataError: the records do not have the class.
    """
    if split.category is None:
        raise DataError(f"The records in {split.folder} have no class {split.class_name!r}. Make them again with a label map that has it.")
    return split.category


def _images(instances: dict[str, Any], name: str, class_name: str) -> tuple[dict[str, int], int]:
    """Return (exam -> image id, the class's category id) of a COCO object as ``ground_truth.read`` gives it.

    Raises:
      DataError: pycocotools would take it otherwise than it is meant, or there is no such class.
    """
    images = {str(image["file_name"]): image["id"] for image in instances["images"]}
    _refuse_twice([row["id"] for row in instances["annotations"]], f"{name}: annotation id")
    for key in ("id", "name"):
        _refuse_twice([one[key] for one in instances["categories"]], f"{name}: category {key}")
    categories = {one["name"]: one["id"] for one in instances["categories"]}
    if class_name not in categories:
        raise DataError(
            f"{name} has no class {class_name!r}; it has {', '.join(map(repr, categories)) or 'none'}. Name one by --class-name."
        )
    for row in instances["annotations"]:
        area = row.get("area", 0)
        # bool is an int, and pycocotools accepts a negative or infinite area
        if type(area) not in (int, float) or not 0 <= area <= sys.float_info.max:
            raise DataError(f"{name}, annotation {row['id']}: area must be a number of at least 0, or left out, but is {area!r}.")
    return images, categories[class_name]


def _refuse_twice(values: Sequence[Any], what: str) -> None:
    if len(set(values)) != len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise DataError(f"{what} {twice!r} occurs twice. Every one must be its own.")


def _size_hw(image: Mapping[str, Any]) -> tuple[float, float]:
    """Return height and width of a COCO image, both NaN where it does not say them."""
    size: tuple[Any, Any] = image.get("height"), image.get("width")
    known = all(isinstance(side, int | float) and np.isfinite(side) and side > 0 for side in size)
    return (float(size[0]), float(size[1])) if known else (np.nan, np.nan)


def _patient_numbers(exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], patients: Mapping[str, str] | None) -> np.ndarray:
    if patients is not None:
        missing = [exam for exam in exams if exam not in patients]
        if missing:
            raise DataError(f"{len(missing)} of {len(exams)} images are not in the patient map, for example {missing[0]}. Complete it.")
        names: list[Any] = [patients[exam] for exam in exams]
    else:
        # an exam without a patient is one of its own, and its name may be that of a patient
        names = [by_exam[exam].get("patient", f"exam {exam}") for exam in exams]
    return operating_point.patient_numbers(names)


def _facts(
    exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[Any, ...]]:
    # a fact that was given wins over the ground truth's
    facts = {
        name: tuple(files.fact(name, given.get(exam, {}).get(name, by_exam[exam].get(name))) for exam in exams) for name in files.FACTS
    }
    return {name: values for name, values in facts.items() if any(value is not None for value in values)}
