"""DICOM radiographs -> pixels.

    pixels = read_pixels(source)             # (H, W) uint8, dark air and bright bone
    header(source).patient_id

A source has ``read_bytes()`` and a name, ``str(source)``: a path, or a member of an archive. Only the elements that are needed are decoded,
and nothing else of a header is kept, logged or put into a message.
"""

import dataclasses
import math
from typing import NoReturn, Protocol

import numpy as np

from pneumodet.core import image_limits
from pneumodet.core.errors import DataError
from pneumodet.dicom import decoding, elements, header_facts
from pneumodet.dicom.elements import DicomError, Elements

_SOP_CLASS_UID, _SOP_INSTANCE_UID, _PATIENT_ID = 0x00080016, 0x00080018, 0x00100020
_ROWS, _COLUMNS = 0x00280010, 0x00280011

_ASPECT_RATIO = 0x00280034
"""PixelAspectRatio (PS3.3 C.7.6.3.1.7)."""


class Source(Protocol):
    """Anything with contents and a name."""

    def read_bytes(self) -> bytes:
        """Return the contents."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Who and what is on a radiograph; None where the element is absent or empty.

    Attributes:
      patient_id: (0010,0020), which in RSNA's files is the exam's patientId.
      sop_instance_uid: (0008,0018).
      view_position: (0018,5101), one of ``header_facts.VIEW_POSITIONS``; None for anything else, too.
      sex: (0010,0040), one of ``header_facts.SEXES``; None for anything else, too.
      is_own: whether pneumodet made it, by its Manufacturer (0008,0070).
    """

    patient_id: str | None
    sop_instance_uid: str | None
    view_position: str | None
    sex: str | None
    is_own: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """PatientID and SOPInstanceUID, those of them that are there."""
        return tuple(one for one in (self.patient_id, self.sop_instance_uid) if one is not None)


def header(source: Source) -> Header:
    """Return the five elements of a DICOM file that are used beside its image.

    Raises:
      DataError: the file is no DICOM file, damaged before its pixel data, or cannot be read.
    """
    return header_of(read_bytes(source), source)


def header_of(data: bytes, source: object) -> Header:
    """Return ``header`` of a file's contents; ``source`` names it in messages."""
    try:
        file = elements.read(data)
        if not file.places.keys() & {_SOP_CLASS_UID, _SOP_INSTANCE_UID, _ROWS}:
            raise DicomError("it is not a DICOM file.")
        names = (file.text(_PATIENT_ID) or None, file.ascii(_SOP_INSTANCE_UID) or None)
        is_own = header_facts.is_own(file.ascii(header_facts.MANUFACTURER))
        terms = (header_facts.view_position(file.ascii(header_facts.VIEW_POSITION)), header_facts.sex(file.ascii(header_facts.SEX)))
    except DicomError as error:
        refuse(source, error)
    return Header(*names, *terms, is_own)


def patient_id(source: Source) -> str | None:
    """Return PatientID (0010,0020), or None where it is absent; raises as ``header``."""
    return header(source).patient_id


def read_pixels(source: Source) -> np.ndarray:
    """Return a DICOM file's (first) image as (H, W) uint8, dark air and bright bone, of Rows x Columns as stored.

    Modality LUT, VOI LUT or the first window that is of use, and presentation are applied; an image of other than 8 bits without one is shown
    between ``lut.ROBUST_SHARES`` of its pixels. Padding is left out of that, and black.
    Colour becomes luminance: Y of YBR, and ``lut.LUMA`` of RGB and of palettes.

    Raises:
      DataError: the file is no DICOM file, is damaged or cut off, has no image, one that is too large, or one that cannot be decoded, or its
        compressed stream disagrees with Rows (0028,0010), Columns (0028,0011) or SamplesPerPixel (0028,0002).
    """
    return shown_of(read_bytes(source), source)[0].gray


def read_bytes(source: Source) -> bytes:
    """Return a source's contents.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return source.read_bytes()
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or type(error).__name__}.") from error


def shown_of(data: bytes, source: object) -> tuple[decoding.Shown, decoding.Layout]:
    """Return a file's (first) image as it is shown, and how its pixels are stored; ``source`` names it in messages.

    Raises:
      DataError: as ``read_pixels``.
    """
    try:
        file, layout = open_image(data, source)
        return decoding.show(file, layout, decoding.stream_of(file, layout)), layout
    except DicomError as error:
        refuse(source, error)


def refuse(source: object, error: DicomError) -> NoReturn:
    """Raise DataError with what is wrong with a file; ``source`` names it."""
    # without the cause: what pydicom and the decoders say may quote the header
    raise DataError(f"{source}: {error}") from None


def open_image(data: bytes, source: object) -> tuple[Elements, decoding.Layout]:
    """Return (elements, layout of the pixels) of a file's contents.

    Raises:
      DicomError: it is no DICOM file, or has no image.
      DataError: the image is too large.
    """
    file = elements.read(data)
    if _ROWS not in file.places and _COLUMNS not in file.places and not file.syntax:
        raise DicomError("it is not a DICOM file.")
    if elements.PIXEL_DATA not in file.places:
        raise DicomError("it has no pixel data; it is not an image, or the file is cut off.")
    rows, columns = file.integer(_ROWS, 0), file.integer(_COLUMNS, 0)
    # before anything is allocated: a damaged header may ask for any number of bytes
    image_limits.check_size(source, rows, columns)
    return file, decoding.layout_of(file, rows, columns)


def aspect_of(file: Elements) -> tuple[float, tuple[str, ...]]:
    """Return (height of a pixel by its width, 1.0 where they hardly differ or are not known; notes)."""
    for tag in (*header_facts.SPACINGS, _ASPECT_RATIO):
        if tag not in file.places:
            continue
        try:
            hw = file.numbers(tag)
        except DicomError:
            hw = [math.nan]
        if not hw:
            continue
        usable = len(hw) == 2 and min(hw) > 0 and max(hw) <= image_limits.MAX_ASPECT * min(hw)
        if not usable:
            return 1.0, ("unusable pixel spacing ignored",)
        aspect = hw[0] / hw[1]
        return (1.0 if abs(aspect - 1) <= image_limits.SQUARE_TOLERANCE else aspect), ()
    return 1.0, ()
