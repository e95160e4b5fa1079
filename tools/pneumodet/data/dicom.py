"""DICOM radiographs -> encoded images for records, or pixels for prediction.

    encoded = encode_image(path)             # the file's own JPEG stream where that is lossless and right, else a PNG
    pixels = read_pixels(path)               # (H, W) uint8, dark air and bright bone

Only the elements that the image needs are looked at; nothing of a header is logged, kept or put into a message.
"""

import dataclasses
import io
import logging
import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGBaseline8Bit

from pneumodet.errors import DataError

MAX_SIDE_PX = 16_384
"""A larger Rows or Columns is refused: the largest detectors have some 5,000 pixels a side."""

ROBUST_PERCENTILES = (0.5, 99.5)
"""Window of a radiograph that has no VOI LUT and more than 8 bits: between these percentiles of its pixels."""

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


def encode_image(path: Path) -> EncodedImage:
    """Return a DICOM file's image, copied where that is lossless and shows the same gray values, otherwise decoded and as 8-bit PNG.

    A JPEG stream is copied where the file is JPEG Baseline (1.2.840.10008.1.2.4.50), of a single frame, 8 bit, unsigned, one sample, MONOCHROME2,
    without rescale, LUT or window that changes values, and the stream's own header agrees with Rows (0028,0010) and
    Columns (0028,0011).

    Raises:
      DataError: the file is no DICOM, is cut off, has no image, or cannot be decoded.
    """
    dataset = _read(path)
    stream = _copyable_stream(dataset, path)
    if stream is not None:
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
    return _decode(_read(path), path)


def patient_id(path: Path) -> str | None:
    """Return PatientID (0010,0020), which in RSNA's files is the exam's patientId; None where it is absent.

    Raises:
      DataError: the file is no DICOM.
    """
    return str(getattr(_read(path, pixels=False), "PatientID", "") or "") or None


def _read(path: Path, *, pixels: bool = True) -> pydicom.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not looked at
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
            except InvalidDicomError:
                # PS3.10 asks for a preamble, but old archives leave it out; a file that is no DICOM has no Rows then
                dataset = pydicom.dcmread(path, stop_before_pixels=not pixels, force=True)
                if "Rows" not in dataset or "Columns" not in dataset:
                    raise DataError(f"{path} is not a DICOM file.") from None
            if not pixels:
                return dataset
            if "PixelData" not in dataset:
                raise DataError(f"{path} has no pixel data; it is not an image, or the file is cut off.")
            _check_size(dataset, path)
            return dataset
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # pydicom raises whatever a damaged file brings about
        raise DataError(f"{path} is a damaged DICOM file ({type(error).__name__}: {error}).") from error


def _check_size(dataset: pydicom.Dataset, path: Path) -> None:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not (0 < rows <= MAX_SIDE_PX and 0 < columns <= MAX_SIDE_PX):
        raise DataError(f"{path} says that its image has {rows} rows and {columns} columns; 1 to {MAX_SIDE_PX} are allowed.")


def _copyable_stream(dataset: pydicom.Dataset, path: Path) -> bytes | None:
    """Return the JPEG stream of a file that may be copied, or None; DataError where the stream is cut off."""
    meta = getattr(dataset, "file_meta", None)
    if meta is None or meta.get("TransferSyntaxUID") != JPEGBaseline8Bit:
        return None
    plain = (
        int(dataset.get("NumberOfFrames") or 1) == 1
        and dataset.get("SamplesPerPixel") == 1
        and dataset.get("PhotometricInterpretation") == "MONOCHROME2"
        and dataset.get("BitsAllocated") == 8
        and dataset.get("BitsStored") == 8
        and dataset.get("PixelRepresentation", 0) == 0
        and dataset.get("PresentationLUTShape", "IDENTITY") in ("IDENTITY", "", None)
    )
    if not plain or any(_changes_values(dataset, keyword) for keyword in _COPY_FORBIDS):
        return None
    try:
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    except Exception as error:  # pydicom raises several kinds for damaged encapsulation
        raise DataError(f"{path}: the JPEG stream is damaged or cut off ({error}).") from error
    stream = stream[:-1] if stream.endswith(b"\xff\xd9\x00") else stream  # items have even length (PS3.5 A.4)
    if not stream.endswith(b"\xff\xd9"):
        raise DataError(f"{path}: the JPEG stream is cut off (it has no end marker).")
    header = jpeg_size(stream)
    if header != (8, int(dataset.Rows), int(dataset.Columns), 1):
        return None  # let the decoder decide what this is
    return stream


