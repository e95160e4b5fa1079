"""Gray values of a radiograph and windows on them: 16-bit DICOM files on their real values, anything else on the 8-bit picture.

    radiograph = read(file)                       # radiograph.shown is what the detector gets
    picture = radiograph.windowed(Window(center=1800, width=900))

The default picture is always ``shown``, so that the page and ``tools/predict.py`` show and detect on the same pixels.
"""

import dataclasses
import io
from typing import Any

import numpy as np

from pneumodet.data import image_files, images
from pneumodet.dicom import decoding, elements, lut
from pneumodet.dicom.reading import Source

_SAMPLES, _BITS_ALLOCATED, _ROWS, _COLUMNS = 0x00280002, 0x00280100, 0x00280010, 0x00280011


@dataclasses.dataclass(frozen=True)
class Window:
    """A range of gray values that is spread over black to white (PS3.3 C.11.2.1.3.2, LINEAR_EXACT).

    Attributes:
      center: the value that becomes middle gray (the level).
      width: the range, above 0.
    """

    center: float
    width: float


@dataclasses.dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph with its gray values.

    Attributes:
      shown: (H, W) uint8, dark air and bright bone, as ``images.read_pixels`` returns it.
      stored: (H, W) of 8 or 16 bits, values as the file stores them; ``shown`` where there are no others.
      values: (256,) or (65536,) float64, the real value of each bit pattern of ``stored``: after Modality LUT or rescale (PS3.3 C.11.1).
      inverted: whether the largest values are dark (MONOCHROME1).
      default: the window that ``shown`` has, or one that comes near where ``shown`` is made by a VOI LUT.
      lowest: of the values of this radiograph.
      highest: of the values of this radiograph, above ``lowest``.
    """

    shown: np.ndarray
    stored: np.ndarray
    values: np.ndarray
    inverted: bool
    default: Window
    lowest: float
    highest: float

    @property
    def is_real(self) -> bool:
        """Whether the values are the file's own, and not those of the 8-bit picture."""
        return self.stored is not self.shown

    def windowed(self, window: Window | None) -> np.ndarray:
        """Return (H, W) uint8, dark air and bright bone; ``shown`` for None and for the default window."""
        if window is None or window == self.default:
            return self.shown
        table = lut.to_8_bit((self.values - window.center) / max(window.width, 1e-9) + 0.5)
        return lut.apply(~table if self.inverted else table, self.stored)


def read(source: Source) -> Radiograph:
    """Read a radiograph.

    Raises:
      DataError: as ``images.read_pixels``.
    """
    shown = images.read_pixels(source)  # first: it refuses what decoders should not be given
    data = source.read_bytes()
    real = None if image_files.is_image_file(data) else _real(data, shown)
    if real is not None:
        return real
    return Radiograph(shown, shown, np.arange(256, dtype=np.float64), False, Window(127.5, 255.0), 0.0, 255.0)


def _real(data: bytes, shown: np.ndarray) -> Radiograph | None:
    """Return the gray values of a DICOM file of more than 8 bits, or None where it has no others than those shown, or pydicom cannot compute them."""
    from pydicom.pixels import apply_modality_lut  # here: importing pydicom takes 0.2 s, and pictures do not need it

    header = elements.read(data)
    layout = decoding.layout_of(header, *shown.shape)
    if layout.samples != 1 or layout.allocated != 16 or layout.shift or not layout.photometric.startswith("MONOCHROME"):
        return None
    try:
        dataset = _dataset(data, header, layout)
        stored = np.ascontiguousarray(dataset.pixel_array)
        # a table over all bit patterns: the Modality LUT is computed once for each and not for every pixel
        patterns = np.arange(1 << 8 * stored.itemsize, dtype=np.uint32).astype(f"u{stored.itemsize}").view(stored.dtype)
        values = np.asarray(apply_modality_lut(patterns, dataset), np.float64)
    except Exception:  # whatever pydicom raises of a header that is odd: the 8-bit picture is there
        return None
    if stored.shape != shown.shape or stored.itemsize > 2 or not np.isfinite(values).all():
        return None
    counts = lut.histogram(stored)
    there = values[counts > 0]
    if there.min() == there.max():
        return None
    window = _window(dataset) or _robust(values, counts)
    return Radiograph(shown, stored, values, lut.is_inverted(header), window, float(there.min()), float(there.max()))


def _dataset(data: bytes, header: elements.Elements, layout: decoding.Layout) -> Any:
    """Return the pydicom data set with the first frame only, in the form in which ``images.read_pixels`` decoded it."""
    import pydicom
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    stream = decoding.stream_of(header, layout)
    if stream is not None:
        lossless = stream.whole.lossless() if stream.whole is not None else None  # GDCM may end the process on irregular streams
        dataset.PixelData = encapsulate([lossless or stream.data])
        dataset.NumberOfFrames = 1
    elif layout.frames > 1:
        dataset.PixelData = dataset.PixelData[: layout.rows * layout.columns * 2]
        dataset.NumberOfFrames = 1
    return dataset


def _window(dataset: Any) -> Window | None:
    """Return the first of WindowCenter (0028,1050) and WindowWidth (0028,1051), or None where there is none or a VOI LUT goes before it."""
    if dataset.get("VOILUTSequence"):
        return None
    center, width = (np.atleast_1d(dataset.get(name) or []) for name in ("WindowCenter", "WindowWidth"))
    if not len(center) or not len(width) or not float(width[0]) >= 1:
        return None
    if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR" and float(width[0]) > 1:  # PS3.3 C.11.2.1.2.1 against C.11.2.1.3.2
        return Window(float(center[0]) - 0.5, float(width[0]) - 1)
    return Window(float(center[0]), float(width[0]))


def _robust(values: np.ndarray, counts: np.ndarray) -> Window:
    low, high = lut.robust_window(values, counts)
    return Window((low + high) / 2, max(high - low, 1.0))
