"""The records that a model is trained and judged on, as ``make_tfrecords`` describes them. No TensorFlow.

records = of(Path("workspace/records/rsna"))
records.train.positive, records.val.names, records.val.facts("age")
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet import paths
from pneumodet.data import label_map, record_sets
from pneumodet.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One side of a record set.

    Attributes:
      shards: TFRecord files.
      instances: COCO object of the ground truth; its images are the records, in their order.
      class_name: the class that makes an exam positive.
    """

    shards: list[Path]
    instances: dict[str, Any]
    class_name: str = label_map.PNEUMONIA

    def __len__(self) -> int:
        return len(self.instances["images"])

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """N exam ids."""
        return tuple(str(image["file_name"]) for image in self.instances["images"])

    @functools.cached_property
    def category(self) -> int:
        """Id of the class in COCO objects, and of the label map."""
        return next(one["id"] for one in self.instances["categories"] if one["name"] == self.class_name)

    @functools.cached_property
    def boxes_xyxy_px(self) -> list[np.ndarray]:
        """N arrays (boxes, 4) float64 of the class, in px of the record's image."""
        found: dict[Any, list[list[float]]] = {image["id"]: [] for image in self.instances["images"]}
        for one in self.instances["annotations"]:
            if one["category_id"] == self.category:
                x, y, width, height = one["bbox"]
                found[one["image_id"]].append([x, y, x + width, y + height])
        return [np.array(boxes, np.float64).reshape(-1, 4) for boxes in found.values()]

    @functools.cached_property
    def positive(self) -> np.ndarray:
        """(N,) bool: which records have a box of the class."""
        return np.array([len(boxes) > 0 for boxes in self.boxes_xyxy_px], bool)

    @functools.cached_property
    def sizes_hw(self) -> list[tuple[int, int]]:
        """N heights and widths in px of the records' images."""
        return [(int(image["height"]), int(image["width"])) for image in self.instances["images"]]

    def facts(self, name: str) -> list[Any]:
        """Return N values of a fact, such as ``age``, ``sex``, ``view_position`` or ``rsna_class``; None where it is not known."""
        return [image.get(name) for image in self.instances["images"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A record set with both sides.

    Attributes:
      folder: where it lies.
      manifest_sha256: of its manifest.
      split_by: what tells patients apart.
      train, val: its sides.
    """

    folder: Path
    manifest_sha256: str
    split_by: str
    train: Split
    val: Split


def of(folder: Path) -> Records:
    """Return the records of a folder, checked for what training an image-level or pixel-level model needs.

    Raises:
      DataError: this is no record set with a training and a validation side, or one side lacks exams with or without pneumonia.
    """
    manifest = record_sets.load_manifest(folder)
    if "train" not in manifest["splits"]:
        raise DataError(f"The record set {folder} has folds. Train on one of them: --data {folder / 'fold-0'}.")
    if label_map.PNEUMONIA not in manifest["label_map"]:
        raise DataError(
            f"The record set {folder} has no class {label_map.PNEUMONIA!r}; it has {', '.join(manifest['label_map'])}. Make it with a label map that has."
        )
    sides = []
    for name in ("train", "val"):
        split = manifest["splits"][name]
        instances = json.loads((folder / split["annotations"]).read_text(encoding="utf-8"))
        side = Split([folder / shard["name"] for shard in split["shards"]], instances)
        what = "training" if name == "train" else "validation"
        if not len(side):
            raise DataError(f"The record set {folder} has no {what} exams. Make it again with another --val-fraction.")
        positives = int(side.positive.sum())
        if positives in (0, len(side)):
            lacks = "with" if not positives else "without"
            raise DataError(
                f"None of the {len(side)} {what} exams in {folder} is {lacks} pneumonia: there is nothing to tell apart. "
                "Make the records of exams of both kinds."
            )
        sides.append(side)
    return Records(folder, paths.sha256_file(folder / record_sets.MANIFEST), manifest["split"]["by"], *sides)
