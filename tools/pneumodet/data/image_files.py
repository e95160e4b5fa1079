"""Image files of radiographs (PNG, JPEG, TIFF, BMP, WebP), as some data sets come -> encoded images for records, or pixels.

    image = encode_bytes(data, source, Options())
    pixels = pixels_of(data, source)         # (H, W) uint8

Text chunks, Exif and comments, which may name a patient, do not get into records.
"""

import dataclasses
import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps

from pneumodet.core import guarded, image_limits
from pneumodet.core.errors import DataError
from pneumodet.data import encoding, file_kinds
from pneumodet.data.encoding import EncodedImage, Options
from pneumodet.dicom import costs, jpeg, lut
from pneumodet.dicom.elements import DicomError

Result = TypeVar("Result")

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""Pillow's names of what is read; nothing else is tried, whatever a file says that it is."""

_GRAY_8_BIT = bytes((8, 0, 0, 0, 0))
"""End of an IHDR: bits, colour type, compression, filter, and no interlace (PNG 11.2.1)."""

_CRITICAL = (b"IHDR", b"IDAT", b"IEND")
"""Chunks that a gray image needs."""

_SEEN = frozenset((b"tRNS", b"acTL", b"eXIf"))
"""Chunks that change what is shown: transparency, animation, orientation."""

_ORIENTATION = 0x0112
"""Exif tag: how the camera, or the scanner, was held."""

_PHOTOMETRIC = 262
"""TIFF tag PhotometricInterpretation: 0 where 0 is white (TIFF 6.0, 8)."""

_MOST_16_BIT = 65_535


def kind_of(data: bytes) -> str:
    """Return the format of an image file as people call it, by its first bytes."""
    names = {file_kinds.PNG_START: "PNG", file_kinds.JPEG_START: "JPEG", b"BM": "BMP", b"RIFF": "WebP"}
    return next((name for start, name in names.items() if data.startswith(start)), "TIFF")


def encode_bytes(data: bytes, source: object, options: Options) -> EncodedImage:
    """Return an image file's image for a record.

    Gray baseline JPEG and gray 8-bit PNG files are copied without their text, where the options keep size and gray values and Exif does not turn
    the image; any other one is decoded and written as JPEG.

    Args:
      data: the file's contents.
      source: names it in messages.
      options: what is done to the image.

    Raises:
      DataError: the file is damaged or cut off, or the image is too large.
    """
    whole = jpeg.read(data) if data.startswith(file_kinds.JPEG_START) else None
    if _is_plain(data, whole, source):
        return _encode(data, source, options, whole)
    return _elsewhere(data, source, _encode, options, None)


