"""One shard of a record set, made by one process from its task alone: the unit of parallel work, of resuming, and of Beam.

    plan = deal(items, name="train", shard_bytes=SHARD_BYTES)         # -> Shards, whose names and contents depend on nothing but their items
    result = write(Task(folder, job, plan[0]))                        # the file, and its Result beside it

The same shard has the same bytes wherever and whenever it is made.
"""

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pneumodet.core import boxes, json_text, paths, seen
from pneumodet.core.errors import DataError
from pneumodet.core.json_fields import Fields
from pneumodet.data import coco_objects, dicom_images, images, label_map, manifest, object_masks, tf_example, tfrecord
from pneumodet.data.annotations import MIN_SIDE_PX, Exam, Outline
from pneumodet.data.sources import Source

SHARD_BYTES = 128 << 20
"""Size that shards are planned for: large reads, and still enough shards to shuffle and to share among processes."""

MIN_SHARDS = 4
"""A split has at least as many where it has as many exams, so that as many readers and processes have something to do."""

RESULTS = ".results"
"""Folder of the finished shards' results while a record set is made."""

OLDEST = 90
"""Years; a higher age can identify a person (45 CFR 164.514(b)(2)(i)(C))."""

BACKGROUND, FULL_IMAGE = "background", "full-image"
NEGATIVES = (BACKGROUND, FULL_IMAGE)
"""How an exam without pneumonia is written: without boxes, or with one whole-image box of class 1 (the classic workflow)."""


