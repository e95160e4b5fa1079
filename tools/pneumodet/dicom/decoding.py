"""Pixels of a DICOM file: how they are stored, decoded, and shown as 8-bit gray.

    layout = layout_of(header, rows, columns)
    stream = stream_of(header, layout)        # the first frame's compressed data; None where pixels are not compressed
    shown = show(header, layout, stream)              # shown.gray, shown.notes

pydicom and its plug-ins decode; they are given the layout and the frame, and nothing else of the file.
"""

import dataclasses
import functools
import io
import logging
import warnings
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core import guarded
from pneumodet.dicom import costs, display, elements, jpeg, lut
from pneumodet.dicom.display import Display
from pneumodet.dicom.elements import DicomError, Elements

_SAMPLES, _PLANAR, _FRAMES = 0x00280002, 0x00280006, 0x00280008
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _PIXEL_REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103

JPEG_BASELINE, _JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (57, 70))
"""Non-hierarchical, with any predictor and with the first one."""

_JPEG = _JPEG_LOSSLESS | {JPEG_BASELINE, _JPEG_EXTENDED, *(f"1.2.840.10008.1.2.4.{end}" for end in (80, 81))}
"""Baseline, Extended, Lossless and JPEG-LS: streams of JPEG segments."""

_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 201, 202, 203))
"""JPEG 2000 and High-Throughput JPEG 2000."""

_RLE = "1.2.840.10008.1.2.5"

_SYNTAX_OF_FRAME = {
    0xC0: JPEG_BASELINE,
    0xC1: _JPEG_EXTENDED,
    0xC2: _JPEG_EXTENDED,
    0xC3: "1.2.840.10008.1.2.4.57",
    0xF7: "1.2.840.10008.1.2.4.80",
}
"""Second byte of a JPEG stream's frame header -> transfer syntax that it is decoded by; progressive ones (SOF2) are read as extended ones are."""

_SYNTAX_OF_J2K, _SYNTAX_OF_HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"

_NATIVE = frozenset((elements.IMPLICIT_LITTLE, elements.EXPLICIT_LITTLE, elements.EXPLICIT_BIG, elements.DEFLATED, ""))
"""Without compression; files without meta information say nothing."""

_PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
"""pydicom's plug-ins, by how they take damaged streams: GDCM, the only one for JPEG Lossless, may end the process."""

_ITEM = b"\xfe\xff\0\xe0"
"""Tag of a fragment (PS3.5 A.4)."""

