"""What is written down: boxes, scores, the threshold they passed, and the algorithm.

findings = Findings(boxes_xyxy_px, scores, 0.35, algorithm)      # no boxes: no opacity at this threshold
"""

import dataclasses
import math

import numpy as np

from pneumodet.core.boxes import clip_xyxy_px
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.dicom.objects.identifiers import Algorithm

FOR_RESEARCH = "For research, not for diagnosis"
"""Stands in every object, where it is seen."""

SCORE_DECIMALS = 6
"""More than a float32 score is worth, and few enough for a Decimal String of 16 characters."""


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """The opacities that an algorithm detected on one radiograph, all of the pneumonia class.

    Attributes:
      boxes_xyxy_px: (N, 4) float32 left, top, right, bottom in px of the radiograph's pixel matrix; the left edge is 0, the right one is Columns.
      scores: (N,) float32 in [score_threshold, 1].
      score_threshold: in [0, 1].
      algorithm: what detected them.

    Raises:
      DataError: shapes do not fit, a value is not finite, a box is inverted, or a score is outside of its range.
    """

    boxes_xyxy_px: np.ndarray
    scores: np.ndarray
    score_threshold: float
    algorithm: Algorithm

    def __post_init__(self) -> None:
        checked = Detections(self.boxes_xyxy_px, self.scores, np.ones(np.shape(self.scores), np.int64))
        if not (math.isfinite(self.score_threshold) and 0 <= self.score_threshold <= 1):
            raise DataError(f"The score threshold must be a number from 0 to 1, but is {self.score_threshold}.")
        if len(checked.above(self.score_threshold)) < len(checked):
            raise DataError(
                f"A score of {checked.scores.min()} is below the threshold of {self.score_threshold}, which all findings must pass."
            )
        object.__setattr__(self, "boxes_xyxy_px", checked.boxes_xyxy_px)
        object.__setattr__(self, "scores", checked.scores)
        object.__setattr__(self, "score_threshold", float(self.score_threshold))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def summary(self) -> str:
        """A sentence without a full stop, such as ``2 opacities with a score of 0.35 or more``."""
        number = {0: "No opacity", 1: "1 opacity"}.get(len(self), f"{len(self)} opacities")
        return f"{number} with a score of {self.score_threshold:.6g} or more"

    def within(self, *, rows: int, columns: int) -> np.ndarray:
        """Return the boxes cut off at the image's edges, as (N, 4) float32 xyxy_px.

        Raises:
          DataError: one lies wholly outside, so that they belong to an image of another size.
        """
        left, top, right, bottom = self.boxes_xyxy_px.T
        # touching an edge is not outside: what is cut off at the edge has such a box
        outside = (left > columns) | (top > rows) | (right < 0) | (bottom < 0)
        if outside.any():
            box = self.boxes_xyxy_px[outside][0].tolist()
            raise DataError(f"Box {box} (xyxy px) lies outside of the radiograph of {columns} x {rows} px. Give boxes in px of its file.")
        return clip_xyxy_px(self.boxes_xyxy_px, height=rows, width=columns)
