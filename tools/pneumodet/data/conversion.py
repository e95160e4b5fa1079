"""DICOMs and labels -> TFRecords, COCO ground truth and a manifest: make_tfrecords as one function.

manifest = convert(dicom_dir, labels, output_dir, patient_map=mapping)
"""

import dataclasses
import datetime
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import pneumodet
from pneumodet import paths
from pneumodet.data import annotations, boxes, dicom, folders, label_map, splits, tf_example, tfrecord
from pneumodet.errors import ConfigError, DataError
from pneumodet.results import image_id

MANIFEST = "manifest.json"
"""Written last: a folder that has it is whole."""

FORMAT, VERSION = "pneumodet-records", 1

SHARD_BYTES = 128 << 20
"""Size at which the next shard begins."""

NEGATIVES = ("background", "full-image")
"""How an exam without pneumonia is written: without boxes, or with one whole-image box of class 1 (the classic workflow)."""

MIN_SIDE_PX = 1.0
"""A box of which less is left within the image, in width or height, rejects its exam: float32 shares would make it empty."""

BY_PATIENT, BY_EXAM = "patient map", "patientId"


def convert(
    dicom_dir: Path,
    labels: Path,
    output_dir: Path,
    *,
    class_info: Path | None = None,
    patient_map: Path | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    negatives: str = "background",
    label_map_path: Path = paths.DEFAULT_LABEL_MAP,
    strict: bool = False,
    overwrite: bool = False,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> dict[str, Any]:
    """Write ``train-*.tfrecord``, ``val-*.tfrecord``, ``instances_train.json``, ``instances_val.json`` and ``manifest.json``.

    Args:
      dicom_dir: folder of DICOM files, one an exam.
      labels: stage_2_train_labels.csv.
      output_dir: the new folder; it appears whole or not at all.
      class_info: stage_2_detailed_class_info.csv.
      patient_map: exam -> patient, as ``annotations.read_patient_map`` takes it; without it the split is by exam and may leak.
      val_fraction: expected share of patients in ``val``.
      seed: of the split and of the records' order.
      negatives: one of ``NEGATIVES``.
      label_map_path: must have the classes ``no-pneumonia`` and ``pneumonia``.
      strict: an exam that cannot be used is an error.
      overwrite: replace an earlier set in ``output_dir``.
      progress: wraps the list of exams, to show how far it is.

    Returns:
      The manifest.

    Raises:
      ConfigError: ``negatives`` or ``val_fraction`` is none of the values allowed.
      DataError: nothing can be used, the output folder is in use, the disk is full, or, with ``strict``, anything was skipped.
    """
    if negatives not in NEGATIVES:
        raise ConfigError(f"negatives is {negatives!r}, must be one of {', '.join(map(repr, NEGATIVES))}.")
    if not 0 <= val_fraction <= 1:
        raise ConfigError(f"val_fraction is {val_fraction}, must be a number from 0 to 1.")
    classes = label_map.read_label_map(label_map_path)
    label_map.check_pneumonia(classes, label_map_path)
    read = annotations.read_rsna_labels(labels, class_info=class_info)
    patients = annotations.read_patient_map(patient_map) if patient_map else {}
    rejected_ids = {exam for exam, _ in read.rejected}
    files, refused_files = folders.find_dicoms(dicom_dir, known=read.exams.keys() | rejected_ids)
    skipped: dict[str, list[str]] = defaultdict(list)
    for exam, reason in read.rejected:
        skipped["label rejected"].append(f"{exam}: {reason}")
    for name, reason in refused_files:
        skipped["file refused"].append(f"{name}: {reason}")
    skipped["label without a DICOM"] += sorted(read.exams.keys() - files.keys())
    skipped["DICOM without a label"] += sorted(files.keys() - read.exams.keys() - rejected_ids)
    usable = sorted(read.exams.keys() & files.keys(), key=lambda exam: hashlib.sha256(f"{seed}/{exam}".encode()).digest())
    unmapped = [exam for exam in usable if patient_map and exam not in patients]
    skipped["not in the patient map"] += sorted(unmapped)
    usable = [exam for exam in usable if not patient_map or exam in patients]
    _refuse_skipped(skipped, strict=strict)
    if not usable:
        raise DataError(f"No exam of {labels} has a usable DICOM in {dicom_dir}. " + _describe(skipped))

    exam_patients = {exam: patients.get(exam, exam) for exam in usable}
    sides = splits.assign(exam_patients.values(), val_fraction=val_fraction, seed=seed)
    job = _Job(classes, negatives)
    with folders.new_folder(output_dir, marker=MANIFEST, overwrite=overwrite) as folder:
        writers = {side: _SplitWriter(folder, side) for side in (splits.TRAIN, splits.VAL)}
        exam_sides: dict[str, str] = {}
        for exam in progress(usable):
            try:
                record = job.record(read.exams[exam], files[exam])
            except DataError as error:
                skipped["DICOM rejected"].append(f"{exam}: {str(error).replace(str(files[exam]), files[exam].name)}")
                _refuse_skipped(skipped, strict=strict)
                continue
            side = sides[exam_patients[exam]]
            exam_sides[exam] = side
            writers[side].add(record, read.exams[exam].rsna_class, exam_patients[exam])
        if not exam_sides:
            raise DataError(f"No exam of {labels} could be converted. " + _describe(skipped))
        splits.audit(exam_sides, exam_patients)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "pneumodet": pneumodet.__version__,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "arguments": {
                "labels": labels.name,
                "class_info": class_info and class_info.name,
                "patient_map": patient_map and patient_map.name,
                "negatives": negatives,
            },
            "labels_sha256": paths.sha256_file(labels),
            "label_map": classes,
            "seed": seed,
            "val_fraction": val_fraction,
            "split": {"by": BY_PATIENT if patient_map else BY_EXAM, "patient_overlap": 0},
            "splits": {side: writer.finish(classes) for side, writer in writers.items()},
            "counts": {**job.counts, "duplicate_rows": read.duplicate_rows, "skipped": sum(map(len, skipped.values()))},
            "skipped": {reason: items for reason, items in skipped.items() if items},
            "clipped": job.clipped,
        }
        paths.write_json(folder / MANIFEST, manifest)
    return manifest


