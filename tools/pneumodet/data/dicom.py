"""DICOM radiographs -> encoded images for records, or pixels for prediction.

    encoded = encode_image(path)             # the file's own JPEG stream where that is lossless and right, else a PNG
    pixels = read_pixels(path)               # (H, W) uint8, dark air and bright bone

Only the elements that the image needs are looked at; nothing of a header is logged, kept or put into a message.
"""

import contextlib
import dataclasses
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from pneumodet.errors import DataError, first_line

MAX_SIDE_PX = 16_384
"""A larger Rows or Columns is refused: the largest detectors have some 5,000 pixels a side."""

ROBUST_PERCENTILES = (0.5, 99.5)
"""Window of a radiograph that has no VOI LUT and more than 8 bits: between these percentiles of its pixels."""

_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)

_SOF0, _SOF3 = 0xFFC0, 0xFFC3
"""First and last marker of the frame headers that JPEG files in DICOM have; SOF0 is baseline (ITU-T T.81 B.1.1.3)."""

_COPY_FORBIDS = ("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence", "WindowCenter", "RescaleSlope", "RescaleIntercept")

logging.getLogger("pydicom").addHandler(logging.NullHandler())


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as it goes into a record.

    Attributes:
      data: a JPEG or PNG file.
      image_format: ``jpeg`` or ``png``.
      height: px.
      width: px.
      copied: True where ``data`` is the DICOM file's own JPEG stream, bit for bit.
    """

    data: bytes
    image_format: str
    height: int
    width: int
    copied: bool
    scale_xy: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Header:
    """Who and what is on a radiograph; None where it is absent."""

    patient_id: str | None
    sop_instance_uid: str | None
    view_position: str | None
    sex: str | None


def header(source) -> Header:
    """Return a DICOM file's header."""
    dataset = _read(source, pixels=False)
    with _damage(source):
        names = ("PatientID", "SOPInstanceUID", "ViewPosition", "PatientSex")
        return Header(*(str(dataset.get(name) or "") or None for name in names))


def encode_image(path: Path) -> EncodedImage:
    """Return a DICOM file's image, copied where that is lossless and shows the same gray values, otherwise decoded and as 8-bit PNG.

    A JPEG stream is copied where the file is JPEG Baseline (1.2.840.10008.1.2.4.50), of a single frame, 8 bit, unsigned, one sample, MONOCHROME2,
    without rescale, LUT or window that changes values.

    Raises:
      DataError: the file is no DICOM, is cut off, has no image, cannot be decoded, or its JPEG stream disagrees with Rows (0028,0010)
        or Columns (0028,0011).
    """
    dataset = _read(path)
    stream = _jpeg_stream(dataset, path)
    if stream is not None and _may_be_copied(dataset, stream, path):
        return EncodedImage(stream, "jpeg", int(dataset.Rows), int(dataset.Columns), True)
    pixels = _decode(dataset, path)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return EncodedImage(buffer.getvalue(), "png", *pixels.shape, False)


def read_pixels(path: Path) -> np.ndarray:
    """Return a DICOM file's image as (H, W) uint8, dark air and bright bone; what ``encode_image`` would store.

    Raises:
      DataError: as ``encode_image``.
    """
    dataset = _read(path)
    _jpeg_stream(dataset, path)
    return _decode(dataset, path)


def patient_id(path: Path) -> str | None:
    """Return PatientID (0010,0020), which in RSNA's files is the exam's patientId; None where it is absent.

    Raises:
      DataError: the file is no DICOM.
    """
    dataset = _read(path, pixels=False)
    with _damage(path):
        return str(dataset.get("PatientID") or "") or None