def _changes_values(dataset: pydicom.Dataset, keyword: str) -> bool:
    if keyword not in dataset or dataset[keyword].is_empty:
        return False
    if keyword == "RescaleSlope":
        return float(dataset.RescaleSlope) != 1.0
    if keyword == "RescaleIntercept":
        return float(dataset.RescaleIntercept) != 0.0
    if keyword == "WindowCenter":
        return not _is_full_window(dataset)
    return len(dataset[keyword].value) > 0


def _is_full_window(dataset: pydicom.Dataset) -> bool:
    """Whether the (first) window maps 0..255 onto 0..255 (PS3.3 C.11.2.1.2, LINEAR: center 128, width 256)."""
    center, width = dataset.WindowCenter, dataset.get("WindowWidth")
    first = [value[0] if isinstance(value, pydicom.multival.MultiValue) else value for value in (center, width)]
    return first[1] is not None and float(first[0]) in (127.5, 128.0) and float(first[1]) in (255.0, 256.0)


def jpeg_size(stream: bytes) -> tuple[int, int, int, int] | None:
    """Return (bits, height px, width px, components) of a baseline JPEG's SOF0 segment (ITU-T T.81 B.2.2), or None where it has none."""
    if stream[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == 0xFFC0 and position + 10 <= len(stream):
            return struct.unpack_from(">BHHB", stream, position + 4)
        if not 0xFFC4 <= marker <= 0xFFFE or marker == 0xFFDA or length < 2:
            return None
        position += 2 + length
    return None


def _decode(dataset: pydicom.Dataset, path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = dataset.pixel_array
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                pixels = pixels[0]
            if pixels.ndim == 3:
                pixels = np.asarray(Image.fromarray(pixels).convert("L"))
            return _to_8_bit(dataset, pixels)
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever a damaged stream brings about
        raise DataError(
            f"{path}: the image cannot be decoded ({str(error).splitlines()[0]}). 'python tools/doctor.py' lists the decoders that are installed."
        ) from error


def _to_8_bit(dataset: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    """Apply Modality LUT, VOI LUT or window and presentation, and map the result onto 0..255 (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2)."""
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    eight_bit = pixels.dtype == np.uint8 and not any(_changes_values(dataset, keyword) for keyword in _COPY_FORBIDS)
    if not eight_bit:
        values = apply_modality_lut(pixels, dataset)
        windowed = any(keyword in dataset and not dataset[keyword].is_empty for keyword in ("VOILUTSequence", "WindowCenter"))
        values = np.asarray(apply_voi_lut(values, dataset) if windowed else values, np.float64)
        if windowed and "VOILUTSequence" not in dataset:
            low, high = _window_range(dataset, values)
        else:
            low, high = (values.min(), values.max()) if windowed else np.percentile(values, ROBUST_PERCENTILES)
        scale = 255.0 / (high - low) if high > low else 0.0
        pixels = np.uint8(np.rint(np.clip((values - low) * scale, 0, 255)))
    return 255 - pixels if inverted else pixels


def _window_range(dataset: pydicom.Dataset, values: np.ndarray) -> tuple[float, float]:
    """Return the output range of pydicom's window, which is that of the stored or rescaled values, so that a window keeps its contrast."""
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.get("PixelRepresentation", 0) else (0, 2**bits - 1)
    if "ModalityLUTSequence" in dataset:
        return float(values.min()), float(values.max())
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    ends = low * slope + intercept, high * slope + intercept
    return min(ends), max(ends)
