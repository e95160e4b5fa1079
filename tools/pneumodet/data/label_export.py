"""A record set -> labels, and images, that other tools read: COCO, Pascal VOC, YOLO, the API's classic CSV, RSNA's CSV.

card = export_labels(records, Path("out"), format="voc", images=True)      # out/annotations/*.xml, out/images/*.jpg, out/split.csv
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import pneumodet
from pneumodet.core import folders, paths
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import formats, label_map, labels_yolo, splits
from pneumodet.data.annotations import Exam
from pneumodet.data.collector import Box
from pneumodet.data.label_writers import IMAGES, WRITERS, ExamTruth, write_rows
from pneumodet.data.record_sets import RecordSet

CARD = "label_export.json"
"""What the export is; written last: a folder that has it is whole. No other kind of result has a file of this name."""

SPLIT = "split.csv"
"""Which split each exam was in, as ``splits.read_split_file`` reads it."""

LABELS = {
    formats.COCO: "instances.json",
    formats.VOC: "annotations",
    formats.CSV: "labels.csv",
    formats.RSNA: "labels.csv",
    formats.YOLO: labels_yolo.DATA,
}
"""Format -> the file, or folder, of the labels."""

SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
"""A record's image format -> suffix of its image."""

MAX_NAME_BYTES = 250
"""Of an exam's id: with a suffix it must fit the 255 bytes that file systems allow a name."""

_NO_FILE_NAME = re.compile(r"^\.|[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]")
"""A dot that hides the file, control characters, halves of surrogate pairs, and what separates folders."""

_CHECKED_HW = (1, 1)
"""Images are decoded as small as that is possible before they are written: all data of a file are read so."""

_AGAIN = "Make the records again with tools/make_tfrecords.py."


def export_labels(
    data_dir: Path,
    output: Path,
    *,
    format: str,
    images: bool = False,
    overwrite: bool = False,
    progress: Callable[[Iterable[ExamTruth]], Iterable[ExamTruth]] = lambda items: items,
) -> dict[str, Any]:
    """Write the labels of a record set, all splits in one, with ``split.csv`` and ``label_export.json``.

    What is written is read back by ``formats.read_labels`` before the folder appears, and must be the same, to the last bit of each
    coordinate: exams, boxes, classes and sizes (RSNA's CSV has no sizes, and one class; YOLO's shares of the image give px again to ``labels_yolo.SAME_PX``).
    Coordinates are in px of the images that are written,
    or, without images, of the radiographs that the records were made from, which may be larger (``max_side``). Pascal VOC has them in whole px, rounded
    outward, and the exact ones beside, see ``labels_voc``. An exam whose only box is of
    the class ``no-pneumonia`` is written as a negative. File names in the labels have the suffix of the record's image, whether images are
    written or not.

    Args:
      data_dir: a record set.
      output: the new folder; it appears whole or not at all.
      format: one of ``LABELS``.
      images: write the records' images too, bytes as they are.
      overwrite: replace an earlier export in ``output``.
      progress: wraps the list of exams while their records are read, to show how far it is.

    Returns:
      What ``label_export.json`` holds: ``labels``, the name of the file or folder of the labels, and the numbers of ``exams``, ``boxes``
      (of findings), ``negatives`` and ``difficult`` objects, which CSV files cannot mark, among others.

    Raises:
      ConfigError: there is no such format, or YOLO without images.
      DataError: the record set is missing or damaged, the output folder is in use, the disk is full, or the format cannot hold an exam.
    """
    if format not in LABELS:
        raise ConfigError(f"The label format is {format!r}, must be one of {', '.join(map(repr, LABELS))}.")
    if format == formats.YOLO and not images:
        raise ConfigError("YOLO's labels are shares of the images that lie beside them. Give --images.")
    records = RecordSet.open(data_dir)
    exams, categories = _read_truth(records, original=not images)
    _check_names(exams)
    if format != formats.COCO and (without := [exam.id for exam in exams if exam.findings]):
        raise DataError(
            f"{len(without)} exams have findings without boxes (first: {without[0]}), which {format!r} cannot hold. Choose {formats.COCO!r}."
        )
    with folders.new_folder(output, marker=CARD, overwrite=overwrite) as folder:
        labels = folder / LABELS[format]
        image_names = {exam.id: "" for exam in exams}
        if images or format != formats.RSNA:  # RSNA's CSV names no file
            image_names = _read_images(records, exams, progress, folder / IMAGES if images else None, by_split=format == formats.YOLO)
        WRITERS[format](labels, exams, image_names, categories)
        write_rows(folder / SPLIT, splits.SPLIT_COLUMNS, sorted((exam.id, exam.split) for exam in exams))
        _check_read_back(labels, exams, format)  # before the folder appears: nobody trains on labels that read as others
        card = {
            "format": "pneumodet-label-export",
            "pneumodet": pneumodet.__version__,
            "labels": LABELS[format],
            "label_format": format,
            "images": IMAGES if images else None,
            "exams": len(exams),
            "boxes": sum(len(exam.objects) for exam in exams),
            "negatives": sum(not (exam.objects or exam.findings) for exam in exams),
            "difficult": sum(sum(exam.difficult) for exam in exams),
        }
        paths.write_json(folder / CARD, card)
    return card


