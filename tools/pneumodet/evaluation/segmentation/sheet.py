"""Pictures of truth against prediction.

picture = tile(pixels, probabilities, truth_xyxy_px=truth, detections=boxes, image_hw=(1024, 1024))
"""

import numpy as np
from PIL import Image

from pneumodet.core.detections import Detections
from pneumodet.viz import heatmap
from pneumodet.viz.pictures import draw_boxes, with_key

TILE_PX = 384
"""Longer side of a picture."""

OPACITY = 0.6
"""Of the highest probability."""


def tile(
    pixels: np.ndarray,
    probabilities: np.ndarray,
    *,
    truth_xyxy_px: np.ndarray,
    detections: Detections,
    image_hw: tuple[int, int],
) -> Image.Image:
    """Draw an exam: probability as a heatmap over the radiograph, true boxes dashed, detected boxes solid with their scores.

    Args:
      pixels: (h, w) uint8, the input of the network.
      probabilities: (h, w) float in [0, 1].
      truth_xyxy_px: (N, 4) in px of the radiograph.
      detections: in px of the radiograph.
      image_hw: the radiograph's height and width in px.
    """
    scale = TILE_PX / max(image_hw)
    size_wh = (max(1, round(image_hw[1] * scale)), max(1, round(image_hw[0] * scale)))
    picture = Image.fromarray(pixels).convert("RGB").resize(size_wh, Image.Resampling.BILINEAR)
    hot = heatmap.overlay(picture, np.rint(255 * probabilities.astype(np.float64)).astype(np.uint8), opacity=OPACITY)
    # boxes are in px of the radiograph, the picture is smaller
    scaled = Detections(detections.boxes_xyxy_px * scale, detections.scores, detections.classes)
    return draw_boxes(np.asarray(hot), truth_xyxy_px=truth_xyxy_px * scale, detections=scaled, panel=False)


def keyed(sheet: Image.Image) -> Image.Image:
    """Return a sheet of such pictures with a strip above it that says what is what."""
    return with_key(sheet, solid="found, with its score", scale=heatmap.scale(opacity=OPACITY), scale_name="probability, 0 to 1")


def of_mask(pixels: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Draw a training sample: (h, w) uint8 pixels with the (h, w) mask, 0 to 1, as a heatmap over them."""
    return heatmap.overlay(Image.fromarray(pixels).convert("RGB"), np.rint(255 * mask).astype(np.uint8), opacity=OPACITY)
