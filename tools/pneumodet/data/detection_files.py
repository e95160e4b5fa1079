"""Detections in files, of any detector -> COCO results of the ground truth's images, arrays, or Detections by exam.

    rows = read(Path("detections.json.gz"), truth.image_ids, category_id=2)
    detections = by_exam(Path("submission.csv"), {"0004cfab-…": 17}, category_id=2)

COCO results (also those that ``predict`` and ``evaluate`` write) and Kaggle submissions, recognised by their content. Every command reads
detections here.
"""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import paths
from pneumodet.core.detections import SCORE_HEADER, SUBMISSION_HEADER, Detections, image_id
from pneumodet.core.errors import DataError
from pneumodet.data import coco_ids, detection_columns, label_map, tables, text_files
from pneumodet.data.annotations import MAX_COORDINATE_PX
from pneumodet.data.collector import exam_id, is_text, shown
from pneumodet.data.detection_columns import KEYS, Columns
from pneumodet.data.tables import Table

_NEEDS = f"Detections are COCO results (a JSON list with {', '.join(KEYS)}) or a submission CSV ({','.join(SUBMISSION_HEADER)})"

_WHAT = "the detections "

_TOKEN = re.compile(r"\S+")

Row = dict[str, Any]
"""A COCO result."""


def read(path: Path, image_ids: Mapping[str, Any], *, category_id: int) -> list[Row]:
    """Read detections on known exams.

    Args:
      path: the file; it may be packed.
      image_ids: exam -> COCO image id.
      category_id: of a submission's boxes.

    Returns:
      COCO results with the ids of ``image_ids``, which those that are equal by value become (``coco_ids``).
      An entry whose ``image_id`` is another one is of the exam that its ``file_name`` names.

    Raises:
      DataError: the file cannot be read, is no detections, or an exam or entry of a submission is wrong; ``to_columns`` checks COCO results.
    """
    return _read(_content(path), path, image_ids, category_id)


def read_columns(path: Path, image_ids: Mapping[str, Any], *, category_id: int) -> Columns | list[Row]:
    """Return what ``read`` does, as columns at once where it is a JSON list of plain detections: millions of rows are never dicts.

    Arguments and errors as ``read``; detections with masks come as rows.
    """
    data = text_files.read_bytes(path, _WHAT)
    is_json = text_files.is_json(data)
    if is_json and (columns := detection_columns.plain(data, image_ids)) is not None:
        return columns
    text = text_files.decode(data, path, _WHAT)
    del data  # as large as the text
    return _read(_parsed(text, path, is_json=is_json), path, image_ids, category_id)


def _read(rows: list[Any] | Table, path: Path, image_ids: Mapping[str, Any], category_id: int) -> list[Row]:
    if isinstance(rows, Table):
        return _of_submission(rows, image_ids, category_id)
    exams = {number: exam for exam, number in image_ids.items()}
    if _have_known_ids(rows, exams):
        return rows
    return [_with_id(row, image_ids, exams, f"{path}, entry {index}") for index, row in enumerate(rows)]


def _have_known_ids(rows: list[Any], exams: Mapping[Any, str]) -> bool:
    """Whether all rows have the id of an exam, as it is, and no name of another one: then there is nothing to do, for millions of them."""
    try:
        numbers = [row["image_id"] for row in rows]
        names = [row.get("file_name") for row in rows]
    except (AttributeError, KeyError, TypeError):
        return False
    if not set(map(type, rows)) <= {dict} or not set(map(type, numbers)) <= {int} or not exams.keys() >= set(numbers):
        return False
    return set(map(type, names)) <= {type(None)} or names == [exams[number] for number in numbers]


def by_exam(path: Path, exams: Mapping[str, Any] | Iterable[str] | None = None, *, category_id: int | None = None) -> dict[str, Detections]:
    """Read detections by exam.

    Args:
      path: as ``read``.
      exams: as ``image_ids`` of ``read``, or exams with the ids of ``core.detections.image_id``; each has an entry in the result. None: the exams that
        the file names.
      category_id: as ``read``; None is that of pneumonia in the usual label map.

    Raises:
      DataError: as ``read``; or no exams are known and an entry has no ``file_name``.
    """
    if exams is None:
        exams = _named(_content(path), path)
    image_ids = exams if isinstance(exams, Mapping) else {exam: image_id(exam) for exam in exams}
    if category_id is None:
        category_id = label_map.read_label_map(paths.DEFAULT_LABEL_MAP)[label_map.PNEUMONIA]
    return of_rows(read(path, image_ids, category_id=category_id), image_ids, str(path))


def of_rows(rows: Sequence[Row], image_ids: Mapping[str, Any], name: str) -> dict[str, Detections]:
    """Return exam -> Detections of COCO results, of all exams; arguments and errors as ``to_columns``."""
    return of_columns(to_columns(rows, image_ids, name), image_ids, name)


