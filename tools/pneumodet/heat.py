"""Heat over a radiograph: a classifier's explanation or any other map, in colours that are told apart by everyone.

picture = overlay(rgb, heat, opacity=0.5)
"""

import numpy as np
from PIL import Image

_STOPS = ((0.0, (0, 0, 0)), (0.35, (120, 28, 109)), (0.7, (237, 105, 37)), (1.0, (252, 255, 164)))
"""Colours from no heat to the most: of rising lightness, so that they are told apart with every kind of colour vision and in gray print."""


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
