"""Contrast of an 8-bit radiograph: histogram equalization and CLAHE, one place for records, training, exploration and prediction.

    equalized(pixels, "clahe")              # (H, W) uint8 -> (H, W) uint8

CLAHE: Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994. Both are OpenCV's.
"""

import numpy as np

from pneumodet.core.errors import ConfigError, DataError

NORMALIZATIONS = ("none", "histogram", "clahe")
"""Names that ``equalized`` takes."""

CLIP_LIMIT = 2.0
"""CLAHE: no bin of a tile counts more than this many times the mean bin, which limits how much noise is amplified. With ``TILES_HW``, the values of
most work on chest radiographs (Pizer et al. 1987)."""

TILES_HW = (8, 8)
"""CLAHE: rows and columns of tiles, each with a gray curve of its own."""


def checked_name(normalization: str) -> str:
    """Return the name of a normalization.

    Raises:
      ConfigError: it is none of ``NORMALIZATIONS``.
    """
    if normalization not in NORMALIZATIONS:
        raise ConfigError(f"normalization {normalization!r} is not known; choose one of {', '.join(NORMALIZATIONS)}.")
    return normalization


def equalized(pixels: np.ndarray, normalization: str) -> np.ndarray:
    """Return a radiograph with its contrast made even.

    Args:
      pixels: (H, W) or (H, W, 1) uint8.
      normalization: "none" returns the same array, "histogram" gives every gray about as many pixels over the whole image, "clahe" does so in
        tiles and with limited gain.

    Returns:
      As ``pixels``: same shape, uint8.

    Raises:
      ConfigError: there is no normalization of that name.
      DataError: the pixels are not 8 bit, or not one gray channel.
    """
    checked_name(normalization)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{normalization} equalization works on 8-bit gray values, not on {pixels.dtype}; apply the window first, as dicom.reading does "
            "(tools/make_tfrecords.py writes 8-bit records)."
        )
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,)):
        raise DataError(f"{normalization} equalization takes one gray channel, (H, W) or (H, W, 1); got the shape {pixels.shape}.")
    if normalization == "none" or not pixels.size:
        return pixels
    import cv2  # here: settings name the normalizations without what applies them

    gray = np.ascontiguousarray(pixels).reshape(pixels.shape[:2])
    if normalization == "histogram":
        even: np.ndarray = cv2.equalizeHist(gray)
        return even.reshape(pixels.shape)
    clahe = cv2.createCLAHE(CLIP_LIMIT, TILES_HW[::-1])  # a new one each time: the object is not safe between threads
    local: np.ndarray = clahe.apply(gray)
    return local.reshape(pixels.shape)
