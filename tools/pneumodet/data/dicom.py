"""DICOM radiographs -> encoded images for records, or pixels for prediction.

    encoded = encode_image(source)           # the file's own JPEG stream where that is lossless and right, else a new JPEG
    pixels = read_pixels(source)             # (H, W) uint8, dark air and bright bone
    header(source).patient_id

A source has ``read_bytes()`` and a name, ``str(source)``: a path, or a member of an archive. Only the elements that are needed are looked at,
and nothing else of a header is kept, logged or put into a message.
"""

import dataclasses
import functools
import io
import math
import warnings
from typing import Any, NoReturn, Protocol

import numpy as np
from PIL import Image
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from pneumodet.data import elements, encoding, jpeg, lut
from pneumodet.data.elements import Elements, Fault
from pneumodet.data.encoding import AS_IT_IS, EncodedImage, Options
from pneumodet.errors import DataError

SOP_CLASS_UID, SOP_INSTANCE_UID, PATIENT_ID, PATIENT_SEX, VIEW_POSITION = 0x00080016, 0x00080018, 0x00100020, 0x00100040, 0x00185101
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011
BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_SPACINGS = (0x00280030, 0x00181164, 0x00182010)
"""PixelSpacing, ImagerPixelSpacing, NominalScannedPixelSpacing: height and width of a pixel in mm (PS3.3 10.7.1.3)."""
_ASPECT_RATIO = 0x00280034

JPEG_BASELINE, _JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_JPEG = frozenset((JPEG_BASELINE, _JPEG_EXTENDED, *(f"1.2.840.10008.1.2.4.{end}" for end in (57, 70, 80, 81))))
"""Baseline, Extended, Lossless (57, 70) and JPEG-LS (80, 81): streams of JPEG segments."""
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 201, 202, 203))
"""JPEG 2000 and High-Throughput JPEG 2000."""
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = frozenset((elements.IMPLICIT_LITTLE, elements.EXPLICIT_LITTLE, elements.EXPLICIT_BIG, elements.DEFLATED, ""))

# of numbers only, since pydicom is given nothing but the layout of the pixels; catch_warnings is not safe among threads
warnings.filterwarnings("ignore", module=r"pydicom\.pixels")


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
      view_position: (0018,5101), such as ``PA``.
      sex: (0010,0040).
    """

    patient_id: str | None
    sop_instance_uid: str | None
    view_position: str | None
    sex: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """How an image's pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    shift: int
    signed: bool
    photometric: str


def header(source: Source) -> Header:
    """Return the four elements of a DICOM file that are used beside its image.

    Raises:
      DataError: the file is no DICOM file, damaged before its pixel data, or cannot be read.
    """
    data = read_bytes(source)
    try:
        found = elements.read(data)
        if not found.places.keys() & {SOP_CLASS_UID, SOP_INSTANCE_UID, ROWS}:
            raise Fault("it is not a DICOM file.")
        text = (found.text(PATIENT_ID), found.ascii(SOP_INSTANCE_UID), found.ascii(VIEW_POSITION), found.ascii(PATIENT_SEX))
    except Fault as fault:
        _refuse(source, fault)
    return Header(*(one or None for one in text))


def patient_id(source: Source) -> str | None:
    """Return PatientID (0010,0020), or None where it is absent; raises as ``header``."""
    return header(source).patient_id


def encode_image(source: Source, options: Options = AS_IT_IS) -> EncodedImage:
    """Return a DICOM file's (first) image for a record.

    The JPEG stream is copied where the file is JPEG Baseline (1.2.840.10008.1.2.4.50), of a single frame, 8 bit, unsigned, one sample,
    MONOCHROME2, with square pixels, without rescale, LUT or window that changes values, and the options keep its size and gray values; only
    its comments and application data, which may name a patient, are left out. Any other image is decoded, brought to 8 bit and to square
    pixels (PixelSpacing (0028,0030), ImagerPixelSpacing (0018,1164), NominalScannedPixelSpacing (0018,2010) or PixelAspectRatio (0028,0034);
    square where all are absent), and written as JPEG.

    Raises:
      DataError: as ``read_pixels``.
    """
    return encode_bytes(read_bytes(source), source, options)


