"""A heatmap over a radiograph: a classifier's explanation or any other map, in colours that everyone can distinguish.

picture = overlay(rgb, heatmap, opacity=0.5)
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
"""Colours from 0 to the largest value, matplotlib's inferno (CC0): lightness rises evenly, so that they differ with every kind of colour vision and in
gray print."""

_SCALE_WH = (160, 16)
_GROUND = 128  # a radiograph's middle gray


def overlay(picture: Image.Image, heatmap: np.ndarray, *, opacity: float) -> Image.Image:
    """Return a picture with a heatmap over it, as opaque as its values are large; where it is 0 the picture stays as it is.

    Args:
      picture: RGB.
      heatmap: (H, W) uint8 over the whole picture, of any size.
      opacity: of 255, in [0, 1].
    """
    heatmap_image = Image.fromarray(heatmap).resize(picture.size, Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    table = np.stack([np.interp(levels, [at for at, _ in _STOPS], [rgb[band] for _, rgb in _STOPS]) for band in range(3)], axis=1)
    colours = Image.fromarray(np.rint(table).astype(np.uint8)[np.asarray(heatmap_image)])
    # opacity grows with the value, so that a region without any shows the radiograph itself and not the darkest colour over it
    mask = heatmap_image.point([round(level * opacity) for level in range(256)])
    return Image.composite(colours, picture, mask)


def scale(*, opacity: float) -> Image.Image:
    """Return the colours from 0 on the left to 255 on the right, as ``overlay`` lays them over a middle gray."""
    width, height = _SCALE_WH
    ramp = np.tile(np.rint(np.linspace(0, 255, width)).astype(np.uint8), (height, 1))
    return overlay(Image.new("RGB", _SCALE_WH, (_GROUND,) * 3), ramp, opacity=opacity)