# of numbers only, since pydicom is given nothing but the layout of the pixels; catch_warnings is not safe among threads
warnings.filterwarnings("ignore", module=r"pydicom\.pixels")
logging.getLogger("pydicom").addHandler(logging.NullHandler())


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How an image's pixels are stored (PS3.3 C.7.6.3).

    Attributes:
      rows: px.
      columns: px.
      samples: of a pixel, 1 or 3.
      frames: at least 1.
      allocated: bits of a sample's word, 8 or 16.
      stored: bits of it that are used.
      shift: position of the lowest of them.
      signed: whether the highest of them is a sign.
      photometric: PhotometricInterpretation (0028,0004).
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    shift: int
    signed: bool
    photometric: str


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """A compressed frame: its data, what they say of themselves, and their parts where they are JPEG."""

    data: bytes
    frame: jpeg.Frame | None = None
    whole: jpeg.Jpeg | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An image as it is shown.

    Attributes:
      gray: (H, W) uint8, dark air and bright bone.
      notes: what was done or passed over, phrases for counting.
      stored: (H, W) of 8 or 16 bits, the words of its pixels, of one sample; None where ``gray`` is made of them without a table.
      how: gray is made of them, or None.
    """

    gray: np.ndarray
    notes: tuple[str, ...]
    stored: np.ndarray | None = None
    how: Display | None = None


def layout_of(header: Elements, rows: int, columns: int) -> Layout:
    """Return how pixels are stored.

    Raises:
      DicomError: it is a way that no radiograph is stored in.
    """
    photometric = header.ascii(display.PHOTOMETRIC)
    samples = header.integer(_SAMPLES, 1)
    allocated = header.integer(_BITS_ALLOCATED, 0)
    stored = header.integer(_BITS_STORED, allocated)
    high = header.integer(_HIGH_BIT, stored - 1)
    if allocated not in (8, 16) or samples not in (1, 3):
        raise DicomError(f"it has {samples} samples of {allocated} bits a pixel; 1 or 3 samples of 8 or 16 bits are read.")
    if not 1 <= stored <= allocated:
        raise DicomError(f"it says that {stored} of {allocated} bits are used. Get the file again.")
    shift = high + 1 - stored if stored - 1 <= high < allocated else 0
    signed = header.integer(_PIXEL_REPRESENTATION, 0) == 1
    return Layout(rows, columns, samples, max(1, header.integer(_FRAMES, 1)), allocated, stored, shift, signed, photometric)


def stream_of(header: Elements, layout: Layout) -> Stream | None:
    """Return the compressed stream of the (first) frame, or None where pixels are not compressed.

    Where the file does not say its transfer syntax, ``header.syntax`` becomes the one that the stream shows.

    Raises:
      DicomError: the stream is cut off, or is of another image than the header says: decoders would shear it, or fill memory.
    """
    if not header.syntax and header.places[elements.PIXEL_DATA][2] == elements.UNDEFINED:
        header.syntax = _syntax_of(elements.first_frame(header, layout.frames))
    if header.syntax in _NATIVE:
        return None
    data = elements.first_frame(header, layout.frames)
    if header.syntax in _JPEG:
        name, whole = "JPEG", jpeg.read(data)
        stream = Stream(whole.stream, whole.frame, whole) if whole else Stream(data)
    elif header.syntax in _JPEG_2000:
        name, stream = "JPEG 2000", Stream(data, jpeg.jpeg2000_frame(data))
    else:
        return Stream(data)
    if stream.whole is not None:
        costs.refuse_scans(stream.whole.scans)
    frame = stream.frame
    if frame is None:
        raise DicomError(f"the {name} stream is damaged or cut off. Get the file again.")
    sizes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
        ("px", (frame.width, frame.height), (layout.columns, layout.rows)),
        ("components", (frame.components,), (layout.samples,)),
    )
    for what, there, said in sizes:
        if there != said:
            of_stream, of_header = (" x ".join(map(str, numbers)) for numbers in (there, said))
            raise DicomError(f"the {name} stream has {of_stream} {what}, but the header says {of_header}. Get the file again.")
    if frame.bits > layout.allocated:
        raise DicomError(f"the {name} stream has {frame.bits} bits, but the header says {layout.allocated}. Get the file again.")
    if (siz := jpeg.jpeg2000_start(data)) is not None and header.syntax in _JPEG_2000:
        costs.refuse_codestream(data, siz, pixels=layout.rows * layout.columns)
    return stream


def _syntax_of(data: bytes) -> str:
    """Return the transfer syntax by which a stream is decoded.

    Raises:
      DicomError: it is none that is known.
    """
    if syntax := _SYNTAX_OF_FRAME.get(jpeg.frame_marker(data) or 0):
        return syntax
    if jpeg.jpeg2000_frame(data) is not None:
        return _SYNTAX_OF_HTJ2K if jpeg.is_high_throughput(data) else _SYNTAX_OF_J2K
    # number of segments, and where the first of them begins (PS3.5 G.5)
    if len(data) > 64 and 1 <= int.from_bytes(data[:4], "little") <= 15 and data[4:8] == b"\x40\0\0\0":
        return _RLE
    raise DicomError("it does not say its transfer syntax, and its compressed pixel data are of no kind that is known.")


def show(header: Elements, layout: Layout, stream: Stream | None) -> Shown:
    """Return an image as it is shown.

    Raises:
      DicomError: it is damaged or cut off, or no decoder reads it.
    """
    notes = (f"first of {layout.frames} frames",) if layout.frames > 1 else ()
    if stream is None:
        pixels, bits, shift = _native(header, layout), layout.stored, layout.shift
    else:
        pixels, bits, shift = _within_limits(header.syntax, layout, stream), layout.stored, 0
        if stream.frame is not None and not layout.signed:  # a stream of more bits than the header says keeps its highest ones
            bits = min(max(bits, stream.frame.bits), 8 * pixels.itemsize)
    if pixels.ndim == 3:
        return Shown(_luminance(pixels, bits), (*notes, "colour to luminance"))
    if not pixels.flags.c_contiguous:
        pixels = np.ascontiguousarray(pixels)
    plain = display.plain_notes(header) if pixels.dtype == np.uint8 and bits == 8 and shift == 0 else None
    if plain is not None:
        return Shown(~pixels if display.is_inverted(header) else pixels, notes + plain)
    how = display.of_pixels(header, pixels, bits=bits, shift=shift)
    return Shown(lut.apply(how.table, pixels), notes + how.notes, pixels, how)


def native_bytes(header: Elements, layout: Layout) -> memoryview:
    """Return the first frame of pixels that are not compressed, as the file has it.

    Raises:
      DicomError: there are fewer than the header says, or they are compressed.
    """
    return _native_value(header, layout)[0]


def _native_value(header: Elements, layout: Layout) -> tuple[memoryview, bytes, int]:
    """Return (the first frame's bytes, their VR, the number of samples)."""
    vr, start, length = header.places[elements.PIXEL_DATA]
    if length == elements.UNDEFINED:
        raise DicomError("its pixel data are compressed, but its transfer syntax says that they are not. Get the file again.")
    number = layout.rows * layout.columns * layout.samples
    size = number * layout.allocated // 8
    if layout.photometric == "YBR_FULL_422":
        size = size // 3 * 2
    if min(length, len(header.data) - start) < size:
        raise DicomError(f"its pixel data have fewer than {size} bytes; the file is cut off, or Rows or Columns is wrong.")
    value = memoryview(header.data)[start : start + size + size % 2]
    return value, vr, number


def _native(header: Elements, layout: Layout) -> np.ndarray:
    """Return the first frame of pixels that are not compressed, of the machine's byte order, with the unused bits of its words."""
    value, vr, number = _native_value(header, layout)
    if layout.samples == 3:
        return _by_pydicom(header.syntax or elements.EXPLICIT_LITTLE, layout, bytes(value), planar=header.integer(_PLANAR, 0), vr=vr)
    kind = "i" if layout.signed else "u"
    data: memoryview | np.ndarray = value
    if header.order == ">" and layout.allocated == 8 and vr == b"OW":  # bytes were swapped as words (PS3.5 7.3)
        data = np.frombuffer(value, ">u2").astype("<u2")
    pixels = np.frombuffer(data, f"{header.order}{kind}{layout.allocated // 8}", number).reshape(layout.rows, layout.columns)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _within_limits(syntax: str, layout: Layout, stream: Stream) -> np.ndarray:
    """Return ``_decoded``, in another process where decoding could take more memory or time than the image's size says."""
    is_plain = syntax in (JPEG_BASELINE, _JPEG_EXTENDED) and layout.samples == 1 and stream.whole is not None and stream.whole.is_plain
    if is_plain:
        return _decoded(syntax, layout, stream)
    try:
        limits = costs.limits_of(pixels=layout.rows * layout.columns, samples=layout.samples)
        return guarded.call(_decoded, syntax, layout, stream, limits=limits)
    except guarded.Overrun as error:
        raise DicomError(f"its image cannot be decoded: {error}. It is damaged, or made to do harm.") from None


def _decoded(syntax: str, layout: Layout, stream: Stream) -> np.ndarray:
    data = stream.data
    if syntax in (JPEG_BASELINE, _JPEG_EXTENDED) and stream.frame is not None:  # stream_of refuses JPEG without a frame
        if stream.frame.bits != 8:
            raise DicomError(
                f"it is JPEG Extended of {stream.frame.bits} bits, which no decoder here reads. Convert it, for example with 'dcmdjpeg old.dcm new.dcm'."
            )
        if layout.samples == 1:
            try:
                pixels = np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))
            except Exception as error:
                raise DicomError(f"the JPEG stream is damaged ({type(error).__name__}). Get the file again.") from None
            if pixels.shape != (layout.rows, layout.columns):
                raise DicomError("the JPEG stream is damaged. Get the file again.")
            return pixels.view(np.int8) if layout.signed else pixels
    if syntax in _JPEG_LOSSLESS:
        lossless = stream.whole.lossless() if stream.whole is not None else None
        if lossless is None:
            raise DicomError(
                "the JPEG Lossless stream is damaged or irregular. Get the file again, or convert it with 'dcmdjpeg old.dcm new.dcm'."
            )
        data = lossless
    data += b"\0" * (len(data) % 2)
    value = _ITEM + bytes(4) + _ITEM + len(data).to_bytes(4, "little") + data  # an empty offset table and one fragment (PS3.5 A.4)
    return _by_pydicom(syntax, layout, value, planar=0, vr=b"OB")


