"""DICOM objects of the detections, beside the tables: structured reports, presentation states, secondary captures, segmentations.

maker = Maker(("sr", "gsps"), reporter)
maker.write(folder / "dicom", name, header, pixels, detections)       # name.sr.dcm, name.gsps.dcm
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumodet.core import paths
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.inference.dicom_reports import SC, Report, Reporter

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FOLDER = "dicom"
"""Of the objects, in the output folder."""


@dataclasses.dataclass(frozen=True)
class Maker:
    """Writes the DICOM objects of radiographs.

    Attributes:
      kinds: of ``dicom_reports.KINDS``.
      reporter: makes them.
    """

    kinds: tuple[str, ...]
    reporter: Reporter

    def write(self, folder: Path, name: str, header: "Dataset", pixels: np.ndarray, detections: Detections) -> str:
        """Write the objects of one radiograph, each atomically.

        Args:
          folder: gets ``name.sr.dcm`` and so on.
          name: of the radiograph, without suffix.
          header: of the radiograph, as ``dicom_reports.read_header`` gives it.
          pixels: (H, W) uint8 of it, dark air and bright bone.
          detections: of pneumonia, in px of it.

        Returns:
          Why some could not be made of this radiograph, or nothing; the others are written.

        Raises:
          DataError: the disk is full.
        """
        reports: list[Report] = []
        problems: list[str] = []
        for kind in self.kinds:
            try:
                reports.append(self.reporter.report(kind, header, detections, pixels=pixels if kind == SC else None))
            except DataError as error:
                problems.append(f"no DICOM {kind.upper()}: {error}")
            except Exception as error:  # a header that no library foresaw must not stop the others
                problems.append(f"no DICOM {kind.upper()}: its header cannot be used ({type(error).__name__}).")
        folder.mkdir(exist_ok=True)
        for report in reports:
            with paths.atomic_path(folder / f"{name}.{report.kind}.dcm") as tmp:
                tmp.write_bytes(report.data)
        return " ".join(problems)