@dataclasses.dataclass(frozen=True, slots=True)  # there are many
class Item:
    """One exam to write.

    Attributes:
      name: what it is called in the output.
      exam: its labels.
      source: its file.
    """

    name: str
    exam: Exam
    source: Source


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard to write: its file name and the exams in it."""

    name: str
    items: tuple[Item, ...]


@dataclasses.dataclass(frozen=True)
class Job:
    """What happens to every exam.

    Attributes:
      classes: the label map.
      negatives: one of ``NEGATIVES``.
      options: of the images.
      masks: write a mask of each box.
      pseudonyms: messages do not name files, which could identify the patient, and ages above ``OLDEST`` become it.
      strict: an exam that cannot be used is an error.
    """

    classes: dict[str, int]
    negatives: str = BACKGROUND
    options: images.Options = images.Options()
    masks: bool = False
    pseudonyms: bool = False
    strict: bool = False


@dataclasses.dataclass
class Result:
    """What became of a shard.

    Attributes:
      name: of the file.
      sha256: of its contents, 64 hex digits.
      bytes: its size.
      examples: records in it.
      positive: positive exams in it.
      images: COCO images, in the records' order.
      annotations: COCO annotations, without ids.
      images_sha256: of each record's image.
      rejected: exams that cannot be used, a line each.
      clipped: boxes that reached over the image's edge, a line each.
      counts: what happened -> how often.
    """

    name: str
    sha256: str = ""
    bytes: int = 0
    examples: int = 0
    positive: int = 0
    images: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    annotations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    images_sha256: list[str] = dataclasses.field(default_factory=list)
    rejected: list[str] = dataclasses.field(default_factory=list)
    clipped: list[str] = dataclasses.field(default_factory=list)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def shard(self) -> manifest.Shard:
        """Return what the manifest says of the file."""
        return manifest.Shard(self.name, self.sha256, self.bytes, self.examples)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(vars(self))

    @classmethod
    def of_json(cls, text: str) -> "Result":
        """Return what ``to_json`` wrote; DataError where it is something else."""
        hint = "Start again without --resume."
        try:
            return Fields(json_text.loads(text), where="The result of a shard", error=DataError, hint=hint).build(cls)
        except ValueError as error:
            raise DataError(f"The result of a shard is not valid JSON ({error}). {hint}") from error


@dataclasses.dataclass(frozen=True)
class Task:
    """What a process is sent."""

    folder: Path
    job: Job
    shard: Shard


def deal(items: Sequence[Item], *, name: str, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Deal exams to shards ``name-00000-of-00016.tfrecord`` of about equal size, in order."""
    total = sum(item.source.size for item in items)
    number = max(-(-total // shard_bytes), min(MIN_SHARDS, len(items)))
    dealt: list[list[Item]] = [[] for _ in range(number)]
    before = 0
    for item in items:
        dealt[min(number * before // max(1, total), number - 1)].append(item)
        before += item.source.size
    dealt = [one for one in dealt if one]  # a file larger than a shard leaves the next one without any
    return [Shard(f"{name}-{index:05d}-of-{len(dealt):05d}.tfrecord", tuple(one)) for index, one in enumerate(dealt)]


def write(task: Task) -> Result:
    """Write a shard and its result into ``folder``, or return the result that an earlier run left there.

    Raises:
      DataError: with ``strict``, an exam cannot be used.
      OSError: the disk is full or the folder cannot be written.
    """
    final, kept = task.folder / task.shard.name, task.folder / RESULTS / f"{task.shard.name}.json"
    if final.is_file() and kept.is_file():
        with contextlib.suppress(ValueError, DataError):  # cut off by a power failure
            result = Result.of_json(kept.read_text(encoding="utf-8"))
            if paths.sha256_file(final) == result.sha256:
                return result
    with _renamed_at_the_end(final) as file:
        result = make(task.job, task.shard, file)
    with _renamed_at_the_end(kept) as file:  # last: a shard that has it is whole
        file.write(result.to_json().encode())
    return result


@contextlib.contextmanager
def _renamed_at_the_end(final: Path) -> Iterator[BinaryIO]:
    """Like ``paths.atomic_path``, without its wait for the disk: a set that was cut off is checked by its checksums before it is used."""
    tmp = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        with open(tmp, "wb", buffering=0) as file:
            yield file
        os.replace(tmp, final)
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink()


def make(job: Job, shard: Shard, file: BinaryIO) -> Result:
    """Write a shard's records to an open file; raises as ``write``."""
    writer = tfrecord.Writer(file)
    result = Result(shard.name)
    counts: Counter[str] = Counter(images_copied=0, images_decoded=0, boxes_clipped=0)
    for item in shard.items:
        try:
            record, about = _record(job, item, result.clipped, counts)
        except DataError as error:
            reason = f"{item.name}: {str(error).replace(str(item.source), 'the file' if job.pseudonyms else item.source.name)}"
            if job.strict:
                raise DataError(f"--strict: {reason} Fix the data, or leave out --strict to continue without this exam.") from error
            result.rejected.append(reason)
            continue
        writer.write(tf_example.encode(record))
        image = coco_objects.image_entry(record.patient_id, record.height, record.width) | about
        result.images.append(image)
        result.annotations += coco_objects.annotation_entries(
            image["id"],
            record.boxes_xyxy_px,
            record.class_ids,
            difficult=item.exam.difficult,
            outlines=_outlines(item.exam, (record.width, record.height), about) if record.masks else (),
        )
        result.positive += item.exam.positive
        result.images_sha256.append(record.sha256)
    result.sha256, result.bytes, result.examples, result.counts = writer.sha256, writer.bytes, writer.records, dict(counts)
    return result


def _record(job: Job, item: Item, clipped: list[str], counts: Counter[str]) -> tuple[tf_example.Record, dict[str, Any]]:
    """Return (the record, what else its entry in the ground truth has)."""
    exam = item.exam
    unknown = sorted({*exam.class_names, *exam.findings} - job.classes.keys())
    if unknown:
        raise DataError(f"the label map has no class {unknown[0]!r}; it has {', '.join(map(repr, job.classes))}.")
    image = images.encode(item.source, job.options)
    scale = np.array([*image.scale_xy, *image.scale_xy], np.float64)
    width, height = round(image.width / image.scale_xy[0]), round(image.height / image.scale_xy[1])
    if exam.size_hw is not None and exam.size_hw != (height, width):  # boxes of another size of image would lie elsewhere
        raise DataError(
            f"{item.source} has {width} x {height} px, but its labels are for {exam.size_hw[1]} x {exam.size_hw[0]} px. "
            "Label the same images, or scale the boxes."
        )
    kept = boxes.clip_xyxy_px(exam.boxes_xyxy_px, height=height, width=width)
    changed = (kept != exam.boxes_xyxy_px).any(axis=1)
    whole = exam.boxes_xyxy_px.tolist()
    lost = (kept[:, 2:] - kept[:, :2] < MIN_SIDE_PX).any(axis=1)
    if lost.any():
        raise DataError(
            f"{item.source} has {width} x {height} px, and the box x, y, right, bottom = {whole[int(lost.argmax())]} lies outside of "
            f"it or has less than {MIN_SIDE_PX:g} px within it."
        )
    clipped += [f"{item.name}: {whole[index]}" for index in changed.nonzero()[0]]
    counts["boxes_clipped"] += int(changed.sum())
    counts["images_copied" if image.copied else "images_decoded"] += 1
    counts.update(f"{manifest.IMAGE_NOTE}{note}" for note in image.notes)
    name = label_map.NO_PNEUMONIA
    if exam.positive:
        said = (*exam.class_names, *exam.findings)
        name = label_map.PNEUMONIA if label_map.PNEUMONIA in said else said[0]
    names = exam.class_names
    kept = kept * scale
    if not exam.positive and job.negatives == FULL_IMAGE:
        kept = np.array([[0, 0, image.width, image.height]], np.float64)
        names = (name,)
    kept = boxes.clip_xyxy_px(kept, height=image.height, width=image.width)  # once more, for what scaling rounds
    record = tf_example.Record(
        patient_id=item.name,
        encoded=image.data,
        image_format=image.image_format,
        height=image.height,
        width=image.width,
        boxes_xyxy_px=kept,
        class_names=names,
        class_ids=tuple(job.classes[one] for one in names),
        image_class_name=name,
        image_class_id=job.classes[name],
        masks=_masks(kept, exam, image) if job.masks else (),
    )
    # who the exam is, for whoever asks later whether two of them are the same radiograph
    about: dict[str, Any] = {"sha256": record.sha256, **image.facts}
    if image.source_sha256 not in ("", record.sha256):  # of an image that is copied they are the same
        about[seen.SOURCE] = image.source_sha256
    if job.pseudonyms:
        about.pop(dicom_images.UID, None)
    if exam.rsna_class:
        about["rsna_class"] = exam.rsna_class
    if exam.findings:
        about["findings"] = list(exam.findings)
    if job.pseudonyms and about.get("age", 0) > OLDEST:
        about["age"] = OLDEST
    if (height, width) != (image.height, image.width):
        about |= {"original_width": width, "original_height": height}
    return record, about


def _outlines(exam: Exam, size_wh: tuple[int, int], about: Mapping[str, Any]) -> list[Outline | None]:
    """Return the outlines of an exam's objects in px of the stored image."""
    of_labels = about.get("original_width", size_wh[0]), about.get("original_height", size_wh[1])
    scale_xy = [stored / labelled for stored, labelled in zip(size_wh, of_labels, strict=True)]
    return [one and object_masks.scaled(one, scale_xy) for one in exam.outlines]


def _masks(boxes_xyxy_px: np.ndarray, exam: Exam, image: images.EncodedImage) -> tuple[bytes, ...]:
    """Return the mask of each box, (N, 4) px of the stored image: the outline that the labels have of it, else the box."""
    outlines = exam.outlines or (None,) * len(boxes_xyxy_px)
    return tuple(
        object_masks.encoded(tuple(box), one and object_masks.scaled(one, image.scale_xy), height=image.height, width=image.width)
        for box, one in zip(boxes_xyxy_px.tolist(), outlines, strict=True)
    )
