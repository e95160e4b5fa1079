"""The labels, class names, header values, files and patients of a data set, put together by exam.

    material = gather(Inputs(labels=Path("stage_2_train_labels.csv")), pool)
    material.exams.positive                  # (N,) bool

What is wrong with single rows, exams and files is kept beside, to be listed; only an error in a whole file raises.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import annotations, formats, header_values, sources, tables
from pneumodet.data.class_map import ClassMap
from pneumodet.data.header_values import FileFacts
from pneumodet.data.sources import Source
from pneumodet.exploration import headers

ASSUMED_SIDE_PX = 1024
"""Rows and columns of every image of the RSNA challenge; taken for exams of which there is no file."""

NO_CLASS = ("Target 0", "Target 1")
"""What exams are called of which no class is known."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is explored.

    Attributes:
      labels: as ``formats.read_labels``.
      class_info: RSNA's stage_2_detailed_class_info.csv.
      dicom_dir: folder or ZIP archive of DICOM files.
      header_csv: values of their headers.
      class_map: of the labels, as ``class_map.parse`` returns it.
      patient_map: as ``annotations.read_patient_map``. All but DICOM files may be packed.
    """

    labels: Path
    class_info: Path | None = None
    dicom_dir: Path | None = None
    header_csv: Path | None = None
    patient_map: Path | None = None
    class_map: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Exams:
    """The N exams with usable labels, sorted by id.

    Attributes:
      ids: N patientIds, which name exams.
      positive: (N,) bool.
      class_names: (N,) str, RSNA's class, or one of ``NO_CLASS``.
      boxes_xyxy_px: (N, ) arrays of (boxes, 4) float64.
      size_hw: (N, 2) float64 px, ``ASSUMED_SIDE_PX`` where neither file nor labels have it.
      patients: (N,) int64, the same for the exams of one patient; each exam is its own patient where none is known.
      age_years: (N,) float64, NaN where unknown or not believed: it is listed, and left out of all figures about age.
      sex: (N,) str, empty where unknown.
      view: (N,) str, empty where unknown.
      spacing_mm: (N,) float64, NaN where unknown.
    """

    ids: Sequence[str]
    positive: np.ndarray
    class_names: np.ndarray
    boxes_xyxy_px: Sequence[np.ndarray]
    size_hw: np.ndarray
    patients: np.ndarray
    age_years: np.ndarray
    sex: np.ndarray
    view: np.ndarray
    spacing_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Material:
    """All that is explored.

    Attributes:
      class_rows: rows of the class info.
      labels: the labels, checked.
      table: header values; None where neither a CSV of them nor files were given.
      sources: exam -> DICOM file, for pictures.
      files: exam -> what was read of its file.
      refused: (file name, reason) of what lies there and is no radiograph or a second one of an exam.
      patients: exam -> patient, as the map says, or else the labels; None where neither does.
      exams: what can be counted.
    """

    class_rows: Sequence[Mapping[str, Any]]
    labels: annotations.Labels
    table: headers.Table | None
    sources: Mapping[str, Source]
    files: Mapping[str, FileFacts]
    refused: Sequence[tuple[str, str]]
    patients: Mapping[str, str] | None
    exams: Exams


def gather(
    inputs: Inputs,
    pool: Pool,
    *,
    progress: Callable[[int, str], Any] = lambda total, what: contextlib.nullcontext(lambda count: None),
    phase: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Material:
    """Read everything.

    Args:
      inputs: the files.
      pool: reads DICOM headers.
      progress: called with a number of files and what is done to them; a context whose ``update`` or call takes how many are done.
      phase: called with what is done that is not counted; a context of it.

    Raises:
      DataError: a CSV is missing, unreadable or lacks a column, no exam can be used, or there is no DICOM file in ``dicom_dir``.
    """
    # labels first: where none can be used, no DICOM file is opened
    with phase("reading labels"):
        labels = formats.read_labels(inputs.labels, class_info=inputs.class_info, classes=ClassMap(inputs.class_map))
    class_rows = [row for _, row in tables.read(inputs.class_info, annotations.CLASS_INFO_COLUMNS).rows()] if inputs.class_info else []
    patients: Mapping[str, str] | None = annotations.read_patient_map(inputs.patient_map) if inputs.patient_map else labels.patients or None
    if not labels.exams:
        exam, reason = labels.rejected[0]
        raise DataError(f"{inputs.labels}: none of its {len(labels.rejected):,} exams can be used. The first is {exam}: {reason}.")
    table = headers.of_csv(inputs.header_csv) if inputs.header_csv else None
    files_by_exam: dict[str, Source] = {}
    files: dict[str, FileFacts] = {}
    refused: list[tuple[str, str]] = []
    if inputs.dicom_dir:
        with phase("finding files"):
            files_by_exam, refused = sources.find_radiographs(inputs.dicom_dir, known=labels.exams, pool=pool)
        with progress(len(files_by_exam), "reading headers") as done:
            files = header_values.read_files(files_by_exam, pool, done=getattr(done, "update", done))
        # a CSV of header values was given on purpose, and wins over the files
        table = table or headers.of_files(files)
    exams = _exams(labels, table, files, patients)
    return Material(class_rows, labels, table, files_by_exam, files, refused, patients, exams)


def _exams(
    labels: annotations.Labels, table: headers.Table | None, files: Mapping[str, FileFacts], patients: Mapping[str, str] | None
) -> Exams:
    ids = sorted(labels.exams)
    every = [labels.exams[exam] for exam in ids]
    unknown = headers.Facts()
    facts = [table.facts.get(exam, unknown) if table else unknown for exam in ids]
    sizes = [files[exam].size_hw if exam in files else labels.exams[exam].size_hw for exam in ids]
    positive = np.array([one.positive for one in every], bool)
    ages = np.array([_or_nan(one.age_years) for one in facts])
    # an exam that no map names is a patient of its own, and its name may be that of a patient
    names = [f"patient {patients[exam]}" if patients and exam in patients else f"exam {exam}" for exam in ids]
    return Exams(
        ids=ids,
        positive=positive,
        # a bool is an index: False is Target 0
        class_names=np.array([one.rsna_class or NO_CLASS[one.positive] for one in every]),
        boxes_xyxy_px=[one.boxes_xyxy_px for one in every],
        size_hw=np.array([size or (ASSUMED_SIDE_PX, ASSUMED_SIDE_PX) for size in sizes], np.float64).reshape(-1, 2),
        patients=np.unique(names, return_inverse=True)[1],
        age_years=ages,
        sex=np.array([one.sex or "" for one in facts]),
        view=np.array([one.view or "" for one in facts]),
        spacing_mm=np.array([_or_nan(one.spacing_mm) for one in facts]),
    )


def _or_nan(value: float | None) -> float:
    """Return a number, NaN for None."""
    return np.nan if value is None else value
