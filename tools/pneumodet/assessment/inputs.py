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

from pneumodet.assessment import files
from pneumodet.data import annotations, boxes, label_map
from pneumodet.errors import DataError
from pneumodet.metrics.cases import Cases

OUTSIDE_TOLERANCE_PX = 1.0
"""A box may reach so far over the edge before it is called outside: detectors and labels round."""

SWAPPED_SHARE = 0.2
"""If more boxes than this share leave the image as x, y, width, height, and ``FITTING_SHARE`` fit as x, y, right, bottom, they are the latter."""

FITTING_SHARE = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Ground truth and detections.

    Attributes:
      cases: of the class that was asked for.
      instances: COCO object of the ground truth, all classes.
      coco_results: COCO results of all classes.
      sizes_hw: (C, 2) float64 heights and widths in px, or None where the ground truth does not tell.
      warnings: sentences for the user.
    """

    cases: Cases
    instances: dict[str, Any]
    coco_results: list[dict[str, Any]]
    sizes_hw: np.ndarray | None
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
) -> Loaded:
    """Put ground truth and detections together that are in memory; arguments and errors as ``load``.

    Args:
      instances: COCO object.
      read_results: (exam -> image id, category id) -> COCO results.
      names: of both, for messages.
      class_name: the class that ``cases`` are of.
      patients: exam -> patient.
      facts: exam -> facts.
    """
    images, category = _images(instances, names[0], class_name)
    exams = list(images)
    place = {number: index for index, number in enumerate(images.values())}
    by_exam = {str(image.get("file_name", image["id"])): image for image in instances["images"]}
    warnings: list[str] = []
    sizes = _sizes(by_exam, exams)

    results = read_results(images, category)
    case, found_xyxy, scores, categories = _columns(results, place, images, names[1])
    if sizes is not None:
        _refuse_swapped(found_xyxy, sizes[case], names[1])
        found_xyxy, outside = _clip(found_xyxy, sizes[case])
        if outside:
            warnings.append(f"{outside} of {len(found_xyxy)} detected boxes reach over the edge of their image and were clipped.")
    without = len(exams) - len(np.unique(case))
    if without:
        warnings.append(f"{without} of {len(exams)} images have no detection of any class.")
    wanted = categories == category
    case, found_xyxy, scores = case[wanted], found_xyxy[wanted], scores[wanted]
    order = np.lexsort((-scores, case))  # lexsort is stable: equal scores stay in the order given

    truth = [row for row in instances["annotations"] if row["category_id"] == category]
    truth_case = np.array([place[row["image_id"]] for row in truth], np.int64)
    truth_order = np.argsort(truth_case, kind="stable")
    truth_xyxy = boxes.xywh_to_xyxy_px(np.array([row["bbox"] for row in truth], np.float64).reshape(-1, 4))
    if patients is None and not all("patient" in image for image in instances["images"]):
        warnings.append("No patient map was given: every image counts as a patient of its own, so that intervals may be too narrow.")
    if not len(truth):
        warnings.append(f"No image has a ground-truth box of {class_name!r}: most figures are undefined.")
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
            (row["id"], row["image_id"], row["category_id"], [float(value) for value in row["bbox"]]) for row in instances["annotations"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no COCO ground truth ({error!r}). It needs images, annotations and categories.") from error
    if not images:
        raise DataError(f"{name} lists no image.")
    _refuse_twice(numbers, f"{name}: image id")
    if len(images) != len(numbers):
        raise DataError(f"{name} has two images of one file_name. Names tell exams apart; make them different.")
    _refuse_twice([row[0] for row in rows], f"{name}: annotation id")
    if class_name not in categories:
        raise DataError(f"{name} has no class {class_name!r}; it has {', '.join(map(repr, categories))}. Name one by --class-name.")
    known, ids = set(numbers), set(categories.values())
    for number, image, category, box in rows:
        where = f"{name}, annotation {number}"
        if image not in known or category not in ids:
            raise DataError(f"{where} is of image {image} and category {category}, of which one is not listed.")
        if len(box) != 4 or not np.isfinite(box).all() or box[2] < 0 or box[3] < 0:
            raise DataError(f"{where}: bbox must be [x, y, width, height], finite, with sides of at least 0, but is {box}.")
    return images, categories[class_name]


def _refuse_twice(values: Sequence[Any], what: str) -> None:
    if len(set(values)) != len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise DataError(f"{what} {twice!r} is there twice. Every one must be its own.")


def _sizes(by_exam: Mapping[str, Mapping[str, Any]], exams: Sequence[str]) -> np.ndarray | None:
    try:
        sizes = np.array([[by_exam[exam]["height"], by_exam[exam]["width"]] for exam in exams], np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    return sizes if (sizes > 0).all() else None


def _columns(
    results: Sequence[dict[str, Any]], place: Mapping[int, int], images: Mapping[str, int], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ((D,) case, (D, 4) xyxy_px, (D,) score, (D,) category) of COCO results; only a fault costs a second look at the rows."""
    try:
        case = np.array([place[row["image_id"]] for row in results], np.int64)
        xywh = np.array([row["bbox"] for row in results], np.float64).reshape(len(results), 4)
        scores = np.array([row["score"] for row in results], np.float64)
        categories = np.array([row["category_id"] for row in results], np.int64)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        _first_fault(results, place, images, name)
    bad = ~np.isfinite(xywh).all(axis=1) | (xywh[:, 2:] < 0).any(axis=1) | ~((scores >= 0) & (scores <= 1))
    if bad.any():
        _first_fault(results, place, images, name)
    return case, boxes.xywh_to_xyxy_px(xywh), scores, categories


