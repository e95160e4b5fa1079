"""Detections on a radiograph -> DICOM objects, for ``tools/predict.py``, the PACS worker and the web page alike.

    reporter = Reporter(algorithm_of([exported], steps), score_threshold=0.35)
    report = reporter.report(SR, read_header(data, "exam.dcm"), detections)     # report.data is the file

The same radiograph, models, post-processing, threshold and detections give the same bytes, whoever asks and whenever: the reporter has no clock.
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumodet import __version__
from pneumodet.core.detections import BOX_DECIMALS, Detections
from pneumodet.core.errors import DataError
from pneumodet.inference import exported as exports
from pneumodet.inference.exported import Exported
from pneumodet.inference.postprocess.recipe import Recipe

if TYPE_CHECKING:  # pneumodet.dicom.objects needs pydicom, which takes 0.2 s to import, and most predictions make no DICOM object
    from pydicom.dataset import Dataset

    from pneumodet.dicom.objects import Algorithm

SR, GSPS, SC, SEG = "sr", "gsps", "sc", "seg"
KINDS = (SR, GSPS, SC, SEG)
"""Structured report, presentation state, secondary capture, segmentation; also the part of a file's name before ``.dcm``."""

VERSION_DIGITS = 12
"""Of the SHA-256 of a model's file."""

_NO_STEPS = ("exams_sha256", "score_threshold")
"""Of a recipe: what it was tuned on, and what the findings say themselves."""


@dataclasses.dataclass(frozen=True)
class Report:
    """A DICOM object that was made of a radiograph.

    Attributes:
      kind: one of ``KINDS``.
      sop_uid: its SOPInstanceUID (0008,0018).
      study_uid: its StudyInstanceUID (0020,000D), which is the radiograph's.
      data: the DICOM file.
    """

    kind: str
    sop_uid: str
    study_uid: str
    data: bytes = dataclasses.field(repr=False)

    @classmethod
    def reopened(cls, kind: str, data: bytes) -> "Report":
        """Return a report by the file that was written of it."""
        import pydicom

        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
        return cls(kind, str(header.SOPInstanceUID), str(header.StudyInstanceUID), data)