def of_columns(columns: Columns, image_ids: Mapping[str, Any], name: str) -> dict[str, Detections]:
    """Return exam -> Detections of all exams; errors as ``of_rows``."""
    xyxy_px = columns.xyxy_px
    order = np.argsort(columns.case, kind="stable")
    ends = np.searchsorted(columns.case[order], np.arange(len(image_ids) + 1))
    detections = {}
    for index, exam in enumerate(image_ids):
        these = order[ends[index] : ends[index + 1]]
        try:
            detections[exam] = Detections(xyxy_px[these], columns.scores[these], columns.categories[these])
        except DataError as error:
            raise DataError(f"{name}, exam {exam}: {error}") from error
    return detections


def is_scores(path: Path) -> bool:
    """Whether a file is a CSV of image-level scores; DataError where it cannot be read."""
    data = text_files.read_bytes(path)
    return not text_files.is_json(data) and SCORE_HEADER[1] in tables.parse(text_files.decode(data, path), path).columns


def to_columns(rows: Sequence[Row], image_ids: Mapping[str, Any], name: str) -> Columns:
    """Return COCO results as arrays; only an error costs a second pass over the rows.

    Args:
      rows: COCO results.
      image_ids: exam -> image id; the order of the exams is that of ``Columns.case``.
      name: of the file, for messages.

    Raises:
      DataError: the first row that is wrong, and why.
    """
    place = {number: index for index, number in enumerate(image_ids.values())}
    try:
        case = np.array([place[row["image_id"]] for row in rows], np.int64)
        xywh = _boxes([row["bbox"] for row in rows])
        scores = np.array([row["score"] for row in rows])
        categories = np.array([row["category_id"] for row in rows])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise _first_error(rows, place, image_ids, name) from None
    # numpy takes "0.5" for a number, and cuts 2.5 to a whole one, where the type is given
    right = not rows or (xywh.dtype.kind in "iuf" and scores.dtype.kind in "iuf" and categories.dtype.kind in "iu" and scores.ndim == 1)
    if not right or not detection_columns.are_right(xywh, scores):
        raise _first_error(rows, place, image_ids, name)
    return Columns(case, xywh.astype(np.float64), scores.astype(np.float64), categories.astype(np.int64))


def _boxes(rows: list[Any]) -> np.ndarray:
    """Return (N, 4) of whatever type the numbers have; faster than np.array of lists, which first goes for the shape of millions of them.

    Raises:
      ValueError, TypeError: one is no list of four.
    """
    if not set(map(type, rows)) <= {list} or not set(map(len, rows)) <= {4}:
        return np.array(rows).reshape(len(rows), 4)
    return np.array(list(itertools.chain.from_iterable(rows))).reshape(-1, 4)


def _content(path: Path) -> list[Any] | Table:
    data = text_files.read_bytes(path, _WHAT)
    text, is_json = text_files.decode(data, path, _WHAT), text_files.is_json(data)
    del data  # as large as the text
    return _parsed(text, path, is_json=is_json)


def _parsed(text: str, path: Path, *, is_json: bool) -> list[Any] | Table:
    if not is_json and not path.name.lower().removesuffix(text_files.PACKED).endswith(".json"):
        table = tables.parse(text, path)
        if not set(SUBMISSION_HEADER) & set(table.columns):
            has = f"has the columns {shown(list(table.columns))}" if table.columns else "is empty"
            raise DataError(f"{path} {has}. {_NEEDS}.")
        return table.need(SUBMISSION_HEADER)
    value = text_files.parse_json(text, path, _WHAT)
    if not isinstance(value, list):
        raise DataError(
            f"The detections {path} must be a COCO list of detections, but is a JSON {type(value).__name__}. Are the two files swapped? {_NEEDS}."
        )
    return value


def _with_id(row: Any, image_ids: Mapping[str, Any], exams: Mapping[Any, str], where: str) -> Any:
    """Return a row with the id of the exam that its ``file_name`` names, where that is known and the row has an unknown id.

    Raises:
      DataError: id and name are of two exams.
    """
    if not isinstance(row, dict):
        return row
    number, name = row.get("image_id"), row.get("file_name")
    if type(number) is not int:
        with contextlib.suppress(ValueError):  # what is no id is refused below, with its place
            number = coco_ids.value(number)
            row = {**row, "image_id": number} if number in exams else row
    by_id = exams.get(number) if isinstance(number, int | str) else None
    if name is None or name == by_id or (by_name := _exam(name, image_ids)) in (None, by_id):
        return row
    if by_id is not None:
        raise DataError(f"{where} has the image_id of {by_id!r} in the ground truth, and the file_name {name!r}. Leave out one of the two.")
    return {**row, "image_id": image_ids[by_name]}


