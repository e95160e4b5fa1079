"""Masks of objects: the box, or the polygons that labels give within it.

png = encoded((1.0, 2.0, 5.0, 6.0), None, height=8, width=8)         # a PNG file of 0 and 1

A pixel belongs to an object where its centre does, for boxes and for polygons alike.
"""

import functools
import io
import math
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from pneumodet.data.annotations import Outline


@functools.lru_cache(maxsize=64)
def encoded(box_xyxy_px: tuple[float, float, float, float], outline: Outline | None, *, height: int, width: int) -> bytes:
    """Return a one-channel PNG of 0 and 1: 1 in every pixel whose centre lies within the object, and in one at least.

    Args:
      box_xyxy_px: within the image.
      outline: polygons, in the same px; None for the box. Where no pixel's centre lies within them, the box counts.
      height: px.
      width: px.
    """
    mask = None if outline is None else Image.fromarray(filled(outline, height, width))
    if mask is None or mask.getbbox() is None:
        low = [min(max(0, math.ceil(edge - 0.5)), side - 1) for edge, side in zip(box_xyxy_px[:2], (width, height), strict=True)]
        high = [max(first, math.ceil(edge - 0.5) - 1) for first, edge in zip(low, box_xyxy_px[2:], strict=True)]
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).rectangle((*low, *high), fill=1)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def filled(outline: Outline, height: int, width: int) -> np.ndarray:
    """Return (H, W) uint8, 1 within any of the polygons by the even-odd rule; what lies outside of the image is cut off."""
    mask = np.zeros((height, width), np.uint8)
    for polygon in outline:
        points = np.array(polygon, np.float64).reshape(-1, 2)
        ends = np.roll(points, -1, axis=0)
        first = min(max(0, math.ceil(points[:, 1].min() - 0.5)), height)
        last = min(max(0, math.ceil(points[:, 1].max() - 0.5)), height)
        for row in range(first, last):
            crossed = (points[:, 1] <= row + 0.5) != (ends[:, 1] <= row + 0.5)
            (x0, y0), (x1, y1) = points[crossed].T, ends[crossed].T
            at = np.sort(x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0))
            edges = np.clip(np.ceil(at - 0.5), 0, width).astype(int)
            for left, right in zip(edges[::2], edges[1::2], strict=True):
                mask[row, left:right] = 1
    return mask


def scaled(outline: Outline, scale_xy: Iterable[float]) -> Outline:
    """Return an outline with x and y multiplied."""
    x, y = scale_xy
    return tuple(tuple(value * (y if index % 2 else x) for index, value in enumerate(polygon)) for polygon in outline)
