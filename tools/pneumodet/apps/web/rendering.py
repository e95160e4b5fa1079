"""Radiograph, window, boxes, truth and heatmap -> one picture, small for the screen or of full size for a file.

picture = draw(radiograph, case, Display(score_threshold=0.3), max_side_px=SCREEN_PX)
data = as_jpeg(picture)
"""

import dataclasses
import io

import numpy as np
from PIL import Image, ImageDraw

from pneumodet.apps.web.cases import Case
from pneumodet.apps.web.window import Radiograph, Window
from pneumodet.core.detections import Detections
from pneumodet.viz import heatmap, pictures

SCREEN_PX = 1_100
"""Longer side of the picture on the page at the most; its column is not wider on any usual screen."""

JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True, eq=False)
class Display:
    """How a case is shown.

    Attributes:
      score_threshold: boxes that score less are left out.
      window: of the gray values; None as the file says.
      boxes: whether findings are drawn.
      truth_xyxy_px: (N, 4) ground truth to draw, or None.
      heatmap: (H, W) uint8 heatmap to lay over, or None.
      heatmap_opacity: in [0, 1].
    """

    score_threshold: float
    window: Window | None = None
    boxes: bool = True
    truth_xyxy_px: np.ndarray | None = None
    heatmap: np.ndarray | None = None
    heatmap_opacity: float = 0.5


def draw(radiograph: Radiograph, case: Case, display: Display, *, max_side_px: int | None = None) -> Image.Image:
    """Return the RGB picture of a case, with square pixels.

    Args:
      radiograph: of the case.
      case: its findings.
      display: how it is shown.
      max_side_px: the longer side at the most; None for the radiograph's own size.
    """
    picture = Image.fromarray(radiograph.windowed(display.window))
    width, height = picture.size
    # pixels that are not square are only stretched: nothing is lost at full size
    size_xy = np.array([width * max(1 / case.facts.aspect, 1.0), height * max(case.facts.aspect, 1.0)])
    if max_side_px is not None:
        size_xy *= min(1.0, max_side_px / size_xy.max())
    to_xy = tuple(max(1, round(side)) for side in size_xy)
    if to_xy != picture.size:
        picture = picture.resize(to_xy, Image.Resampling.BILINEAR, reducing_gap=2.0)
    # boxes are in px of the file; rounded sizes may scale height and width apart
    scale = np.tile(np.divide(to_xy, (width, height)), 2)
    picture = picture.convert("RGB")
    # under the boxes, whose lines it must not colour
    if display.heatmap is not None:
        picture = heatmap.overlay(picture, display.heatmap, opacity=display.heatmap_opacity)
    kept = case.detections.above(display.score_threshold)
    return pictures.draw_boxes(
        np.asarray(picture),
        truth_xyxy_px=None if display.truth_xyxy_px is None else display.truth_xyxy_px * scale,
        detections=Detections(kept.boxes_xyxy_px * scale, kept.scores, kept.classes, kept.masks) if display.boxes else None,
    )


def page_icon() -> Image.Image:
    """Return the icon of the browser's tab: a box on a dark ground. Streamlit would fetch its own ones from another server."""
    icon = Image.new("RGB", (32, 32), (27, 31, 36))
    ImageDraw.Draw(icon).rectangle((7, 9, 24, 22), outline=pictures.DETECTION_RGB, width=4)
    return icon


def as_jpeg(picture: Image.Image) -> bytes:
    """Return a JPEG file for the screen."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def as_png(picture: Image.Image) -> bytes:
    """Return a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
