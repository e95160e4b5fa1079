"""TFRecord files that other tools wrote with the Object Detection API's keys -> a record set that every command here reads.

    manifest = adopt(["data/train-?????-of-00010"], ["data/val.record"], Path("label_map.pbtxt"), folder)

A file whose records are complete stays where it is, and the manifest points to it. A file with a record that lacks something, or that was
mended or left out, is written anew into the folder; the manifest counts and lists what was done. See ``foreign_examples``.
"""

import dataclasses
import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import boxes, folders, paths
from pneumodet.core.detections import image_id
from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import foreign_examples, label_map, record_sets, splits, tf_example, tfrecord

CORRUPT = "corrupt record"
"""Reason in the manifest of what ``skip_corrupt`` left out."""

_NO_IMAGE = b""


@dataclasses.dataclass(frozen=True)
class _File:
    """A file to read; ``number`` is its place in its split."""

    path: Path
    side: str
    number: int
    classes: dict[str, int]
    skip_corrupt: bool


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What is in a file: its usable records without their images, their numbers in the file and their images' SHA-256."""

    file: _File
    found: list[foreign_examples.Found]
    indices: list[int]
    images_sha256: list[str]
    skipped: list[str]


def expand(patterns: Sequence[str]) -> list[Path]:
    """Return the files that the ``input_path`` entries of a pipeline.config mean: paths, globs, or several of them with commas between.

    Returns:
      Absolute paths, each once, those of a glob in alphabetical order.

    Raises:
      DataError: there is no entry, or one of them means no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        for one in [pattern] if Path(pattern).is_file() else filter(None, map(str.strip, pattern.split(","))):
            files = [one] if Path(one).is_file() else sorted(path for path in glob.glob(one) if Path(path).is_file())
            if not files:
                raise DataError(f"input_path {one!r} is no file, and no pattern that fits one. Mend it in the config, or give --data.")
            found |= dict.fromkeys(Path(file).resolve() for file in files)
    if not found:
        raise DataError("The config's readers name no record file. Set their input_path, or give --data.")
    return list(found)


def adopt(
    train_paths: Sequence[str],
    val_paths: Sequence[str],
    label_map_path: Path,
    folder: Path,
    *,
    skip_corrupt: bool = False,
    overwrite: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Make a record set of record files that are there.

    An exam is called by its ``image/source_id``, or by ``image/filename`` where that is absent or not the only one, or by file and number.
    Of patients nothing is known: every exam counts as one.

    Args:
      train_paths: ``input_path`` entries of the train reader, as ``expand``.
      val_paths: of the eval reader.
      label_map_path: of the readers; its names may be any.
      folder: takes ``manifest.json``, ``instances_train.json``, ``instances_val.json`` and the files that are written anew.
      skip_corrupt: leave out damaged records and images, and list them in the manifest.
      overwrite: replace an earlier record set there.
      workers: processes.

    Returns:
      The manifest, a JSON object.

    Raises:
      DataError: a file is missing, holds no usable record or is in both splits; a record is damaged, or its boxes or classes cannot be used
        (the message has the file and the record's number, from 0); ``folder`` is in use or cannot be written.
    """
    classes = label_map.read_label_map(label_map_path)
    files = {splits.TRAIN: expand(train_paths), splits.VAL: expand(val_paths)}
    both = sorted(set(files[splits.TRAIN]) & set(files[splits.VAL]))
    if both:
        raise DataError(f"{both[0]} is read for training and for validation, which then measures memory. Name other files for one of them.")
    folders.check_free(folder, marker=record_sets.MANIFEST, overwrite=overwrite)
    todo = [_File(path, side, number, classes, skip_corrupt) for side, of_side in files.items() for number, path in enumerate(of_side)]
    with Pool(workers) as pool, folders.new_folder(folder, marker=record_sets.MANIFEST, overwrite=overwrite) as new:
        looked = sorted(pool.run(_look, todo), key=lambda one: todo.index(one.file))
        names = _names(looked)
        tasks = [
            (one.file, new / _new_name(one.file, len(files[one.file.side])), dict(zip(one.indices, of_file, strict=True)))
            for one, of_file in zip(looked, names, strict=True)
            if of_file and not _may_stay(one, of_file)
        ]
        written = {(file.side, file.number): entry for file, entry in pool.run(_write, tasks)}
        entries = {}
        for side in files:
            of_side = [(one, of_file) for one, of_file in zip(looked, names, strict=True) if one.file.side == side]
            truth = _truth(of_side, classes)
            if not truth["images"]:
                raise DataError(f"No record of {side} can be used; the first file is {files[side][0]}.")
            paths.write_json(new / f"instances_{side}.json", truth)
            shards = [written.get((side, one.file.number)) or _as_it_is(one) for one, of_file in of_side if of_file]
            entries[side] = _entry(truth, shards) | {
                "annotations": f"instances_{side}.json",
                "annotations_sha256": paths.sha256_file(new / f"instances_{side}.json"),
            }
        paths.write_json(new / record_sets.MANIFEST, _manifest(looked, names, entries, classes, label_map_path))
    return record_sets.RecordSet.open(folder).manifest.document


