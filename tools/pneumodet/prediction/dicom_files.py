"""DICOM objects of what was found, beside the tables: structured reports, presentation states, secondary captures.

makers = Maker.of(["sr", "gsps"], algorithm, threshold)
makers.write(folder / "dicom", name, header, pixels, kept)       # name.sr.dcm, name.gsps.dcm
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet import paths
from pneumodet.errors import DataError
from pneumodet.inference.exported import Exported
from pneumodet.postprocessing.recipe import Recipe
from pneumodet.results import Detections

FOLDER = "dicom"
"""Of the objects, in the output folder."""

SR, GSPS, SC = "sr", "gsps", "sc"
KINDS = {SR: "structured_report", GSPS: "presentation_state", SC: "secondary_capture"}
"""What can be made -> the function of ``dicom_out`` that makes it; also the part of the file's name before ``.dcm``."""

_NO_STEPS = ("exams_sha256", "score_threshold")
"""Of a recipe: what it was tuned on, and what the findings tell themselves."""


def algorithm_of(models: Sequence[Exported], steps: Recipe) -> Any:
    """Return what DICOM objects say of the algorithm, a ``dicom_out.Algorithm``.

    Of several models the version is made of those of all, and every step of post-processing is a parameter: what finds other things gets objects
    with other UIDs.

    Raises:
      EnvironmentProblem: the package that makes DICOM objects is not installed.
    """
    from pneumodet import dicom_out

    each = [dicom_out.Algorithm.of(model) for model in models]
    version = each[0].version
    if len(each) > 1:
        version = hashlib.sha256(" ".join(one.version for one in each).encode()).hexdigest()[: len(version)]
    plain = dataclasses.asdict(Recipe())
    changed = {name: value for name, value in dataclasses.asdict(steps).items() if value != plain[name] and name not in _NO_STEPS}
    parameters = (f"{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in changed.items())
    return dataclasses.replace(
        each[0], name=" + ".join(dict.fromkeys(one.name for one in each)), version=version, parameters=(*each[0].parameters, *parameters)
    )


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes the DICOM objects of radiographs.

    Attributes:
      kinds: of ``KINDS``.
      algorithm: a ``dicom_out.Algorithm``.
      score_threshold: of what is reported.
      now: when objects are made of a radiograph whose header has no date; all others have the radiograph's own date and time.
    """

    kinds: tuple[str, ...]
    algorithm: Any
    score_threshold: float
    now: datetime

    def write(self, folder: Path, name: str, header: Any, pixels: np.ndarray, kept: Detections) -> str:
        """Write the objects of one radiograph, each atomically.

        Args:
          folder: gets ``name.sr.dcm`` and so on.
          name: of the radiograph, without suffix.
          header: pydicom Dataset of the radiograph, without pixels.
          pixels: (H, W) uint8 of it, dark air and bright bone.
          kept: detections of pneumonia at the threshold, in px of it.

        Returns:
          Why some could not be made of this radiograph, or nothing; the others are written.

        Raises:
          DataError: the disk is full.
        """
        from pneumodet import dicom_out

        findings = dicom_out.Findings(kept.boxes_xyxy_px.astype(np.float64), kept.scores, self.score_threshold, self.algorithm)
        made, problems = {}, []
        for kind in self.kinds:
            try:
                moment = None if dicom_out.has_date(header) else self.now
                more = (pixels,) if kind == SC else ()
                made[kind] = getattr(dicom_out, KINDS[kind])(header, *more, findings, moment=moment)
            except DataError as error:
                problems.append(f"no DICOM {kind.upper()}: {error}")
            except Exception as error:  # a header that no library foresaw must not stop the others
                problems.append(f"no DICOM {kind.upper()}: its header cannot be used ({type(error).__name__}).")
        folder.mkdir(exist_ok=True)
        for kind, dataset in made.items():
            with paths.atomic_path(folder / f"{name}.{kind}.dcm") as tmp:
                dataset.save_as(tmp, enforce_file_format=True)
        return " ".join(problems)
