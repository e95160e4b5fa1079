"""Ground truth and detections as they lie in files -> Cases.

    loaded = load(Path("instances.json"), Path("detections.json"), patient_map=Path("patients.csv"))
    loaded.cases, loaded.warnings

Ground truth is COCO JSON (such as a record set's) or RSNA's label CSV; detections are COCO results or a Kaggle submission, of any detector.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.assessment import checks, files
from pneumodet.data import annotations, boxes, label_map
from pneumodet.errors import DataError
from pneumodet.metrics import operating_point
from pneumodet.metrics.cases import Cases


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Ground truth and detections.

    Attributes:
      cases: of the class that was asked for.
      instances: COCO object of the ground truth, all classes.
      coco_results: COCO results of all classes.
      sizes_hw: (C, 2) float64 heights and widths in px; NaN where the ground truth does not tell.
      warnings: sentences for the user.
    """

    cases: Cases
    instances: dict[str, Any]
    coco_results: list[dict[str, Any]]
    sizes_hw: np.ndarray
    warnings: list[str]


def load(
    ground_truth: Path,
    detections: Path,
    *,
    class_name: str = label_map.PNEUMONIA,
    patient_map: Path | None = None,
    facts: Path | None = None,
    class_info: Path | None = None,
) -> Loaded:
    """Read ground truth and detections.

    Args:
      ground_truth: COCO JSON, or RSNA's label CSV.
      detections: COCO results JSON, or a submission CSV ``patientId,PredictionString``.
      class_name: the class that ``cases`` are of.
      patient_map: as ``annotations.read_patient_map``; without it ``patient`` of the ground truth's images, else every exam is a patient.
      facts: CSV with one of ``files.EXAM_COLUMNS`` and any of ``files.FACTS``' columns; wins over what the ground truth tells.
      class_info: RSNA's detailed class info, for RSNA's label CSV.

    Raises:
      DataError: a file cannot be read, or a row does not fit; the message says which and why.
    """
    instances = (
        files.read_rsna(ground_truth, class_info) if files.is_csv(ground_truth) else files.read_json(ground_truth, "the ground truth", dict)
    )
    return assemble(
        instances,
        lambda images, category: files.read_results(detections, images, category),
        names=(str(ground_truth), str(detections)),
        class_name=class_name,
        patients=annotations.read_patient_map(patient_map) if patient_map else None,
        facts=files.read_facts(facts) if facts else {},
    )


