"""A radiograph in, reports out: admission, decoding, detection, structured report and presentation state.

    analyst = ModelAnalyst(Path("workspace/my_first/export"), profile=admission.WORKER)
    for report in analyst.reports(data, sop_uid): ...

There is a structured report of every radiograph, also without a detection, and a presentation state where there are boxes to show.
"""

import logging
from pathlib import Path

import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError, first_line
from pneumodet.data import label_map
from pneumodet.dicom import reading
from pneumodet.dicom.net.errors import Refused, short
from pneumodet.inference import admission, detectors, dicom_reports
from pneumodet.inference.dicom_reports import GSPS, SR, Report, Reporter
from pneumodet.inference.postprocess import ensembles, views
from pneumodet.inference.postprocess import recipe as recipes

logger = logging.getLogger(__name__)

EXAM = "exam"
"""Stands for the one exam where recipes want names."""


NAME = "the file"
"""Of what is analysed, in messages: it has no other name that could not say whose it is."""


class ModelAnalyst:
    """Reports by an exported model; see ``interfaces.Analyst``."""

    kinds = (SR, GSPS)

    def __init__(
        self,
        model_dir: Path,
        *,
        profile: admission.Profile,
        backend: str = "auto",
        trust: bool = False,
        threads: int | None = None,
        score_threshold: float | None = None,
        recipe: Path | None = None,
    ) -> None:
        """Load the model.

        Args:
          model_dir: made by tools/export.py.
          profile: which objects are predicted.
          backend, trust: as ``inference.detectors.open`` takes them.
          threads: of the model; None for its own choice.
          score_threshold: of the boxes that are reported; None for the recipe's, or the model's own.
          recipe: post-processing of one model, without a gate.

        Raises:
          ConfigError: there is no threshold, no class of pneumonia, or the recipe needs image-level scores.
          CheckpointError: this is no exported model.
          DataError: the recipe cannot be read, or takes several models.
          EnvironmentProblem: a package is missing.
        """
        self._detector = detectors.open(model_dir, backend=backend, threads=threads, trust=trust)
        exported = self._detector.exported
        if label_map.PNEUMONIA not in exported.label_map:
            raise ConfigError(f"The model in {model_dir} has no class 'pneumonia'; its classes are {', '.join(exported.label_map)}.")
        self._category = exported.label_map[label_map.PNEUMONIA]
        self._steps = ensembles.planned(recipe, models=1)
        # a gate takes a score of each exam by another model, and here exams come one by one
        if self._steps.gate != "none":
            raise ConfigError(f"The recipe {recipe} needs image-level scores, which the worker has not. Make one without a gate.")
        own = exported.card.score_threshold if recipe is None else self._steps.score_threshold
        threshold = own if score_threshold is None else score_threshold
        if threshold is None:
            raise ConfigError(
                f"The model in {model_dir} has no score threshold. Evaluate the run and export it again, or give --score-threshold."
            )
        self._threshold, self._profile = threshold, profile
        algorithm = dicom_reports.algorithm_of([exported], self._steps, numerics=[detectors.numerics_of(self._detector)])
        self._reporter = Reporter(algorithm, self._threshold)
        self.name = self._reporter.name

    def reports(self, data: bytes, sop_uid: str) -> list[Report]:
        """Return the reports of a DICOM file.

        Args:
          data: the file's contents.
          sop_uid: the SOPInstanceUID that it should have.

        Raises:
          Refused: it is not predicted, cannot be read, or cannot be reported on.
        """
        try:
            facts = admission.facts_of_file(data, NAME)
            reason = admission.refusal(facts, self._profile, whole=True)
            # the journal knows the object by this UID, and reports refer to the one in the file
            if reason is None and facts.sop_uid != sop_uid:
                reason = "it is another object than its name says"
            if reason is not None:
                raise Refused(reason)
            header = dicom_reports.read_header(data, NAME)
            shown, _ = reading.shown_of(data, NAME)
            if shown.notes:
                logger.info("exam %s: %s", short(sop_uid), ", ".join(shown.notes))
            detections = self._detected(shown.gray)
            kinds = self.kinds if len(detections.above(self._threshold)) else (SR,)
            return [self._reporter.report(kind, header, detections) for kind in kinds]
        except DataError as error:
            # a fault of the file does not go away: it is refused, and not tried again
            raise Refused(_reason(error)) from None

    def reopened(self, kind: str, data: bytes) -> Report:
        """Return a report that was written to a file."""
        return Report.reopened(kind, data)

    def _detected(self, pixels: np.ndarray) -> Detections:
        """Return the pneumonia on (H, W) uint8 pixels, of any score, in px of them."""
        sets = [{EXAM: one} for one in views.detect(self._detector.detect, pixels, self._steps.views)]
        return recipes.apply(self._steps, sets, category_id=self._category)[EXAM].of_class(self._category)


def _reason(error: DataError) -> str:
    return first_line(error).removeprefix(f"{NAME}: ").removeprefix(f"{NAME} ")
