"""Lookup tables over all values that a pixel can have, and the window of a radiograph that says none.

    gray = apply(table, pixels)              # (H, W) uint8 of one entry for each bit pattern
    low, high = robust_limits(values, histogram(pixels))

Pixels have 16 bits at most, so Modality LUT, VOI LUT or window, and presentation (PS3.3 C.11.1, C.11.2, C.11.6) cost 65,536 values a file
instead of millions, and the bits of a word that are not part of the value cost nothing. ``display`` makes the tables.
"""

from collections.abc import Sequence

import numpy as np

from pneumodet.dicom.elements import DicomError, Elements, name_of

ROBUST_SHARES = (0.005, 0.995)
"""Window of a radiograph that has no VOI LUT and more than 8 bits: between these shares of its pixels, ordered by value."""

HISTOGRAM_PIXELS = 1 << 18
"""Pixels, in about as many whole rows, from which that window is taken in a larger image."""

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luminance (ITU-R BT.601, which YBR_FULL of PS3.3 C.7.6.3.1.2 is made with)."""

_BLOCK = 1 << 18
"""Pixels whose entries are read at once: their indices stay in the processor's cache."""


def apply(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: each pixel's entry of a table by its bit pattern.

    Args:
      table: (256,) or (65536,) uint8, by the pattern as unsigned number.
      pixels: (H, W) of 8 or 16 bits, in the machine's byte order.
    """
    patterns = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}").reshape(-1)
    out = np.empty(patterns.size, np.uint8)
    for start in range(0, patterns.size, _BLOCK):
        part = patterns[start : start + _BLOCK]
        np.take(table, part, mode="wrap", out=out[start : start + part.size])  # no pattern is outside; "raise" makes a copy
    return out.reshape(pixels.shape)


def histogram(pixels: np.ndarray) -> np.ndarray:
    """Return (256,) or (65536,) number of pixels of every bit pattern, in evenly spaced rows where there are many.

    Args:
      pixels: (H, W) of 8 or 16 bits, in the machine's byte order.
    """
    rows = pixels[:: max(1, pixels.size // HISTOGRAM_PIXELS)]
    patterns = np.ascontiguousarray(rows).view(f"u{pixels.itemsize}")
    return np.bincount(patterns.reshape(-1), minlength=1 << 8 * pixels.itemsize)


def robust_window(values: np.ndarray, counts: np.ndarray, shares: Sequence[float] = ROBUST_SHARES) -> list[float]:
    """Return the smallest values that at least these shares of the pixels reach or lie below.

    Args:
      values: (N,) value of every pattern.
      counts: (N,) pixels of every pattern; at least one pixel.
      shares: each in [0, 1].
    """
    used = counts.nonzero()[0]
    used = used[values[used].argsort()]
    total = counts[used].cumsum()
    window: list[float] = values[used[np.searchsorted(total, np.multiply(shares, total[-1]))]].tolist()
    return window


def robust_limits(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the lower and upper end of ``robust_window``; of all values where nearly all pixels have the same one. Arguments as there."""
    low, high = robust_window(values, counts)
    if low < high:
        return low, high
    there = values[counts > 0]
    return float(there.min()), float(there.max())


def robust_shares(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return values as shares of their ``robust_limits``, not clipped; 0 where all pixels are alike. Arguments as there."""
    return shares_of(values, robust_limits(values, counts))


def shares_of(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return (N,) values as shares of the range between two, not clipped; 0 where these are one."""
    low, high = limits
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def to_8_bit(shares: np.ndarray) -> np.ndarray:
    """Return shares of the gray range as (N,) uint8, clipped."""
    return np.asarray(np.rint(255 * np.clip(shares, 0, 1)), np.uint8)


def gray_of(shares: np.ndarray, *, inverted: bool, padding: np.ndarray | None) -> np.ndarray:
    """Return ``to_8_bit``, dark air and bright bone.

    Args:
      shares: (N,) of the gray range.
      inverted: whether the largest values are dark.
      padding: (N,) bool, what is black; None where nothing is padding.
    """
    gray = to_8_bit(shares)
    if inverted:
        gray = ~gray
    return gray if padding is None else np.where(padding, np.uint8(0), gray)


def read(header: Elements, descriptor: int, data: int, *, signed: bool) -> tuple[int, int, np.ndarray]:
    """Return (bits of an entry, value that the first entry is for, (N,) entries) of a lookup table (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5)."""
    words = [int(one) for one in header.numbers(descriptor)]
    if len(words) != 3 or not 1 <= words[2] <= 16:
        raise DicomError(f"{name_of(descriptor)} is unusable.")
    number, first, bits = (words[0] & 0xFFFF) or 1 << 16, words[1] & 0xFFFF, words[2]  # 65,536 does not fit and is written as 0
    if first > 0x7FFF and (signed or words[1] < 0):
        first -= 1 << 16
    value = header.value(data)
    if len(value) >= 2 * number:
        return bits, first, np.frombuffer(value, f"{header.order}u2", number).astype(np.int64)
    if number <= len(value) and bits <= 8:
        return bits, first, np.frombuffer(value, np.uint8, number).astype(np.int64)
    raise DicomError(f"{name_of(data)} has fewer entries than {name_of(descriptor)} says.")


def look_up(lut: tuple[int, int, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return values' entries as shares of the largest that fits; values outside of the table have its first or last entry."""
    bits, first, entries = lut
    shares: np.ndarray = entries[np.clip(values - first, 0, len(entries) - 1)] / ((1 << bits) - 1)
    return shares
