"""The worst radiographs of an evaluation, drawn: ground truth and the detections that count.

shown = list(pictures_of_worst(loaded, metrics, read))       # (exam, picture or None, "1 of 2 boxes missed")
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core.detections import Detections
from pneumodet.evaluation.inputs import Loaded
from pneumodet.viz import pictures

GALLERY = 24
"""Worst cases that are drawn."""

Read = Callable[[Iterable[str]], Iterable[tuple[str, np.ndarray]]]
"""Of exams -> (exam, (H, W) uint8 pixels) of those that there are."""


def pictures_of_worst(loaded: Loaded, metrics: Mapping[str, Any], read: Read | None) -> Iterator[tuple[str, Image.Image | None, str]]:
    """Yield (exam, picture with ground truth and detections or None, why it is here) of the worst cases."""
    cases = loaded.cases
    worst = metrics["worst"][:GALLERY]
    pixels = dict(read([one["name"] for one in worst])) if read else {}
    for one in worst:
        index, picture = one["case"], None
        if one["name"] in pixels:
            # at the exam's own threshold, so that the picture shows what the figures count
            mine = (cases.box_case == index) & (cases.scores >= (one["score_threshold"] or 0.0))
            detections = Detections(cases.boxes_xyxy_px[mine], cases.scores[mine], np.ones(int(mine.sum()), np.int64))
            truth = cases.truth_xyxy_px[cases.truth_case == index]
            picture = pictures.draw_boxes(pixels[one["name"]], truth_xyxy_px=truth, detections=detections, panel=False)
        yield one["name"], picture, one["reason"]
