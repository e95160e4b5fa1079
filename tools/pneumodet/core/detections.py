"""Detections as they travel: in memory, as COCO results, as a Kaggle submission.

by_patient = {"0004cfab": Detections(boxes_xyxy_px, scores, classes)}     # patientId -> Detections
write_coco_results(folder / "detections.json", by_patient)
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import csv_cells, paths
from pneumodet.core import masks as object_masks
from pneumodet.core.errors import DataError

BOX_DECIMALS = 2
"""Box coordinates are written to 0.01 px; scores are written in full, so that a threshold keeps the same boxes after reading."""

SUBMISSION_HEADER = ("patientId", "PredictionString")
"""Columns of the RSNA challenge's submission."""

SCORE_HEADER = ("patientId", "score")
"""Columns of a CSV of image-level scores, which post-processing takes as a gate."""

SCORE_DIGITS = 6
"""Significant ones, of scores in that CSV: of a weak model all may be below 1e-4."""


def image_id(patient_id: str) -> int:
    """Return the COCO image id of an exam: the first 48 bits of SHA-256 of its patientId.

    The same exam has the same id in instances.json and in any detections.json, wherever and whenever they are written,
    and the number fits a JSON double exactly.
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:6], "big")


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """What a model detected on one radiograph.

    Attributes:
      boxes_xyxy_px: (N, 4) float32, left, top, right, bottom in px of the radiograph.
      scores: (N,) float32 in [0, 1].
      classes: (N,) int64 label-map ids, from 1.
      masks: (N, m, n) uint8, how sure the model is of each part of each box that it belongs to the object, times 255, rows from top to bottom; None
        where the model gives boxes only.

    Raises:
      DataError: shapes do not fit, a value is not finite, a box is inverted, a score is outside [0, 1] or a class is below 1.
    """

    boxes_xyxy_px: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes, scores, classes = (np.asarray(one) for one in (self.boxes_xyxy_px, self.scores, self.classes))
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        count = len(boxes)
        if boxes.shape != (count, 4) or scores.shape != (count,) or classes.shape != (count,):
            raise DataError(
                f"Detections need boxes (N, 4), scores (N,) and classes (N,), but got {boxes.shape}, {scores.shape} and {classes.shape}."
            )
        if self.masks is not None and (self.masks.ndim != 3 or len(self.masks) != count or self.masks.dtype != np.uint8):
            raise DataError(f"{count} detections need masks ({count}, m, n) uint8, but got {self.masks.shape} {self.masks.dtype}.")
        # before the order of the edges, since comparisons with NaN are False and would let it pass
        if not np.isfinite(boxes).all():
            raise DataError(
                f"Detection {_first_row(~np.isfinite(boxes))} has a box that is not finite. The model is broken; train it again."
            )
        inverted = np.any(np.asarray(boxes[:, 2:] < boxes[:, :2]), axis=1)
        if inverted.any():
            row = _first_row(inverted)
            raise DataError(f"Detection {row} has right < left or bottom < top: {boxes[row].tolist()} (xyxy px).")
        outside = ~((scores >= 0) & (scores <= 1))  # a comparison with NaN is False
        if outside.any():
            row = _first_row(outside)
            raise DataError(f"Detection {row} has the score {scores[row]}; scores lie from 0 to 1.")
        below = np.asarray(classes < 1)
        if below.any():
            raise DataError(f"Detection {_first_row(below)} has class {classes.min()}; classes are label-map ids from 1.")
        for name, value, dtype in (("boxes_xyxy_px", boxes, np.float32), ("scores", scores, np.float32), ("classes", classes, np.int64)):
            object.__setattr__(self, name, value.astype(dtype))

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> "Detections":
        """Return those that score at least ``threshold``."""
        return self._where(self.scores.astype(np.float64) >= threshold)  # float64: as metrics.rsna compares

    def of_class(self, category_id: int) -> "Detections":
        """Return those of one class."""
        return self._where(self.classes == category_id)

    def _where(self, mask: np.ndarray) -> "Detections":
        masks = None if self.masks is None else self.masks[mask]
        return Detections(self.boxes_xyxy_px[mask], self.scores[mask], self.classes[mask], masks)

    def mask(self, index: int, *, size_hw: tuple[int, int]) -> np.ndarray:
        """Return the (H, W) bool mask of a detection over the radiograph of ``size_hw`` px.

        Raises:
          DataError: there are no masks.
        """
        if self.masks is None:
            raise DataError("These detections are boxes without masks.")
        height, width = size_hw
        return object_masks.on_image(self.masks[index] / 255, self.boxes_xyxy_px[index], height=height, width=width)

    @classmethod
    def none(cls) -> "Detections":
        """Return no detections."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def _first_row(mask: np.ndarray) -> int:
    return int(np.argwhere(mask)[0][0])


