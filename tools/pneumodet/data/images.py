"""Radiographs -> images for records, whatever their file format.

image = encode(source, Options(max_side=1024))
pixels = read_pixels(source)
"""

import dataclasses
from typing import Any

import numpy as np

from pneumodet.data import dicom

NORMALIZE = ("none", "histogram", "clahe")
"""How gray values are spread: as they are, equalised over the whole image, or equalised in tiles (CLAHE)."""

EncodedImage = dicom.EncodedImage


@dataclasses.dataclass(frozen=True)
class Options:
    """What is done to images.

    Attributes:
      max_side: px of the longer side; larger images are shrunk.
      normalize: one of ``NORMALIZE``.
    """

    max_side: int | None = None
    normalize: str = "none"


def encode(source: Any, options: Options = Options()) -> EncodedImage:
    """Return an image as it goes into a record."""
    return dicom.encode_image(source)


def read_pixels(source: Any) -> np.ndarray:
    """Return (H, W) uint8, dark air and bright bone, on the original grid."""
    return dicom.read_pixels(source)
