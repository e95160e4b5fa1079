"""The files that evaluation reads: COCO JSON, RSNA's label CSV, Kaggle submissions, facts about radiographs.

rows = read_results(Path("submission.csv"), {"0004cfab": 17}, 2)       # COCO results
facts = read_facts(Path("headers.csv"))                                # exam -> {"view_position": "AP", ...}
"""

import gc
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.data import annotations, boxes, header_facts, label_map
from pneumodet.errors import DataError
from pneumodet.results import SUBMISSION_HEADER, image_id

FACTS = {
    "view_position": ("view_position", "ViewPosition", "view"),
    "sex": ("sex", "PatientSex"),
    "age": ("age", "PatientAge"),
    "rsna_class": ("rsna_class", "class"),
}
"""What is known of a radiograph besides -> columns of a facts CSV that hold it, the first that is there."""

EXAM_COLUMNS = ("patientId", "PatientID")
"""Columns of a facts CSV that hold the exam; in RSNA's published headers PatientID is the patientId."""

_ENTRY = re.compile(r"\S+")


def is_csv(path: Path) -> bool:
    """Whether a file is no JSON; DataError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")[:1] not in (b"{", b"[")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def read_json(path: Path, what: str, kind: type) -> Any:
    """Return a COCO object (``kind`` dict) or COCO results (list).

    Raises:
      DataError: the file cannot be read, is no JSON, or of the other kind.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of small lists that live on: looking for circles among them takes longer than reading them
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read {what} {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{what.capitalize()} {path} is not valid JSON ({error}).") from error
    finally:
        if collecting:
            gc.enable()
    if not isinstance(value, kind):
        wanted = "a COCO object with images, annotations and categories" if kind is dict else "a COCO list of detections"
        raise DataError(f"{what.capitalize()} {path} must be {wanted}, but is a JSON {type(value).__name__}. Are the two files swapped?")
    return value


def read_rsna(path: Path, class_info: Path | None) -> dict[str, Any]:
    """Return RSNA's labels as a COCO object; ground truth must be whole, so that a rejected exam is an error.

    Raises:
      DataError: a file cannot be read, or an exam cannot be used.
    """
    labels = annotations.read_rsna_labels(path, class_info=class_info)
    if labels.rejected:
        exam, reason = labels.rejected[0]
        raise DataError(f"{path}: {len(labels.rejected)} exams cannot be used as ground truth (first: {exam}: {reason}). Mend them.")
    found: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 2, "name": label_map.PNEUMONIA}]}
    for exam in labels.exams.values():
        image = {"id": image_id(exam.patient_id), "file_name": exam.patient_id}
        found["images"].append(image | ({"rsna_class": exam.rsna_class} if exam.rsna_class else {}))
        for box in boxes.xyxy_to_xywh_px(exam.boxes_xyxy_px).tolist():
            found["annotations"].append({"id": len(found["annotations"]) + 1, "image_id": image["id"], "category_id": 2, "bbox": box})
    return found


def read_results(path: Path, images: Mapping[str, int], category: int) -> list[dict[str, Any]]:
    """Return the COCO results in a file, or a submission as COCO results.

    Args:
      path: JSON or CSV.
      images: exam -> image id.
      category: category id for a submission's boxes.

    Raises:
      DataError: as ``load``.
    """
    return _read_submission(path, images, category) if is_csv(path) else read_json(path, "the detections", list)


def fact(name: str, value: Any) -> Any:
    """Return a fact as ``header_facts`` reads it: an age in years that is believed, or None; a usual term of view or sex.

    Other values of view and sex, and all other facts, stay as they are: slices are made by what the user names.
    """
    if name == "age":
        return header_facts.age_years(value)
    usual = {"view_position": header_facts.view_position, "sex": header_facts.sex}.get(name)
    return (usual(value) if usual else None) or value


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is known of exams besides, as ``load`` takes it. An exam may have several rows, as in RSNA's class info, that do not differ.

    Raises:
      DataError: the file cannot be read, has none of the columns, or tells two different things of one exam.
    """
    columns = annotations.read_header(path)
    exam = next((name for name in EXAM_COLUMNS if name in columns), EXAM_COLUMNS[0])
    chosen = {name: next((one for one in options if one in columns), None) for name, options in FACTS.items()}
    chosen = {name: column for name, column in chosen.items() if column}
    if not chosen:
        raise DataError(f"{path} has none of the columns {', '.join(option for options in FACTS.values() for option in options)}.")
    found: dict[str, dict[str, Any]] = {}
    for line, row in annotations.read_rows(path, (exam, *chosen.values())):
        values: dict[str, Any] = {
            name: None if header_facts.is_missing(row[column]) else fact(name, row[column].strip()) for name, column in chosen.items()
        }
        known = found.setdefault(row[exam].strip(), values)
        differs = next((name for name, value in values.items() if known[name] != value), None)
        if differs:
            first, second = (f"{one[differs]:g}" if isinstance(one[differs], float) else repr(one[differs]) for one in (known, values))
            raise DataError(
                f"{path}, line {line}: exam {row[exam].strip()} has the {chosen[differs]} {first} in an earlier row and {second} "
                "here. Keep one of them."
            )
    return found


def _read_submission(path: Path, images: Mapping[str, int], category: int) -> list[dict[str, Any]]:
    """Return a Kaggle submission as COCO results.

    Raises:
      DataError: an exam is missing, unknown or there twice, or a PredictionString is malformed; with line and column.
    """
    seen: set[str] = set()
    found: list[dict[str, Any]] = []
    for line, exam, text in _submission_rows(path):
        if exam in seen:
            raise DataError(f"{path}, line {line}: exam {exam!r} is there twice. Put all its boxes into one line.")
        if exam not in images:
            raise DataError(f"{path}, line {line}: the ground truth has no exam {exam!r}. Is this a submission for other images?")
        seen.add(exam)
        found += [{"image_id": images[exam], "file_name": exam, "category_id": category} | entry for entry in _entries(path, line, text)]
    missing = [exam for exam in images if exam not in seen]
    if missing:
        raise DataError(
            f"{path} has no line for {len(missing)} exams, for example {missing[0]}. An exam without boxes has an empty PredictionString."
        )
    return found


def _submission_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    for line, row in annotations.read_rows(path, SUBMISSION_HEADER):
        yield line, row[SUBMISSION_HEADER[0]].strip(), row[SUBMISSION_HEADER[1]]


def _entries(path: Path, line: int, text: str) -> Iterable[dict[str, Any]]:
    words = list(_ENTRY.finditer(text))
    numbers = []
    for word in words:
        try:
            numbers.append(float(word[0]))
        except ValueError:
            raise DataError(f"{path}, line {line}, column {word.start() + 1} of PredictionString: {word[0]!r} is no number.") from None
    if len(words) % 5:
        raise DataError(
            f"{path}, line {line}: PredictionString has {len(words)} numbers; each box needs five, 'confidence x y width height' "
            f"(the last box begins at column {words[len(words) - len(words) % 5].start() + 1})."
        )
    for start in range(0, len(numbers), 5):
        score, *box = numbers[start : start + 5]
        if not np.isfinite(numbers[start : start + 5]).all() or box[2] < 0 or box[3] < 0 or not 0 <= score <= 1:
            raise DataError(
                f"{path}, line {line}, column {words[start].start() + 1} of PredictionString: a box needs a confidence from 0 to 1 and "
                f"finite x, y, width and height, sides at least 0; got {text[words[start].start() : words[start + 4].end()]!r}."
            )
        yield {"bbox": box, "score": score}
