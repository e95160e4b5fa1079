"""Encoded images -> gray pixels near the size that a model looks at. One rule for training, evaluation and prediction.

A model's own resizer samples bilinearly, which takes four px for each px it makes and leaves out all others: of a radiograph of 1024 px at 320 px it
loses most, and what is left is noisy. Images are first reduced by averaging, by the largest power of two that leaves them no smaller
than the model's input. It is a power of two since libjpeg decodes at such scales: a JPEG file and the same px from elsewhere must look the same to
a model. Of what 3 would reach, the resize takes the rest: radiographs of 1024 px at 320 px come closer to an average over areas so.
"""

import cv2
import numpy as np

from pneumodet.data import random_access, tf_example
from pneumodet.errors import DataError

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


def factor(image_hw: tuple[int, int], target_hw: tuple[int, int]) -> int:
    """Return the largest power of two that an image may be reduced by without being smaller than ``target_hw``, at least 1."""
    most = min(image_hw[0] // max(target_hw[0], 1), image_hw[1] // max(target_hw[1], 1))
    return 1 << max(most.bit_length() - 1, 0)


def reduce(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Reduce (H, W) uint8 pixels by averaging, to no less than ``target_hw``."""
    by = factor(pixels.shape, target_hw)
    if by == 1:
        return pixels
    height, width = pixels.shape
    return cv2.resize(pixels, (width // by, height // by), interpolation=cv2.INTER_AREA)


def resize(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Bring (H, W) uint8 pixels to a size, bilinearly with half-px centres, as ``tf.image.resize`` does.

    The models' own resizers take the corners for the centres, which moves what an image shows by up to half a px.
    """
    if pixels.shape == tuple(target_hw):
        return pixels
    return cv2.resize(pixels, target_hw[::-1], interpolation=cv2.INTER_LINEAR)


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
