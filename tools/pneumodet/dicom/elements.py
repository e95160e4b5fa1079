"""The elements of a DICOM file, by their places in its bytes: tag -> value representation and place, without reading what nobody asked for.

    file = read(data)                        # explicit and implicit VR, both byte orders, deflated; with or without meta information
    file.integer(ROWS), file.text(PATIENT_ID), file.numbers(WINDOW_CENTER)

pydicom parses every element into objects, which costs more than the whole rest of copying an image, and its errors quote values. Here only
the values that are asked for are decoded, and a DicomError names the element, never its value: a damaged length may put a patient's name anywhere.
"""

import codecs
import math
import re
import struct
import zlib
from collections.abc import Iterator
from typing import overload

IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
"""Transfer syntaxes without compression of pixels (PS3.5 A.1, A.2, A.5, A.3)."""

MAX_INFLATED_BYTES = 1 << 28
"""A deflated file that grows beyond this is refused; the largest image that is allowed has 160 MB."""

PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009

_PIXELS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)

UNDEFINED = 0xFFFFFFFF
"""Length of a value that ends at a delimiter (PS3.5 7.5.2)."""

_CHARACTER_SET, _TRANSFER_SYNTAX = 0x00080005, 0x00020010

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Their length has 4 bytes, after 2 reserved ones (PS3.5 7.1.2)."""

_SHORT_VRS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT")
    + (b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)

_BINARY_NUMBERS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}

_MAX_DEPTH = 40
"""Sequences within sequences; structured reports have some ten."""

_STRUCTS = {order: (struct.Struct(f"{order}HH2sH"), struct.Struct(f"{order}HHI"), struct.Struct(f"{order}I")) for order in "<>"}


_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LONGEST_UID = 64


def is_uid(text: object) -> bool:
    """Return whether this is a DICOM UID, which may stand in a URL or file name; leading zeros, which PS3.5 9.1 forbids, occur and are allowed."""
    return isinstance(text, str) and len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


class DicomError(Exception):
    """What is wrong with a file, as a sentence without the file's name and without values of the header.

    It is no PneumodetError: only who knows the file's name can write the message that a user reads (``reading.refuse``).
    """


class Elements:
    """The elements of a data set or of an item of a sequence, up to its pixel data.

    Attributes:
      data: the bytes that the places refer to; inflated where the file is deflated.
      places: tag -> (value representation or b"" where the file does not say, first byte, length in bytes or ``UNDEFINED``).
      implicit: whether the file leaves out value representations.
      order: ``<`` for little endian or ``>``.
      syntax: transfer syntax UID; empty where the file has no meta information, and in items.
    """

    __slots__ = ("data", "implicit", "order", "places", "syntax")

    def __init__(self, data: bytes, places: dict[int, tuple[bytes, int, int]], *, implicit: bool, order: str, syntax: str = "") -> None:
        self.data, self.places, self.implicit, self.order, self.syntax = data, places, implicit, order, syntax

    def value(self, tag: int) -> bytes:
        """Return a value's bytes; empty where the element is absent or empty."""
        place = self.places.get(tag)
        if place is None or place[2] == UNDEFINED:
            return b""
        return self.data[place[1] : place[1] + place[2]]

    def ascii(self, tag: int) -> str:
        """Return the text of a code string or UID, without padding."""
        return self.value(tag).decode("latin-1").strip(" \0")

    def text(self, tag: int) -> str:
        """Return a text in the file's character set (0008,0005), without padding; letters that it does not have become U+FFFD."""
        value = self.value(tag)
        if value.isascii():
            return value.decode("ascii").strip(" \0")
        from pydicom.charset import python_encoding  # here, as below: importing pydicom takes longer than copying a thousand images

        name = python_encoding.get(self.ascii(_CHARACTER_SET).split("\\")[0].strip(), "latin-1")
        return codecs.decode(value, name if isinstance(name, str) else "latin-1", "replace").strip(" \0")

    @overload
    def integer(self, tag: int) -> int | None: ...

    @overload
    def integer(self, tag: int, default: int) -> int: ...

    def integer(self, tag: int, default: int | None = None) -> int | None:
        """Return a single whole number, of US, SS, UL, SL or IS; ``default`` where the element is absent or empty.

        Raises:
          DicomError: it is something else.
        """
        numbers = self.numbers(tag)
        if not numbers:
            return default
        if len(numbers) > 1 or numbers[0] != int(numbers[0]):
            raise DicomError(f"{name_of(tag)} is not one whole number.")
        return int(numbers[0])

    def numbers(self, tag: int) -> list[float]:
        """Return the numbers of an element, none where it is absent or empty.

        Raises:
          DicomError: one of them is no number, or not finite.
        """
        value = self.value(tag)
        if not value:
            return []
        code = _BINARY_NUMBERS.get(self.places[tag][0])
        if code is None and self.implicit and tag in _WORDS:
            code = "H"
        try:
            if code:
                numbers = list(struct.unpack(f"{self.order}{len(value) // struct.calcsize(code)}{code}", value))
            else:
                text = value.decode("ascii").strip(" \0")
                numbers = [float(one) for one in text.split("\\")] if text else []
        except (ValueError, struct.error):
            raise DicomError(f"{name_of(tag)} is not a number.") from None
        if not all(map(math.isfinite, numbers)):
            raise DicomError(f"{name_of(tag)} is not finite.")
        return numbers

    def first_item(self, tag: int) -> "Elements | None":
        """Return the first item of a sequence; None where the sequence is absent or has no item.

        Raises:
          DicomError: the sequence is damaged.
        """
        return next(self.items(tag), None)

    def items(self, tag: int) -> Iterator["Elements"]:
        """Yield the items of a sequence, none where it is absent or empty.

        Raises:
          DicomError: the sequence is damaged.
        """
        place = self.places.get(tag)
        if place is None or place[2] == 0:
            return
        vr, position, length = place
        end = len(self.data) if length == UNDEFINED else position + length
        # unknown to the writer: implicit VR, little endian (PS3.5 6.2.2 note 2)
        implicit, order = (True, "<") if vr == b"UN" else (self.implicit, self.order)
        while position < end:
            if position + 8 > end:
                raise DicomError(f"{name_of(tag)} is damaged.")
            group, element, length = _STRUCTS[order][1].unpack_from(self.data, position)
            item = group << 16 | element
            if item == _SEQUENCE_END:
                return
            if item != _ITEM or (length != UNDEFINED and position + 8 + length > end):
                raise DicomError(f"{name_of(tag)} is damaged.")
            position += 8
            stop = end if length == UNDEFINED else position + length
            places = {}
            for one, vr, at, size, after in _walk(self.data, position, stop, implicit, order, in_item=True):
                position = after
                if one == _ITEM_END:
                    break
                places[one] = vr, at, size
            position = position if length == UNDEFINED else stop
            yield Elements(self.data, places, implicit=implicit, order=order)


