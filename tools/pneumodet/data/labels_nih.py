"""NIH ChestX-ray14: Data_Entry_2017.csv (findings of whole images) and BBox_List_2017.csv (boxes of a few) -> images, findings and boxes.

labels = read(Path("nih"))                        # a folder with both
labels = read(Path("nih/Data_Entry_2017_v2020.csv"))
"""

import re
from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.data import splits, tables, text_files
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Collector, exam_id, text_number
from pneumodet.data.label_choices import CHEST_CLASSES, check, of_set
from pneumodet.data.tables import Table

ENTRY_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
"""Columns as a CSV parser has them: the header's own brackets hold commas."""

NOTHING = "No Finding"
"""The finding of images without any."""

_LISTS = {"train_val_list.txt": splits.TRAIN, "test_list.txt": splits.TEST}
"""Lists of images beside the tables -> the split that they are."""

_ENTRY_FILE, _BOX_FILE = re.compile(r"^data_entry.*\.csv(\.gz|\.zip)?$", re.I), re.compile(r"^bbox_list.*\.csv(\.gz|\.zip)?$", re.I)


def files(folder: Path) -> tuple[Path | None, Path | None]:
    """Return (table of findings, table of boxes) that lie in a folder."""
    names = sorted(path for path in folder.iterdir() if path.is_file())
    entries, boxes = ([path for path in names if pattern.match(path.name)] for pattern in (_ENTRY_FILE, _BOX_FILE))
    return next(iter(entries), None), next(iter(boxes), None)


def read(path: Path, *, classes: ClassMap | None = None, table: Table | None = None) -> Labels:
    """Return the labels of one of the two tables, or of a folder with both or one.

    The boxes alone say nothing of images that have only boxes of other classes: these are left out. With both tables an image that has the
    finding and a box of it has the box, and one without a box has the finding as a whole.

    Args:
      path: file or folder.
      classes: which findings are classes, instead of ``CHEST_CLASSES``.
      table: of the file, where it is parsed already.

    Raises:
      DataError: there is neither table, or a column is missing.
    """
    chosen = of_set(CHEST_CLASSES, classes)
    collector = Collector(classes=chosen)
    entry, boxes = files(path) if path.is_dir() else (path, None)
    tables_ = [table] if table else [tables.read(one) for one in (entry, boxes) if one]
    if not tables_:
        raise DataError(f"There is neither Data_Entry_2017.csv nor BBox_List_2017.csv in {path}. Get one of them.")
    findings = next((one for one in tables_ if BOX_COLUMNS[1] not in one.columns), None)
    places = next((one for one in tables_ if BOX_COLUMNS[1] in one.columns), None)
    patients: dict[str, str] = _findings(collector, findings.need(ENTRY_COLUMNS)) if findings else {}
    if places:
        _boxes(collector, places.need(BOX_COLUMNS), alone=findings is None)
    if not patients:  # 00000013_005.png is of patient 13
        patients = {exam: exam.partition("_")[0].lstrip("0") for exam in collector.images if "_" in exam}
    check(chosen, classes, collector.classes, path)
    return collector.labels(table=findings or places, patients=patients, splits=_own_split(path if path.is_dir() else path.parent))


def _own_split(folder: Path) -> dict[str, str]:
    """Return exam -> split as the lists beside the tables have it."""
    lists = {folder / name: split for name, split in _LISTS.items() if (folder / name).is_file()}
    return {exam_id(line): split for path, split in lists.items() for line in text_files.read_text(path).split()}


def _findings(collector: Collector, table: Table) -> dict[str, str]:
    """Add all images with the classes that they have, and return exam -> patient."""
    patients: dict[str, str] = {}
    for line, cells in table.stripped(ENTRY_COLUMNS):
        file_name, findings, patient = cells
        exam, where = exam_id(file_name), f"line {line}"
        try:
            if not exam or not findings or not patient:
                raise ValueError(f"{next(name for name, cell in zip(ENTRY_COLUMNS, cells, strict=True) if not cell)} is empty")
            collector.rows[exam] += 1
            image = collector.image(file_name, None, where)
            for finding in (one.strip() for one in findings.split("|")):
                if finding != NOTHING and (name := collector.class_of(finding)):
                    collector.add(image, name, None, where)
            if patients.setdefault(exam, patient) != patient:
                raise ValueError(f"the image is of patient {patient} here and of {patients[exam]} before")
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
    return patients


def _boxes(collector: Collector, table: Table, *, alone: bool) -> None:
    """Add boxes; with the findings of whole images (not ``alone``) they take the place of these."""
    for line, (file_name, finding, *texts) in table.stripped(BOX_COLUMNS):
        exam, where = exam_id(file_name), f"line {line} of the boxes"
        try:
            if not exam:
                raise ValueError("Image Index is empty")
            name = collector.class_of(finding)
            if name is None:
                continue
            if not alone and exam not in collector.images:
                collector.notes["box of an image that the table of findings does not name"] += 1
                continue
            x, y, width, height = (text_number(one, text) for one, text in zip("xywh", texts, strict=True))
            image = collector.image(file_name, None, where)
            image.objects.pop((name, None), None)
            collector.add(image, name, collector.check_area((x, y, x + width, y + height)), where)
            collector.rows[exam] += 1
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
