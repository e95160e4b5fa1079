"""A radiograph in, reports out: admission, decoding, detection, structured report and presentation state.

    analyst = ModelAnalyst(Path("workspace/my_first/export"), rules=Rules(), algorithm_of=dicom_files.algorithm_of)
    for report in analyst.reports(data, sop_uid, datetime.now()): ...

There is a structured report of every radiograph, also where nothing was found, and a presentation state where there are boxes to show.
"""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from pneumodet import dicom_out
from pneumodet.data import dicom, label_map
from pneumodet.dicom.net.errors import Refused
from pneumodet.dicom_out import Algorithm
from pneumodet.errors import ConfigError, DataError, first_line
from pneumodet.inference import detectors
from pneumodet.inference.exported import Exported
from pneumodet.pacs import admission
from pneumodet.pacs.worker import Report
from pneumodet.postprocessing import ensembles, views
from pneumodet.postprocessing import recipe as recipes
from pneumodet.results import Detections

STRUCTURED_REPORT, PRESENTATION_STATE = "sr", "gsps"

EXAM = "exam"
"""Stands for the one exam where recipes want names."""


@dataclasses.dataclass(frozen=True)
class _Bytes:
    """A DICOM file in memory, without a name that could tell whose it is."""

    data: bytes = dataclasses.field(repr=False)

    def read_bytes(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return "the file"


class ModelAnalyst:
    """Reports by an exported model; see ``worker.Analyst``."""

    kinds = (STRUCTURED_REPORT, PRESENTATION_STATE)

    def __init__(
        self,
        model_dir: Path,
        *,
        rules: admission.Rules,
        algorithm_of: Callable[[Sequence[Exported], recipes.Recipe], Algorithm],
        backend: str = "auto",
        threads: int | None = None,
        score_threshold: float | None = None,
        recipe: Path | None = None,
    ) -> None:
        """Load the model.

        Args:
          model_dir: made by tools/export.py.
          rules: which objects are predicted.
          algorithm_of: what reports say of models and post-processing. ``prediction.dicom_files.algorithm_of``, so that tools/predict.py makes
            reports with the same UIDs.
          backend: as ``inference.detectors.open`` takes it.
          threads: of the model; None for its own choice.
          score_threshold: of the boxes that are reported; None for the recipe's, or the model's own.
          recipe: post-processing of one model, without a gate.

        Raises:
          ConfigError: there is no threshold, no class of pneumonia, or the recipe needs image-level scores.
          CheckpointError: this is no exported model.
          DataError: the recipe cannot be read, or takes several models.
          EnvironmentProblem: a package is missing.
        """
        self._detector = detectors.open(model_dir, backend=backend, threads=threads)
        exported = self._detector.exported
        if label_map.PNEUMONIA not in exported.label_map:
            raise ConfigError(f"The model in {model_dir} has no class 'pneumonia'; its classes are {', '.join(exported.label_map)}.")
        self._category = exported.label_map[label_map.PNEUMONIA]
        self._steps = ensembles.planned(recipe, models=1)
        if self._steps.gate != "none":
            raise ConfigError(f"The recipe {recipe} needs image-level scores, which the worker has not. Make one without a gate.")
        own = exported.score_threshold if recipe is None else self._steps.score_threshold
        self._threshold = own if score_threshold is None else score_threshold
        if self._threshold is None:
            raise ConfigError(
                f"The model in {model_dir} has no score threshold. Evaluate the run and export it again, or give --score-threshold."
            )
        self._rules = rules
        self._algorithm = algorithm_of([exported], self._steps)
        self.name = " ".join((*self._algorithm.identity, f"threshold={self._threshold:.6g}"))

    def reports(self, data: bytes, sop_uid: str, moment: datetime) -> list[Report]:
        """Return the reports of a DICOM file.

        Args:
          data: the file's contents.
          sop_uid: the SOPInstanceUID that it should have.
          moment: when the reports are made.

        Raises:
          Refused: it is not predicted, cannot be read, or cannot be reported on.
        """
        source = _Bytes(data)
        try:
            dicom.header(source)  # bounds what it unfolds to and how deep it goes; pydicom does not
            with pydicom.config.disable_value_validation():  # its warnings quote values, and odd headers are the rule
                header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
                facts = admission.facts_of_dataset(header)
        except DataError as error:
            raise Refused(_reason(error)) from None
        except Exception as error:  # pydicom raises what it likes on damaged files, and its messages quote them
            raise Refused(f"its header cannot be read ({type(error).__name__})") from None
        reason = admission.refusal(facts, self._rules, whole=True)
        if reason is None and facts.sop_uid != sop_uid:
            reason = "it is another object than its name says"
        if reason is not None:
            raise Refused(reason)
        try:
            found = self._detected(dicom.pixels_of(data, source))
            return self._made(header, found, moment)
        except DataError as error:
            raise Refused(_reason(error)) from None

    def reopened(self, kind: str, data: bytes) -> Report:
        """Return a report that was written to a file."""
        header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
        return Report(kind, str(header.SOPInstanceUID), str(header.StudyInstanceUID), data)

    def _detected(self, pixels: np.ndarray) -> Detections:
        sets = [{EXAM: one} for one in views.detect(self._detector.detect, pixels, self._steps.views)]
        found = recipes.apply(self._steps, sets, category_id=self._category)[EXAM]
        return found.of_class(self._category).above(self._threshold)

    def _made(self, header: pydicom.Dataset, found: Detections, moment: datetime) -> list[Report]:
        findings = dicom_out.Findings(found.boxes_xyxy_px, found.scores, self._threshold, self._algorithm)
        made = {STRUCTURED_REPORT: dicom_out.structured_report(header, findings, moment=moment)}
        if len(found):
            made[PRESENTATION_STATE] = dicom_out.presentation_state(header, findings, moment=moment)
        return [_report(kind, dataset) for kind, dataset in made.items()]


def _report(kind: str, dataset: Any) -> Report:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return Report(kind, str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID), buffer.getvalue())


def _reason(error: DataError) -> str:
    return first_line(error).removeprefix("the file: ").removeprefix("the file ")