def _by_pydicom(syntax: str, layout: Layout, value: bytes, *, planar: int | None, vr: bytes) -> np.ndarray:
    """Return (H, W) or (H, W, 3) as pydicom and its plug-ins decode the first frame, without conversion of colour."""
    decoder, plugin, name = _decoder(syntax)
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric or ("MONOCHROME2" if layout.samples == 1 else "RGB"),
        "planar_configuration": planar or 0,
        "pixel_keyword": "PixelData",
        "pixel_vr": vr.decode() or "OW",
    }
    try:
        pixels, meta = decoder.as_array(value, index=0, raw=True, decoding_plugin=plugin, **options)
    except Exception as error:
        raise DicomError(f"its image ({name}) cannot be decoded ({type(error).__name__}); it is damaged. Get the file again.") from None
    shape = (layout.rows, layout.columns, 3)[: 2 if layout.samples == 1 else 3]
    if pixels.shape != shape or pixels.itemsize > 2:
        raise DicomError("its image is of another size than its header says. Get the file again.")
    decoded: np.ndarray = pixels
    if layout.samples == 3 and str(meta["photometric_interpretation"]).startswith("YBR"):
        return decoded[..., 0]  # Y is luminance (PS3.3 C.7.6.3.1.2)
    return decoded


@functools.cache
def _decoder(syntax: str) -> tuple[Any, str, str]:
    """Return pydicom's decoder, the name of the plug-in to use, empty where it needs none, and that of the transfer syntax.

    Raises:
      DicomError: there is none, or none of its plug-ins is installed.
    """
    from pydicom.pixels import get_decoder  # here: importing pydicom takes longer than copying a thousand images
    from pydicom.uid import UID, UID_dictionary

    name = UID_dictionary[syntax][0] if syntax in UID_dictionary else "one that is not known"
    try:
        decoder = get_decoder(UID(syntax)) if syntax in UID_dictionary else None
    except NotImplementedError:
        decoder = None
    if decoder is None:
        raise DicomError(
            f"its transfer syntax is {name}, which is not read. Convert it, for example with 'gdcmconv --raw old.dcm new.dcm'."
        )
    if not decoder.is_available:
        raise DicomError(f"no decoder for {name} is installed. 'python tools/doctor.py' lists those that are missing.")
    return decoder, next((one for one in _PLUGINS if one in decoder.available_plugins), ""), name


def _luminance(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return (H, W) uint8 of (H, W, 3) RGB."""
    luma = pixels.astype(np.float32) @ np.array(lut.LUMA, np.float32)
    return np.asarray(np.rint(np.clip(luma * (255 / ((1 << bits) - 1)), 0, 255)), np.uint8)
