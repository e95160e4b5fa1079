"""Millions of detections as columns of numbers, and how plain COCO results become that without a dict for each.

columns = plain(data, {"0004cfab-…": 17})           # of the bytes of a JSON list; None where an entry is not plain, which detection_files reads
columns.scores
"""

import dataclasses
import itertools
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np

from pneumodet.core import boxes, json_text
from pneumodet.data.annotations import MAX_COORDINATE_PX

KEYS = ("image_id", "category_id", "bbox", "score")
"""Of a COCO result."""

_PLAIN = {"image_id": int, "category_id": int, "bbox": tuple[float, float, float, float], "score": float}
"""The same, with their types."""


_PIECE = 1 << 20
"""Bytes of JSON whose entries are objects at once: some thousand objects stay in the processor's cache, millions take three times the file's size."""


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """D detections.

    Attributes:
      case: (D,) int64 place of the exam among all.
      xywh_px: (D, 4) float64, as COCO has it.
      scores: (D,) float64 in [0, 1].
      categories: (D,) int64.
    """

    case: np.ndarray
    xywh_px: np.ndarray
    scores: np.ndarray
    categories: np.ndarray

    @property
    def xyxy_px(self) -> np.ndarray:
        """(D, 4) float64 left, top, right, bottom."""
        return boxes.xywh_to_xyxy_px(self.xywh_px)


def plain(data: bytes, image_ids: Mapping[str, Any]) -> Columns | None:
    """Return the detections of a JSON list whose entries all are right, of listed exams and without masks; else None."""
    if not set(map(type, image_ids.values())) <= {int}:
        return None
    try:
        known = np.fromiter(image_ids.values(), np.int64, len(image_ids))
        parts = [_of_piece(piece) for piece in json_text.pieces(data, _PIECE)]
    except (OverflowError, ValueError):
        return None
    numbers, categories, xywh_px, scores, names = zip(*parts, strict=True)
    if len(parts) > 1 and not all(map(len, numbers)):
        return None
    columns = [np.concatenate(column) for column in (numbers, categories, xywh_px, scores)]
    case = _places(columns[0], known)
    if case is None or not are_right(columns[2], columns[3]):
        return None
    if any(names):
        exams, ends = list(image_ids), np.cumsum([len(one) for one in numbers]).tolist()
        for end, of_piece in zip(ends, names, strict=True):
            places = case[end - len(of_piece) : end].tolist()
            if any(one not in (None, exams[place]) for place, one in set(zip(places, of_piece, strict=True))):
                return None
    return Columns(case, columns[2], columns[3], columns[1])


def _of_piece(piece: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str | None]]:
    """Return image ids, categories, boxes, scores and names of the entries of a JSON list; no names where none has one.

    Raises:
      ValueError: one of the entries is not plain.
      OverflowError: an id has more than 64 bits.
    """
    rows = json_text.alike(piece, _PLAIN, optional={"file_name": str}, none_of=["segmentation"])
    if rows is None:
        raise ValueError("an entry is not plain")
    count = len(rows)
    # without a line of Python for each of millions
    image, category, box, score = (map(attrgetter(one), rows) for one in KEYS)
    names = list(map(attrgetter("file_name"), rows))
    return (
        np.fromiter(image, np.int64, count),
        np.fromiter(category, np.int64, count),
        np.fromiter(itertools.chain.from_iterable(box), np.float64, 4 * count).reshape(-1, 4),
        np.fromiter(score, np.float64, count),
        names if set(names) - {None} else [],
    )


def _places(numbers: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """Return the (D,) int64 place of each number among those known, None where one is not known."""
    order = np.argsort(known, kind="stable")
    if not len(known):
        return None if len(numbers) else numbers
    place = np.minimum(np.searchsorted(known[order], numbers), len(known) - 1)
    nearest = order[place]
    return nearest if (known[nearest] == numbers).all() else None


def are_right(xywh_px: np.ndarray, scores: np.ndarray) -> bool:
    """Whether all boxes and scores are in their range."""
    # False for NaN, too
    return bool((np.abs(xywh_px) <= MAX_COORDINATE_PX).all() and (xywh_px[:, 2:] >= 0).all() and ((scores >= 0) & (scores <= 1)).all())
