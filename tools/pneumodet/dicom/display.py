"""Stored values of a DICOM image -> gray values, as the file says that it is to be shown, where that is of use.

    shown = of_pixels(header, pixels, bits=12, shift=0)
    gray = lut.apply(shown.table, pixels)    # (H, W) uint8, dark air and bright bone

Modality LUT or rescale, then a VOI LUT or window, then the presentation (PS3.3 C.11.1, C.11.2, C.11.6). VOI LUTs and windows are hints: the first
that can be read and leaves gray levels where pixels vary is taken, else the window of ``lut.robust_window``. What is passed over is noted.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from pneumodet.dicom import lut
from pneumodet.dicom import stored as stored_values
from pneumodet.dicom.elements import DicomError, Elements
from pneumodet.dicom.stored import Stored

PHOTOMETRIC, PRESENTATION_SHAPE, PRESENTATION_LUT = 0x00280004, 0x20500020, 0x20500010
WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION, VOI_LUT = 0x00281050, 0x00281051, 0x00281056, 0x00283010
INTERCEPT, SLOPE, MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_DESCRIPTOR, _DATA = 0x00283002, 0x00283006
_PALETTE = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))

FEW_LEVELS = 40
"""A LUT or window that leaves fewer of 256 gray levels, where the robust window leaves at least twice as many, is not meant for these values:
12 bits in a window of 16, the most frequent mistake, have 17 levels; the windows of radiographs leave 150 and more."""

LEAST_SHARE = 1e-4
"""Share of the pixels that a gray level must have to count."""

ROBUST, NO_RESCALE, NO_MODALITY_LUT = "robust window", "unusable rescale ignored", "unusable Modality LUT ignored"
NO_WINDOW, NO_VOI_LUT = "unusable window ignored", "unusable VOI LUT ignored"
DARK_WINDOW, DARK_VOI_LUT = "window that leaves hardly any gray ignored", "VOI LUT that leaves hardly any gray ignored"
RESCALED_LUT = "VOI LUT scaled by its entries"
"""Notes."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Display:
    """How an image is shown; arrays have an entry of each bit pattern as unsigned number, (256,) or (65536,).

    Attributes:
      table: uint8, its gray.
      values: float64, the real value that it stands for: after Modality LUT or rescale.
      inverted: whether the largest values are dark.
      padding: bool, whether it is padding, which is black; None where there is none.
      counts: pixels of each, without padding; of evenly spaced rows.
      low_high: the values that become black and white, or come near where a LUT makes them; of a palette, 0 and 1.
      notes: for counting.
    """

    table: np.ndarray
    values: np.ndarray
    inverted: bool
    padding: np.ndarray | None
    counts: np.ndarray
    low_high: tuple[float, float]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """A way to show values: their shares of the gray range, the values of black and white where it is linear, notes, and the note where it is useless."""

    shares: np.ndarray
    low_high: tuple[float, float] | None
    notes: tuple[str, ...]
    dark: str


def plain_notes(header: Elements) -> tuple[str, ...] | None:
    """Return None where 8-bit values are not shown as they are, or inverted; else what is passed over by that.

    They are shown so where they are gray, without a rescale, LUT, window or padding that changes them.

    Raises:
      DicomError: a rescale is not what it should be.
    """
    if not header.ascii(PHOTOMETRIC).startswith("MONOCHROME"):
        return None
    if header.places.keys() & {MODALITY_LUT, VOI_LUT} and (_items(header, MODALITY_LUT) or _items(header, VOI_LUT)):
        return None
    if _number(header, SLOPE, 1.0) != 1.0 or _number(header, INTERCEPT, 0.0) != 0.0:
        return None
    if not stored_values.is_shown_black(header, inverted=is_inverted(header)):
        return None
    windows = _windows(header)
    notes: tuple[str, ...] = ()
    for number, window in enumerate(windows, start=1):
        if window is not None:
            return (*notes, *_which(number, len(windows))) if _is_full(*window) else None
        notes = (NO_WINDOW,)
    return notes


def is_inverted(header: Elements) -> bool:
    """Whether the largest values are dark; MONOCHROME1 and PresentationLUTShape INVERSE say the same, so both together turn the image once."""
    return header.ascii(PHOTOMETRIC) == "MONOCHROME1" or header.ascii(PRESENTATION_SHAPE) == "INVERSE"