def read_pixels(source: Source) -> np.ndarray:
    """Return a DICOM file's (first) image as (H, W) uint8, dark air and bright bone, of Rows x Columns as stored.

    Modality LUT, VOI LUT or (first) window and presentation are applied; an image of other than 8 bits without VOI is shown between
    ``lut.ROBUST_SHARES`` of its pixels. Colour becomes luminance: Y of YBR, and ``lut.LUMA`` of RGB and of palettes.

    Raises:
      DataError: the file is no DICOM file, is damaged or cut off, has no image, one that is too large, or one that cannot be decoded, or its
        compressed stream disagrees with Rows (0028,0010), Columns (0028,0011) or SamplesPerPixel (0028,0002).
    """
    return pixels_of(read_bytes(source), source)


def read_bytes(source: Source) -> bytes:
    """Return a source's contents.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return source.read_bytes()
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or type(error).__name__}.") from error


def encode_bytes(data: bytes, source: object, options: Options) -> EncodedImage:
    """Return ``encode_image`` of a file's contents; ``source`` names it in messages."""
    try:
        found, layout = _open(data, source)
        aspect, notes = _aspect(found)
        stream = _stream(found, layout)
        if stream is not None and aspect == 1.0 and options.keeps(layout.rows, layout.columns) and _may_be_copied(found, layout):
            copy = jpeg.copyable(stream)
            if copy is not None:
                if len(copy) != len(stream):
                    notes += ("JPEG comments left out",)
                return EncodedImage(copy, "jpeg", layout.rows, layout.columns, True, notes=notes)
        pixels, more = _gray(found, layout, stream)
    except Fault as fault:
        _refuse(source, fault)
    if max(layout.rows * max(1.0, aspect), layout.columns * max(1.0, 1 / aspect)) > encoding.MAX_SIDE_PX:
        aspect, more = 1.0, (*more, "unusable pixel spacing ignored")
    return encoding.encode(pixels, options, aspect=aspect, notes=notes + more)


def pixels_of(data: bytes, source: object) -> np.ndarray:
    """Return ``read_pixels`` of a file's contents; ``source`` names it in messages."""
    try:
        found, layout = _open(data, source)
        return _gray(found, layout, _stream(found, layout))[0]
    except Fault as fault:
        _refuse(source, fault)


def _refuse(source: object, fault: Fault) -> NoReturn:
    # without the cause: what pydicom and the decoders say may quote the header
    raise DataError(f"{source}: {fault}") from None


def _open(data: bytes, source: object) -> tuple[Elements, _Layout]:
    found = elements.read(data)
    if ROWS not in found.places and COLUMNS not in found.places and not found.syntax:
        raise Fault("it is not a DICOM file.")
    if elements.PIXEL_DATA not in found.places:
        raise Fault("it has no pixel data; it is not an image, or the file is cut off.")
    rows, columns = found.integer(ROWS, 0), found.integer(COLUMNS, 0)
    encoding.check_size(source, rows, columns)
    photometric = found.ascii(PHOTOMETRIC)
    samples = found.integer(SAMPLES, 1)
    allocated = found.integer(BITS_ALLOCATED, 8)
    stored = found.integer(BITS_STORED, allocated)
    high = found.integer(HIGH_BIT, stored - 1)
    if allocated not in (8, 16) or samples not in (1, 3):
        raise Fault(f"it has {samples} samples of {allocated} bits a pixel; 1 or 3 samples of 8 or 16 bits are read.")
    if not 1 <= stored <= allocated:
        raise Fault(f"it says that {stored} of {allocated} bits are used. Get the file again.")
    shift = high + 1 - stored if stored - 1 <= high < allocated else 0
    signed = found.integer(PIXEL_REPRESENTATION, 0) == 1
    return found, _Layout(rows, columns, samples, max(1, found.integer(FRAMES, 1)), allocated, stored, shift, signed, photometric)


