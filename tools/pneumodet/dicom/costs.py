"""What decoding an image costs at the most: streams that would cost more than their size says are refused or decoded with limits.

    refuse_scans("a.jpg", count)                # before anything is decoded
    refuse_codestream(stream, pixels=…)
    pixels = guarded.call(decode, …, limits=limits_of(pixels=rows * columns, samples=1))

A gray JPEG of one scan, and pixels that are not compressed, take time and memory by their number of pixels, which is bounded; they are decoded at once, as
before. All else, JPEG 2000 above all, can ask for any amount of both, and is decoded by ``core.guarded``.
"""

import struct

from pneumodet.core.guarded import Limits
from pneumodet.dicom.elements import DicomError

MAX_SCANS = 64
"""Of a JPEG; progressive ones of usual writers have 6 to 14. Each scan goes over all pixels again, however few bytes it has."""

LARGE_PX = 16 << 20
"""Images of fewer pixels may be nearly empty; of larger ones each byte must stand for …"""

PX_A_BYTE = 2_000
"""… no more pixels than this: a radiograph takes a tenth of a byte for each, an empty one of 16 MP some kB."""

MAX_TILES, MAX_PRECINCTS, MAX_PACKETS = 1 << 14, 1 << 17, 1 << 22
"""Of a JPEG 2000 stream; decoders allocate for each of them. A radiograph of 80 MP in tiles of 256 px has 1,220 tiles, 7,320 precincts, and as many packets
in each quality layer."""

MAX_MEMORY_BYTES = 2 << 30
"""That decoding an image may take beyond what its process has before, whatever size it is."""

_BASE_BYTES, _BYTES_A_SAMPLE = 512 << 20, 40
"""Decoders' libraries, and OpenJPEG's 33 bytes a sample, the most of all."""

_BASE_SECONDS, _SAMPLES_A_SECOND = 15, 2_000_000
"""Of the processor; OpenJPEG decodes some 10 million samples a second on one core."""

_SOT, _COD = 0xFF90, 0xFF52
"""Start of a tile, before which the main header ends; coding style (ITU-T T.800 A.4.2, A.6.1)."""

_WHOLE = 15
"""Exponent of a precinct's side where the stream says nothing: all of a resolution (T.800 A.6.1)."""


def limits_of(*, pixels: int, samples: int) -> Limits:
    """Return what decoding an image may take, with much room.

    Args:
      pixels: rows times columns.
      samples: of a pixel.
    """
    count = pixels * samples
    return Limits(min(_BASE_BYTES + _BYTES_A_SAMPLE * count, MAX_MEMORY_BYTES), _BASE_SECONDS + count // _SAMPLES_A_SECOND)


def refuse_scans(count: int) -> None:
    """Refuse a JPEG of so many scans.

    Raises:
      DicomError: they are too many.
    """
    if count > MAX_SCANS:
        raise DicomError(f"the JPEG stream has {count:,} scans; {MAX_SCANS} are allowed. It is damaged, or made to take hours.")


def refuse_codestream(stream: bytes, start: int, *, pixels: int) -> None:
    """Refuse a JPEG 2000 stream that asks its decoder for more than an image of its size needs.

    Args:
      stream: the stream.
      start: where its SIZ segment's marker stands.
      pixels: rows times columns.

    Raises:
      DicomError: it does.
    """
    if pixels > LARGE_PX and pixels > PX_A_BYTE * len(stream):
        raise DicomError(f"the JPEG 2000 stream has {len(stream):,} bytes for {pixels:,} px. It is damaged, or made to fill memory.")
    (length, _, right, bottom, left, top, tile_w, tile_h, tile_left, tile_top, components) = struct.unpack_from(">HH8IH", stream, start + 2)
    if 0 in (tile_w, tile_h, components):
        raise DicomError("the JPEG 2000 stream is damaged or cut off. Get the file again.")
    tiles = _parts(right - tile_left, tile_w) * _parts(bottom - tile_top, tile_h)
    layers, sides = _coding_style(stream, start + 2 + length)
    # the last entry is the whole tile, each one before it half as large
    width, height = min(tile_w, right - left), min(tile_h, bottom - top)
    precincts = 0
    for level, (x, y) in enumerate(reversed(sides)):
        precincts += _parts(_parts(width, 1 << level), 1 << x) * _parts(_parts(height, 1 << level), 1 << y)
    precincts *= tiles * components
    for what, count, most in (
        ("tiles", tiles, MAX_TILES),
        ("precincts", precincts, MAX_PRECINCTS),
        ("packets", precincts * layers, MAX_PACKETS),
    ):
        if count > most:
            raise DicomError(f"the JPEG 2000 stream has {count:,} {what}; {most:,} are allowed. It is damaged, or made to fill memory.")


def _parts(whole: int, part: int) -> int:
    """Return how many parts of a size there are, the last of which may be smaller."""
    return (whole + part - 1) // part


def _coding_style(stream: bytes, position: int) -> tuple[int, list[tuple[int, int]]]:
    """Return (quality layers, exponents of the precincts' sides of each resolution, the smallest first), of the main header (T.800 A.6.1).

    Raises:
      DicomError: it has no coding style.
    """
    while position + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == _SOT or length < 2:
            break
        if marker == _COD and length >= 12 and position + 2 + length <= len(stream):
            style, _, layers, _, levels = struct.unpack_from(">BBHBB", stream, position + 4)
            if not style & 1:
                return layers, [(_WHOLE, _WHOLE)] * (levels + 1)
            sides = stream[position + 14 : position + 2 + length]
            if levels <= 32 and len(sides) > levels:
                return layers, [(one & 15, one >> 4) for one in sides[: levels + 1]]
            break
        position += 2 + length
    raise DicomError("the JPEG 2000 stream is damaged or cut off. Get the file again.")
