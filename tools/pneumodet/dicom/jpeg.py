"""What a compressed stream says of itself, read before anything is decoded, and JPEG files without what is not image.

frame = jpeg_frame(stream)               # size, bits and components of a JPEG, JPEG Lossless or JPEG-LS stream
frame = jpeg2000_frame(stream)
stream = copyable(stream)                # a whole gray baseline JPEG of one image without comments, or None
"""

import dataclasses
import re
import struct
from collections.abc import Iterator

_SOF0, _SOF3, _DHT, _RST0, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC3, 0xC4, 0xD0, 0xD9, 0xDA, 0xDB, 0xDD
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
"""Second bytes of markers (ITU-T T.81 table B.1)."""

_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends compressed data, in which 0xFF is followed by 0 or a restart marker (T.81 B.1.1.5)."""

_FRAME_HEADER = struct.Struct(">BHHB")

_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
"""Second bytes of frame headers: SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81 table B.1), and JPEG-LS (T.87 C.1.1)."""

_JFIF_LENGTH, _ADOBE_LENGTH = 16, 14
"""Lengths of the segments of these names that hold no thumbnail and nothing else (T.871 10.1; T.872 6.5.3)."""

_DRI_LENGTH = 4

_MULTI_PICTURE = b"MPF\0"
"""How the APP2 segment of a Multi-Picture Format begins (CIPA DC-007)."""

MAX_DIRECTORY_BYTES = 1 << 14
"""Of Exif and the like in a plain JPEG: readers copy all of it for each of its entries, of which there may be one in 12 bytes."""

_J2K_START = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a JPEG 2000 codestream begins (ITU-T T.800 A.4.1, A.5.1)."""

_CAP = b"\xff\x50"
"""Extended capabilities (T.800 A.5.2), which high-throughput streams have."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Jpeg:
    """A whole JPEG, JPEG Lossless or JPEG-LS stream.

    Attributes:
      stream: from its start to its end marker; with what follows where that is not only zeros.
      frame: its frame header (ITU-T T.81 B.2.2).
      segments: (second byte of the marker, where its length stands, the length) up to the first scan's header.
      end: where the first image ends, past its end marker.
      one_scan: whether there are no other markers between the first scan and the end.
      scans: how many there are.
    """

    stream: bytes
    frame: Frame
    segments: tuple[tuple[int, int, int], ...]
    end: int
    one_scan: bool
    scans: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether it costs a decoder no more than its size says: of 8 bits, one scan, and without large directories of text."""
        directories = sum(
            length
            for marker, start, length in self.segments
            if marker == _APP1 or (marker == _APP2 and self.stream[start + 2 : start + 6] == _MULTI_PICTURE)
        )
        return self.one_scan and self.frame.bits == 8 and directories <= MAX_DIRECTORY_BYTES

    def copyable(self) -> bytes | None:
        """Return a JPEG that any decoder reads the same way, without comments, or None where this is no such JPEG.

        It is gray, baseline, of 8 bits, has its own tables, one scan and one image, and nothing but zeros after its end. Comments, Exif and
        other application data, which may name a patient, are left out; what is compressed stays bit for bit.
        """
        frame, stream = self.frame, self.stream
        if not (self.one_scan and frame.baseline and frame.bits == 8 and frame.components == 1 and self.end == len(stream)):
            return None
        markers = [marker for marker, _, _ in self.segments]
        if not {_DQT, _DHT} <= {*markers} or sum(marker in _FRAMES for marker in markers) != 1:
            return None
        kept = [segment for segment in self.segments if not _is_text(stream, *segment)]
        if any(marker not in (_SOF0, _DQT, _DHT, _DRI, _SOS, _APP0, _APP14) for marker, _, _ in kept):
            return None
        return self._of(kept)

    def lossless(self) -> bytes | None:
        """Return a JPEG Lossless stream of one scan without application data, or None where its headers are irregular.

        GDCM ends the whole process where a header makes its copy of libjpeg so much as warn, of an odd JFIF version for example.
        """
        scan_header, number = self.segments[-1][1], self.frame.components
        kept = [one for one in self.segments if one[0] != _COM and not _APP0 <= one[0] <= _APP15]
        frames = [start for marker, start, _ in kept if marker == _SOF3]
        tables = [_are_tables(self.stream[start + 2 : start + length]) for marker, start, length in kept if marker == _DHT]
        intervals = [length for marker, _, length in kept if marker == _DRI]
        if len(frames) + len(tables) + len(intervals) + 1 != len(kept) or len(frames) != 1 or not tables or not all(tables):
            return None
        if not self.one_scan or kept[0][0] == _SOS or kept[-1][2] != 6 + 2 * number or intervals not in ([], [_DRI_LENGTH]):
            return None
        parts = self.stream[frames[0] + 8 : frames[0] + 8 + 3 * number]
        scan = self.stream[scan_header + 2 : scan_header + kept[-1][2]]
        predictor, end, shifts = scan[-3:]
        regular = (
            2 <= self.frame.bits <= 16
            and parts[1::3] == b"\x11" * number  # no subsampling
            and len(set(parts[::3])) == number
            and scan[0] == number
            and scan[1:-3:2] == parts[::3]
            and all(table in (0x00, 0x10, 0x20, 0x30) for table in scan[2:-3:2])
            and 1 <= predictor <= 7
            and end == 0
            and shifts < self.frame.bits
        )
        return self._of(kept) if regular else None

    def _of(self, segments: list[tuple[int, int, int]]) -> bytes:
        """Return the stream with these of its segments, of which the last is the scan's header."""
        *others, (_, scan, _) = segments
        return b"".join([self.stream[:2], *(self.stream[at - 2 : at + size] for _, at, size in others), self.stream[scan - 2 :]])


