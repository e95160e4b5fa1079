"""TFRecord files that other tools wrote with the Object Detection API's keys -> a record set that every command here reads.

    manifest = adopt(["data/train-?????-of-00010"], ["data/val.record"], Path("label_map.pbtxt"), folder)

A file whose records are complete stays where it is, and the manifest points to it. A file with a record that lacks something, or that was
fixed or left out, is written anew into the folder; the manifest counts and lists what was done. See ``foreign_examples``.
"""

import dataclasses
import glob
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import folders, paths
from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import coco_objects, foreign_examples, label_map, outcome, record_sets, splits, tf_example, tfrecord
from pneumodet.data.manifest import MANIFEST, Grouping, Manifest, Shard, SplitEntry

CORRUPT = "corrupt record"
"""Reason in the manifest of what ``skip_corrupt`` left out."""

_NO_IMAGE = b""


@dataclasses.dataclass(frozen=True)
class _File:
    """A file to read; ``number`` is its place in its split."""

    path: Path
    split: str
    number: int
    classes: dict[str, int]
    skip_corrupt: bool


@dataclasses.dataclass(frozen=True)
class _Contents:
    """What is in a file: its usable records without their images, their numbers in the file and their images' SHA-256."""

    file: _File
    examples: list[foreign_examples.ForeignExample] = dataclasses.field(default_factory=list)
    indices: list[int] = dataclasses.field(default_factory=list)
    images_sha256: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)


def expand(patterns: Sequence[str]) -> list[Path]:
    """Return the files that the ``input_path`` entries of a pipeline.config mean: paths, globs, or several of them with commas between.

    Returns:
      Absolute paths, each once, those of a glob in alphabetical order.

    Raises:
      DataError: there is no entry, or one of them means no file.
    """
    paths_read: dict[Path, None] = {}
    for pattern in patterns:
        for one in [pattern] if paths.is_file(Path(pattern)) else filter(None, map(str.strip, pattern.split(","))):
            files = [one] if paths.is_file(Path(one)) else sorted(path for path in glob.glob(one) if paths.is_file(Path(path)))
            if not files:
                raise DataError(f"input_path {one!r} is no file, and no pattern that fits one. Fix it in the config, or give --data.")
            paths_read |= dict.fromkeys(Path(file).resolve() for file in files)
    if not paths_read:
        raise DataError("The config's readers name no record file. Set their input_path, or give --data.")
    return list(paths_read)