@contextlib.contextmanager
def _damage(path: Path, what: str = "it is a damaged DICOM file", hint: str = "Get the file again.") -> Iterator[None]:
    """Turn whatever pydicom and the decoders raise for a damaged file into a DataError; elements are parsed when they are looked at."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that do not matter
            yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: {what} ({first_line(error)}). {hint}") from error


def _read(path: Path, *, pixels: bool = True) -> pydicom.Dataset:
    with _damage(path):
        try:
            dataset = _parse(path, pixels=pixels)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        if not pixels:
            return dataset
        if "PixelData" not in dataset:
            raise DataError(f"{path} has no pixel data; it is not an image, or the file is cut off.")
        _check_size(dataset, path)
        return dataset


def _parse(path: Path, *, pixels: bool) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=not pixels)
    except InvalidDicomError:
        # PS3.10 asks for a preamble, but old archives leave it out; a file that is no DICOM has no Rows then
        dataset = pydicom.dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=not pixels, force=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise DataError(f"{path} is not a DICOM file.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _check_size(dataset: pydicom.Dataset, path: Path) -> None:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not (0 < rows <= MAX_SIDE_PX and 0 < columns <= MAX_SIDE_PX):
        raise DataError(f"{path} says that its image has {rows} rows and {columns} columns; 1 to {MAX_SIDE_PX} are allowed.")


def _jpeg_stream(dataset: pydicom.Dataset, path: Path) -> bytes | None:
    """Return the JPEG stream of the (first) frame, without padding, or None where there is none.

    Raises:
      DataError: the stream is cut off, or has another size than the DICOM header says: pydicom would shear such an image.
    """
    with _damage(path, "the JPEG stream is damaged or cut off"):
        if dataset.file_meta.get("TransferSyntaxUID") not in _JPEG:
            return None
        frames = int(dataset.get("NumberOfFrames") or 1)
        stream = next(generate_frames(dataset.PixelData, number_of_frames=frames)).rstrip(b"\0")  # items have even length (PS3.5 A.4)
        if not stream.endswith(b"\xff\xd9"):
            raise DataError(f"{path}: the JPEG stream is cut off (it has no end marker).")
        header = _frame_header(stream)
        if header is not None and header[2:4] != (dataset.Rows, dataset.Columns):
            raise DataError(
                f"{path}: the JPEG stream has {header[3]} x {header[2]} px, but the header says {dataset.Columns} x {dataset.Rows}. "
                "Get the file again."
            )
        return stream


def _may_be_copied(dataset: pydicom.Dataset, stream: bytes, path: Path) -> bool:
    with _damage(path):
        return (
            dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
            and jpeg_size(stream) == (8, dataset.Rows, dataset.Columns, 1)
            and int(dataset.get("NumberOfFrames") or 1) == 1
            and dataset.get("SamplesPerPixel") == 1
            and dataset.get("PhotometricInterpretation") == "MONOCHROME2"
            and dataset.get("BitsAllocated") == 8
            and dataset.get("BitsStored") == 8
            and dataset.get("PixelRepresentation", 0) == 0
            and dataset.get("PresentationLUTShape", "IDENTITY") in ("IDENTITY", "", None)
            and not any(_changes_values(dataset, keyword) for keyword in _COPY_FORBIDS)
        )


def _changes_values(dataset: pydicom.Dataset, keyword: str) -> bool:
    if keyword not in dataset or dataset[keyword].is_empty:
        return False
    if keyword == "RescaleSlope":
        return float(dataset.RescaleSlope) != 1.0
    if keyword == "RescaleIntercept":
        return float(dataset.RescaleIntercept) != 0.0
    if keyword == "WindowCenter":
        return _window(dataset) is not None and not _is_full_window(dataset)
    return len(dataset[keyword].value) > 0


def _window(dataset: pydicom.Dataset) -> tuple[float, float, str] | None:
    """Return center, width and VOI LUT Function (0028,1056) of the (first) window, or None where there is none."""
    values = [dataset.get(keyword) for keyword in ("WindowCenter", "WindowWidth")]
    first = [value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value for value in values]
    if any(value is None or value == "" for value in first):
        return None
    return float(first[0]), float(first[1]), str(dataset.get("VOILUTFunction") or "LINEAR")


def _is_full_window(dataset: pydicom.Dataset) -> bool:
    """Whether the (first) window maps 0..255 onto 0..255 (PS3.3 C.11.2.1.2, LINEAR: center 128, width 256)."""
    center, width, function = _window(dataset)
    return function != "SIGMOID" and center in (127.5, 128.0) and width in (255.0, 256.0)


def jpeg_size(stream: bytes) -> tuple[int, int, int, int] | None:
    """Return (bits, height px, width px, components) of a baseline JPEG's SOF0 segment (ITU-T T.81 B.2.2), or None where it has none."""
    header = _frame_header(stream)
    return header[1:] if header is not None and header[0] == _SOF0 else None


def _frame_header(stream: bytes) -> tuple[int, int, int, int, int] | None:
    """Return (marker, bits, height px, width px, components) of a JPEG's frame header, or None."""
    if stream[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, position)
        if _SOF0 <= marker <= _SOF3 and position + 10 <= len(stream):
            return marker, *struct.unpack_from(">BHHB", stream, position + 4)
        if not 0xFFC4 <= marker <= 0xFFFE or marker == 0xFFDA or length < 2:
            return None
        position += 2 + length
    return None


def _decode(dataset: pydicom.Dataset, path: Path) -> np.ndarray:
    with _damage(path, "the image cannot be decoded", "'python tools/doctor.py' lists the decoders that are installed."):
        pixels = dataset.pixel_array
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            pixels = pixels[0]
        if pixels.ndim == 3:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        return _to_8_bit(dataset, pixels)


def _to_8_bit(dataset: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    """Apply Modality LUT, VOI LUT or window and presentation, and map the result onto 0..255 (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2)."""
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    eight_bit = pixels.dtype == np.uint8 and not any(_changes_values(dataset, keyword) for keyword in _COPY_FORBIDS)
    if not eight_bit:
        values = apply_modality_lut(pixels, dataset)
        if "VOILUTSequence" in dataset and dataset.VOILUTSequence:
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            shares = apply_voi(values, dataset) / (2.0**bits - 1)
        elif (window := _window(dataset)) is not None:
            shares = _apply_window(np.asarray(values, np.float64), *window)
        else:
            low, high = np.percentile(values, ROBUST_PERCENTILES)
            shares = (values - low) / (high - low) if high > low else np.zeros(values.shape)
        pixels = np.uint8(np.rint(255 * np.clip(shares, 0, 1)))
    return 255 - pixels if inverted else pixels


def _apply_window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Return values as shares of the output range, not clipped (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    pydicom's apply_windowing turns the image to its negative where RescaleSlope is below 0.
    """
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"WindowWidth is {width:g}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return np.float64(values > center - 0.5)
    return (values - (center - 0.5)) / (width - 1) + 0.5
