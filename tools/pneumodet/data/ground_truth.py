"""The ground truth of an evaluation: labels in any format, or a record set's split, whole and as one COCO object.

    truth = read(Path("labels.csv"))
    truth.instances["images"], truth.image_ids["0004cfab-…"]

Every command that compares detections with ground truth reads it here.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import boxes, paths
from pneumodet.core.detections import image_id
from pneumodet.core.errors import ConfigError
from pneumodet.data import formats, label_map, labels_voc
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import FLAG, ClassMap
from pneumodet.data.manifest import MANIFEST


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth.

    Attributes:
      path: where it is from.
      labels: exam -> boxes.
      instances: COCO object; ``file_name`` of an image is its exam.
      image_ids: exam -> id of its image there.
    """

    path: Path
    labels: Labels
    instances: dict[str, Any]
    image_ids: dict[str, Any]

    @property
    def categories(self) -> dict[str, int]:
        """Class -> its id."""
        return {one["name"]: one["id"] for one in self.instances["categories"]}

    @property
    def patients(self) -> dict[str, str] | None:
        """Exam -> patient, where every image has one."""
        images = self.instances["images"]
        known = all(image.get("patient") is not None for image in images)
        return {image["file_name"]: str(image["patient"]) for image in images} if known else None


def read(
    path: Path,
    *,
    class_info: Path | None = None,
    split: str = "val",
    class_map: Mapping[str, str] | None = None,
    wanted: str | None = None,
) -> GroundTruth:
    """Read ground truth.

    Args:
      path: labels, as ``formats.read_labels``, or a record set's folder.
      class_info: as there.
      split: of the record set.
      class_map: class of the labels -> class that is meant, as ``class_map.parse`` returns it.
      wanted: the class that is evaluated: labels with findings must have some of it.

    Raises:
      ConfigError, DataError: as there; or an exam cannot be used, or the record set has no such split, or nothing in it.
    """
    file = _of_records(path, split) if (path / MANIFEST).is_file() else path
    of_records = (file.parent / MANIFEST).is_file()
    if of_records and class_map:
        raise ConfigError(f"{FLAG} is for labels, but {path} is a record set, whose classes are those of its label map. Leave it out.")
    known = dict.fromkeys(filter(None, (label_map.NO_PNEUMONIA, label_map.PNEUMONIA, wanted)))
    # a record set has the classes of a label map already, whatever they are
    classes = None if of_records else ClassMap(class_map or {}, known=tuple(known), wanted=wanted)
    labels = formats.whole(formats.read_labels(file, class_info=class_info, evaluating=True, classes=classes), file)
    instances = _to_coco(labels) if labels.coco is None else dict(labels.coco)
    return GroundTruth(path, labels, instances, {image["file_name"]: image["id"] for image in instances["images"]})


def sha256(path: Path) -> str:
    """Return the SHA-256 of what ``read`` reads: a file, the manifest of a record set, or names and contents of a folder's XML files."""
    if not path.is_dir():
        return paths.sha256_file(path)
    if (path / MANIFEST).is_file():
        return paths.sha256_file(path / MANIFEST)
    digest = hashlib.sha256()
    for name in sorted(labels_voc.xml_files(path)):  # file systems list in any order
        digest.update(f"{name}\n{paths.sha256_file(path / name)}\n".encode())
    return digest.hexdigest()


def with_exam_names(by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map by exam; names of files, such as a.png, are those of exams, too."""
    return {formats.exam_id(name): value for name, value in by_name.items()} | dict(by_name)


def _of_records(folder: Path, split: str) -> Path:
    from pneumodet.data.record_sets import RecordSet  # here: it needs a package that predicting does without

    return RecordSet.open(folder).split(split).truth


def _to_coco(labels: Labels) -> dict[str, Any]:
    """Return labels of another format as a COCO object, with the ids of the usual label map where its classes are in it."""
    known = label_map.read_label_map(paths.DEFAULT_LABEL_MAP)
    # pneumonia is there even where no exam is positive: detections have its id, and metrics ask for it
    classes = dict.fromkeys(
        [label_map.PNEUMONIA, *(name for exam in labels.exams.values() for name in (*exam.class_names, *exam.findings))]
    )
    ids = {name: known[name] for name in classes if name in known}
    for name in classes:
        ids.setdefault(name, max(*known.values(), *ids.values()) + 1)
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": number, "name": name} for name, number in ids.items()]}
    for exam in labels.exams.values():
        image = {"id": image_id(exam.patient_id), "file_name": exam.patient_id}
        image |= {"height": exam.size_hw[0], "width": exam.size_hw[1]} if exam.size_hw else {}
        image |= {"rsna_class": exam.rsna_class} if exam.rsna_class else {}
        coco["images"].append(image | ({"findings": list(exam.findings)} if exam.findings else {}))
        for name, box in zip(exam.class_names, boxes.xyxy_to_xywh_px(exam.boxes_xyxy_px).tolist(), strict=True):
            coco["annotations"].append({"id": len(coco["annotations"]) + 1, "image_id": image["id"], "category_id": ids[name], "bbox": box})
    return coco
