"""Heat over a radiograph: a classifier's explanation or any other map, in colours that are told apart by everyone.

picture = overlay(rgb, heat, opacity=0.5)
"""

import numpy as np
from PIL import Image

_STOPS = (
    (0.0, (0, 0, 4)),
    (0.125, (33, 12, 74)),
    (0.25, (87, 16, 110)),
    (0.375, (138, 34, 106)),
    (0.5, (188, 55, 84)),
    (0.625, (228, 90, 49)),
    (0.75, (249, 142, 9)),
    (0.875, (249, 203, 53)),
    (1.0, (252, 255, 164)),
)
"""Colours from no heat to the most, matplotlib's inferno (CC0): lightness rises evenly, so that they are told apart with every kind of colour vision and in
gray print."""

_SCALE_WH = (160, 16)
_GROUND = 128  # a radiograph's middle gray


def overlay(picture: Image.Image, heat: np.ndarray, *, opacity: float) -> Image.Image:
    """Return a picture with a heatmap over it, as strong as it is hot; no heat leaves the picture as it is.

    Args:
      picture: RGB.
      heat: (H, W) uint8 over the whole picture, of any size.
      opacity: of the greatest heat, in [0, 1].
    """
    heat_image = Image.fromarray(heat).resize(picture.size, Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    table = np.stack([np.interp(levels, [at for at, _ in _STOPS], [rgb[band] for _, rgb in _STOPS]) for band in range(3)], axis=1)
    colours = Image.fromarray(np.uint8(np.rint(table))[np.asarray(heat_image)])
    mask = heat_image.point([round(level * opacity) for level in range(256)])
    return Image.composite(colours, picture, mask)


def scale(*, opacity: float) -> Image.Image:
    """Return the colours from no heat on the left to the most on the right, as ``overlay`` lays them over a middle gray."""
    width, height = _SCALE_WH
    ramp = np.tile(np.uint8(np.rint(np.linspace(0, 255, width))), (height, 1))
    return overlay(Image.new("RGB", _SCALE_WH, (_GROUND,) * 3), ramp, opacity=opacity)