def algorithm_of(models: Sequence[Exported], steps: Recipe | None = None, *, numerics: Sequence[str] = ()) -> "Algorithm":
    """Return what DICOM objects say of the algorithm.

    A model's version is made of the first of its files in the order of ``exported.FILES``, whichever of the exact ones is used: they find the same
    within their tolerance, and an exam gets one report even where two machines use two of them. Of several models the version is made of those of all,
    and every step of post-processing is a parameter: what finds other things gets objects with other UIDs.

    Args:
      models: one, or several that are fused.
      steps: what is done with what they find; None for nothing.
      numerics: ``detectors.numerics_of`` each model's detector, where one is not exact.

    Raises:
      EnvironmentProblem: highdicom is not installed, so that no object could be made; better said before thousands of radiographs are read.
    """
    from pneumodet.dicom.objects import Algorithm, library
    from pneumodet.dicom.objects.identifiers import MANUFACTURER, plain

    library.check()
    names = dict.fromkeys(f"{MANUFACTURER} {plain(model.card.run or '')}".strip() for model in models)
    versions = [_version(model) for model in models]
    version = versions[0] if len(versions) == 1 else hashlib.sha256(" ".join(versions).encode()).hexdigest()[:VERSION_DIGITS]
    without = dataclasses.asdict(Recipe())
    settings = dataclasses.asdict(steps or Recipe())
    changed = {name: value for name, value in settings.items() if value != without[name] and name not in _NO_STEPS}
    parameters = (f"{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in changed.items())
    inexact = (f"numerics={','.join(one or 'exact' for one in numerics)}",) if any(numerics) else ()
    return Algorithm(" + ".join(names), version, parameters=(*parameters, *inexact))


def _version(model: Exported) -> str:
    name = next(name for name in (*exports.FILES, *model.artefacts) if name in model.artefacts)
    digest = model.artefacts[name].sha256 or exports.sha256(model.path(name))
    return digest[:VERSION_DIGITS]


def read_header(data: bytes, source: object) -> "Dataset":
    """Return the header of a radiograph, without its pixels.

    Args:
      data: contents of a DICOM file that ``admission.check`` has read: it bounds what a file unfolds to, and pydicom does not.
      source: names it in messages.

    Raises:
      DataError: pydicom cannot read it.
    """
    import pydicom

    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    except Exception as error:  # pydicom raises what it likes on damaged headers, and its messages quote them
        raise DataError(f"{source}: its header cannot be read ({type(error).__name__}). Get the file again.") from None


def check(header: "Dataset") -> None:
    """Check that DICOM objects of a radiograph can be made, as far as that shows before they are.

    Raises:
      DataError: its header lacks what a reference needs.
      EnvironmentProblem: highdicom is not installed.
    """
    from pneumodet.dicom.objects import library, radiograph

    library.check()
    radiograph.read(header)


@dataclasses.dataclass(frozen=True)
class Reporter:
    """Makes DICOM objects of radiographs.

    Attributes:
      algorithm: what finds the boxes.
      score_threshold: in [0, 1], of boxes that are reported.
    """

    algorithm: "Algorithm"
    score_threshold: float

    @property
    def name(self) -> str:
        """All that its objects' UIDs depend on beside the radiograph."""
        return " ".join((*self.algorithm.identity, __version__, f"threshold={self.score_threshold:.6g}"))

    def report(self, kind: str, header: "Dataset", detections: Detections, *, pixels: np.ndarray | None = None) -> Report:
        """Return a DICOM object of one radiograph.

        Args:
          kind: one of ``KINDS``.
          header: as ``read_header`` gives it.
          detections: of pneumonia, in px of the radiograph; those below the threshold are left out. Boxes are rounded to 0.01 px as in the tables.
          pixels: (H, W) uint8 of it, dark air and bright bone; for ``SC``.

        Raises:
          DataError: the header lacks what a reference needs, or cannot be reported on by this kind of object; ``SEG`` of boxes without masks.
          EnvironmentProblem: highdicom is not installed.
        """
        from pneumodet.dicom import objects

        kept = detections.above(self.score_threshold)
        boxes_xyxy_px = kept.boxes_xyxy_px.astype(np.float64).round(BOX_DECIMALS)
        findings = objects.Findings(boxes_xyxy_px, kept.scores, self.score_threshold, self.algorithm)
        if kind == SR:
            made = objects.structured_report(header, findings)
        elif kind == GSPS:
            made = objects.presentation_state(header, findings)
        elif kind == SEG:
            made = objects.segmentation(header, _masks(header, kept), findings)
        elif kind == SC and pixels is not None:
            made = objects.secondary_capture(header, pixels, findings)
        else:
            raise ValueError(f"kind is {kind!r}, must be one of {KINDS}; {SC!r} needs pixels")
        buffer = io.BytesIO()
        # with preamble and file meta information (PS3.10 7.1): what is sent by C-STORE or STOW-RS is read back from this
        made.save_as(buffer, enforce_file_format=True)
        return Report(kind, str(made.SOPInstanceUID), str(made.StudyInstanceUID), buffer.getvalue())


def _masks(header: "Dataset", kept: Detections) -> list[np.ndarray]:
    """Return the (H, W) bool mask of each detection."""
    from pneumodet.dicom.objects import masks, radiograph

    if kept.masks is None:
        raise DataError(
            "these detections are boxes without masks, and a filled box is no outline of an opacity. Leave out --dicom-seg, or predict with a model "
            "that has masks (config mask_rcnn_resnet50), by itself and without flips or scales."
        )
    about = radiograph.read(header)
    size_hw = (about.rows, about.columns)
    masks.check_number(len(kept), size_hw)
    return [kept.mask(index, size_hw=size_hw) for index in range(len(kept))]
