"""Folders whose names are the labels, as Kermany's chest_xray: train|val|test/NORMAL|PNEUMONIA/*.jpeg -> images and findings.

The same images in the TFRecords of Keras' example have such paths, too (``tfrecord_pairs``).

labels = read(Path("chest_xray"))
labels.exams["person1_bacteria_1"].findings, labels.patients["person1_bacteria_1"]       # ("pneumonia",), "person1"
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.data import archives, splits, tfrecord_pairs
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import IMAGE_SUFFIXES, Collector, exam_id
from pneumodet.data.label_choices import FOLDER_CLASSES, check, of_set

NORMAL = "NORMAL"
"""Folder of the images without findings."""

DEPTH = 4
"""Folders are searched so deep for one of the names: chest_xray/chest_xray/train/NORMAL."""

_PERSON = re.compile(r"^(person\d+)_|^((?:NORMAL2-)?IM-\d+)-")
"""How the names of Kermany's images begin: person1_bacteria_1.jpeg, IM-0115-0001.jpeg, NORMAL2-IM-1003-0001.jpeg."""


def is_such(folder: Path) -> bool:
    """Whether there is a folder of images without findings, and another one beside it that names one; or Keras' TFRecords of such images."""
    for path, subfolders, files in os.walk(folder):
        if tfrecord_pairs.is_such(files):
            return True
        names = {name.casefold() for name in subfolders}
        if NORMAL.casefold() in names and names & {name.casefold() for name in FOLDER_CLASSES}:
            return True
        if len(Path(path).relative_to(folder).parts) >= DEPTH:
            subfolders.clear()
    return False


def of_paths(paths: Iterable[str], where: Path, *, classes: ClassMap | None = None) -> Labels:
    """Return the labels of images by their paths, with / between folders; the last folder is the label.

    The exam is the file's name without suffix, or, where two images have one name, its split, label and name. Copies of one split, label and
    name, as Kaggle's archive has them in chest_xray/chest_xray, are one image. The folder above the label is the data set's own split.

    Raises:
      DataError: no image lies in a folder of a label.
    """
    chosen = of_set(FOLDER_CLASSES, classes)
    collector = Collector(classes=chosen)
    images: dict[str, str] = {}  # split/label/name -> label
    copies = 0
    for path in sorted(paths):
        parts = path.split("/")
        if archives.is_hidden(path) or not path.lower().endswith(IMAGE_SUFFIXES) or len(parts) < 2:
            continue
        short = tfrecord_pairs.short(path)
        copies += short in images
        images[short] = parts[-2]
    unique = len({exam_id(path) for path in images}) == len(images)
    collector.duplicates = copies
    patients, files, own = {}, {}, {}
    for path, label in images.items():
        stem = exam_id(path)
        exam = stem if unique else path.removesuffix(path.rpartition("/")[2]).replace("/", "_") + stem
        is_normal = label.casefold() == NORMAL.casefold()
        finding = None if is_normal else collector.class_of(label)
        if finding is None and not is_normal:
            continue
        collector.rows[exam] += 1
        image = collector.image(exam, None, path)
        if finding:
            collector.add(image, finding, None, path)
        if match := _PERSON.match(stem):
            patients[exam] = next(filter(None, match.groups()))
        if split := splits.own_name(path.split("/")[0]):
            own[exam] = split
        files[path] = exam
    if not collector.images:
        raise DataError(f"No image in {where} lies in a folder {NORMAL} or {' or '.join(FOLDER_CLASSES)}. Is this the right folder?")
    check(chosen, classes, collector.classes, where)
    return collector.labels(patients=patients, splits=own, files=files)


def read(folder: Path, *, classes: ClassMap | None = None) -> Labels:
    """Return the labels of the images below a folder; arguments and errors as ``of_paths``."""
    paths: list[str] = []
    for path, _, names in os.walk(folder):
        relative = os.path.relpath(path, folder).replace(os.sep, "/")
        paths += [f"{relative}/{name}" for name in names]
        if tfrecord_pairs.is_such(names):
            paths += map(tfrecord_pairs.short, tfrecord_pairs.paths(Path(path)))
    return of_paths(paths, folder, classes=classes)
