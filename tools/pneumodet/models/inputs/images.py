"""A record's image as a Keras model gets it: decoded, reduced, its gray values normalized. One rule for training and evaluation.

sample = read(split.examples.read(17), size_hw=(224, 224), normalization="none")
sample.pixels                      # (H, W) uint8, not smaller than the model's input where the record's image is not
resized(sample.pixels, (224, 224)) # what the model takes where nothing is varied
"""

import dataclasses

import numpy as np

from pneumodet.data import equalizing, scaling
from pneumodet.data.examples import Example
from pneumodet.data.tf_example import Record


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """What is read of a record.

    Attributes:
      pixels: (H, W) uint8, reduced by averaging, normalized.
      boxes_yxyx_norm: (N, 4) float32 of the class asked for.
      record: all else, in px of its own image.
    """

    pixels: np.ndarray
    boxes_yxyx_norm: np.ndarray
    record: Record


def read(example: Example, *, size_hw: tuple[int, int], normalization: str, class_name: str = "pneumonia") -> Sample:
    """Read a record for a model that takes ``size_hw``.

    Raises:
      DataError: its image is damaged.
    """
    pixels = example.pixels(size_hw)
    of_class = np.array([name == class_name for name in example.record.class_names], bool)
    return Sample(equalizing.equalized(pixels, normalization), example.boxes_yxyx_norm[of_class].astype(np.float32), example.record)


def resized(pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return (H, W) uint8 pixels at the size that a model takes, (h, w) uint8."""
    return scaling.resize(pixels, size_hw)


def box_mask(boxes_yxyx_norm: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the (h, w) uint8 mask, 0 or 1, of the px whose centres lie in a box of (N, 4) boxes."""
    height, width = size_hw
    mask = np.zeros(size_hw, np.uint8)
    for top, left, bottom, right in boxes_yxyx_norm.astype(np.float64) * [height, width, height, width]:
        rows, columns = (slice(max(0, _first_px(low)), _first_px(high)) for low, high in ((top, bottom), (left, right)))
        mask[rows, columns] = 1
    return mask


def _first_px(edge_px: float) -> int:
    """Return the first px whose centre is not before an edge."""
    return int(np.ceil(edge_px - 0.5))