def to_coco(
    detections_by_patient: Mapping[str, Detections], *, sizes_hw: Mapping[str, tuple[int, int]] | None = None
) -> list[dict[str, Any]]:
    """Return COCO results: one dict a detection with image_id, file_name (the patientId), category_id, bbox (xywh px) and score.

    COCO results have no entry for an exam without detections.

    Args:
      detections_by_patient: patientId -> Detections.
      sizes_hw: patientId -> height and width in px; with it, masks are written, too, as ``segmentation`` in COCO's run lengths.
    """
    sizes_hw = sizes_hw or {}
    return [row for exam, detections in detections_by_patient.items() for row in coco_rows(exam, detections, size_hw=sizes_hw.get(exam))]


def coco_rows(patient_id: str, detections: Detections, *, size_hw: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """Return the entries of ``to_coco`` for one exam, of ``size_hw`` px."""
    number = image_id(patient_id)
    boxes = detections.boxes_xyxy_px.astype(np.float64)  # float32 subtraction would show in the second decimal of a wide radiograph
    boxes_xywh_px = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(BOX_DECIMALS)
    rows: list[dict[str, Any]] = [
        {"image_id": number, "file_name": patient_id, "category_id": category, "bbox": box, "score": score}
        for box, score, category in zip(boxes_xywh_px.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True)
    ]
    if detections.masks is not None and size_hw is not None:
        for index, row in enumerate(rows):
            row["segmentation"] = object_masks.to_rle(detections.mask(index, size_hw=size_hw))
    return rows


def write_coco_results(path: Path, detections_by_patient: Mapping[str, Detections]) -> None:
    """Write ``to_coco(detections_by_patient)`` as JSON, atomically.

    Raises:
      DataError: the file cannot be written.
    """
    paths.write_json(path, to_coco(detections_by_patient))


@contextlib.contextmanager
def scores_into(path: Path, *further: str) -> Iterator[Callable[..., None]]:
    """Open a CSV of image-level scores, which appears whole or not at all.

    Args:
      path: the file.
      further: columns beside those of ``SCORE_HEADER``.

    Yields:
      What writes a row: of an exam, its score, and the cells of the further columns.
    """
    with paths.atomic_path(path) as tmp, open(tmp, "w", newline="", encoding="utf-8") as handle:
        writer = csv_cells.Writer(handle)
        writer.writerow((*SCORE_HEADER, *further))
        yield lambda exam, score, *cells: writer.writerow((exam, score_text(score), *cells))


def score_text(score: float) -> str:
    """Return an image-level score as a CSV has it."""
    return f"{score:.{SCORE_DIGITS}g}"


def write_scores(path: Path, scores: Iterable[tuple[str, float]]) -> None:
    """Write ``patientId,score`` of (exam, image-level score), atomically, in their order."""
    with scores_into(path) as add:
        for exam, score in scores:
            add(exam, score)


def prediction_string(detections: Detections) -> str:
    """Return a submission's PredictionString for one exam: "confidence x y width height" of each detection."""
    return " ".join(f"{row['score']:.6g} " + " ".join(f"{value:g}" for value in row["bbox"]) for row in coco_rows("", detections))