def _aspect(found: Elements) -> tuple[float, tuple[str, ...]]:
    """Return (height of a pixel by its width, 1.0 where they hardly differ or are not known; notes)."""
    for tag in (*_SPACINGS, _ASPECT_RATIO):
        if tag not in found.places:
            continue
        try:
            sides = found.numbers(tag)
        except Fault:
            sides = [math.nan]
        if not sides:
            continue
        usable = len(sides) == 2 and min(sides) > 0 and max(sides) <= encoding.MAX_ASPECT * min(sides)
        if not usable:
            return 1.0, ("unusable pixel spacing ignored",)
        aspect = sides[0] / sides[1]
        return (1.0 if abs(aspect - 1) <= encoding.SQUARE_TOLERANCE else aspect), ()
    return 1.0, ()


def _stream(found: Elements, layout: _Layout) -> bytes | None:
    """Return the compressed stream of the (first) frame, without padding, or None where pixels are not compressed.

    Raises:
      Fault: the stream is cut off, or is of another image than the header says: decoders would shear it, or fill memory.
    """
    if found.syntax in _NATIVE:
        return None
    stream = elements.first_frame(found, layout.frames)
    if found.syntax in _JPEG:
        frame = jpeg.jpeg_frame(stream)
        end = jpeg.end_of(stream)
        if end is None:
            raise Fault("the JPEG stream is damaged or cut off. Get the file again.")
        if not stream[end:].strip(b"\0"):
            stream = stream[:end]
    elif found.syntax in _JPEG_2000:
        frame = jpeg.jpeg2000_frame(stream)
    else:
        return stream
    name = "JPEG 2000" if found.syntax in _JPEG_2000 else "JPEG"
    if frame is None:
        raise Fault(f"the {name} stream is damaged or cut off. Get the file again.")
    if (frame.height, frame.width) != (layout.rows, layout.columns):
        raise Fault(
            f"the {name} stream has {frame.width} x {frame.height} px, but the header says {layout.columns} x {layout.rows}. "
            "Get the file again."
        )
    if frame.components != layout.samples:
        raise Fault(f"the {name} stream has {frame.components} components, but the header says {layout.samples}. Get the file again.")
    if frame.bits > layout.allocated:
        raise Fault(f"the {name} stream has {frame.bits} bits, but the header says {layout.allocated}. Get the file again.")
    return stream


def _may_be_copied(found: Elements, layout: _Layout) -> bool:
    return (
        found.syntax == JPEG_BASELINE
        and (layout.frames, layout.samples, layout.allocated, layout.stored, layout.shift) == (1, 1, 8, 8, 0)
        and not layout.signed
        and lut.is_plain(found)
    )