def jpeg_frame(stream: bytes) -> Frame | None:
    """Return the frame header of a JPEG stream, or None where it is damaged before it."""
    return next((_frame(stream, *segment) for segment in _segments(stream) if segment[0] in _FRAMES), None)


def frame_marker(stream: bytes) -> int | None:
    """Return the second byte of a JPEG stream's first frame header, or None where there is none."""
    return next((marker for marker, _, _ in _segments(stream) if marker in _FRAMES), None)


def read(stream: bytes) -> Jpeg | None:
    """Return what a JPEG stream consists of, or None where it is damaged before its first scan, or has no end."""
    segments = tuple(_segments(stream))
    frame = next((_frame(stream, *segment) for segment in segments if segment[0] in _FRAMES), None)
    if frame is None or segments[-1][0] != _SOS:
        return None
    one_scan, scans = True, 1
    for mark in _MARK.finditer(stream, segments[-1][1] + segments[-1][2]):
        if mark.group() == b"\xff\xd9":
            end = mark.end()
            return Jpeg(stream if stream[end:].strip(b"\0") else stream[:end], frame, segments, end, one_scan, scans)
        one_scan = False
        scans += mark.group()[1] == _SOS
    return None


def count_scans(stream: bytes) -> int:
    """Return how many scans a JPEG stream has, those of thumbnails among them; within compressed data no marker is like theirs (T.81 B.1.1.5)."""
    return stream.count(bytes((0xFF, _SOS)))


def jpeg2000_start(stream: bytes) -> int | None:
    """Return where the marker of a JPEG 2000 stream's SIZ segment stands (ITU-T T.800 A.5.1), or None where there is none."""
    start = stream.find(_J2K_START, 0, _J2K_SEARCHED)
    return None if start < 0 or start + 43 > len(stream) else start + 2


def jpeg2000_frame(stream: bytes) -> Frame | None:
    """Return what a JPEG 2000 stream's SIZ segment says (ITU-T T.800 A.5.1), or None where there is none."""
    siz = jpeg2000_start(stream)
    if siz is None:
        return None
    start = siz - 2
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    components, depth = struct.unpack_from(">HB", stream, start + 40)
    return Frame(False, (depth & 0x7F) + 1, bottom - top, right - left, components)


def is_high_throughput(stream: bytes) -> bool:
    """Whether a JPEG 2000 stream is a high-throughput one: its SIZ segment is followed by CAP (ITU-T T.814 A.3)."""
    start = stream.find(_J2K_START, 0, _J2K_SEARCHED)
    length = int.from_bytes(stream[start + 4 : start + 6], "big")
    return stream[start + 4 + length : start + 6 + length] == _CAP


def _is_text(stream: bytes, marker: int, start: int, length: int) -> bool:
    """Whether a segment is a comment or application data other than a JFIF or Adobe header without a thumbnail."""
    if marker != _COM and not _APP0 <= marker <= _APP15:
        return False
    name = stream[start + 2 : start + 7]
    return (marker, name, length) not in ((_APP0, b"JFIF\0", _JFIF_LENGTH), (_APP14, b"Adobe", _ADOBE_LENGTH))


def _are_tables(data: bytes) -> bool:
    """Whether this is what a DHT segment of JPEG Lossless holds: Huffman tables of at most 17 categories (T.81 B.2.4.2, table H.2)."""
    while data:
        if len(data) < 17 or data[0] > 3:
            return False
        number = sum(data[1:17])
        if not 1 <= number <= 17 or len(data) < 17 + number or max(data[17 : 17 + number]) > 16:
            return False
        data = data[17 + number :]
    return True


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


def _frame(stream: bytes, marker: int, start: int, length: int) -> Frame | None:
    if length < 2 + _FRAME_HEADER.size:
        return None
    return Frame(marker == _SOF0, *_FRAME_HEADER.unpack_from(stream, start + 2))
