"""The image of a record -> gray pixels: the one decoder of training, evaluation, export and label export. No TensorFlow.

    pixels = decode(record.encoded, where="train-00000-of-00004.tfrecord, record 17")
    pixels = decode(record.encoded, where=…, target_hw=(320, 320))      # reduced by averaging, to no less than that

Gray values are those of PNG and JPEG *files* (``image_files``): 16 bits by the robust window, colour as luminance, transparent parts black. Exif does
not turn the image, since a record's boxes are in px of the image as it is stored.
"""

import struct
from typing import NamedTuple

import numpy as np

from pneumodet.core import image_limits
from pneumodet.core.errors import DataError
from pneumodet.data import image_files, scaling
from pneumodet.data.file_kinds import JPEG_START, PNG_START
from pneumodet.dicom import costs, jpeg

_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
"""Last marker of a JPEG file; name and checksum of the last chunk of a PNG file."""

_TRAILING_BYTES = 64
"""Writers pad; the end marker of a whole file is among so many last bytes."""

_IHDR = struct.Struct(">4x4sIIBB")
"""After a PNG file's signature: length, name, width, height, bits, colour type (PNG 3rd edition, 11.2.1)."""


_REDUCED = (8, 4, 2, 1)
"""Factors at which libjpeg decodes, in a fraction of the time. Where a side is no multiple of the factor, its last px covers less than the others, so
that all are off by as much: 7 of 2,560 px at most."""


class DamagedImage(DataError):
    """An image that cannot be decoded; ``what`` is the message without what to do next."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} Make the records again, or leave it out of training by --skip-corrupt.")
        self.what = what

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.what,)  # it may come from another process


class Header(NamedTuple):
    """What an encoded image says of itself.

    Attributes:
      image_format: ``jpeg`` or ``png``.
      height, width: px, as it is stored.
      usual: whether OpenCV decodes it to the same gray values as ``image_files``, and faster.
    """

    image_format: str
    height: int
    width: int
    usual: bool


def header(encoded: bytes, *, where: str) -> Header:
    """Read format and size of a record's image.

    Args:
      encoded: the file's bytes.
      where: names file, record and exam, for messages.

    Raises:
      DamagedImage: it is neither JPEG nor PNG, is damaged or cut off.
      DataError: it is too large.
    """
    if encoded.startswith(PNG_START):
        about, name, whole = _png_header(encoded), "PNG", _PNG_END in encoded[-_TRAILING_BYTES:] or _PNG_END in encoded
    elif encoded.startswith(JPEG_START[:2]):
        about, name, whole = _jpeg_header(encoded), "JPEG", _JPEG_END in encoded[-_TRAILING_BYTES:] or jpeg.read(encoded) is not None
    else:
        raise DamagedImage(f"{where}: the image cannot be decoded: it is neither JPEG nor PNG.")
    if not whole:
        raise DamagedImage(f"{where}: the {name} image is cut off.")
    if name == "JPEG" and (scans := jpeg.count_scans(encoded)) > costs.MAX_SCANS:
        raise DamagedImage(f"{where}: the JPEG image has {scans:,} scans; {costs.MAX_SCANS} are allowed.")
    if about is None:
        raise DamagedImage(f"{where}: the image cannot be decoded: its {name} header is damaged.")
    image_limits.check_size(where, about.height, about.width)
    return about


def decode(encoded: bytes, *, where: str, target_hw: tuple[int, int] | None = None, image_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a JPEG or PNG file, and reduce it where it is asked for.

    Args:
      encoded: the file's bytes.
      where: names file, record and exam, for messages.
      target_hw: what the model takes, in px; None leaves the image whole.
      image_hw: height and width in px that the record says; None where it says nothing.

    Returns:
      (H, W) uint8 gray pixels.

    Raises:
      DamagedImage: the file is damaged, cut off, of another kind, or not of the size that the record says.
      DataError: it is too large.
    """
    about = header(encoded, where=where)
    size_hw = (about.height, about.width)
    if image_hw is not None and size_hw != tuple(image_hw):
        said = " x ".join(map(str, image_hw[::-1]))
        raise DamagedImage(f"{where}: the image has {about.width} x {about.height} px, but the record says {said}.")
    target_hw = target_hw or size_hw
    if about.usual:
        by = scaling.factor(size_hw, target_hw)
        pixels = _by_opencv(encoded, next(one for one in _REDUCED if one <= by) if about.image_format == "jpeg" else 1)
    else:
        pixels = _by_pillow(encoded, where)
    if pixels is None:
        raise DamagedImage(f"{where}: the image cannot be decoded; it is damaged.")
    return scaling.reduce(pixels, target_hw)


def decode_mask(encoded: bytes, size_hw: tuple[int, int], *, where: str) -> np.ndarray:
    """Return an object's mask, a one-channel PNG file of the image's shape, as (h, w) uint8, 0 or 1, by the nearest px.

    Raises:
      DataError: it cannot be decoded.
    """
    mask = _by_opencv(encoded, 1)
    if mask is None:
        raise DataError(f"{where}: a mask cannot be decoded. Make the records again.")
    import cv2

    resized: np.ndarray = cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST)  # nearest: a mean of 0 and 1 is no mask
    return (resized > 0).astype(np.uint8)


def _png_header(encoded: bytes) -> Header | None:
    start = len(PNG_START)
    if len(encoded) < start + _IHDR.size:
        return None
    name, width, height, bits, colour = _IHDR.unpack_from(encoded, start)
    if name != b"IHDR":
        return None
    before_pixels = encoded[: max(encoded.find(b"IDAT"), 0)]
    return Header("png", height, width, (bits, colour) == (8, 0) and b"tRNS" not in before_pixels)


def _jpeg_header(encoded: bytes) -> Header | None:
    frame = jpeg.jpeg_frame(encoded)
    # OpenCV has rules of its own for CMYK
    return None if frame is None else Header("jpeg", frame.height, frame.width, frame.components in (1, 3))


def _by_opencv(encoded: bytes, factor: int) -> np.ndarray | None:
    import cv2  # 0.1 s that opening a record set does without

    flag = cv2.IMREAD_GRAYSCALE if factor == 1 else getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{factor}")
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes at all, or more px than OpenCV takes
        return None


def _by_pillow(encoded: bytes, where: str) -> np.ndarray | None:
    try:
        return image_files.pixels_of(encoded, where, turn=False)
    except DataError:  # its message is about a file that can be had again
        return None
