"""Heatmaps over radiographs: a folder with a PNG of each exam, as a classifier's explanation gives it.

source = Folder(Path("heatmaps"))
heatmap = source.of(case)                                     # (H, W) uint8 or None
"""

from pathlib import Path

import numpy as np

from pneumodet.apps.web.cases import Case
from pneumodet.apps.web.uploads import File
from pneumodet.core.errors import DataError
from pneumodet.data import image_files

SUFFIX = ".png"


class Folder:
    """A folder of heatmaps, one PNG an exam, named by the exam; brighter is hotter, any size."""

    def __init__(self, folder: Path) -> None:
        """List the folder, once.

        Raises:
          DataError: it holds no PNG file.
        """
        # sorted: of a.png and a.PNG the same one is used everywhere
        self._paths = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == SUFFIX and path.is_file()}
        if not self._paths:
            raise DataError(f"There is no {SUFFIX} file in the heatmap folder {folder}. Name each by its exam: 0004cfab.png.")

    def of(self, case: Case) -> np.ndarray | None:
        """Return a case's (H, W) uint8 heatmap by its name, PatientID or SOPInstanceUID; None where there is none.

        Raises:
          DataError: the file cannot be read.
        """
        # only from the list: a PatientID may hold ../, and is never made a path
        path = next((self._paths[one] for one in (case.name, *case.ids) if one in self._paths), None)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"The heatmap {path.name} cannot be read: {error.strerror}.") from error
        return image_files.pixels_of(data, File(path.name, data))