def load_manifest(data_dir: Path) -> dict[str, Any]:
    """Read and check a record set's manifest.

    Returns:
      The manifest.

    Raises:
      DataError: the folder is no record set, or a file that the manifest names is missing or of another size.
    """
    hint = "Make the records with tools/make_tfrecords.py."
    if not data_dir.is_dir():
        raise DataError(f"There is no record set {data_dir}. {hint}")
    manifest = paths.read_json(data_dir / MANIFEST, what="the manifest", hint=hint)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise DataError(f"{data_dir / MANIFEST} is not the manifest of a record set of this version. {hint}")
    try:
        shards = {data_dir / shard["name"]: shard["bytes"] for split in manifest["splits"].values() for shard in split["shards"]}
        truths = [data_dir / manifest["splits"][side]["annotations"] for side in (splits.TRAIN, splits.VAL)]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{data_dir / MANIFEST} is damaged ({error!r}). {hint}") from error
    for path, size in shards.items():
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path} is missing or not of the size that the manifest says. {hint}")
    for path in truths:
        if not path.is_file():
            raise DataError(f"{path} is missing. {hint}")
    return manifest


@dataclasses.dataclass
class _Job:
    """What conversion does to one exam, and counts."""

    classes: dict[str, int]
    negatives: str
    counts: Counter = dataclasses.field(default_factory=lambda: Counter(images_copied=0, images_decoded=0, boxes_clipped=0))
    clipped: list[str] = dataclasses.field(default_factory=list)

    def record(self, exam: annotations.Exam, path: Path) -> tf_example.Record:
        image = dicom.encode_image(path)
        found = boxes.clip_xyxy_px(exam.boxes_xyxy_px, height=image.height, width=image.width)
        changed = (found != exam.boxes_xyxy_px).any(axis=1)
        whole = exam.boxes_xyxy_px.tolist()
        lost = (found[:, 2:] - found[:, :2] < MIN_SIDE_PX).any(axis=1)
        if lost.any():
            raise DataError(
                f"{path} has {image.width} x {image.height} px, and the box x, y, right, bottom = {whole[int(lost.argmax())]} lies outside of "
                f"it or has less than {MIN_SIDE_PX:g} px within it."
            )
        self.clipped += [f"{exam.patient_id}: {whole[index]}" for index in changed.nonzero()[0]]
        self.counts["boxes_clipped"] += int(changed.sum())
        self.counts["images_copied" if image.copied else "images_decoded"] += 1
        name = label_map.PNEUMONIA if exam.positive else label_map.NO_PNEUMONIA
        names = exam.class_names
        if not exam.positive and self.negatives == "full-image":
            found = np.array([[0, 0, image.width, image.height]], np.float64)
            names = (name,)
        return tf_example.Record(
            patient_id=exam.patient_id,
            encoded=image.data,
            image_format=image.image_format,
            height=image.height,
            width=image.width,
            boxes_xyxy_px=found,
            class_names=names,
            class_ids=tuple(self.classes[one] for one in names),
            image_class_name=name,
            image_class_id=self.classes[name],
        )


