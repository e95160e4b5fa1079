"""Radiographs -> images for records or pixels for prediction, whatever kind of file they come in.

    image = encode(source, Options(max_side=1024))       # EncodedImage; boxes are multiplied by image.scale_xy
    pixels = read_pixels(source)                         # (H, W) uint8, dark air and bright bone
    image_of(data, source).notes                         # the same with what was done or passed over

What a file is, its first bytes say, not its name: PNG, JPEG, TIFF, BMP, WebP, or else DICOM.
"""

import dataclasses

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data import dicom_images, file_kinds, image_files
from pneumodet.data.encoding import AS_IT_IS, NORMALIZE, EncodedImage, Options
from pneumodet.dicom import reading

__all__ = ["NORMALIZE", "EncodedImage", "Image", "Options", "encode", "image_of", "is_image_file", "read_pixels"]


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """What is on a radiograph.

    Attributes:
      pixels: (H, W) uint8, dark air and bright bone, on the file's own grid.
      notes: what was done or passed over, phrases for counting.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]


def encode(source: reading.Source, options: Options = AS_IT_IS) -> EncodedImage:
    """Return the image of a DICOM or image file as it goes into a record.

    Args:
      source: anything with ``read_bytes()`` and a name, ``str(source)``.
      options: what is done to the image.

    Raises:
      DataError: the file cannot be read or is damaged; see ``dicom_images.encode_image`` and ``image_files.encode_bytes``.
    """
    data = reading.read_bytes(source)
    if is_image_file(data, source):
        return image_files.encode_bytes(data, source, options)
    return dicom_images.encode_bytes(data, source, options)


def read_pixels(source: reading.Source) -> np.ndarray:
    """Return the image of a DICOM or image file as (H, W) uint8, dark air and bright bone, on the file's own grid.

    Pixels that are not square stay so, and boxes on it are in px of the file.

    Raises:
      DataError: as ``encode``.
    """
    return image_of(reading.read_bytes(source), source).pixels


def image_of(data: bytes, source: object) -> Image:
    """Return ``read_pixels`` of a file's contents, with notes; ``source`` names it in messages."""
    if is_image_file(data, source):
        return Image(*image_files.noted_pixels_of(data, source))
    shown, _ = reading.shown_of(data, source)
    return Image(shown.gray, shown.notes)


def is_image_file(data: bytes, source: object) -> bool:
    """Return whether these are the contents of an image file, and not of a DICOM file.

    Raises:
      DataError: they say that they are neither, as those of a packed file.
    """
    if file_kinds.is_image(data):
        return True
    reason = file_kinds.unread_content(data[: file_kinds.HEAD_BYTES])
    if reason is not None:
        raise DataError(f"{source}: {reason}.")
    return False
