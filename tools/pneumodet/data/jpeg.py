"""What a compressed stream says of itself, read before anything is decoded, and JPEG files without what is not image.

    frame = jpeg_frame(stream)               # size, bits and components of a JPEG, JPEG Lossless or JPEG-LS stream
    frame = jpeg2000_frame(stream)
    stream = copyable(stream)                # a whole gray baseline JPEG of one image without comments, or None
"""

import dataclasses
import struct

_SOI, _EOI, _SOS, _DHT, _DQT, _COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_SOF0 = 0xC0

_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7))
"""Second bytes of frame headers: SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81 table B.1), and JPEG-LS (T.87 C.1.1)."""

_JFIF_LENGTH, _ADOBE_LENGTH = 16, 14
"""Lengths of the segments of these names that hold no thumbnail and nothing else (T.871 10.1; T.872 6.5.3)."""

_J2K_START = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a JPEG 2000 codestream begins (ITU-T T.800 A.4.1, A.5.1)."""

_J2K_SEARCHED = 4096
"""Bytes of a JP2 file within which its codestream begins; DICOM allows the bare codestream only, some writers wrap it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """What a stream declares.

    Attributes:
      baseline: whether it is baseline JPEG (SOF0).
      bits: of a sample.
      height: px.
      width: px.
      components: 1 is gray.
    """

    baseline: bool
    bits: int
    height: int
    width: int
    components: int


def jpeg_frame(stream: bytes) -> Frame | None:
    """Return what a JPEG's frame header says (ITU-T T.81 B.2.2), or None where it has none."""
    for marker, start, length in _segments(stream):
        if marker in _FRAMES:
            return _frame(stream, marker, start) if length >= 8 else None
    return None


def jpeg2000_frame(stream: bytes) -> Frame | None:
    """Return what a JPEG 2000 stream's SIZ segment says (ITU-T T.800 A.5.1), or None where there is none."""
    start = stream.find(_J2K_START, 0, _J2K_SEARCHED)
    if start < 0 or start + 43 > len(stream):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    components, depth = struct.unpack_from(">HB", stream, start + 40)
    return Frame(False, (depth & 0x7F) + 1, bottom - top, right - left, components)


def end_of(stream: bytes) -> int | None:
    """Return where the first image of a JPEG stream ends, past its end marker; None where the stream is cut off."""
    scan = 0
    for marker, start, length in _segments(stream):
        if marker == _SOS:
            scan = start + length
    found = stream.find(b"\xff\xd9", scan)  # within a scan 0xFF is followed by 0 or a restart marker (T.81 B.1.1.5)
    return found + 2 if scan and found >= 0 else None


def copyable(stream: bytes) -> bytes | None:
    """Return a JPEG that any decoder reads the same way, without comments, or None where the stream is no such JPEG.

    It is gray, baseline, of 8 bits, has its own tables, one scan and one image, and nothing but zeros after its end. Comments, Exif and other
    application data, which may name a patient, are left out; what is compressed stays bit for bit.
    """
    kept = [stream[:2]]
    seen: set[int] = set()
    scan = 0
    for marker, start, length in _segments(stream):
        seen.add(marker)
        if marker in _FRAMES and (length < 8 or _frame(stream, marker, start) != dataclasses.replace(_frame(stream, marker, start), baseline=True)):
            return None
        if marker == _SOS:
            kept.append(stream[start - 2 : start + length])
            scan = start + length
    return None