def assemble(
    instances: dict[str, Any],
    read_results: Callable[[dict[str, int], int], list[dict[str, Any]]],
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
      read_results: (exam -> image id, category id) -> COCO results.
      names: of both, for messages.
      class_name: the class that ``cases`` are of.
      patients: exam -> patient.
      facts: exam -> facts.
      source: as ``checks.of_detections``.
    """
    images, category = _images(instances, names[0], class_name)
    exams = list(images)
    place = {number: index for index, number in enumerate(images.values())}
    by_exam = {str(image.get("file_name", image["id"])): image for image in instances["images"]}
    sizes = np.array([_size_hw(by_exam[exam]) for exam in exams])

    truth = [row for row in instances["annotations"] if row["category_id"] == category]
    truth_case = np.array([place[row["image_id"]] for row in truth], np.int64)
    truth_order = np.argsort(truth_case, kind="stable")
    truth_xyxy = boxes.xywh_to_xyxy_px(np.array([row["bbox"] for row in truth], np.float64).reshape(-1, 4))
    checks.refuse_other_layouts(truth_xyxy, sizes[truth_case], names[0])

    results = read_results(images, category)
    case, found_xyxy, scores, categories = _columns(results, place, images, names[1])
    classes = {one["id"]: one["name"] for one in instances["categories"]}
    checks.refuse_unlisted_categories(categories, classes, names[1])
    checks.refuse_other_layouts(found_xyxy, sizes[case], names[1])

    warnings = checks.of_truth(instances, truth_xyxy, truth_case, sizes, exams=exams, class_name=class_name)
    warnings += checks.of_detections(
        found_xyxy, scores, case, categories, sizes, truth_xyxy, exams=exams, classes=classes, category=category, source=source
    )
    warnings += checks.of_facts(facts, exams) if facts else []
    if patients is None and not all("patient" in image for image in instances["images"]):
        warnings.append("No patient map was given: every image counts as a patient of its own, so that intervals may be too narrow.")
    wanted = categories == category
    case, found_xyxy, scores = case[wanted], found_xyxy[wanted], scores[wanted]
    order = np.lexsort((-scores, case))  # lexsort is stable: equal scores stay in the order given
    cases = Cases(
        tuple(exams),
        _patient_numbers(exams, by_exam, patients),
        truth_xyxy[truth_order],
        truth_case[truth_order],
        found_xyxy[order],
        scores[order],
        case[order],
        _facts(exams, by_exam, facts or {}),
    )
    return Loaded(cases, instances, results, sizes, warnings)


def _images(instances: dict[str, Any], name: str, class_name: str) -> tuple[dict[str, int], int]:
    """Return (exam -> image id, the class's category id) of a COCO object whose form is then known to be right."""
    try:
        images = {str(image.get("file_name", image["id"])): image["id"] for image in instances["images"]}
        numbers = [image["id"] for image in instances["images"]]
        categories = {one["name"]: one["id"] for one in instances["categories"]}
        rows = [
            (row["id"], row["image_id"], row["category_id"], [float(value) for value in row["bbox"]], row.get("area", 0))
            for row in instances["annotations"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no COCO ground truth ({error!r}). It needs images, annotations and categories.") from error
    if not images:
        raise DataError(f"{name} lists no image.")
    _refuse_twice(numbers, f"{name}: image id")
    if len(images) != len(numbers):
        raise DataError(f"{name} has two images of one file_name. Names tell exams apart; make them different.")
    _refuse_twice([row[0] for row in rows], f"{name}: annotation id")
    for key in ("id", "name"):
        _refuse_twice([one[key] for one in instances["categories"]], f"{name}: category {key}")
    if class_name not in categories:
        raise DataError(
            f"{name} has no class {class_name!r}; it has {', '.join(map(repr, categories)) or 'none'}. Name one by --class-name."
        )
    known, ids = set(numbers), set(categories.values())
    for number, image, category, box, area in rows:
        where = f"{name}, annotation {number}"
        if image not in known or category not in ids:
            raise DataError(f"{where} is of image {image} and category {category}, of which one is not listed.")
        if len(box) != 4 or not np.isfinite(box).all() or box[2] < 0 or box[3] < 0:
            raise DataError(f"{where}: bbox must be [x, y, width, height], finite, with sides of at least 0, but is {box}.")
        if not isinstance(area, int | float) or not np.isfinite(area) or area < 0:
            raise DataError(f"{where}: area must be a number of at least 0, or left out, but is {area!r}.")
    return images, categories[class_name]


def _refuse_twice(values: Sequence[Any], what: str) -> None:
    if len(set(values)) != len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise DataError(f"{what} {twice!r} is there twice. Every one must be its own.")


def _size_hw(image: Mapping[str, Any]) -> tuple[float, float]:
    """Return height and width of a COCO image, both NaN where it does not tell them."""
    size = image.get("height"), image.get("width")
    told = all(isinstance(side, int | float) and np.isfinite(side) and side > 0 for side in size)
    return size if told else (np.nan, np.nan)


def _columns(
    results: Sequence[dict[str, Any]], place: Mapping[int, int], images: Mapping[str, int], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ((D,) case, (D, 4) xyxy_px, (D,) score, (D,) category) of COCO results; only a fault costs a second look at the rows."""
    try:
        case = np.array([place[row["image_id"]] for row in results], np.int64)
        xywh = np.array([row["bbox"] for row in results]).reshape(len(results), 4)
        scores = np.array([row["score"] for row in results])
        categories = np.array([row["category_id"] for row in results])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        _first_fault(results, place, images, name)
    if results and not (xywh.dtype.kind in "iuf" and scores.dtype.kind in "iuf" and categories.dtype.kind in "iu"):
        _first_fault(
            results, place, images, name
        )  # numpy takes "0.5" for a number, and cuts 2.5 to a whole one, if it is told what to make
    bad = ~np.isfinite(xywh).all(axis=1) | (xywh[:, 2:] < 0).any(axis=1) | ~((scores >= 0) & (scores <= 1))
    if bad.any():
        _first_fault(results, place, images, name)
    return case, boxes.xywh_to_xyxy_px(xywh.astype(np.float64)), scores.astype(np.float64), categories.astype(np.int64)


def _first_fault(results: Sequence[Any], place: Mapping[int, int], images: Mapping[str, int], name: str) -> None:
    """Raise a DataError for the first row that is wrong; a row with a ``file_name`` and no ``image_id`` is told how to be mended."""
    for index, row in enumerate(results):
        where = f"{name}, entry {index}"
        missing = [key for key in ("image_id", "category_id", "bbox", "score") if not isinstance(row, dict) or key not in row]
        if missing:
            raise DataError(f"{where} has no {missing[0]}. COCO results have image_id, category_id, bbox [x, y, width, height] and score.")
        if not isinstance(row["image_id"], int | str) or row["image_id"] not in place:
            known = row.get("file_name") in images
            alike = str(row["image_id"]) in map(str, place)
            hint = f"the ground truth gives {row['file_name']!r} another id." if known else "are these detections of other images?"
            hint = "it has this id as another type; write ids alike, as a number or as text." if alike else hint
            raise DataError(f"{where} is of image {row['image_id']!r}, which the ground truth does not list; {hint}")
        box, score = row["bbox"], row["score"]
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) for one in [*box, score])
        if not numbers or not np.isfinite(np.array(box, np.float64)).all():
            raise DataError(
                f"{where}: bbox must be four finite numbers, [x, y, width, height], and score a number; got {box} and {score!r}."
            )
        if box[2] < 0 or box[3] < 0:
            raise DataError(f"{where}: the box {box} is inverted: width and height must be at least 0.")
        if not isinstance(row["category_id"], int):
            raise DataError(f"{where}: category_id must be a whole number, but is {row['category_id']!r}.")
        if not 0 <= score <= 1:
            raise DataError(f"{where}: the score is {score}; scores lie from 0 to 1.")
    raise DataError(f"{name} holds values that are no COCO results.")


def _patient_numbers(exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], patients: Mapping[str, str] | None) -> np.ndarray:
    if patients is not None:
        missing = [exam for exam in exams if exam not in patients]
        if missing:
            raise DataError(f"{len(missing)} of {len(exams)} images are not in the patient map, for example {missing[0]}. Complete it.")
        names: list[Any] = [patients[exam] for exam in exams]
    else:
        names = [by_exam[exam].get("patient", f"exam {exam}") for exam in exams]
    return operating_point.patient_numbers(names)


def _facts(
    exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[Any, ...]]:
    found = {
        name: tuple(files.fact(name, given.get(exam, {}).get(name, by_exam[exam].get(name))) for exam in exams) for name in files.FACTS
    }
    return {name: values for name, values in found.items() if any(value is not None for value in values)}
