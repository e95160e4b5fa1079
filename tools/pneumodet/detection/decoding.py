"""Encoded images -> gray pixels near the size that a model looks at. One rule for training, evaluation and prediction.

A model's own resizer samples bilinearly, which takes four px for each px it makes and leaves out all others: of a radiograph of 1024 px at 320 px it
loses most, and what is left is noisy. Images are first reduced by averaging, by the largest whole factor that leaves them no smaller
than the model's input.
"""

import cv2
import numpy as np

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
"""Factor -> OpenCV's flag: libjpeg then decodes at that scale, in a fraction of the time."""


def factor(image_hw: tuple[int, int], target_hw: tuple[int, int]) -> int:
    """Return the largest whole number that an image may be reduced by without being smaller than ``target_hw``, at least 1."""
    return max(1, min(image_hw[0] // max(target_hw[0], 1), image_hw[1] // max(target_hw[1], 1)))


def reduce(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Reduce (H, W) uint8 pixels by averaging, to no less than ``target_hw``."""
    by = factor(pixels.shape, target_hw)
    if by == 1:
        return pixels
    height, width = pixels.shape
    return cv2.resize(pixels, (width // by, height // by), interpolation=cv2.INTER_AREA)


def resize(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Bring (H, W) uint8 pixels to a size, bilinearly with half-px centres, as TensorFlow's and the models' own resizers do."""
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
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), _REDUCED[reduced])
    if pixels is None:
        raise DataError(f"{where}: the image cannot be decoded. Make the records again, or leave it out by --skip-corrupt.")
    return reduce(pixels, target_hw)