def _gray(found: Elements, layout: _Layout, stream: bytes | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return ((H, W) uint8, notes)."""
    notes = (f"first of {layout.frames} frames",) if layout.frames > 1 else ()
    if stream is None:
        pixels, bits, shift = _native(found, layout), layout.stored, layout.shift
    else:
        pixels, bits, shift = _decoded(found.syntax, layout, stream), layout.stored, 0
        frame = jpeg.jpeg_frame(stream) if found.syntax in _JPEG else jpeg.jpeg2000_frame(stream)
        if frame is not None:  # a stream of more bits than the header says keeps its highest ones
            bits = min(max(bits, frame.bits), 8 * pixels.itemsize)
    if pixels.ndim == 3:
        return _luminance(pixels, bits), (*notes, "colour to luminance")
    if not pixels.flags.c_contiguous:
        pixels = np.ascontiguousarray(pixels)
    plain = pixels.dtype == np.uint8 and bits == 8 and shift == 0 and lut.is_plain(found)
    if plain:
        return pixels, notes
    table, more = lut.gray_table(found, bits=bits, shift=shift, dtype=pixels.dtype, histogram=lambda: lut.histogram(pixels))
    return lut.apply(table, pixels), notes + more


def _native(found: Elements, layout: _Layout) -> np.ndarray:
    """Return the first frame of pixels that are not compressed, of the machine's byte order, with the unused bits of its words."""
    vr, start, length = found.places[elements.PIXEL_DATA]
    if length == elements.UNDEFINED:
        raise Fault("its pixel data are compressed, but its transfer syntax says that they are not. Get the file again.")
    number = layout.rows * layout.columns * layout.samples
    size = number * layout.allocated // 8
    if layout.photometric == "YBR_FULL_422":
        size = size // 3 * 2
    if min(length, len(found.data) - start) < size:
        raise Fault(f"its pixel data have fewer than {size} bytes; the file is cut off, or Rows or Columns is wrong.")
    data = memoryview(found.data)[start : start + size + size % 2]
    if layout.samples == 3:
        return _by_pydicom(found.syntax or elements.EXPLICIT_LITTLE, layout, bytes(data), planar=found.integer(PLANAR, 0), vr=vr)
    kind = "i" if layout.signed else "u"
    if found.order == ">" and layout.allocated == 8 and vr == b"OW":  # bytes were swapped as words (PS3.5 7.3)
        data = np.frombuffer(data, ">u2").astype("<u2")
    pixels = np.frombuffer(data, f"{found.order}{kind}{layout.allocated // 8}", number).reshape(layout.rows, layout.columns)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _decoded(syntax: str, layout: _Layout, stream: bytes) -> np.ndarray:
    if syntax in (JPEG_BASELINE, _JPEG_EXTENDED):
        frame = jpeg.jpeg_frame(stream)
        if frame.bits != 8:
            raise Fault(
                f"it is JPEG Extended of {frame.bits} bits, which no decoder here reads. Convert it, for example with 'dcmdjpeg old.dcm new.dcm'."
            )
        if layout.samples == 1:
            try:
                pixels = np.asarray(Image.open(io.BytesIO(stream), formats=("JPEG",)))
            except Exception as error:
                raise Fault(f"the JPEG stream is damaged ({type(error).__name__}). Get the file again.") from None
            if pixels.shape != (layout.rows, layout.columns):
                raise Fault("the JPEG stream is damaged. Get the file again.")
            return pixels.view(np.int8) if layout.signed else pixels
    value = (
        b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0" + (len(stream) + len(stream) % 2).to_bytes(4, "little") + stream + b"\0" * (len(stream) % 2)
    )
    return _by_pydicom(syntax, layout, value, planar=0, vr=b"OB")


def _by_pydicom(syntax: str, layout: _Layout, value: bytes, *, planar: int | None, vr: bytes) -> np.ndarray:
    """Return (H, W) or (H, W, 3) as pydicom and its plug-ins decode the first frame, without conversion of colour."""
    decoder = _decoder(syntax)
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": planar or 0,
        "pixel_keyword": "PixelData",
        "pixel_vr": vr.decode() or "OW",
    }
    try:
        pixels, meta = decoder.as_array(value, index=0, raw=True, **options)
    except Exception as error:
        raise Fault(
            f"its image ({UID(syntax).name}) cannot be decoded ({type(error).__name__}); it is damaged. Get the file again."
        ) from None
    shape = (layout.rows, layout.columns, 3)[: 2 if layout.samples == 1 else 3]
    if pixels.shape != shape or pixels.itemsize > 2:
        raise Fault("its image is of another size than its header says. Get the file again.")
    if layout.samples == 3 and str(meta["photometric_interpretation"]).startswith("YBR"):
        return pixels[..., 0]  # Y is luminance (PS3.3 C.7.6.3.1.2)
    return pixels


@functools.cache
def _decoder(syntax: str) -> Any:
    """Return pydicom's decoder.

    Raises:
      Fault: there is none, or none of its plug-ins is installed.
    """
    uid = UID(syntax)
    name = uid.name if uid.is_transfer_syntax and not uid.is_private else "one that is not known"
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise Fault(
            f"its transfer syntax is {name}, which is not read. Convert it, for example with 'gdcmconv --raw old.dcm new.dcm'."
        ) from None
    if not decoder.is_available:
        raise Fault(f"no decoder for {name} is installed. 'python tools/doctor.py' lists those that are missing.")
    return decoder


def _luminance(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return (H, W) uint8 of (H, W, 3) RGB."""
    luma = pixels.astype(np.float32) @ np.array(lut.LUMA, np.float32)
    return np.uint8(np.rint(np.clip(luma * (255 / ((1 << bits) - 1)), 0, 255)))
