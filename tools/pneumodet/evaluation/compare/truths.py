"""The ground truth that runs are evaluated by: a record set's split, or labels in any format.

truth = read(Path("workspace/records/rsna"), split="val")
truth.cases.names, truth.manifest_sha256
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.data import annotations, ground_truth, label_map
from pneumodet.data.cases import Cases
from pneumodet.data.record_sets import MANIFEST, RecordSet
from pneumodet.evaluation import checks, inputs

NO_PATIENTS = "The ground truth does not name patients: every exam counts as a patient of its own, so that intervals may be too narrow."
"""Warning."""


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of one class.

    Attributes:
      name: of the folder or file, for messages.
      instances: COCO object.
      cases: its exams with their boxes, and no detections.
      patients: exam -> patient where a patient map was given, else None: then they are those of ``instances``.
      manifest_sha256: of the record set; None for a file.
      split: of the record set; None for a file.
      warnings: sentences for the reader.
      said: all that ``inputs.assemble`` says where there are no detections; what it says of a run besides is the run's.
    """

    name: str
    instances: dict[str, Any]
    cases: Cases
    patients: Mapping[str, str] | None = None
    manifest_sha256: str | None = None
    split: str | None = None
    warnings: tuple[str, ...] = ()
    said: frozenset[str] = frozenset()


def read(path: Path, *, split: str = "val", patient_map: Path | None = None, class_map: Mapping[str, str] | None = None) -> Truth:
    """Read ground truth.

    Args:
      path: as ``ground_truth.read``.
      split: of the record set.
      patient_map: as ``annotations.read_patient_map``; else patients are those that the ground truth names.
      class_map: as ``ground_truth.read``.

    Raises:
      DataError: it cannot be read; there is no such split, or nothing in it.
    """
    manifest_sha256, of_split = None, None
    if (path / MANIFEST).is_file():
        manifest_sha256, of_split = RecordSet.open(path).manifest_sha256, split
    instances = ground_truth.read(path, split=split, class_map=class_map, wanted=label_map.PNEUMONIA).instances
    patients = ground_truth.with_exam_names(annotations.read_patient_map(patient_map)) if patient_map else None
    # without detections: what it warns of is about the ground truth, and is said once and not of each run
    loaded = inputs.assemble(instances, lambda _, __: [], names=(str(path), "no detections"), patients=patients, source=checks.NONE)
    cases = loaded.cases
    warnings = checks.of_truth(
        instances, cases.truth_xyxy_px, cases.truth_case, loaded.sizes_hw, exams=cases.names, class_name=label_map.PNEUMONIA
    )
    if patients is None and not all("patient" in image for image in instances["images"]):
        warnings.append(NO_PATIENTS)
    return Truth(path.name, instances, cases, patients, manifest_sha256, of_split, tuple(warnings), frozenset(loaded.warnings))