def adopt(
    train_paths: Sequence[str],
    val_paths: Sequence[str],
    label_map_path: Path,
    folder: Path,
    *,
    skip_corrupt: bool = False,
    overwrite: bool = False,
    workers: int = 1,
) -> Manifest:
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
      The manifest.

    Raises:
      DataError: a file is missing, holds no usable record or is in both splits; a record is damaged, or its boxes or classes cannot be used
        (the message has the file and the record's number, from 0); ``folder`` is in use or cannot be written.
    """
    classes = label_map.read_label_map(label_map_path)
    files = {splits.TRAIN: expand(train_paths), splits.VAL: expand(val_paths)}
    # absolute paths are compared: the same file may be named in two ways
    both = sorted(set(files[splits.TRAIN]) & set(files[splits.VAL]))
    if both:
        raise DataError(f"{both[0]} is read for training and for validation, which then measures memory. Name other files for one of them.")
    folders.check_free(folder, marker=MANIFEST, overwrite=overwrite)
    todo = [_File(path, split, number, classes, skip_corrupt) for split, of_split in files.items() for number, path in enumerate(of_split)]
    with Pool(workers) as pool, folders.new_folder(folder, marker=MANIFEST, overwrite=overwrite) as new:
        order = {file: place for place, file in enumerate((one.split, one.number) for one in todo)}  # processes finish in any order
        contents = sorted(pool.run(_read_file, todo), key=lambda one: order[one.file.split, one.file.number])
        names = _names(contents)
        tasks = [
            (one.file, new / _new_name(one.file, len(files[one.file.split])), dict(zip(one.indices, of_file, strict=True)))
            for one, of_file in zip(contents, names, strict=True)
            if of_file and not _may_stay(one, of_file)
        ]
        written = {(file.split, file.number): shard for file, shard in pool.run(_write, tasks)}
        entries = {}
        for split in files:
            of_split = [(one, of_file) for one, of_file in zip(contents, names, strict=True) if one.file.split == split]
            truth = _truth(of_split, classes)
            if not truth["images"]:
                raise DataError(f"No record of {split} can be used; the first file is {files[split][0]}.")
            paths.write_json(new / f"instances_{split}.json", truth)
            shards = [written.get((split, one.file.number)) or _as_it_is(one) for one, of_file in of_split if of_file]
            entries[split] = _entry(truth, shards, new / f"instances_{split}.json")
        paths.write_json(new / MANIFEST, _manifest(contents, names, entries, classes, label_map_path).to_json())
    return record_sets.RecordSet.open(folder).manifest


def _records(file: _File, damaged: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, bytes) of a file's records, in order; ``damaged`` takes the errors of those that cannot be read."""
    for count, data in enumerate(tfrecord.read_records(file.path, damaged=damaged if file.skip_corrupt else None)):
        yield count + len(damaged), data


def _read_file(file: _File) -> _Contents:
    contents = _Contents(file)
    damaged: list[str] = []
    corrupt: list[str] = []
    for index, data in _records(file, damaged):
        try:
            example = foreign_examples.read(data, file.classes, where=f"{file.path}, record {index}")
        except foreign_examples.CorruptRecord as error:
            if not file.skip_corrupt:
                raise DataError(f"{error} Write the file again, or leave such records out by --skip-corrupt.") from error
            corrupt.append(str(error))
            continue
        contents.images_sha256.append(example.record.sha256)
        contents.indices.append(index)
        # without its image: all records of a set fit into memory so, and into what one process sends to another
        contents.examples.append(dataclasses.replace(example, record=dataclasses.replace(example.record, encoded=_NO_IMAGE, masks=())))
    contents.skipped.extend(damaged + corrupt)
    return contents


def _names(contents: Sequence[_Contents]) -> list[list[str]]:
    """Return, for every file, what the exams of its records are called; every name is the only one."""
    every = [example for one in contents for example in one.examples]
    ids, filenames = Counter(example.record.patient_id for example in every), Counter(example.filename for example in every)
    base_names = Counter(one.file.path.name for one in contents)
    taken: set[str] = set()
    names: list[list[str]] = []
    for one in contents:
        base = one.file.path.name
        if base_names[base] > 1:  # two folders may each have a train.record
            base = f"{one.file.split}-{one.file.number:05d}-{base}"
        names.append([])
        for index, example in zip(one.indices, one.examples, strict=True):
            wanted = [(example.record.patient_id, ids), (example.filename, filenames)]
            name = next((name for name, count in wanted if name and count[name] == 1 and name not in taken), f"{base}#{index}")
            taken.add(name)
            names[-1].append(name)
    return names


def _may_stay(contents: _Contents, names: Sequence[str]) -> bool:
    """Whether reading a file strictly gives the same records."""
    if contents.skipped:
        return False
    return all(example.is_complete and example.record.patient_id == name for example, name in zip(contents.examples, names, strict=True))


def _as_it_is(contents: _Contents) -> Shard:
    path = contents.file.path
    return Shard(str(path), paths.sha256_file(path), path.stat().st_size, len(contents.examples))


def _write(task: tuple[_File, Path, dict[int, str]]) -> tuple[_File, Shard]:
    """Write a file's records anew by their names; return what the manifest says of it."""
    file, path, names = task
    with open(path, "wb") as handle:
        writer = tfrecord.Writer(handle)
        for index, data in _records(file, []):
            if index in names:
                example = foreign_examples.read(data, file.classes, where=f"{file.path}, record {index}")
                writer.write(tf_example.encode(dataclasses.replace(example.record, patient_id=names[index])))
    return file, Shard(path.name, writer.sha256, writer.bytes, writer.records)


def _new_name(file: _File, files: int) -> str:
    return f"{file.split}-{file.number:05d}-of-{files:05d}.tfrecord"


def _truth(of_split: Sequence[tuple[_Contents, list[str]]], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the COCO ground truth of a split, in the records' order."""
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for contents, names in of_split:
        for name, example, digest in zip(names, contents.examples, contents.images_sha256, strict=True):
            record = example.record
            images.append(coco_objects.image_entry(name, record.height, record.width) | {"sha256": digest})
            rows += coco_objects.annotation_entries(images[-1]["id"], record.boxes_xyxy_px, record.class_ids)
    return coco_objects.whole(images, rows, classes)


def _entry(truth: Mapping[str, Any], shards: Sequence[Shard], file: Path) -> SplitEntry:
    """Return what the manifest says of a split; ``file`` is its ground truth."""
    negative = {category["id"] for category in truth["categories"] if category["name"] == label_map.NO_PNEUMONIA}
    return SplitEntry(
        exams=len(truth["images"]),
        patients=len(truth["images"]),
        positive_exams=len({row["image_id"] for row in truth["annotations"] if row["category_id"] not in negative}),
        boxes=len(truth["annotations"]),
        statistics=outcome.statistics(truth),
        annotations=file.name,
        annotations_sha256=paths.sha256_file(file),
        shards=tuple(shards),
    )


def _manifest(
    contents: Sequence[_Contents],
    names: Sequence[list[str]],
    entries: Mapping[str, SplitEntry],
    classes: dict[str, int],
    label_map_path: Path,
) -> Manifest:
    every = [
        (name, example) for one, of_file in zip(contents, names, strict=True) for name, example in zip(of_file, one.examples, strict=True)
    ]
    skipped = tuple(reason for one in contents for reason in one.skipped)
    counts = Counter(note for _, example in every for note in example.notes)
    counts["boxes_clipped"] = sum(len(example.clipped) for _, example in every)
    counts["exams named anew"] = sum(name != example.record.patient_id for name, example in every)
    counts["files written anew"] = sum(not Path(shard.name).is_absolute() for entry in entries.values() for shard in entry.shards)
    return Manifest(
        pneumodet=pneumodet.__version__,
        arguments={
            "files": {split: [str(one.file.path) for one in contents if one.file.split == split] for split in entries},
            "skip_corrupt": contents[0].file.skip_corrupt,
            "label_map": {"name": label_map_path.name, "sha256": paths.sha256_file(label_map_path)},
        },
        label_map=dict(classes),
        split=Grouping(by="record files", patients=len(every), patients_with_several_exams=0, same_image=_same_images(contents, names)),
        splits=dict(entries),
        counts=dict(sorted(counts.items())) | {"skipped": len(skipped)},
        skipped={CORRUPT: skipped} if skipped else {},
        clipped=tuple(f"{name}: {list(box)}" for name, example in every for box in example.clipped),
    )


def _same_images(contents: Sequence[_Contents], names: Sequence[list[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of exams of several splits that have the very same image."""
    exams: dict[str, list[tuple[str, str]]] = defaultdict(list)  # digest -> (split, exam)
    for one, of_file in zip(contents, names, strict=True):
        for digest, name in zip(one.images_sha256, of_file, strict=True):
            exams[digest].append((one.file.split, name))
    groups = [group for group in exams.values() if len({split for split, _ in group}) > 1]
    return tuple(sorted(tuple(sorted(name for _, name in group)) for group in groups))
