"""Encoded images -> gray pixels near the size that a model looks at, by the rule of ``inference.sizes``: libjpeg decodes at such scales."""

import cv2
import numpy as np

from pneumodet.data import random_access, tf_example
from pneumodet.errors import DataError
from pneumodet.inference.sizes import factor, reduce, resize

__all__ = ["decode", "factor", "read", "reduce", "resize"]

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"

_TRAILING_BYTES = 64
"""Writers pad; the end marker of a whole JPEG file is among so many last bytes."""

_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""Factor -> OpenCV's flag: libjpeg then decodes at that scale, in a fraction of the time. Where a side is no multiple of the factor, its last px
covers less than the others, so that all are off by as much: 7 of 2,560 px at most."""


def read(reader: random_access.Reader, number: int) -> tf_example.Record:
    """Return a record, its image still encoded.

    Raises:
      DataError: it is damaged, or has not what records have; the message names file and number.
    """
    data = reader.read(number)
    try:
        return tf_example.decode(data)
    except DataError as error:
        raise DataError(f"{reader.where(number)}: {error}") from error


def decode(encoded: bytes, *, image_hw: tuple[int, int], target_hw: tuple[int, int], where: str) -> np.ndarray:
    """Decode a JPEG or PNG file and reduce it.

    Args:
      encoded: the file's bytes.
      image_hw: its height and width in px.
      target_hw: what the model looks at.
      where: names the image, for messages.

    Returns:
      (H, W) uint8 gray pixels.

    Raises:
      DataError: the file is damaged or of another kind.
    """
    by = factor(image_hw, target_hw)
    jpeg = encoded[:2] == _JPEG
    if jpeg and _JPEG_END not in encoded[-_TRAILING_BYTES:]:
        raise DataError(f"{where}: the JPEG image is cut off. Make the records again, or leave it out by --skip-corrupt.")
    reduced = max(one for one in _REDUCED if one <= by) if jpeg else 1
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), _REDUCED[reduced])
    except cv2.error:  # no bytes at all, or more px than OpenCV takes
        pixels = None
    if pixels is None:
        raise DataError(f"{where}: the image cannot be decoded. Make the records again, or leave it out by --skip-corrupt.")
    return reduce(pixels, target_hw)
