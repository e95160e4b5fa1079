"""Stored values of a DICOM image -> gray values, by one table over all values that a pixel can have.

    table, notes = gray_table(header, bits=12, dtype=pixels.dtype, histogram=lambda: histogram(pixels))
    gray = apply(table, pixels)              # (H, W) uint8, dark air and bright bone

Pixels have 16 bits at most, so Modality LUT, VOI LUT or window, and presentation (PS3.3 C.11.1, C.11.2, C.11.6) cost 65,536 values a file
instead of millions, and the bits of a word that are not part of the value cost nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pneumodet.dicom.elements import DicomError, Elements, name_of

ROBUST_SHARES = (0.005, 0.995)
"""Window of a radiograph that has no VOI LUT and more than 8 bits: between these shares of its pixels, ordered by value."""

HISTOGRAM_PIXELS = 1 << 18
"""Pixels, in about as many whole rows, from which that window is taken in a larger image."""

PHOTOMETRIC, PRESENTATION_SHAPE, PRESENTATION_LUT = 0x00280004, 0x20500020, 0x20500010
WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION, VOI_LUT = 0x00281050, 0x00281051, 0x00281056, 0x00283010
INTERCEPT, SLOPE, MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_DESCRIPTOR, _DATA = 0x00283002, 0x00283006
_PALETTE = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luminance (ITU-R BT.601, which YBR_FULL of PS3.3 C.7.6.3.1.2 is made with)."""

_BLOCK = 1 << 18
"""Pixels whose entries are read at once: their indices stay in the processor's cache."""


def is_plain(header: Elements) -> bool:
    """Whether 8-bit values are shown as they are, or inverted: gray, without rescale, LUT or window that changes them.

    Raises:
      DicomError: a value is not what it should be.
    """
    window = _window(header)
    return (
        header.ascii(PHOTOMETRIC).startswith("MONOCHROME")
        and (not header.places.keys() & {MODALITY_LUT, VOI_LUT} or not (header.first_item(MODALITY_LUT) or header.first_item(VOI_LUT)))
        and _number(header, SLOPE, 1.0) == 1.0
        and _number(header, INTERCEPT, 0.0) == 0.0
        and (window is None or _is_full(window))
    )


def is_inverted(header: Elements) -> bool:
    """Whether the largest values are dark; MONOCHROME1 and PresentationLUTShape INVERSE say the same, so both together turn the image once."""
    return header.ascii(PHOTOMETRIC) == "MONOCHROME1" or header.ascii(PRESENTATION_SHAPE) == "INVERSE"


def gray_table(
    header: Elements, *, bits: int, shift: int, dtype: np.dtype, histogram: Callable[[], np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the gray value of every bit pattern of a one-sample pixel.

    Args:
      header: the image's elements.
      bits: that a value has, 1 to 16, of which the highest is the sign where ``dtype`` is signed.
      shift: position of a value's lowest bit.
      dtype: of the pixels; 8 or 16 bits.
      histogram: called where a window has to be computed: number of pixels of every bit pattern, as ``histogram`` returns it.

    Returns:
      ((256,) or (65536,) uint8 by the pattern as unsigned number, notes for counting).

    Raises:
      DicomError: a LUT, a window or a rescale is unusable.
    """
    patterns = np.arange(1 << 8 * dtype.itemsize)
    stored = patterns >> shift & (1 << bits) - 1
    signed = dtype.kind == "i"
    if signed:
        stored = stored - ((stored >> bits - 1) << bits)
    if header.ascii(PHOTOMETRIC) == "PALETTE COLOR":
        luma = np.zeros(len(patterns))
        for share, tags in zip(LUMA, _PALETTE, strict=True):
            luma += share * _look_up(_lut(header, *tags, signed=signed), stored)
        return to_8_bit(luma), ("colour to luminance",)
    values = _modality(header, stored, signed)
    shares, notes = _shares(header, values, bits, signed, histogram)
    if header.first_item(PRESENTATION_LUT):
        notes += ("presentation LUT ignored",)
    table = to_8_bit(shares)
    return (~table if is_inverted(header) else table), notes


def apply(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: each pixel's entry of a table by its bit pattern.

    Args:
      table: as ``gray_table`` returns it.
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


def robust_shares(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return values as shares of their ``robust_window``, not clipped; 0 where all pixels are alike. Arguments as there."""
    low, high = robust_window(values, counts)
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def to_8_bit(shares: np.ndarray) -> np.ndarray:
    """Return shares of the gray range as (N,) uint8, clipped."""
    return np.asarray(np.rint(255 * np.clip(shares, 0, 1)), np.uint8)


def _number(header: Elements, tag: int, default: float) -> float:
    return (header.numbers(tag) or (default,))[0]


def _modality(header: Elements, stored: np.ndarray, signed: bool) -> np.ndarray:
    item = header.first_item(MODALITY_LUT)
    if item is not None:
        _, first, entries = _lut(item, _DESCRIPTOR, _DATA, signed=signed)
        return np.asarray(entries[np.clip(stored - first, 0, len(entries) - 1)], np.float64)
    return stored * _number(header, SLOPE, 1.0) + _number(header, INTERCEPT, 0.0)


def _shares(
    header: Elements, values: np.ndarray, bits: int, signed: bool, histogram: Callable[[], np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (values as shares of the output range, notes)."""
    item = header.first_item(VOI_LUT)
    if item is not None:
        return _look_up(_lut(item, _DESCRIPTOR, _DATA, signed=signed), np.rint(values).astype(np.int64)), ()
    notes: tuple[str, ...] = ()
    window = _window(header)
    if window is not None:
        number = len(header.numbers(WINDOW_CENTER))
        notes = (f"first of {number} windows",) if number > 1 else ()
        if _is_usable(window):
            return _windowed(values, *window), notes
        notes = ("unusable window ignored",)
    if bits == 8 and not signed and not header.first_item(MODALITY_LUT) and _number(header, SLOPE, 1.0) == 1.0:
        return (values - _number(header, INTERCEPT, 0.0)) / 255, notes
    return robust_shares(values, histogram()), (*notes, "robust window")


def _window(header: Elements) -> tuple[float, float, str] | None:
    """Return center, width and VOI LUT Function (0028,1056) of the first window, or None where there is none."""
    center, width = header.numbers(WINDOW_CENTER), header.numbers(WINDOW_WIDTH)
    if not center or not width:
        return None
    return center[0], width[0], header.ascii(VOI_FUNCTION) or "LINEAR"


def _is_usable(window: tuple[float, float, str]) -> bool:
    _, width, function = window
    return width >= 1 or (width > 0 and function in ("LINEAR_EXACT", "SIGMOID"))


def _is_full(window: tuple[float, float, str]) -> bool:
    """Whether a window maps 0..255 onto 0..255 (PS3.3 C.11.2.1.2, LINEAR: center 128, width 256), or is ignored."""
    center, width, function = window
    return (function != "SIGMOID" and center in (127.5, 128.0) and width in (255.0, 256.0)) or not _is_usable(window)


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Return values as shares of the output range, not clipped (PS3.3 C.11.2.1.2 and C.11.2.1.3); an unknown function is LINEAR."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return np.asarray(values > center - 0.5, np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _lut(header: Elements, descriptor: int, data: int, *, signed: bool) -> tuple[int, int, np.ndarray]:
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


def _look_up(lut: tuple[int, int, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return values' entries as shares of the largest that fits; values outside of the table have its first or last entry."""
    bits, first, entries = lut
    shares: np.ndarray = entries[np.clip(values - first, 0, len(entries) - 1)] / ((1 << bits) - 1)
    return shares
