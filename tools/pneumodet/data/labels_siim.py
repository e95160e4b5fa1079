"""SIIM-FISABIO-RSNA COVID-19: train_image_level.csv (boxes), train_study_level.csv (what the study shows) -> images and boxes.

labels = read(Path("siim"))                       # a folder with both
labels = read(Path("siim/train_image_level.csv"))
"""

from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.data import tables
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Collector, text_number
from pneumodet.data.label_choices import COVID_CLASSES, check, of_set
from pneumodet.data.tables import Table

IMAGE_FILE, STUDY_FILE = "train_image_level.csv", "train_study_level.csv"
IMAGE_COLUMNS, STUDY_COLUMNS = ("id", "label", "StudyInstanceUID"), ("id", "Negative for Pneumonia")

NOTHING = "none"
"""Label of an image without boxes: none 1 0 0 1 1."""

_FIELDS = 6
"""Of an object: class, confidence, and four corners."""


def read(path: Path, *, classes: ClassMap | None = None, table: Table | None = None) -> Labels:
    """Return the labels of the images' table, or of a folder with both.

    With the studies' table an image without boxes is negative only where its study is negative for pneumonia; of other studies it is left
    out: it is most often a copy of the image that has the boxes. The patient is the study.

    Args:
      path: file or folder.
      classes: which findings are classes, instead of ``COVID_CLASSES``.
      table: of the file, where it is parsed already.

    Raises:
      DataError: the images' table is missing, or lacks a column.
    """
    negative_studies = None
    if path.is_dir():
        table = tables.read(path / IMAGE_FILE)
        negative_studies = _negative_studies(path / STUDY_FILE) if (path / STUDY_FILE).is_file() else None
    table = table or tables.read(path)
    if STUDY_COLUMNS[1] in table.columns:
        raise DataError(f"{path} says what studies show, and not where. Give {IMAGE_FILE}, or the folder with both files.")
    chosen = of_set(COVID_CLASSES, classes)
    collector = Collector(classes=chosen)
    patients: dict[str, str] = {}
    for line, (number, label, study) in table.need(IMAGE_COLUMNS).stripped(IMAGE_COLUMNS):
        exam, where = number.removesuffix("_image"), f"line {line}"
        try:
            if not exam or not study:
                raise ValueError(f"{'StudyInstanceUID' if exam else 'id'} is empty")
            words = label.split()
            if len(words) % _FIELDS or not words:
                raise ValueError(f"label has {len(words)} words, must have {_FIELDS} for each object (opacity 1 x1 y1 x2 y2)")
            objects = [words[start : start + _FIELDS] for start in range(0, len(words), _FIELDS)]
            nothing = all(one[0] == NOTHING for one in objects)
            if nothing and negative_studies is not None and study not in negative_studies:
                collector.notes["image without a box, of a study that is not negative"] += 1
                continue
            collector.rows[exam] += len(objects)
            image = collector.image(exam, None, where)
            patients[exam] = study
            for name, confidence, *corners in objects:
                text_number("confidence", confidence)
                if name != NOTHING and (to := collector.class_of(name)):
                    collector.add(image, to, collector.corners(corners), where)
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
    check(chosen, classes, collector.classes, path)
    return collector.labels(table=table, patients=patients)


def _negative_studies(path: Path) -> set[str]:
    table = tables.read(path, STUDY_COLUMNS)
    rows = zip(*map(table.column, STUDY_COLUMNS), strict=True)
    return {study.strip().removesuffix("_study") for study, negative in rows if negative.strip() in ("1", "1.0")}
