"""Masks of objects: as a network gives them, within a box; over the radiograph; and as COCO's run lengths.

    mask = on_image(mask_in_box, (10.0, 20.0, 110.0, 80.0), height=1024, width=1024)        # (1024, 1024) bool
    rle = to_rle(mask)                                       # {"size": [1024, 1024], "counts": "…"}
    from_rle(rle)

Run lengths are those of pycocotools (maskApi.c), whose package prediction has no other need of: column by column, beginning with pixels outside, each
number from the fourth on as its difference to the one two places before, in groups of five bits.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HALF = 0.5
"""From this value on a pixel belongs to the object, as in Mask R-CNN (He et al., 2017, arXiv:1703.06870)."""

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48
"""Of a group in the text of run lengths: its bits, the mark that another group follows, the bit of the sign, and the character of 0."""


def on_image(mask_in_box: np.ndarray, box_xyxy_px: Sequence[float], *, height: int, width: int) -> np.ndarray:
    """Return (H, W) bool, the pixels of a radiograph whose centres lie in the object.

    Args:
      mask_in_box: (m, n) float in [0, 1], rows from the box's top to its bottom; between their centres values are interpolated linearly.
      box_xyxy_px: in px of the radiograph; it may reach over the edges.
      height: of the radiograph, px.
      width: of the radiograph, px.
    """
    mask = np.zeros((height, width), bool)
    left, top, right, bottom = (float(value) for value in box_xyxy_px)
    rows, weights_of_rows = _weights(top, bottom, np.shape(mask_in_box)[0], height)
    columns, weights_of_columns = _weights(left, right, np.shape(mask_in_box)[1], width)
    mask[rows, columns] = weights_of_rows @ np.asarray(mask_in_box, np.float64) @ weights_of_columns.T >= HALF
    return mask


def _weights(low: float, high: float, cells: int, side: int) -> tuple[slice, np.ndarray]:
    """Return (the pixels whose centres lie from low to high, (P, cells) weights of the cells for each of them)."""
    first, last = (min(max(0, math.ceil(edge - 0.5)), side) for edge in (low, high))
    if last <= first:
        return slice(0, 0), np.zeros((0, cells))
    at = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
    # beyond the centres of the outermost cells their values hold
    at = np.clip(at, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, np.newaxis] - np.arange(cells)))
    return slice(first, last), weights


def to_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's compressed run lengths of an (H, W) bool mask: ``size`` [H, W] and ``counts``, a text."""
    mask = np.asarray(mask, bool)
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    first, last = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)  # most of a radiograph is no part of an opacity
    flat = np.concatenate([[False], mask[:, first:last].ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + first * height
    ends = changes if len(changes) and changes[-1] == mask.size else [*changes, mask.size]
    return {"size": [height, width], "counts": _text(np.diff([0, *ends]).tolist())}


def from_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Return the (H, W) bool mask of COCO's run lengths, compressed or as a list of numbers.

    Raises:
      ValueError: they do not fill the image, or are no run lengths.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    lengths = _numbers(counts) if isinstance(counts, str | bytes) else [int(count) for count in counts]
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} pixels for an image of {height} x {width}")
    values = np.zeros(len(lengths), bool)
    values[1::2] = True
    return np.repeat(values, lengths).reshape((height, width), order="F")


def area(rle: Mapping[str, Any]) -> int:
    """Return how many pixels a mask in run lengths has."""
    counts = rle["counts"]
    return int(sum((_numbers(counts) if isinstance(counts, str | bytes) else counts)[1::2]))


def _text(counts: Sequence[int]) -> str:
    characters = []
    for place, count in enumerate(counts):
        left, more = count - counts[place - 2] if place > 2 else count, True
        while more:
            group = left & (_MORE - 1)
            left >>= _BITS
            # all that is left is the sign, which the group's highest bit has already
            more = left != -1 if group & _SIGN else left != 0
            characters.append(chr((group | _MORE if more else group) + _FIRST))
    return "".join(characters)


def _numbers(text: str | bytes) -> list[int]:
    numbers: list[int] = []
    value = shift = 0
    for character in text if isinstance(text, bytes) else text.encode("ascii"):
        group = character - _FIRST
        if not 0 <= group < 2 * _MORE:
            raise ValueError(f"{chr(character)!r} is no part of run lengths")
        value |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if group & _MORE:
            continue
        value -= (1 << shift) if group & _SIGN else 0
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run lengths are cut off")
    return numbers
