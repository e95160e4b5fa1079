"""Test-time augmentation: views of one radiograph on which a detector is run one after another, and the way back for its detections.

    views = parse("flip,scale=0.9")                            # ("identity", "flip", "scale=0.9")
    sets = detect(detector.detect, pixels, views)              # one Detections a view, all in px of the radiograph

Every view has the size of the radiograph, so that a batch of views is one array, and the model's own resizing does the rest.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError

IDENTITY, FLIP, SCALE = "identity", "flip", "scale"
"""The radiograph itself, which is always the first view; mirrored left to right; smaller or larger."""

SCALES = (0.5, 1.5)
"""Smallest and largest scale: beyond, a lung is a few px of the model's input, or most of it is cut off."""

CUT_MARGIN = 0.01
"""A box this near to an edge where an enlarged view was cut, as a share of the side, is taken for cut off: detectors miss an edge by some px."""

ONLY_IDENTITY = (IDENTITY,)

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in px."""

_ALLOWED = f"{IDENTITY}, {FLIP} and {SCALE}=S with S from {SCALES[0]} to {SCALES[1]}"


@dataclasses.dataclass(frozen=True)
class View:
    """One form in which a detector gets a radiograph.

    With ``scale`` S < 1 the radiograph is shrunk to S times its size, in the middle of a black canvas of its own size. With S > 1 its middle, 1 / S of
    each side, is enlarged to its own size. A box that the cut goes through is dropped, since where it ends cannot be seen; what lies outside the
    middle is left to the other views, and weighted boxes fusion then gives it the score of what not all of them have detected.

    Attributes:
      flip: mirror left to right.
      scale: S in ``SCALES``; 1 where nothing is scaled.
    """

    flip: bool = False
    scale: float = 1.0

    @property
    def name(self) -> str:
        """As ``parse`` takes it."""
        return FLIP if self.flip else IDENTITY if self.scale == 1 else f"{SCALE}={self.scale:g}"

    def seen(self, pixels: np.ndarray) -> np.ndarray:
        """Return the view of a radiograph, (H, W) or (H, W, 3) uint8; the same shape and dtype."""
        if self.flip:
            return np.ascontiguousarray(pixels[:, ::-1])
        if self.scale == 1:
            return pixels
        height, width = pixels.shape[:2]
        canvas_xyxy, shown_xyxy = self._rectangles(height=height, width=width)
        left, top, right, bottom = canvas_xyxy
        seen = np.zeros_like(pixels)
        # box= crops and resizes in one step: an enlarged view needs no picture in between
        small = Image.fromarray(pixels).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=shown_xyxy)
        seen[top:bottom, left:right] = np.asarray(small)
        return seen

    def back(self, boxes_xyxy_px: np.ndarray, *, size_hw: tuple[int, int]) -> np.ndarray:
        """Return boxes (N, 4) in px of the view where they lie on the radiograph of ``size_hw`` px, float64; not clipped."""
        height, width = size_hw
        if self.flip:
            return flipped_back(boxes_xyxy_px, width_px=width)
        canvas_xyxy, shown_xyxy = self._rectangles(height=height, width=width)
        return moved(boxes_xyxy_px, canvas_xyxy, shown_xyxy)

    def detections_back(self, detections: Detections, *, size_hw: tuple[int, int]) -> Detections:
        """Return detections in the view in px of the radiograph.

        Boxes are clipped to the radiograph; those that a cut goes through and those that lie beside the radiograph are left out.
        """
        if self == View():
            return detections
        height, width = size_hw
        limits = np.array([width, height, width, height])
        boxes = np.clip(self.back(detections.boxes_xyxy_px, size_hw=size_hw), 0, limits)
        # edges of a cut are where the view ends, so that they are compared in px of the view
        keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & ~self._cut_off(detections.boxes_xyxy_px, height=height, width=width)
        # a box that was cut off has another mask; of the views, those that scale are fused, which leaves no mask anyway
        masks = detections.masks[keep][:, :, ::-1] if detections.masks is not None and self.flip else None
        return Detections(boxes[keep], detections.scores[keep], detections.classes[keep], masks)

    def _cut_off(self, boxes_xyxy_px: np.ndarray, *, height: int, width: int) -> np.ndarray:
        """Return (N,) bool: the box, in px of the view, ends where the view was cut out of the radiograph."""
        _, (left, top, right, bottom) = self._rectangles(height=height, width=width)
        is_cut = np.array([left > 0, top > 0, right < width, bottom < height])
        lengths = np.array([width, height, width, height])
        from_edge = np.abs(boxes_xyxy_px - np.array([0, 0, width, height]))
        cut_off: np.ndarray = (is_cut & (from_edge <= CUT_MARGIN * lengths)).any(axis=1)
        return cut_off

    def _rectangles(self, *, height: int, width: int) -> tuple[Rectangle, Rectangle]:
        """Return (part of the view that is not black, part of the radiograph that it shows), both xyxy px."""
        factor = self.scale if self.scale < 1 else 1 / self.scale
        inner_height, inner_width = max(1, round(height * factor)), max(1, round(width * factor))
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        inner, whole = (left, top, left + inner_width, top + inner_height), (0, 0, width, height)
        return (inner, whole) if self.scale < 1 else (whole, inner)


def parse(text: str) -> tuple[str, ...]:
    """Return the names of the views that a text lists, separated by commas; ``identity`` is always the first, named or not.

    Raises:
      ConfigError: a view is unknown, is named twice, or has a scale that is out of range.
    """
    names = [view_of(part.strip()).name for part in text.split(",")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"The view {twice!r} is listed twice in {text!r}. Name each once.")
    return (IDENTITY, *(name for name in names if name != IDENTITY))


def view_of(name: str) -> View:
    """Return the view of a name.

    Raises:
      ConfigError: there is no such view.
    """
    if name in (IDENTITY, FLIP):
        return View(flip=name == FLIP)
    kind, equals, value = name.partition("=")
    try:
        scale = float(f"{float(value):g}")  # as precise as the name, so that a recipe gives the same view
    except ValueError:
        scale = math.nan
    if kind != SCALE or not equals or math.isnan(scale):
        raise ConfigError(f"There is no view {name!r}. Views are {_ALLOWED}, separated by commas.")
    if not SCALES[0] <= scale <= SCALES[1] or scale == 1:
        raise ConfigError(f"The view {name!r} has a scale that is not from {SCALES[0]} to {SCALES[1]}, or is 1. Views are {_ALLOWED}.")
    return View(scale=scale)


def detect(detector: Callable[[np.ndarray], Detections], pixels: np.ndarray, names: Sequence[str]) -> list[Detections]:
    """Run a detector on views of one radiograph.

    Args:
      detector: takes (H, W) uint8 and gives Detections in px of what it got.
      pixels: (H, W) uint8.
      names: of V views.

    Returns:
      V Detections, in px of ``pixels``.
    """
    views = [view_of(name) for name in names]
    return [view.detections_back(detector(view.seen(pixels)), size_hw=pixels.shape[:2]) for view in views]


def flipped_back(boxes_xyxy_px: np.ndarray, *, width_px: float) -> np.ndarray:
    """Return boxes (N, 4) on a left-right mirrored radiograph of ``width_px`` where they lie on the radiograph itself, float64."""
    boxes = np.asarray(boxes_xyxy_px, np.float64)
    return np.stack([width_px - boxes[:, 2], boxes[:, 1], width_px - boxes[:, 0], boxes[:, 3]], axis=1)


def moved(boxes_xyxy_px: np.ndarray, from_xyxy_px: Sequence[float], to_xyxy_px: Sequence[float]) -> np.ndarray:
    """Return boxes (N, 4) moved and scaled as the rectangle ``from_xyxy_px`` has to be to become ``to_xyxy_px``, float64."""
    corners, start, end = (np.asarray(one, np.float64).reshape(-1, 2, 2) for one in (boxes_xyxy_px, from_xyxy_px, to_xyxy_px))
    factor = (end[:, 1] - end[:, 0]) / (start[:, 1] - start[:, 0])
    return ((corners - start[:, :1]) * factor + end[:, :1]).reshape(-1, 4)
