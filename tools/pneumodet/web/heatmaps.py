"""Heatmaps over radiographs: a folder with a PNG of each exam, as a classifier's explanation gives it.

source = Folder(Path("heatmaps"))
heat = source.of(case)                                     # (H, W) uint8 or None
picture = overlay(rgb, heat, opacity=0.5)
"""

from pathlib import Path

import numpy as np
from PIL import Image

from pneumodet.data import image_files
from pneumodet.errors import DataError
from pneumodet.web.cases import Case
from pneumodet.web.uploads import File

SUFFIX = ".png"

_STOPS = ((0.0, (0, 0, 0)), (0.35, (120, 28, 109)), (0.7, (237, 105, 37)), (1.0, (252, 255, 164)))
"""Colours from no heat to the most: of rising lightness, so that they are told apart with every kind of colour vision and in gray print."""


class Folder:
    """A folder of heatmaps, one PNG an exam, named by the exam; brighter is hotter, any size."""

    def __init__(self, folder: Path) -> None:
        """List the folder, once.

        Raises:
          DataError: it holds no PNG file.
        """
        self._paths = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == SUFFIX}
        if not self._paths:
            raise DataError(f"There is no {SUFFIX} file in the heatmap folder {folder}. Name each by its exam: 0004cfab.png.")

    def of(self, case: Case) -> np.ndarray | None:
        """Return a case's (H, W) uint8 heatmap by its name, PatientID or SOPInstanceUID; None where there is none.

        Raises:
          DataError: the file cannot be read.
        """
        path = next((self._paths[one] for one in (case.name, *case.ids) if one in self._paths), None)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"The heatmap {path.name} cannot be read: {error.strerror}.") from error
        return image_files.pixels_of(data, File(path.name, data))


def overlay(picture: Image.Image, heat: np.ndarray, *, opacity: float) -> Image.Image:
    """Return a picture with a heatmap over it, as strong as it is hot; no heat leaves the picture as it is.

    Args:
      picture: RGB.
      heat: (H, W) uint8 over the whole picture, of any size.
      opacity: of the greatest heat, in [0, 1].
    """
    heat_image = Image.fromarray(heat).resize(picture.size, Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    table = np.stack([np.interp(levels, [at for at, _ in _STOPS], [rgb[band] for _, rgb in _STOPS]) for band in range(3)], axis=1)
    colours = Image.fromarray(np.uint8(np.rint(table))[np.asarray(heat_image)])
    mask = heat_image.point([round(level * opacity) for level in range(256)])
    return Image.composite(colours, picture, mask)