def _records(file: _File, damaged: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, bytes) of a file's records, in order; ``damaged`` takes what is told of those that cannot be read."""
    for count, data in enumerate(tfrecord.read_records(file.path, damaged=damaged if file.skip_corrupt else None)):
        yield count + len(damaged), data


def _look(file: _File) -> _Looked:
    looked, damaged, corrupt = _Looked(file, [], [], [], []), [], []
    for index, data in _records(file, damaged):
        try:
            found = foreign_examples.read(data, file.classes, where=f"{file.path}, record {index}")
        except foreign_examples.CorruptRecord as error:
            if not file.skip_corrupt:
                raise DataError(f"{error} Write the file again, or leave such records out by --skip-corrupt.") from error
            corrupt.append(str(error))
            continue
        looked.images_sha256.append(found.record.sha256)
        looked.indices.append(index)
        looked.found.append(dataclasses.replace(found, record=dataclasses.replace(found.record, encoded=_NO_IMAGE, masks=())))
    looked.skipped.extend(damaged + corrupt)
    return looked


def _names(looked: Sequence[_Looked]) -> list[list[str]]:
    """Return, for every file, what the exams of its records are called; every name is the only one."""
    every = [found for one in looked for found in one.found]
    ids, filenames = (Counter(one) for one in ([found.record.patient_id for found in every], [found.filename for found in every]))
    base_names = Counter(one.file.path.name for one in looked)
    taken: set[str] = set()
    names = []
    for one in looked:
        base = one.file.path.name
        if base_names[base] > 1:
            base = f"{one.file.side}-{one.file.number:05d}-{base}"
        names.append([])
        for index, found in zip(one.indices, one.found, strict=True):
            wanted = [(found.record.patient_id, ids), (found.filename, filenames)]
            name = next((name for name, count in wanted if name and count[name] == 1 and name not in taken), f"{base}#{index}")
            taken.add(name)
            names[-1].append(name)
    return names


def _may_stay(looked: _Looked, names: Sequence[str]) -> bool:
    """Whether reading a file strictly gives the records that were found."""
    if looked.skipped:
        return False
    return all(found.is_complete and found.record.patient_id == name for found, name in zip(looked.found, names, strict=True))


def _as_it_is(looked: _Looked) -> dict[str, Any]:
    path = looked.file.path
    return {"name": str(path), "sha256": paths.sha256_file(path), "bytes": path.stat().st_size, "examples": len(looked.found)}


def _write(task: tuple[_File, Path, dict[int, str]]) -> tuple[_File, dict[str, Any]]:
    """Write a file's records anew by their names; return what the manifest tells of it."""
    file, path, names = task
    with open(path, "wb") as handle:
        writer = tfrecord.Writer(handle)
        for index, data in _records(file, []):
            if index in names:
                found = foreign_examples.read(data, file.classes, where=f"{file.path}, record {index}")
                writer.write(tf_example.encode(dataclasses.replace(found.record, patient_id=names[index])))
    return file, {"name": path.name, "sha256": writer.sha256, "bytes": writer.bytes, "examples": writer.records}