def _first_fault(results: Sequence[Any], place: Mapping[int, int], images: Mapping[str, int], name: str) -> None:
    """Raise a DataError for the first row that is wrong; a row with a ``file_name`` and no ``image_id`` is told how to be mended."""
    for index, row in enumerate(results):
        where = f"{name}, entry {index}"
        missing = [key for key in ("image_id", "category_id", "bbox", "score") if not isinstance(row, dict) or key not in row]
        if missing:
            raise DataError(f"{where} has no {missing[0]}. COCO results have image_id, category_id, bbox [x, y, width, height] and score.")
        if not isinstance(row["image_id"], int | str) or row["image_id"] not in place:
            known = row.get("file_name") in images
            hint = f"the ground truth gives {row['file_name']!r} another id" if known else "are these detections of other images?"
            raise DataError(f"{where} is of image {row['image_id']!r}, which the ground truth does not list; {hint}")
        box, score = row["bbox"], row["score"]
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) for one in [*box, score])
        if not numbers or not np.isfinite(np.array(box, np.float64)).all():
            raise DataError(
                f"{where}: bbox must be four finite numbers, [x, y, width, height], and score a number; got {box} and {score!r}."
            )
        if box[2] < 0 or box[3] < 0:
            raise DataError(f"{where}: the box {box} is inverted: width and height must be at least 0.")
        if not 0 <= score <= 1:
            raise DataError(f"{where}: the score is {score}; scores lie from 0 to 1.")
    raise DataError(f"{name} holds values that are no COCO results.")


def _refuse_swapped(xyxy: np.ndarray, sizes_hw: np.ndarray, name: str) -> None:
    """Refuse boxes that are x, y, right, bottom where COCO has x, y, width, height."""
    if not len(xyxy):
        return
    limits = sizes_hw[:, ::-1] + OUTSIDE_TOLERANCE_PX
    sides = xyxy[:, 2:] - xyxy[:, :2]  # what the file has in the third and fourth place
    outside = (xyxy[:, 2:] > limits).any(axis=1).mean()
    fit = ((sides >= xyxy[:, :2]) & (sides <= limits)).all(axis=1).mean()
    if outside > SWAPPED_SHARE and fit >= FITTING_SHARE:
        raise DataError(
            f"{name}: {outside:.0%} of the boxes leave their image as [x, y, width, height], and {fit:.0%} fit as [x, y, right, bottom]. "
            "COCO results have width and height: subtract x and y."
        )


def _clip(xyxy: np.ndarray, sizes_hw: np.ndarray) -> tuple[np.ndarray, int]:
    """Return (boxes within their images, how many were not)."""
    limits = sizes_hw[:, [1, 0, 1, 0]]
    clipped = np.clip(xyxy, 0, limits)
    return clipped, int((np.abs(clipped - xyxy) > OUTSIDE_TOLERANCE_PX).any(axis=1).sum())


def _patient_numbers(exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], patients: Mapping[str, str] | None) -> np.ndarray:
    if patients is not None:
        missing = [exam for exam in exams if exam not in patients]
        if missing:
            raise DataError(f"{len(missing)} of {len(exams)} images are not in the patient map, for example {missing[0]}. Complete it.")
        names: list[Any] = [patients[exam] for exam in exams]
    else:
        names = [by_exam[exam].get("patient", f"exam {exam}") for exam in exams]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _facts(
    exams: Sequence[str], by_exam: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[Any, ...]]:
    found = {name: tuple(given.get(exam, {}).get(name, by_exam[exam].get(name)) for exam in exams) for name in files.FACTS}
    found["age"] = tuple(files.age_years(age) for age in found["age"])
    return {name: values for name, values in found.items() if any(value is not None for value in values)}
