"""Ground truth for the page: boxes of a label file, given on the command line or dropped on the page, by exam.

boxes = of_upload(File("labels.csv", data))                # patientId -> (N, 4) xyxy px
truth = find(boxes, case)                                  # None where nothing is known of this case
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pneumodet.apps.web.cases import Case
from pneumodet.apps.web.uploads import File
from pneumodet.core.errors import DataError
from pneumodet.data import formats

Boxes = Mapping[str, np.ndarray]
"""Exam -> (N, 4) float64 boxes_xyxy_px, N = 0 where it is known that there is nothing."""


def of_file(path: Path) -> tuple[Boxes, int]:
    """Return the boxes of labels in any format of ``formats.read_labels``, and how many exams of it were rejected.

    Raises:
      DataError: the file is of none of the formats.
    """
    labels = formats.read_labels(path)
    return {exam: one.boxes_xyxy_px for exam, one in labels.exams.items()}, len(labels.rejected)


def of_upload(file: File) -> tuple[Boxes, int]:
    """Return ``of_file`` of a file that was dropped on the page.

    Raises:
      DataError: as ``of_file``, with the file's own name.
    """
    with _as_path(file.data) as path:
        try:
            return of_file(path)
        except DataError as error:
            # the path is a temporary one that no user knows
            raise DataError(str(error).replace(str(path), file.name)) from None


def find(boxes: Boxes, case: Case) -> np.ndarray | None:
    """Return a case's (N, 4) boxes by its name, PatientID or SOPInstanceUID, else those that came with it; None where nothing is known."""
    known = next((boxes[one] for one in (case.name, *case.ids) if one in boxes), None)
    return case.truth_xyxy_px if known is None else known


@contextlib.contextmanager
def _as_path(data: bytes) -> Iterator[Path]:
    """Yield a path at which the bytes can be read: in memory where the system can do that, else a file that only this user may read."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        handle = os.memfd_create("labels")
        try:
            os.write(handle, data)
            yield Path(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        path.write_bytes(data)
        yield path
