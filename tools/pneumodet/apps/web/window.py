"""Gray values of a radiograph and windows on them: 16-bit DICOM files on their real values, anything else on the 8-bit picture.

    radiograph = read(file)                       # radiograph.shown is what the detector gets
    picture = radiograph.windowed(Window(center=1800, width=900))

The default picture is always ``shown``, so that the page and ``tools/predict.py`` show and detect on the same pixels.
"""

import dataclasses

import numpy as np

from pneumodet.data import file_kinds, images
from pneumodet.dicom import decoding, lut, reading
from pneumodet.dicom.reading import Source


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
      padding: (256,) or (65536,) bool, which bit patterns are padding around the image, and black in any window; None where there is none.
      default: the window that ``shown`` has, or one that comes near where ``shown`` is made by a VOI LUT.
      lowest: of the values of this radiograph, without padding.
      highest: of the values of this radiograph, above ``lowest``.
      notes: what was done or passed over where ``shown`` was made, phrases for counting.
    """

    shown: np.ndarray
    stored: np.ndarray
    values: np.ndarray
    inverted: bool
    padding: np.ndarray | None
    default: Window
    lowest: float
    highest: float
    notes: tuple[str, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether the values are the file's own, and not those of the 8-bit picture."""
        return self.stored is not self.shown

    def windowed(self, window: Window | None) -> np.ndarray:
        """Return (H, W) uint8, dark air and bright bone; ``shown`` for None and for the default window."""
        if window is None or window == self.default:
            return self.shown
        shares = (self.values - window.center) / max(window.width, 1e-9) + 0.5
        return lut.apply(lut.gray_of(shares, inverted=self.inverted, padding=self.padding), self.stored)


def read(source: Source) -> Radiograph:
    """Read a radiograph.

    Raises:
      DataError: as ``images.read_pixels``.
    """
    data = source.read_bytes()
    if file_kinds.is_image(data):
        image = images.image_of(data, source)
        return _of_picture(image.pixels, image.notes)
    shown, layout = reading.shown_of(data, source)
    return _real(shown, layout) or _of_picture(shown.gray, shown.notes)


def _of_picture(gray: np.ndarray, notes: tuple[str, ...]) -> Radiograph:
    return Radiograph(gray, gray, np.arange(256, dtype=np.float64), False, None, Window(127.5, 255.0), 0.0, 255.0, notes)


def _real(shown: decoding.Shown, layout: decoding.Layout) -> Radiograph | None:
    """Return the gray values of a DICOM file of more than 8 bits, or None where it has no others than those shown."""
    how = shown.how
    if how is None or shown.stored is None or layout.allocated != 16 or not layout.photometric.startswith("MONOCHROME"):
        return None
    there = how.values[how.counts > 0]
    if there.min() == there.max():
        return None
    low, high = how.low_high
    window = Window((low + high) / 2, high - low if high > low else 1.0)
    return Radiograph(
        shown.gray, shown.stored, how.values, how.inverted, how.padding, window, float(there.min()), float(there.max()), shown.notes
    )