_WORDS = frozenset(
    (0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
    + (0x00281101, 0x00281102, 0x00281103, 0x00283002)
)
"""Elements of 16-bit words that are read here; an implicit VR file does not say it (PS3.6)."""


def name_of(tag: int) -> str:
    """Return keyword and tag: ``Rows (0028,0010)``."""
    from pydicom.datadict import keyword_for_tag

    return f"{keyword_for_tag(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def read(data: bytes) -> Elements:
    """Return the elements of a DICOM file before its pixel data, and the place of the pixel data.

    A preamble, meta information and a right transfer syntax are not needed: some archives write none (PS3.10 section 7 asks for all of them).

    Raises:
      DicomError: it is no DICOM file, or damaged.
    """
    position = 132 if data[128:132] == b"DICM" else 0
    if not position and data[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise DicomError("it is not a DICOM file.")
    meta: dict[int, tuple[bytes, int, int]] = {}
    if data[position : position + 2] == b"\x02\0":
        # always explicit VR, little endian (PS3.10 7.1); its group length is often wrong and not needed
        for tag, vr, start, length, after in _walk(data, position, len(data), False, "<"):
            if tag >> 16 != 2:
                break
            meta[tag] = vr, start, length
            position = after
            if data[after : after + 2] != b"\x02\0":
                break
    syntax = Elements(data, meta, implicit=False, order="<").ascii(_TRANSFER_SYNTAX)
    if syntax == DEFLATED:
        data, position = _inflate(data[position:]), 0
    order = ">" if data[position : position + 1] == b"\0" and (syntax == EXPLICIT_BIG or not syntax) else "<"
    # what is there counts, not what the transfer syntax says: as a length these letters would be 16 kB or more
    vr = data[position + 4 : position + 6]
    implicit = vr not in _SHORT_VRS and vr not in _LONG_VRS
    places = {tag: (vr, start, length) for tag, vr, start, length, _ in _walk(data, position, len(data), implicit, order)}
    return Elements(data, places, implicit=implicit, order=order, syntax=syntax)


def _inflate(deflated: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, MAX_INFLATED_BYTES)
    except zlib.error:
        raise DicomError("its deflated part is damaged. Get the file again.") from None
    if not inflater.eof:
        what = f"has more than {MAX_INFLATED_BYTES >> 20} MB" if inflater.unconsumed_tail else "is cut off"
        raise DicomError(f"its deflated part {what}. Get the file again.")
    return data


def _walk(
    data: bytes, position: int, end: int, implicit: bool, order: str, depth: int = 0, *, in_item: bool = False
) -> Iterator[tuple[int, bytes, int, int, int]]:
    """Yield (tag, VR, first byte of the value, length, first byte after the element) up to pixel data, the end of an item, or ``end``.

    Pixel data of an item, which are those of an icon or thumbnail, are an element like any other: more elements may follow.

    Raises:
      DicomError: an element reaches beyond ``end``, which pixel data may.
    """
    explicit_header, implicit_header, long_length = (one.unpack_from for one in _STRUCTS[order])
    while position + 8 <= end:
        group, element, vr, length = explicit_header(data, position)
        tag = group << 16 | element
        start = position + 8
        if not implicit and vr in _SHORT_VRS:
            pass
        elif not implicit and vr in _LONG_VRS:
            start += 4
            if start > end:
                break
            (length,) = long_length(data, position + 8)
        else:  # delimiters have none, and some writers leave out the VR of single elements
            length = implicit_header(data, position)[2]
            vr = b""
        if tag == _ITEM_END or (not in_item and tag in _PIXELS):
            yield tag, vr, start, length, start
            return
        after = start + length
        if length == UNDEFINED:
            after = _after_sequence(data, start, end, implicit or vr == b"UN", "<" if vr == b"UN" else order, depth)
        if after > end:
            break
        yield tag, vr, start, length, after
        position = after
    if data[position:end].strip(b"\0"):
        raise DicomError("it is a damaged DICOM file, or cut off. Get the file again.")


def _after_sequence(data: bytes, position: int, end: int, implicit: bool, order: str, depth: int) -> int:
    """Return the first byte after a sequence of undefined length that begins at ``position``."""
    if depth >= _MAX_DEPTH:
        raise DicomError(f"it has sequences within sequences, more than {_MAX_DEPTH} deep.")
    header = _STRUCTS[order][1].unpack_from
    while position + 8 <= end:
        group, element, length = header(data, position)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            break
        if length != UNDEFINED:
            position += length
            continue
        for tag, _, _, _, after in _walk(data, position, end, implicit, order, depth + 1, in_item=True):
            position = after
            if tag == _ITEM_END:
                break
        else:
            break
    raise DicomError("it is a damaged DICOM file: a sequence has no end. Get the file again.")


def first_frame(elements: Elements, frames: int) -> bytes:
    """Return the compressed stream of the first frame (PS3.5 A.4), with its padding.

    Raises:
      DicomError: the pixel data are damaged or cut off, or it is not known where the first of several frames ends.
    """
    _, position, length = elements.places[PIXEL_DATA]
    data = elements.data
    end = len(data) if length == UNDEFINED else min(len(data), position + length)
    fragments: list[tuple[int, int]] = []
    while position + 8 <= end:
        group, element, length = _STRUCTS["<"][1].unpack_from(data, position)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or position + 8 + length > end:
            raise DicomError("its compressed pixel data are damaged or cut off. Get the file again.")
        fragments.append((position + 8, length))
        position += 8 + length
    if len(fragments) < 2:
        raise DicomError("its compressed pixel data are damaged or cut off. Get the file again.")
    (table, table_length), first = fragments[0], fragments[1][0]
    fragments = fragments[1:]
    if frames > 1 and len(fragments) != frames:
        if table_length < 8:
            raise DicomError("it has several frames, and nothing says where the first one ends.")
        (second,) = _STRUCTS["<"][2].unpack_from(data, table + 4)
        fragments = [one for one in fragments if one[0] - first < second]
    elif frames > 1:
        fragments = fragments[:1]
    return b"".join([data[start : start + length] for start, length in fragments])
