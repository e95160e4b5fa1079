"""Findings as files: JSON, CSV, PNG and DICOM SR, of one radiograph or of all; several files come in a ZIP archive.

data = as_json(cases, model, score_threshold=0.3)
archive = together(cases, ".png", lambda case: as_png(case, display))

Nothing of a DICOM header gets into JSON, CSV or PNG; an SR belongs to its study and carries what the standard asks for.
"""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pneumodet.apps.web import RESEARCH_ONLY, rendering, window
from pneumodet.apps.web.cases import Case
from pneumodet.apps.web.rendering import Display
from pneumodet.apps.web.shared_model import SharedModel
from pneumodet.core import csv_cells, detections
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.data import label_map
from pneumodet.data.formats import CSV_COLUMNS
from pneumodet.inference import dicom_reports
from pneumodet.inference.dicom_reports import SR, Reporter
from pneumodet.inference.probability import held

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STEM = "pneumodet"
"""Of the names of files with all radiographs."""

COLUMNS = (*CSV_COLUMNS, "score")
"""The classic CSV, which make_tfrecords reads, and the score."""

NOTES = "left_out.txt"
"""In an archive: the radiographs without a file, and why."""


def as_json(cases: Sequence[Case], model: SharedModel, *, score_threshold: float) -> bytes:
    """Return exams, and detections as COCO results, as JSON.

    Args:
      cases: at least one.
      model: that detected them.
      score_threshold: detections that score less are left out.
    """
    probabilities = [model.probability(case.score) for case in cases]
    exams = [
        {
            "exam": case.name,
            "image_id": detections.image_id(case.name),
            "height": case.size_hw[0],
            "width": case.size_hw[1],
            "score": case.score,
            "probability": None if probability is None else round(float(held(probability)), 2),
        }
        for case, probability in zip(cases, probabilities, strict=True)
    ]
    by_name = {case.name: case.detections.above(score_threshold) for case in cases}
    whole = {
        "note": RESEARCH_ONLY,
        "model": model.name,
        "score_threshold": score_threshold,
        "categories": [{"id": model.category_id, "name": label_map.PNEUMONIA}],
        "exams": exams,
        "detections": detections.to_coco(by_name, sizes_hw={case.name: case.size_hw for case in cases}),
    }
    # NaN is no JSON (RFC 8259 6), although Python would write it
    return (json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def as_csv(cases: Sequence[Case], *, score_threshold: float) -> bytes:
    """Return ``COLUMNS``: a row a detection, corners in px, and a row without a box for a radiograph without detections."""
    buffer = io.StringIO()
    writer = csv_cells.Writer(buffer)
    writer.writerow(COLUMNS)
    for case in cases:
        height, width = case.size_hw
        kept = case.detections.above(score_threshold)
        boxes_xyxy_px = kept.boxes_xyxy_px.astype(float).round(detections.BOX_DECIMALS).tolist()
        for box, score in zip(boxes_xyxy_px, kept.scores.tolist(), strict=True):
            writer.writerow((case.file.name, width, height, label_map.PNEUMONIA, *(f"{edge:g}" for edge in box), f"{score:.6g}"))
        # an exam without a row would pass for one that was not read
        if not boxes_xyxy_px:
            writer.writerow((case.file.name, width, height, "", "", "", "", "", ""))
    return buffer.getvalue().encode()


def as_png(case: Case, display: Display) -> bytes:
    """Return the picture of a case, of the radiograph's own size."""
    # read again: a session keeps only few radiographs decoded
    return rendering.as_png(rendering.draw(window.read(case.file), case, display))


def sr_obstacle(case: Case) -> str | None:
    """Return why there can be no SR of a case, as a sentence, or None."""
    try:
        dicom_reports.check(_header(case))
    except PneumodetError as error:
        return str(error)
    return None


def as_sr(case: Case, model: SharedModel, *, score_threshold: float) -> bytes:
    """Return a DICOM Comprehensive SR of a case, of its study: the same as of ``tools/predict.py`` and the worker.

    Args:
      case: of a DICOM file.
      model: that detected its boxes.
      score_threshold: boxes that score less are left out.

    Raises:
      DataError: the radiograph is no DICOM file, or its header lacks what an SR needs.
      EnvironmentProblem: the package that writes it is not installed.
    """
    reporter = Reporter(dicom_reports.algorithm_of([model.exported], numerics=[model.numerics]), score_threshold)
    return reporter.report(SR, _header(case), case.detections).data


def _header(case: Case) -> "Dataset":
    """Return the header of a case; DataError where it is no DICOM file, or one whose header only ``dicom.elements`` can read."""
    if not case.facts.is_dicom:
        raise DataError(f"{case.file.name} is a {case.facts.kind} file; a DICOM SR needs the DICOM file of the radiograph.")
    return dicom_reports.read_header(case.file.data, case.file)


def together(cases: Sequence[Case], suffix: str, make: Callable[[Case], bytes]) -> bytes:
    """Return a ZIP archive with a file of each case; one that cannot be made is named in ``NOTES``.

    Args:
      cases: at least one.
      suffix: of the files, with its dot.
      make: returns a case's file; DataError where there is none.

    Raises:
      DataError: none could be made.
      EnvironmentProblem: a package is missing.
    """
    buffer, left_out = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for case in cases:
            try:
                archive.writestr(f"{case.name}{suffix}", make(case))
            except DataError as error:
                left_out.append(f"{case.name}: {error}")
        # an archive that holds only the list of failures would pass for a result
        if len(left_out) == len(cases):
            raise DataError(left_out[0].partition(": ")[2])
        if left_out:
            archive.writestr(NOTES, "\n".join(left_out) + "\n")
    return buffer.getvalue()