def _new_name(file: _File, files: int) -> str:
    return f"{file.side}-{file.number:05d}-of-{files:05d}.tfrecord"


def _truth(of_side: Sequence[tuple[_Looked, list[str]]], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the COCO ground truth of a split, in the records' order."""
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for looked, names in of_side:
        for name, found in zip(names, looked.found, strict=True):
            record = found.record
            images.append({"id": image_id(name), "file_name": name, "width": record.width, "height": record.height})
            for xywh, class_id in zip(boxes.xyxy_to_xywh_px(record.boxes_xyxy_px).tolist(), record.class_ids, strict=True):
                row = {"image_id": images[-1]["id"], "category_id": class_id, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0}
                rows.append({"id": len(rows) + 1} | row)
    return {
        "images": images,
        "annotations": rows,
        "categories": [{"id": number, "name": name} for name, number in classes.items()],
    }


def _entry(truth: Mapping[str, Any], shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the manifest tells of a split, but for its ground truth's file."""
    classes = {category["id"]: category["name"] for category in truth["categories"]}
    negative = {number for number, name in classes.items() if name == label_map.NO_PNEUMONIA}
    return {
        "exams": len(truth["images"]),
        "patients": len(truth["images"]),
        "positive_exams": len({row["image_id"] for row in truth["annotations"] if row["category_id"] not in negative}),
        "boxes": len(truth["annotations"]),
        "statistics": {
            "boxes_by_class": dict(Counter(classes[row["category_id"]] for row in truth["annotations"])),
            "sizes": dict(Counter(f"{image['width']}x{image['height']}" for image in truth["images"]).most_common(50)),
        },
        "shards": shards,
    }


def _manifest(
    looked: Sequence[_Looked], names: Sequence[list[str]], entries: Mapping[str, Any], classes: Mapping[str, int], label_map_path: Path
) -> dict[str, Any]:
    every = [(one, name, found) for one, of_file in zip(looked, names, strict=True) for name, found in zip(of_file, one.found, strict=True)]
    skipped = [reason for one in looked for reason in one.skipped]
    counts = Counter(note for _, _, found in every for note in found.notes)
    counts["boxes_clipped"] = sum(len(found.clipped) for _, _, found in every)
    counts["exams named anew"] = sum(name != found.record.patient_id for _, name, found in every)
    counts["files written anew"] = sum(not Path(shard["name"]).is_absolute() for entry in entries.values() for shard in entry["shards"])
    sides: dict[str, dict[str, list[str]]] = {}  # of images: digest -> side -> exams
    for one, of_file in zip(looked, names, strict=True):
        for digest, name in zip(one.images_sha256, of_file, strict=True):
            sides.setdefault(digest, {}).setdefault(one.file.side, []).append(name)
    return {
        "format": record_sets.FORMAT,
        "version": record_sets.VERSION,
        "pneumodet": pneumodet.__version__,
        "arguments": {
            "files": {side: [str(one.file.path) for one in looked if one.file.side == side] for side in entries},
            "skip_corrupt": looked[0].file.skip_corrupt,
            "label_map": {"name": label_map_path.name, "sha256": paths.sha256_file(label_map_path)},
        },
        "label_map": dict(classes),
        "split": {
            "by": "record files",
            "folds": 0,
            "patients": len(every),
            "patients_with_several_exams": 0,
            "same_image": sorted(sorted(sum(of_image.values(), [])) for of_image in sides.values() if len(of_image) > 1),
        },
        "pseudonyms": False,
        "splits": dict(entries),
        "counts": dict(sorted(counts.items())) | {"skipped": len(skipped)},
        "skipped": {CORRUPT: skipped} if skipped else {},
        "quality": None,
        "clipped": [f"{name}: {list(box)}" for _, name, found in every for box in found.clipped],
    }