def _read_truth(records: RecordSet, *, original: bool) -> tuple[list[ExamTruth], dict[str, int]]:
    """Return (the exams of all splits in the records' order, in px of the original radiographs or of the records' images; class -> id)."""
    exams: list[ExamTruth] = []
    categories: dict[str, int] = {}
    for split in records.each_split():
        truth = split.instances
        names = {entry["id"]: entry["name"] for entry in truth["categories"]}
        objects: dict[int, list[tuple[str, Box]]] = {image["id"]: [] for image in truth["images"]}
        marks: dict[int, list[bool]] = {image["id"]: [] for image in truth["images"]}
        for entry in truth["annotations"]:
            x, y, width, height = map(float, entry["bbox"])
            if names[entry["category_id"]] == label_map.NO_PNEUMONIA:
                continue
            objects[entry["image_id"]].append((names[entry["category_id"]], (x, y, width, height)))
            marks[entry["image_id"]].append(entry.get("difficult") == 1)
        for image in truth["images"]:
            findings, difficult = tuple(objects[image["id"]]), tuple(marks[image["id"]])
            if original and "original_width" in image:
                image, findings = _enlarged(image, findings)
            exams.append(ExamTruth(str(image["file_name"]), split.name, image, findings, difficult, tuple(image.get("findings") or ())))
        categories = categories or {name: number for number, name in names.items()}
        if categories != {name: number for number, name in names.items()}:
            raise DataError(f"The ground truth {split.truth} has other classes than that of another split. {_AGAIN}")
    if not exams:
        raise DataError(f"The record set {records.folder} holds no exam. {_AGAIN}")
    return exams, categories


def _enlarged(image: dict[str, Any], objects: tuple[tuple[str, Box], ...]) -> tuple[dict[str, Any], tuple[tuple[str, Box], ...]]:
    """Return a scaled image's entry and boxes as they were before it was scaled."""
    original = {"width": image["original_width"], "height": image["original_height"]}
    x, y = original["width"] / image["width"], original["height"] / image["height"]
    larger = tuple((name, (box[0] * x, box[1] * y, box[2] * x, box[3] * y)) for name, box in objects)
    return {key: value for key, value in image.items() if not key.startswith("original_")} | original, larger


def _check_names(exams: list[ExamTruth]) -> None:
    seen: set[str] = set()
    for exam in exams:
        if exam.id in seen:
            raise DataError(f"Exam {exam.id!r} is in the record set twice. {_AGAIN}")
        seen.add(exam.id)
        if _NO_FILE_NAME.search(exam.id) or len(exam.id.encode()) > MAX_NAME_BYTES:
            raise DataError(
                f"Exam {exam.id!r} cannot be the name of a file: it begins with a dot, has a slash or control character, or is longer than "
                f"{MAX_NAME_BYTES} bytes. Rename it in the labels and make the records again."
            )


def _read_images(
    records: RecordSet,
    exams: list[ExamTruth],
    progress: Callable[[Iterable[ExamTruth]], Iterable[ExamTruth]],
    folder: Path | None,
    *,
    by_split: bool = False,
) -> dict[str, str]:
    """Return exam -> file name of its image, and write the images where a folder for them is given, with a folder for each split or without.

    Raises:
      DataError: records and ground truth differ, or an image that is written cannot be decoded.
    """
    places = {exam.split: folder / exam.split if by_split else folder for exam in exams} if folder is not None else {}
    for place in dict.fromkeys(places.values()):
        place.mkdir(parents=True)
    examples = (example for split in records.each_split() for example in split.read_exams())
    names = {}
    for exam, example in zip(progress(exams), examples, strict=True):
        record = example.record
        if record.image_format not in SUFFIXES:
            raise DataError(f"The image of exam {exam.id!r} is {record.image_format!r}, must be jpeg or png. {_AGAIN}")
        names[exam.id] = exam.id + SUFFIXES[record.image_format]
        if places:
            example.pixels(_CHECKED_HW)
            (places[exam.split] / names[exam.id]).write_bytes(record.encoded)
    return names


def _check_read_back(labels: Path, exams: list[ExamTruth], format: str) -> None:
    """Raise DataError unless the labels that were written are read as what was meant."""
    written = formats.read_labels(labels, format=format)
    reasons = dict(written.rejected)
    for exam in exams:
        size = None if format == formats.RSNA else (exam.image["height"], exam.image["width"])
        read = written.exams.get(exam.id)
        if read is None or size != read.size_hw or not _is_same(exam, read, labels_yolo.SAME_PX if format == formats.YOLO else 0):
            reason = reasons.get(exam.id) or ("it is read as something else" if read else "its name is read as another one")
            raise DataError(
                f"Exam {exam.id!r} cannot be written as {format!r}: {reason}. Choose another format, or rename what is unusual in it."
            )


def _is_same(exam: ExamTruth, read: Exam, tolerance_px: float) -> bool:
    """Whether classes and boxes of an exam were read as they were meant."""
    meant = list(dict.fromkeys(exam.corners()))  # boxes that clipping made equal count once
    if [name for name, _ in meant] != list(read.class_names) or exam.findings != read.findings:
        return False
    corners = np.array([box for _, box in meant], np.float64).reshape(-1, 4)
    return bool((np.abs(corners - read.boxes_xyxy_px) <= tolerance_px).all())
