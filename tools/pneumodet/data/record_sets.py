"""Record sets: the folders that ``make_tfrecords`` writes, opened, split by split. No TensorFlow.

records = RecordSet.open(Path("workspace/records/rsna"))      # quick: names and sizes
records.label_map, records.manifest_sha256
val = records.split("val")                                    # or records.val
val.names, val.positive, val.facts("age"), val.boxes_xyxy_px
val.read(17).pixels()                                         # one record, whose checksum is compared
"""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import json_text, paths
from pneumodet.core.errors import DataError
from pneumodet.data import coco_objects
from pneumodet.data.examples import Example, Examples
from pneumodet.data.label_map import PNEUMONIA
from pneumodet.data.manifest import FORMAT, HINT, MANIFEST, VERSION, Manifest
from pneumodet.data.manifest import read as read_manifest

__all__ = ["FORMAT", "MANIFEST", "VERSION", "RecordSet", "Split"]

_USES = {"train": "training", "val": "validation", "test": "test"}
"""Split -> what its exams are called in messages."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """A split of a record set.

    Attributes:
      shards: TFRecord files.
      instances: COCO object of the ground truth; its images are the records, in their order.
      class_name: the class that makes an exam positive.
      name: of the split.
      folder: the record set.
      truth: the file of the ground truth, COCO JSON.
      label_map: of the record set, class -> id.
    """

    shards: Sequence[Path]
    instances: dict[str, Any]
    class_name: str = PNEUMONIA
    name: str = ""
    folder: Path = Path()
    truth: Path = Path()
    label_map: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.instances["images"])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "examples"}  # open files do not go to another process

    @property
    def use(self) -> str:
        """What its exams are called in sentences: training, validation, test, or its name."""
        return _USES.get(self.name, self.name)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """N exam ids."""
        return tuple(str(image["file_name"]) for image in self.instances["images"])

    @functools.cached_property
    def category(self) -> int | None:
        """Id of the class in COCO objects, and of the label map; None where there is no such class."""
        return next((one["id"] for one in self.instances["categories"] if one["name"] == self.class_name), None)

    @functools.cached_property
    def boxes_xyxy_px(self) -> list[np.ndarray]:
        """N arrays (boxes, 4) float64 of the class, in px of the record's image."""
        by_image: dict[Any, list[list[float]]] = {image["id"]: [] for image in self.instances["images"]}
        for one in self.instances["annotations"]:
            if one["category_id"] == self.category:
                x, y, width, height = one["bbox"]
                by_image[one["image_id"]].append([x, y, x + width, y + height])
        return [np.array(boxes, np.float64).reshape(-1, 4) for boxes in by_image.values()]

    @functools.cached_property
    def image_level(self) -> np.ndarray:
        """(N,) bool: which records have the class, but no box of it: their labels are of whole images."""
        named = coco_objects.image_level(self.instances["images"], self.class_name)
        return np.array([of_image and not len(boxes) for of_image, boxes in zip(named, self.boxes_xyxy_px, strict=True)], bool)

    @functools.cached_property
    def positive(self) -> np.ndarray:
        """(N,) bool: which records have the class, with a box or without."""
        return np.array([of_image or len(boxes) > 0 for of_image, boxes in zip(self.image_level, self.boxes_xyxy_px, strict=True)], bool)

    @property
    def most_boxes(self) -> int:
        """Boxes, of all classes, of the image that has most; at least 1."""
        counts = np.unique([one["image_id"] for one in self.instances["annotations"]], return_counts=True)[1]
        return int(counts.max(initial=1))

    @functools.cached_property
    def sizes_hw(self) -> list[tuple[int, int]]:
        """N heights and widths in px of the records' images."""
        return [(int(image["height"]), int(image["width"])) for image in self.instances["images"]]

    def facts(self, name: str) -> list[Any]:
        """Return N values of a fact, such as ``age``, ``sex``, ``view_position`` or ``rsna_class``; None where it is not known."""
        return [image.get(name) for image in self.instances["images"]]

    @functools.cached_property
    def examples(self) -> Examples:
        """N records, by their number.

        Raises:
          DataError: records and ground truth do not have the same number of images, or a file cannot be read.
        """
        examples = Examples(self.shards)
        if len(examples) != len(self):
            what = f"{self.use} records" if self.use else "records"
            raise DataError(
                f"There are {len(examples)} {what}, but {len(self)} in their ground truth {self.truth}. Make the records again."
            )
        return examples

    def read(self, number: int) -> Example:
        """Return a record; no other one is read.

        Raises:
          DataError: it is damaged, or of another exam than the ground truth has at its place.
        """
        example = self.examples.read(number)
        # boxes come from the ground truth and pixels from the records: of two exams they would train and evaluate nonsense
        if example.record.patient_id != self.names[number]:
            raise DataError(
                f"{example.where}: the ground truth {self.truth} has exam {self.names[number]} at its place. Records and ground truth do not list "
                "the same exams. Make the records again."
            )
        return example

    def read_exams(self, exams: Collection[str] | None = None) -> Iterator[Example]:
        """Yield the records of some exams, or of all, in the records' order; no other ones are read."""
        for number, name in enumerate(self.names):
            if exams is None or name in exams:
                yield self.read(number)

    def pixels(self, exams: Collection[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (exam, (H, W) uint8 pixels) of some exams, or of all; no other records are read."""
        for example in self.read_exams(exams):
            yield example.record.patient_id, example.pixels()


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSet:
    """A record set.

    Attributes:
      folder: where it lies.
      manifest: what it says of itself.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "RecordSet":
        """Open a record set; files are looked up, and not read.

        Raises:
          DataError: the folder is no record set, its manifest is damaged, or a file that it names is missing or of another size.
        """
        manifest = read_manifest(folder)
        # sizes cost nothing to compare and show a copy that was cut off; checksums would read every byte, which is what verify is for
        for split in manifest.splits.values():
            for shard in split.shards:
                path = folder / shard.name
                if paths.size_of(path) != shard.bytes:
                    raise DataError(f"{path} is missing or not of the size that the manifest says. {HINT}")
        for split in manifest.splits.values():
            if paths.size_of(folder / split.annotations) is None:
                raise DataError(f"{folder / split.annotations} is missing. {HINT}")
        return cls(folder, manifest)

    @functools.cached_property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest, by which runs know their record set."""
        return paths.sha256_file(self.folder / MANIFEST)

    @property
    def label_map(self) -> dict[str, int]:
        """Class -> id."""
        return self.manifest.label_map

    @property
    def split_by(self) -> str:
        """What identifies patients."""
        return self.manifest.split.by

    @functools.cached_property
    def train(self) -> Split:
        """The split to train on; it may be empty."""
        return self._split("train")

    @functools.cached_property
    def val(self) -> Split:
        """The split to choose checkpoints on; it may be empty."""
        return self._split("val")

    @functools.cached_property
    def test(self) -> Split:
        """The split that nothing is chosen on; it may be empty, or missing.

        Raises:
          DataError: it is missing.
        """
        return self._split("test")

    def split(self, name: str) -> Split:
        """Return a split that has exams.

        Raises:
          DataError: there is no such split, it has no exams, or its ground truth is damaged.
        """
        if name in self.manifest.splits and not self.manifest.splits[name].exams:
            flag = f"--{name}-fraction" if name in ("val", "test") else "--split-file that names some"
            raise DataError(f"The split {name!r} of {self.folder} has no exams. Make the records again with a larger {flag}.")
        return getattr(self, name) if name in _USES else self._split(name)  # by the property, which keeps what it read

    def each_split(self) -> Iterator[Split]:
        """Yield all splits, also those without exams."""
        return map(self._split, self.manifest.splits)

    def check_has_train(self, verb: str = "Train") -> "RecordSet":
        """Return the record set, or raise DataError where it has folds instead of a training split."""
        if "train" not in self.manifest.splits:
            raise DataError(f"The record set {self.folder} has folds. {verb} on one of them: --data {self.folder / 'fold-0'}.")
        return self

    def check_two_kinds(self, class_name: str = PNEUMONIA) -> "RecordSet":
        """Return the record set, checked for what training an image-level or pixel-level model needs.

        Raises:
          DataError: it lacks the class, or a training or validation split, or one of them lacks exams with or without the class.
        """
        self.check_has_train()
        if class_name not in self.label_map:
            raise DataError(
                f"The record set {self.folder} has no class {class_name!r}; it has {', '.join(self.label_map)}. Make it with a label map that has."
            )
        for split in (self.train, self.val):
            what = split.use
            if not len(split):
                raise DataError(f"The record set {self.folder} has no {what} exams. Make it again with another --val-fraction.")
            positives = int(split.positive.sum())
            if positives in (0, len(split)):
                lacks = "with" if not positives else "without"
                raise DataError(
                    f"None of the {len(split)} {what} exams in {self.folder} is {lacks} {class_name}: there is nothing to distinguish. "
                    "Make the records of exams of both kinds."
                )
        return self

    def _split(self, name: str) -> Split:
        if name not in self.manifest.splits:
            how = " Make the records again with --test-fraction 0.15." if name == "test" else ""
            raise DataError(f"The record set {self.folder} has no split {name!r}; it has {', '.join(self.manifest.splits)}.{how}")
        about = self.manifest.splits[name]
        truth = self.folder / about.annotations
        shards = [self.folder / shard.name for shard in about.shards]
        return Split(shards, read_truth(truth), name=name, folder=self.folder, truth=truth, label_map=self.label_map)


def read_truth(path: Path) -> dict[str, Any]:
    """Return a split's COCO object, of the form that ``Split`` relies on.

    Raises:
      DataError: it cannot be read, or is damaged.
    """
    truth: dict[str, Any] = json_text.read(path, what="the ground truth", hint="Make the records again.")
    try:
        ids, classes = {image["id"] for image in truth["images"]}, {category["id"] for category in truth["categories"]}
        for image in truth["images"]:
            if int(image["height"]) < 1 or int(image["width"]) < 1 or not str(image["file_name"]):
                raise ValueError(f"image {image['id']}")
        for row in truth["annotations"]:
            x, y, width, height = map(float, row["bbox"])
            if row["image_id"] not in ids:
                raise ValueError(f"an annotation is of image {row['image_id']}, which is not there")
            if row["category_id"] not in classes:
                raise ValueError(f"an annotation has category_id {row['category_id']}, which is not among the categories")
        for category in truth["categories"]:
            if not isinstance(category["name"], str) or not isinstance(category["id"], int):
                raise ValueError(f"category {category}")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"The ground truth {path} is damaged ({error!r}). Make the records again.") from error
    return truth