class _SplitWriter:
    """Writes one split's shards, whose number is known only at the end, and collects its ground truth."""

    def __init__(self, folder: Path, side: str) -> None:
        self._folder, self._side = folder, side
        self._shards: list[tuple[Path, tfrecord.Writer]] = []
        self._images: list[dict] = []
        self._annotations: list[dict] = []
        self._patients: set[str] = set()
        self._positive = 0

    def add(self, record: tf_example.Record, rsna_class: str | None, patient: str) -> None:
        if not self._shards or self._shards[-1][1].bytes >= SHARD_BYTES:
            if self._shards:
                self._shards[-1][1].close()
            path = self._folder / f"{self._side}.{len(self._shards)}"
            self._shards.append((path, tfrecord.Writer(path)))
        self._shards[-1][1].write(tf_example.encode(record))
        self._patients.add(patient)
        self._positive += record.image_class_name == label_map.PNEUMONIA
        image = {"id": image_id(record.patient_id), "file_name": record.patient_id, "width": record.width, "height": record.height}
        self._images.append(image | ({"rsna_class": rsna_class} if rsna_class else {}))
        for xywh, class_id in zip(boxes.xyxy_to_xywh_px(record.boxes_xyxy_px).tolist(), record.class_ids, strict=True):
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image["id"],
                    "category_id": class_id,
                    "bbox": xywh,
                    "area": xywh[2] * xywh[3],
                    "iscrowd": 0,
                }
            )

    def finish(self, classes: dict[str, int]) -> dict[str, Any]:
        shards = []
        for index, (path, writer) in enumerate(self._shards):
            writer.close()
            name = f"{self._side}-{index:05d}-of-{len(self._shards):05d}.tfrecord"
            path.rename(self._folder / name)
            shards.append({"name": name, "sha256": writer.sha256, "bytes": writer.bytes, "examples": writer.records})
        if len({image["id"] for image in self._images}) != len(self._images):
            raise DataError("Two patientIds have the same 48-bit image id. Rename one of them.")
        annotations_name = f"instances_{self._side}.json"
        categories = [{"id": number, "name": name} for name, number in classes.items()]
        paths.write_json(
            self._folder / annotations_name, {"images": self._images, "annotations": self._annotations, "categories": categories}
        )
        return {
            "exams": len(self._images),
            "patients": len(self._patients),
            "positive_exams": self._positive,
            "boxes": len(self._annotations),
            "annotations": annotations_name,
            "shards": shards,
        }


def _refuse_skipped(skipped: dict[str, list[str]], *, strict: bool) -> None:
    if strict and any(skipped.values()):
        raise DataError(f"--strict: {_describe(skipped)} Mend the data, or leave out --strict to go on without these.")


def _describe(skipped: dict[str, list[str]]) -> str:
    parts = [f"{len(items)} {reason} (first: {items[0]})" for reason, items in skipped.items() if items]
    return "; ".join(parts) + "." if parts else ""