def of_pixels(header: Elements, pixels: np.ndarray, *, bits: int, shift: int) -> Display:
    """Return how a one-sample image is shown.

    Args:
      header: the image's elements.
      pixels: (H, W) of 8 or 16 bits, in the machine's byte order.
      bits: that a value has, 1 to 16, of which the highest is the sign where ``pixels`` are signed.
      shift: position of a value's lowest bit.

    Raises:
      DicomError: a palette or a rescale is unusable.
    """
    counts = lut.histogram(pixels)
    if header.ascii(PHOTOMETRIC) == "PALETTE COLOR":
        return _of_palette(header, pixels, bits=bits, shift=shift, counts=counts)
    stored = stored_values.read(header, pixels, bits=bits, shift=shift, counts=counts)
    values, trusted, notes = _modality(header, stored)
    passed: list[str] = []
    chosen = None
    for choice in _hints(header, values, stored, passed) if trusted else ():
        if not _is_dark(choice.shares, stored):
            chosen = choice
            break
        passed.append(choice.dark)
    if chosen is None:
        chosen = _automatic(header, values, stored)
        if _is_dark(chosen.shares, stored):  # a Modality LUT under which all values are nearly one
            notes, values = (*notes, NO_RESCALE if MODALITY_LUT not in header.places else NO_MODALITY_LUT), stored.values.astype(np.float64)
            chosen = _robust(values, stored)
    notes = (*stored.notes, *notes, *dict.fromkeys(passed), *chosen.notes)
    if PRESENTATION_LUT in header.places and _items(header, PRESENTATION_LUT):
        notes += ("presentation LUT ignored",)
    inverted = is_inverted(header)
    table = lut.gray_of(chosen.shares, inverted=inverted, padding=stored.padding)
    low_high = chosen.low_high or lut.robust_limits(values, stored.counts)
    return Display(table, values, inverted, stored.padding, stored.counts, low_high, notes)


def _of_palette(header: Elements, pixels: np.ndarray, *, bits: int, shift: int, counts: np.ndarray) -> Display:
    patterns = np.arange(len(counts))
    signed = pixels.dtype.kind == "i"
    values = stored_values.low_bits(patterns >> shift, bits, signed)
    luma = np.zeros(len(patterns))
    for share, tags in zip(lut.LUMA, _PALETTE, strict=True):
        luma += share * lut.look_up(lut.read(header, *tags, signed=signed), values)
    return Display(lut.to_8_bit(luma), luma, False, None, counts, (0.0, 1.0), ("colour to luminance",))


