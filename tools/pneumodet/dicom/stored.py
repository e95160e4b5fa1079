"""Which value each bit pattern of a pixel stands for, and which patterns are padding.

    stored = read(header, pixels, bits=12, shift=0, counts=lut.histogram(pixels))
    stored.values[pattern], stored.padding

A word may have more bits than a value (PS3.5 8.1.1). What lies in the others is an overlay, junk, or the rest of values that are larger than
BitsStored (0028,0101) says: which of these, the picture shows. Rings, where values wrap, are rougher than the picture without them.
"""

import dataclasses

import numpy as np

from pneumodet.dicom.elements import DicomError, Elements

PADDING_VALUE, PADDING_LIMIT = 0x00280120, 0x00280121
"""PixelPaddingValue and PixelPaddingRangeLimit: what was added around the image (PS3.3 C.7.5.1.1.2)."""

LEAST_IMAGE = 0.01
"""Share of the pixels that padding must leave; what takes more is a mistake of the header."""

MORE_BITS, OTHER_BITS, NO_PADDING = "more bits than BitsStored", "bits above BitsStored ignored", "unusable pixel padding ignored"
"""Notes."""

_ROUGHNESS_PIXELS = 1 << 20
"""Pixels, in whole rows, by which two readings of the same words are compared."""

_OVERLAYS = range(0x6000, 0x6020, 2)
"""Groups of the overlay planes (PS3.3 C.9.2)."""

_OVERLAY_POSITION, _OVERLAY_DATA = 0x0102, 0x3000

_NUMBER_VRS = frozenset((b"UL", b"SL", b"FL", b"FD", b"DS", b"IS"))
"""Anything else that a padding value may be written as is a word of 16 bits."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the bit patterns of an image's pixels stand for.

    Attributes:
      values: (256,) or (65536,) int64, the value of each pattern as unsigned number.
      bits: that a value has.
      signed: whether the highest of them is a sign.
      padding: (256,) or (65536,) bool, or None where there is no padding.
      counts: pixels of each pattern, without padding; of evenly spaced rows.
      notes: for counting.
    """

    values: np.ndarray
    bits: int
    signed: bool
    padding: np.ndarray | None
    counts: np.ndarray
    notes: tuple[str, ...]


def read(header: Elements, pixels: np.ndarray, *, bits: int, shift: int, counts: np.ndarray) -> Stored:
    """Return what each bit pattern stands for.

    Args:
      header: the image's elements.
      pixels: (H, W) of 8 or 16 bits, in the machine's byte order.
      bits: that the header or the stream says a value has, of which the highest is the sign where ``pixels`` are signed.
      shift: position of a value's lowest bit.
      counts: ``lut.histogram`` of the pixels.
    """
    signed, word_bits = pixels.dtype.kind == "i", 8 * pixels.itemsize
    patterns = np.arange(1 << word_bits)
    values = low_bits(patterns >> shift, bits, signed)
    padding = _padding(header, values, patterns, bits, signed)
    notes: tuple[str, ...] = ()
    if shift == 0 and bits < word_bits:
        bits, notes = _true_bits(header, pixels, values, padding, bits)
        if notes == (MORE_BITS,):
            values = low_bits(patterns, bits, signed)
            padding = _padding(header, values, patterns, bits, signed)
    if padding is not None:
        left = np.where(padding, 0, counts)
        if left.sum() < LEAST_IMAGE * counts.sum():
            padding, notes = None, (*notes, NO_PADDING)
        else:
            counts = left
    return Stored(values, bits, signed, padding, counts, notes)


def is_shown_black(header: Elements, *, inverted: bool) -> bool:
    """Whether an 8-bit image's padding is black by itself, or there is none."""
    if PADDING_VALUE not in header.places:
        return True
    value = _word(header, PADDING_VALUE)
    is_there = value is not None and (value <= 255 or PADDING_LIMIT in header.places)
    return not is_there or (PADDING_LIMIT not in header.places and value == (255 if inverted else 0))


def low_bits(words: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Return the values that the lowest ``bits`` of words are."""
    low = words & (1 << bits) - 1
    return low - ((low >> bits - 1) << bits) if signed else low


def _padding(header: Elements, values: np.ndarray, patterns: np.ndarray, bits: int, signed: bool) -> np.ndarray | None:
    """Return which patterns are padding, or None where none is."""
    first = _word(header, PADDING_VALUE)
    if first is None:
        return None
    last = _word(header, PADDING_LIMIT)
    limits = [first] if last is None else [first, last]
    word_bits = len(patterns).bit_length() - 1
    if signed:
        limits = [one - (1 << 16) if one > 0x7FFF else one for one in limits]
    lowest, highest = (-1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not all(lowest <= one <= highest for one in limits):  # no value of so many bits: then the whole word is meant
        values = low_bits(patterns, word_bits, signed)
        if len(limits) == 1:
            return np.asarray(patterns == (limits[0] & 0xFFFF)) if word_bits == 16 else None
    return np.asarray((values >= min(limits)) & (values <= max(limits)))


def _word(header: Elements, tag: int) -> int | None:
    """Return a padding value as it is written, of a word as unsigned number; None where there is none that can be read."""
    value = header.value(tag)
    if not value:
        return None
    if header.places[tag][0] not in _NUMBER_VRS and len(value) == 2:  # US and SS are often mistaken for each other
        return int.from_bytes(value, "big" if header.order == ">" else "little")
    try:
        return header.integer(tag)
    except DicomError:
        return None


def _true_bits(
    header: Elements, pixels: np.ndarray, values: np.ndarray, padding: np.ndarray | None, bits: int
) -> tuple[int, tuple[str, ...]]:
    """Return (how many bits the values really have, notes) where pixels have more in their words than ``bits``."""
    words = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}")
    signed, word_bits = pixels.dtype.kind == "i", 8 * pixels.itemsize
    if not signed and int(words.max()) < 1 << bits:  # as in nearly every file
        return bits, ()
    patterns = np.arange(1 << word_bits)
    top = min([word_bits, *(position for position in _overlays(header) if position >= bits)])
    wide = low_bits(patterns, top, signed)
    differ = wide != values
    if padding is not None:
        differ &= ~padding
    there = np.bincount(words.reshape(-1), minlength=len(patterns)) > 0
    if not (differ & there).any():
        return bits, ()
    rows = words[:: max(1, words.size // _ROUGHNESS_PIXELS)]
    wide = np.where(differ, wide, values)
    if _roughness(wide, rows) < _roughness(values, rows):
        return top, (MORE_BITS,)
    # zeros, or copies of the sign, above a signed value are as good as nothing; so are bits that are the same everywhere
    above = np.unique(patterns[there] >> bits)
    return bits, () if signed or len(above) == 1 else (OTHER_BITS,)


def _roughness(values: np.ndarray, rows: np.ndarray) -> float:
    """Return the sum of the steps from pixel to pixel, along the rows and from one to the next."""
    picture = values[rows].astype(np.int32)
    return sum(float(np.abs(np.diff(picture, axis=axis)).sum(dtype=np.float64)) for axis in (0, 1))


def _overlays(header: Elements) -> list[int]:
    """Return the bits of a pixel's word in which overlays live: those that have a position and no data of their own (PS3.3 C.9.2)."""
    positions = []
    for group in _OVERLAYS:
        value = header.value(group << 16 | _OVERLAY_POSITION)
        if len(value) == 2 and group << 16 | _OVERLAY_DATA not in header.places:
            positions.append(int.from_bytes(value, "big" if header.order == ">" else "little"))
    return positions
