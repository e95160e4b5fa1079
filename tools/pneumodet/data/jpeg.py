"""What a compressed stream says of itself, read before anything is decoded, and JPEG files without what is not image.

frame = jpeg_frame(stream)               # size, bits and components of a JPEG, JPEG Lossless or JPEG-LS stream
frame = jpeg2000_frame(stream)
stream = copyable(stream)                # a whole gray baseline JPEG of one image without comments, or None
"""

import dataclasses
import struct
from collections.abc import Iterator

_SOF0, _DHT, _RST0, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC4, 0xD0, 0xD9, 0xDA, 0xDB, 0xDD
_APP0, _APP14, _APP15, _COM = 0xE0, 0xEE, 0xEF, 0xFE
"""Second bytes of markers (ITU-T T.81 table B.1)."""

_FRAME_HEADER = struct.Struct(">BHHB")

_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
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
        scan = start + length if marker == _SOS else 0
    found = stream.find(b"\xff\xd9", scan)  # within a scan 0xFF is followed by 0 or a restart marker (T.81 B.1.1.5)
    return found + 2 if scan and found >= 0 else None


def copyable(stream: bytes) -> bytes | None:
    """Return a JPEG that any decoder reads the same way, without comments, or None where the stream is no such JPEG.

    It is gray, baseline, of 8 bits, has its own tables, one scan and one image, and nothing but zeros after its end. Comments, Exif and other
    application data, which may name a patient, are left out; what is compressed stays bit for bit.
    """
    kept, seen, frame, scan = [stream[:2]], set(), None, 0
    for marker, start, length in _segments(stream):
        if marker in _FRAMES and frame is None:
            frame = _frame(stream, marker, start) if length >= 8 else None
        elif marker == _SOS:
            scan = start + length
        elif marker == _COM or _APP0 <= marker <= _APP15:
            if not _is_harmless(stream, marker, start, length):
                continue
        elif marker not in (_DQT, _DHT, _DRI):
            return None
        seen.add(marker)
        kept.append(stream[start - 2 : start + length])
    if not scan or frame is None or not (frame.baseline and frame.bits == 8 and frame.components == 1) or not seen >= {_DQT, _DHT}:
        return None
    end = stream.find(b"\xff\xd9", scan) + 2
    other_scan = any(stream.find(mark, scan, end) >= 0 for mark in (b"\xff\xd8", b"\xff\xda"))
    if end < 2 or other_scan or stream[end:].strip(b"\0"):
        return None
    kept.append(stream[scan:end])
    return b"".join(kept)


def _is_harmless(stream: bytes, marker: int, start: int, length: int) -> bool:
    name = stream[start + 2 : start + 7]
    return (marker, name, length) in ((_APP0, b"JFIF\0", _JFIF_LENGTH), (_APP14, b"Adobe", _ADOBE_LENGTH))


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (second byte of the marker, where its length stands, the length) of the segments up to the first scan's header.

    A stream that is no JPEG, or is damaged or cut off before its scan, yields no scan header.
    """
    position = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while position + 4 <= len(stream):
        if stream[position] != 0xFF:
            return
        marker = stream[position + 1]
        if marker == 0xFF:  # any number of these may stand before a marker (T.81 B.1.1.2)
            position += 1
            continue
        length = stream[position + 2] << 8 | stream[position + 3]
        if marker <= 0xBF or _RST0 <= marker <= _EOI or length < 2 or position + 2 + length > len(stream):
            return
        yield marker, position + 2, length
        if marker == _SOS:
            return
        position += 2 + length


def _frame(stream: bytes, marker: int, start: int) -> Frame:
    bits, height, width, components = _FRAME_HEADER.unpack_from(stream, start + 2)
    return Frame(marker == _SOF0, bits, height, width, components)