def _encode(data: bytes, source: object, options: Options, whole: jpeg.Jpeg | None) -> EncodedImage:
    """Return ``encode_bytes``; ``whole`` is what a JPEG consists of, or None where that is not known."""
    image = _open(data, source)
    if not _is_turned(image) and options.keeps(image.height, image.width):
        copyable = _COPYABLE.get(image.format or "")
        copy = copyable(data, source, whole) if copyable else None
        if copy is not None and image.format:
            notes: tuple[str, ...] = ("text left out",) if len(copy) != len(data) else ()
            digest = _sha256(copy if image.format == "JPEG" else data)
            return EncodedImage(copy, image.format.lower(), image.height, image.width, True, notes=notes, source_sha256=digest)
    pixels, notes = _gray(image, source)
    # of a JPEG file as it would be copied, which is the stream that a DICOM file may hold
    whole = jpeg.read(data) if image.format == "JPEG" else None
    return dataclasses.replace(
        encoding.encode(pixels, options, notes=notes), source_sha256=_sha256((whole.copyable() if whole else None) or data)
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pixels_of(data: bytes, source: object, *, turn: bool = True) -> np.ndarray:
    """Return an image file's image as (H, W) uint8, turned as Exif says; what ``encode_bytes`` stores; raises as it does.

    Args:
      data: the file's contents.
      source: names it in messages.
      turn: whether Exif is heeded; it is not in records, whose boxes are in px of the image as it is stored.
    """
    return noted_pixels_of(data, source, turn=turn)[0]


def noted_pixels_of(data: bytes, source: object, *, turn: bool = True) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return ``pixels_of``, and what was done or passed over, phrases for counting. Arguments and errors as there."""
    whole = jpeg.read(data) if data.startswith(file_kinds.JPEG_START) else None
    if _is_plain(data, whole, source):
        return _noted_pixels(data, source, turn)
    return _elsewhere(data, source, _noted_pixels, turn)


def _noted_pixels(data: bytes, source: object, turn: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    return _gray(_open(data, source), source, turn=turn)


def _is_plain(data: bytes, whole: jpeg.Jpeg | None, source: object) -> bool:
    """Whether decoding a file takes no more memory and time than its size says.

    Args:
      data: the file's contents.
      whole: what a JPEG consists of; None where it is none, or damaged.
      source: names it in messages.

    Raises:
      DataError: it is a JPEG of too many scans.
    """
    if data.startswith(file_kinds.JPEG_START):
        try:
            costs.refuse_scans(jpeg.count_scans(data) if whole is None else whole.scans)
        except DicomError as error:
            raise DataError(f"{source}: {error}") from None
        return (
            whole is not None
            and whole.is_plain
            and (whole.frame.components == 1 or whole.frame.height * whole.frame.width <= costs.LARGE_PX)
        )
    if not data.startswith(file_kinds.PNG_START) or len(data) < 26:
        return False
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    exif = data.find(b"eXIf")
    length = int.from_bytes(data[exif - 4 : exif], "big") if exif >= 4 else 0
    return length <= jpeg.MAX_DIRECTORY_BYTES and (colour == 0 or width * height <= costs.LARGE_PX)


def _elsewhere(data: bytes, source: object, function: Callable[..., Result], *args: Any) -> Result:
    """Return what a function makes of a file, in another process with limits."""
    limits = costs.limits_of(pixels=image_limits.MAX_PIXELS, samples=1)
    try:
        return guarded.call(function, data, str(source), *args, limits=limits)
    except guarded.Overrun as error:
        raise DataError(f"{source}: the image cannot be decoded: {error}. It is damaged, or made to do harm.") from None


def _open(data: bytes, source: object) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow's readers raise a dozen kinds for damaged files, struct.error among them
        raise _damaged(source, error) from None
    image_limits.check_size(source, image.height, image.width)
    if image.format == "MPO":  # a JPEG file with more pictures behind the first
        image.format = "JPEG"
    return image


def _is_turned(image: Image.Image) -> bool:
    """Whether Exif says that a JPEG's image is to be turned; one that cannot be read says nothing. PNG files with Exif are not copied."""
    try:
        return image.format == "JPEG" and image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:
        return False


def _damaged(source: object, error: Exception | None = None) -> DataError:
    return DataError(f"{source} is a damaged image file{f' ({type(error).__name__})' if error else ''}, or cut off. Get it again.")


def _gray(image: Image.Image, source: object, *, turn: bool = True) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return ((H, W) uint8, notes); 16 bits by the robust window, colour as luminance, transparent parts black as air."""
    try:
        notes = _frames(image)
        white_is_zero = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
        image.load()
        if turn:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # 16 bits, of which radiographs use a part: the whole range would be nearly black
            pixels = _of_16_bits(image, white_is_zero=white_is_zero)
            counts = lut.histogram(pixels)
            shares = lut.robust_shares(np.arange(counts.size), counts)
            return lut.apply(lut.to_8_bit(shares), pixels), (*notes, "robust window")
        if image.mode not in ("L", "1"):
            notes += ("colour to luminance",)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            # what lies under transparent px may be anything; black is air
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
        return np.asarray(image.convert("L")), notes
    except Exception as error:
        raise _damaged(source, error) from None


def _frames(image: Image.Image) -> tuple[str, ...]:
    """Return a note where a file has more than one image."""
    if image.format == "TIFF":
        # not n_frames, which reads all of thousands of pages; a second one that is damaged harms nobody
        try:
            image.seek(1)
        except Exception:
            return ()
        finally:
            image.seek(0)
        return ("first of several pages",)
    frames = getattr(image, "n_frames", 1)
    return (f"first of {frames} frames",) if frames > 1 else ()


def _of_16_bits(image: Image.Image, *, white_is_zero: bool) -> np.ndarray:
    """Return an image of more than 8 bits as (H, W) uint16, bright bone; Pillow inverts only TIFF images of 8 bits."""
    pixels = np.asarray(image)
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        values = np.nan_to_num(pixels.astype(np.float32))
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        # 32 bits, whole or not, of any range: it becomes that of 16 bits
        if pixels.dtype.kind == "f" or low < 0 or high > _MOST_16_BIT:
            pixels = (values - low) * (_MOST_16_BIT / (high - low) if high > low else 0)
    pixels = pixels.astype(np.uint16)
    return pixels.max(initial=0) - pixels if white_is_zero else pixels


def _copyable_jpeg(data: bytes, source: object, whole: jpeg.Jpeg | None) -> bytes | None:
    whole = whole or jpeg.read(data)
    if whole is None:
        raise _damaged(source)
    return whole.copyable()


def _copyable_png(data: bytes, source: object, whole: jpeg.Jpeg | None) -> bytes | None:
    """Return a gray 8-bit PNG with its image only, or None where it is another kind of PNG.

    Raises:
      DataError: a checksum is wrong, or the file is cut off.
    """
    kept, position, kind = [file_kinds.PNG_START], len(file_kinds.PNG_START), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise _damaged(source)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise _damaged(source)
        # what is shown differs from the stored gray values, or these are not 8 bit: it has to be decoded
        if kind in _SEEN or (kind == b"IHDR" and data[end - 9 : end - 4] != _GRAY_8_BIT):
            return None
        if kind in _CRITICAL:
            kept.append(data[position:end])
        position = end
    return b"".join(kept)


_COPYABLE: dict[str, Callable[[bytes, object, jpeg.Jpeg | None], bytes | None]] = {"JPEG": _copyable_jpeg, "PNG": _copyable_png}
"""Formats that records may hold as they are; the others are decoded and written as JPEG."""
