"""How gray pixels are brought to a model's size: averaged down by a power of two, then resized bilinearly. One rule for all who read pixels.

It is a power of two since libjpeg decodes at such scales: a JPEG file and the same px from elsewhere must be the same to a model.

reduced = reduce(pixels, (320, 320))            # (512, 512) of (1024, 1024)
resize(reduced, (320, 320))
"""

import numpy as np


def factor(image_hw: tuple[int, int], target_hw: tuple[int, int]) -> int:
    """Return the largest power of two that an image may be reduced by without being smaller than ``target_hw``, at least 1."""
    most = min(image_hw[0] // max(target_hw[0], 1), image_hw[1] // max(target_hw[1], 1))
    return 1 << max(most.bit_length() - 1, 0)


def reduce(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Reduce (H, W) uint8 pixels by averaging, to no less than ``target_hw``."""
    height, width = pixels.shape
    by = factor((height, width), target_hw)
    if by == 1:
        return pixels
    import cv2  # 0.1 s that opening a record set does without

    reduced: np.ndarray = cv2.resize(pixels, (width // by, height // by), interpolation=cv2.INTER_AREA)
    return reduced


def resize(pixels: np.ndarray, target_hw: tuple[int, int]) -> np.ndarray:
    """Bring (H, W) uint8 pixels to a size, bilinearly with half-px centres, as ``tf.image.resize`` does.

    The models' own resizers take the corners for the centres, which moves what an image shows by up to half a px.
    """
    if pixels.shape == tuple(target_hw):
        return pixels
    import cv2

    resized: np.ndarray = cv2.resize(pixels, target_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return resized
