"""What a model detected on radiographs, in memory: boxes, scores, pictures, COCO results."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from pneumodet.api import pages
from pneumodet.core import detections as travelling
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.core.formatting import counted
from pneumodet.data.label_map import PNEUMONIA
from pneumodet.viz import pictures

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 12
"""Radiographs on a sheet, where nothing else is asked for."""


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a model detected on one radiograph: everything that scores at least 0.001, best first; ``above()`` has what counts as a finding.

    >>> prediction = pneumodet.load("workspace/first/export").predict("radiograph.png")
    >>> prediction.positive, round(prediction.score, 2), len(prediction.above())
    (True, 1.0, 1)
    >>> prediction.above().boxes_xyxy_px.tolist(), prediction.above().scores.round(2).tolist()
    ([[64.0, 64.0, 128.0, 128.0]], [1.0])
    >>> prediction.to_coco()[0]["bbox"]
    [64.0, 64.0, 64.0, 64.0]

    Attributes:
      exam: its name: that of the file without its suffix.
      detections: boxes, scores and classes.
      size_hw: height and width of the radiograph in px.
      label_map: class -> id.
      score_threshold: the model's operating point.
      probability: of pneumonia, as the model's validation data have it; None where the model was not calibrated. It is rough.
      image_scores: of a classifier, class -> score of the whole radiograph, and no boxes; empty of a detector.
    """

    exam: str
    detections: Detections
    size_hw: tuple[int, int]
    label_map: Mapping[str, int]
    score_threshold: float
    probability: float | None = None
    pixels: Callable[[], np.ndarray] | None = dataclasses.field(default=None, repr=False)
    image_scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def boxes_xyxy_px(self) -> np.ndarray:
        """(N, 4) float32, left, top, right, bottom in px of the radiograph."""
        return self.detections.boxes_xyxy_px

    @property
    def scores(self) -> np.ndarray:
        """(N,) float32 in [0, 1], falling."""
        return self.detections.scores

    @property
    def classes(self) -> np.ndarray:
        """(N,) int64 ids of ``label_map``."""
        return self.detections.classes

    @property
    def score(self) -> float:
        """The score of pneumonia: a detector's highest one, 0 without a detection."""
        return self.image_scores[PNEUMONIA] if self.image_scores else float(self._findings.scores.max(initial=0.0))

    @property
    def positive(self) -> bool:
        """Whether there is pneumonia at the operating point."""
        return self.score >= self.score_threshold if self.image_scores else len(self._findings.above(self.score_threshold)) > 0

    @property
    def _findings(self) -> Detections:
        category = self.label_map.get(PNEUMONIA)
        return self.detections if category is None else self.detections.of_class(category)

    def __len__(self) -> int:
        return len(self.detections)

    def above(self, score_threshold: float | None = None) -> "Prediction":
        """Return the same with those detections only that score at least a threshold; without one, the operating point."""
        threshold = self.score_threshold if score_threshold is None else score_threshold
        return dataclasses.replace(self, detections=self.detections.above(threshold))

    def plot(self, *, score_threshold: float | None = None, truth_xyxy_px: np.ndarray | None = None) -> "Image.Image":
        """Return the radiograph with the boxes that score at least a threshold.

        Args:
          score_threshold: the operating point where it is None.
          truth_xyxy_px: (M, 4) boxes of the ground truth, drawn dashed.

        Raises:
          DataError: the file is gone, or can no longer be read.
        """
        if self.pixels is None:
            raise DataError(f"The pixels of {self.exam} are not known. Predict on a file or an array.")
        names = {number: name for name, number in self.label_map.items()} if len(np.unique(self.classes)) > 1 else None
        drawn = self.above(score_threshold).detections
        return pictures.draw_boxes(self.pixels(), truth_xyxy_px=truth_xyxy_px, detections=drawn, names=names, title=self.exam)

    def to_coco(self) -> list[dict[str, Any]]:
        """Return COCO results: a dict a detection with image_id, file_name, category_id, bbox (xywh px) and score, of a model with masks segmentation."""
        return travelling.coco_rows(self.exam, self.detections, size_hw=self.size_hw)

    def __repr__(self) -> str:
        return f"<Prediction of {self.exam}: {self._sentence()}>"

    def _sentence(self) -> str:
        if self.image_scores:
            return f"pneumonia {self.score:.3f}, {'at' if self.positive else 'below'} the threshold of {self.score_threshold:.3f}"
        boxes = counted(len(self._findings.above(self.score_threshold)), "box")
        return f"{boxes} at score {self.score_threshold:.3f} or more; highest score {self.score:.3f}"

    def _repr_html_(self) -> str:
        picture = [] if self.pixels is None else [pages.picture(self.plot(), f"Radiograph {self.exam}: {self._sentence()}")]
        rows = [
            (f"{score:.3f}", *(f"{value:.0f}" for value in box))
            for box, score in zip(self.above().boxes_xyxy_px.tolist(), self.above().scores.tolist(), strict=True)
        ]
        table = pages.table("px", ("score", "left", "top", "right", "bottom"), rows)
        if self.image_scores:
            table = pages.table("Scores", ("class", "score"), [(name, f"{score:.3f}") for name, score in self.image_scores.items()])
        return pages.html(pages.line(f"{self.exam}: {self._sentence()}"), *picture, table)


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """What a model detected on several radiographs, in their order.

    >>> predictions = pneumodet.load("workspace/first/export").predict("radiographs")
    >>> [(one.exam, one.positive) for one in predictions]
    [('dark', False), ('square', True)]
    >>> [name for name, reason in predictions.refused]
    ['torn.dcm']
    >>> predictions["square"].to_coco()[0]["file_name"]
    'square'

    Attributes:
      refused: (name, reason) of files that were left out.
    """

    each: tuple[Prediction, ...]
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.each)

    @overload
    def __getitem__(self, index: int | str) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> "Predictions": ...
    def __getitem__(self, index: int | str | slice) -> "Prediction | Predictions":
        """Return one by its place or its exam, or several by a slice."""
        if isinstance(index, slice):
            return Predictions(self.each[index], self.refused)
        if isinstance(index, str):
            by_exam = {one.exam: one for one in self.each}
            if index not in by_exam:
                raise KeyError(index)
            return by_exam[index]
        return self.each[index]

    def by_score(self) -> "Predictions":
        """Return the same, the highest score first."""
        return Predictions(tuple(sorted(self.each, key=lambda one: (-one.score, one.exam))), self.refused)

    def plot(self, *, columns: int = 4, limit: int = SHOWN) -> "Image.Image":
        """Return a sheet of the radiographs with the highest scores.

        Raises:
          DataError: there is none, or a file can no longer be read.
        """
        first = self.by_score()[:limit]
        drawn = [pictures.draw_boxes(one.pixels(), detections=one.above().detections, panel=False) for one in first if one.pixels]
        return pictures.contact_sheet(drawn, columns=columns, captions=[(one.exam, f"{one.score:.3f}") for one in first if one.pixels])

    def to_coco(self) -> list[dict[str, Any]]:
        """Return COCO results of all, as ``Prediction.to_coco``."""
        return [row for one in self.each for row in one.to_coco()]

    def __repr__(self) -> str:
        return f"<Predictions of {self._sentence()}>"

    def _sentence(self) -> str:
        positive = sum(one.positive for one in self.each)
        left_out = f"; {counted(len(self.refused), 'file')} left out" if self.refused else ""
        return f"{counted(len(self.each), 'radiograph')}, {positive} with pneumonia{left_out}"

    def _repr_html_(self) -> str:
        rows = [(one.exam, f"{one.score:.3f}", str(len(one.above()))) for one in self.by_score()[:SHOWN]]
        sheet = [pages.picture(self.plot(), f"The radiographs with the highest scores of {len(self)}")] if len(self) else []
        return pages.html(
            pages.line(self._sentence()),
            *sheet,
            pages.table("The highest scores", ("radiograph", "score", "boxes"), rows),
            pages.table("Left out", ("file", "reason"), self.refused[:SHOWN]),
        )