def _modality(header: Elements, stored: Stored) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Return ((N,) float64 real values, whether they are those that VOI LUT and window are for, notes)."""
    plain = stored.values.astype(np.float64)
    if items := _items(header, MODALITY_LUT):
        try:
            _, first, entries = lut.read(items[0], _DESCRIPTOR, _DATA, signed=stored.signed)
        except DicomError:
            return plain, False, (NO_MODALITY_LUT,)
        return np.asarray(entries[np.clip(stored.values - first, 0, len(entries) - 1)], np.float64), True, ()
    slope = _number(header, SLOPE, 1.0)
    if slope == 0:
        return plain, False, (NO_RESCALE,)
    return plain * slope + _number(header, INTERCEPT, 0.0), True, ()


def _hints(header: Elements, values: np.ndarray, stored: Stored, passed: list[str]) -> Iterator[_Choice]:
    """Yield the VOI LUTs and windows that can be read, in their order; ``passed`` gets a note of each that cannot."""
    for item in _items(header, VOI_LUT, passed):
        try:
            bits, first, entries = lut.read(item, _DESCRIPTOR, _DATA, signed=stored.signed)
        except DicomError:
            passed.append(NO_VOI_LUT)
            continue
        # descriptors that say 16 bits of entries that have 12 are frequent; one bit less may be meant
        there = int(entries.max(initial=0)).bit_length()
        is_wrong = there > bits or 0 < there < bits - 1
        table = (there if is_wrong else bits, first, entries)
        shares = lut.look_up(table, np.rint(values).astype(np.int64))
        yield _Choice(shares, None, (RESCALED_LUT,) if is_wrong else (), DARK_VOI_LUT)
    windows = _windows(header)
    for number, window in enumerate(windows, start=1):
        if window is None:
            passed.append(NO_WINDOW)
        else:
            yield _Choice(_windowed(values, *window), _limits_of(*window), _which(number, len(windows)), DARK_WINDOW)


def _which(number: int, count: int) -> tuple[str, ...]:
    """Return the note on which of several windows is taken."""
    if count < 2:
        return ()
    return (f"first of {count} windows" if number == 1 else f"window {number} of {count}",)


def _automatic(header: Elements, values: np.ndarray, stored: Stored) -> _Choice:
    """Return how values are shown that no hint is for: 8 bits as they are, others by the robust window."""
    is_whole = stored.bits == 8 and not stored.signed and not _items(header, MODALITY_LUT) and _number(header, SLOPE, 1.0) in (0.0, 1.0)
    if is_whole:
        offset = float(values[0]) - float(stored.values[0])
        return _Choice(stored.values / 255, (offset, 255 + offset), (), "")
    return _robust(values, stored)


def _robust(values: np.ndarray, stored: Stored) -> _Choice:
    limits = lut.robust_limits(values, stored.counts)
    return _Choice(lut.shares_of(values, limits), limits, (ROBUST,), "")


def _is_dark(shares: np.ndarray, stored: Stored) -> bool:
    """Whether hardly any gray level is left though pixels vary."""
    levels = _levels(shares, stored)
    # the second is computed for few files only
    return levels < FEW_LEVELS and 2 * levels <= _levels(lut.robust_shares(stored.values.astype(np.float64), stored.counts), stored)


def _levels(shares: np.ndarray, stored: Stored) -> int:
    """Return how many gray levels the pixels have."""
    used = stored.counts.nonzero()[0]
    of_levels = np.bincount(lut.to_8_bit(shares[used]), weights=stored.counts[used], minlength=256)
    return int((of_levels >= max(1.0, LEAST_SHARE * float(stored.counts.sum()))).sum())


def _items(header: Elements, tag: int, passed: list[str] | None = None) -> list[Elements]:
    """Return the items of a sequence of hints; those that are damaged are as good as absent, and ``passed`` gets a note of them."""
    items: list[Elements] = []
    try:
        items.extend(header.items(tag))
    except DicomError:
        if passed is not None:
            passed.append(NO_VOI_LUT)
    return items


def _number(header: Elements, tag: int, default: float) -> float:
    return (header.numbers(tag) or (default,))[0]


def _windows(header: Elements) -> list[tuple[float, float, str] | None]:
    """Return (center, width, VOI LUT Function (0028,1056)) of each window, None for one that cannot be used."""
    if not header.places.keys() & {WINDOW_CENTER, WINDOW_WIDTH}:
        return []
    function = header.ascii(VOI_FUNCTION) or "LINEAR"
    pairs = itertools.zip_longest(_hint_numbers(header, WINDOW_CENTER), _hint_numbers(header, WINDOW_WIDTH))
    return [_usable(center, width, function) for center, width in pairs]


def _hint_numbers(header: Elements, tag: int) -> list[float | None]:
    """Return the numbers of an element, None for each that is empty or no number."""
    try:
        return list(header.numbers(tag))
    except DicomError:
        pass
    numbers: list[float | None] = []
    for text in header.ascii(tag).split("\\"):
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        numbers.append(number if np.isfinite(number) else None)
    return numbers


def _usable(center: float | None, width: float | None, function: str) -> tuple[float, float, str] | None:
    if center is None or width is None:
        return None
    return (center, width, function) if width >= 1 or (width > 0 and function in ("LINEAR_EXACT", "SIGMOID")) else None


def _is_full(center: float, width: float, function: str) -> bool:
    """Whether a window maps 0..255 onto 0..255 (PS3.3 C.11.2.1.2, LINEAR: center 128, width 256)."""
    return function != "SIGMOID" and center in (127.5, 128.0) and width in (255.0, 256.0)


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Return values as shares of the output range, not clipped (PS3.3 C.11.2.1.2 and C.11.2.1.3); an unknown function is LINEAR."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return np.asarray(values > center - 0.5, np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _limits_of(center: float, width: float, function: str) -> tuple[float, float]:
    """Return the values that a window makes black and white; of SIGMOID, which makes none so, those of a linear one of that width."""
    if function in ("LINEAR_EXACT", "SIGMOID") or width == 1:
        return center - width / 2, center + width / 2
    return center - width / 2, center + width / 2 - 1