def _exam(name: Any, exams: Mapping[str, Any]) -> str | None:
    if not isinstance(name, str):
        return None
    return next((one for one in (name, exam_id(name)) if one in exams), None)


def _named(content: list[Any] | Table, path: Path) -> list[str]:
    """Return the exams that a file names."""
    if isinstance(content, Table):
        return list(dict.fromkeys(cell.strip() for cell in content.column(SUBMISSION_HEADER[0])))
    names: dict[str, None] = {}  # each once, in their order
    for index, row in enumerate(content):
        name = row.get("file_name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name or not is_text(name):
            raise DataError(
                f"{path}, entry {index} has no file_name, so that its exam is unknown. Give the ground truth as well, which lists the images."
            )
        names[name] = None
    return list(names)


def _first_error(rows: Iterable[Any], place: Mapping[Any, int], image_ids: Mapping[str, Any], name: str) -> DataError:
    """Return the error of the first row that is wrong."""
    for index, row in enumerate(rows):
        if reason := _reason(row, place, image_ids):
            return DataError(f"{name}, entry {index}{reason}")
    return DataError(f"{name} holds values that are no COCO results.")


def _reason(row: Any, place: Mapping[Any, int], image_ids: Mapping[str, Any]) -> str:
    """Return what is wrong with a COCO result, "" where nothing is."""
    missing = [key for key in KEYS if not isinstance(row, dict) or key not in row]
    if missing:
        return f" has no {missing[0]}. COCO results have image_id, category_id, bbox [x, y, width, height] and score."
    number, box, score, category = (row[key] for key in ("image_id", "bbox", "score", "category_id"))
    if not (isinstance(number, int | str) and number in place):
        named = f" ({row['file_name']!r})" if isinstance(row.get("file_name"), str) else ""
        return f" is of image {shown(number)}{named}, which the ground truth does not list; are these detections of other images?"
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(one) for one in [*box, score])):
        return f": bbox must be four finite numbers, [x, y, width, height], and score a number; got {shown(box)} and {shown(score)}."
    if box[2] < 0 or box[3] < 0:
        return f": the box {box} is inverted: width and height must be at least 0."
    if type(category) is not int or abs(category) >= 1 << 63:
        return f": category_id must be a whole number, but is {shown(category)}."
    return "" if 0 <= score <= 1 else f": the score is {score}; scores lie from 0 to 1."


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_COORDINATE_PX  # NaN compares as False


def _of_submission(table: Table, image_ids: Mapping[str, Any], category_id: int) -> list[Row]:
    """Return a Kaggle submission as COCO results.

    Raises:
      DataError: an exam is missing, unknown or a duplicate, or a PredictionString is malformed; with line and column.
    """
    seen: set[str] = set()
    rows: list[Row] = []
    for line, *cells in zip(table.lines, *map(table.column, SUBMISSION_HEADER), strict=True):
        name, text = cells[0].strip(), cells[1]
        exam = _exam(name, image_ids)
        if exam is None:
            raise DataError(f"{table.path}, line {line}: the ground truth has no exam {name!r}. Is this a submission for other images?")
        if exam in seen:
            raise DataError(f"{table.path}, line {line}: exam {exam!r} occurs twice. Put all its boxes into one line.")
        seen.add(exam)
        row = {"image_id": image_ids[exam], "file_name": exam, "category_id": category_id}
        rows += [row | entry for entry in _entries(text, f"{table.path}, line {line}")]
    if missing := [exam for exam in image_ids if exam not in seen]:
        raise DataError(
            f"{table.path} has no line for {len(missing)} exams, for example {missing[0]}. An exam without boxes has an empty PredictionString."
        )
    return rows


def _entries(text: str, where: str) -> Iterator[Row]:
    """Yield bbox and score of each box in a PredictionString."""
    tokens = list(_TOKEN.finditer(text))
    numbers = []
    for token in tokens:
        try:
            numbers.append(float(token[0]))
        except ValueError:
            raise DataError(f"{where}, column {token.start() + 1} of PredictionString: {token[0]!r} is no number.") from None
    if len(tokens) % 5:
        raise DataError(
            f"{where}: PredictionString has {len(tokens)} numbers; each box needs five, 'confidence x y width height' "
            f"(the last box begins at column {tokens[len(tokens) - len(tokens) % 5].start() + 1})."
        )
    for start in range(0, len(numbers), 5):
        score, *box = numbers[start : start + 5]
        if not np.isfinite(numbers[start : start + 5]).all() or box[2] < 0 or box[3] < 0 or not 0 <= score <= 1:
            raise DataError(
                f"{where}, column {tokens[start].start() + 1} of PredictionString: a box needs a confidence from 0 to 1 and "
                f"finite x, y, width and height, sides at least 0; got {text[tokens[start].start() : tokens[start + 4].end()]!r}."
            )
        yield {"bbox": box, "score": score}
