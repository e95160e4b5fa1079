"""Ground truth in the formats that tools exchange, and of the field's data sets as they are -> exams with boxes or findings.

    labels = read_labels(Path("annotations"))                     # a folder of Pascal VOC, recognised by its content
    labels = read_labels(Path("boxes.csv.zip"), format="csv")

An error of the whole file raises; an error of one row or annotation rejects its exam, with the place and the reason.
"""

from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import counted
from pneumodet.data import (
    annotations,
    labels_chexpert,
    labels_coco,
    labels_csv,
    labels_folders,
    labels_nih,
    labels_siim,
    labels_vindr,
    labels_voc,
    labels_yolo,
    tables,
    text_files,
)
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import CORNERS, IMAGE_SUFFIXES, exam_id, shown
from pneumodet.data.label_choices import USUAL, Choices
from pneumodet.data.labels_csv import CSV_COLUMNS

__all__ = ["CORNERS", "CSV_COLUMNS", "FORMATS", "IMAGE_SUFFIXES", "exam_id", "read_labels", "whole"]

AUTO, RSNA, CSV, VOC, COCO, YOLO = "auto", "rsna", "csv", "voc", "coco", "yolo"
NIH, VINDR, SIIM, CHEXPERT, FOLDERS = "nih", "vindr", "siim", "chexpert", "folders"
FORMATS = (AUTO, RSNA, CSV, VOC, COCO, YOLO, NIH, VINDR, SIIM, CHEXPERT, FOLDERS)
"""What ``read_labels`` reads; ``auto`` goes by the content."""

_COLUMNS = {RSNA: annotations.LABEL_COLUMNS, CSV: CSV_COLUMNS}

_SETS = {
    NIH: (labels_nih.ENTRY_COLUMNS[:1],),
    VINDR: (labels_vindr.COLUMNS[:2],),
    SIIM: (labels_siim.IMAGE_COLUMNS, labels_siim.STUDY_COLUMNS),
    CHEXPERT: (("Path", *labels_chexpert.FINDINGS), (*labels_chexpert.MIMIC_COLUMNS, *labels_chexpert.FINDINGS)),
}
"""Format of a data set's own tables -> columns by which each of them is known."""

_NEEDS = (
    f"A label file is RSNA's CSV ({','.join(annotations.LABEL_COLUMNS)}), the 8-column CSV ({','.join(CSV_COLUMNS)}), COCO JSON "
    "(images, annotations, categories), Pascal VOC XML (<annotation>) or a folder of such files, YOLO's data.yaml, or a table of NIH ChestX-ray14, "
    "VinDr-CXR, SIIM-FISABIO, CheXpert or MIMIC-CXR-JPG"
)

_WHAT = "the labels "


def read_labels(
    path: Path,
    *,
    format: str = AUTO,
    class_info: Path | None = None,
    evaluating: bool = False,
    classes: ClassMap | None = None,
    choices: Choices = USUAL,
) -> Labels:
    """Read labels of any of the formats; a file may be packed, and a CSV in any encoding of ``text_files``.

    The exam is ``exam_id`` of the image's file name. Coordinates stand as they are written, in continuous px: the image's left edge is 0 and
    its right edge ``width``; nothing is subtracted from Pascal VOC's, although its first pixel is called 1 (VOC2012 development kit). COCO's
    ``bbox`` is left, top, width, height. A box of the class ``no-pneumonia`` marks its exam as negative, and is not kept; so do an image
    without objects, and a CSV row without class and corners.

    Args:
      path: the file; a folder is a data set's that it has the files of, else Pascal VOC's, searched with its subfolders for ``.xml``, hidden ones
        passed over.
      format: one of ``FORMATS``.
      class_info: RSNA's stage_2_detailed_class_info.csv.
      evaluating: keep boxes without area, which are of no use in training, and which evaluation counts.
      classes: what becomes of the file's classes, which are checked; by default they stay as they are, and of other data sets' findings those of
        ``label_choices`` count. RSNA's CSV has none.
      choices: what is taken of labels that say more than one thing.

    Returns:
      The labels. An exam is rejected where a value is missing, no number or beyond ``annotations.MAX_COORDINATE_PX``, a box has no area, two
      images have its name, sizes differ, it is negative and has a finding, or its COCO ids are unknown or repeated. A crowd is an object that is
      marked difficult.

    Raises:
      ConfigError: there is no such format, ``class_info`` is given for another one than RSNA's, or as ``ClassMap.check``.
      DataError: the file is missing, of none of the formats, or holds no image; or as ``ClassMap.check``.
    """
    if format not in FORMATS:
        raise ConfigError(f"The label format is {format!r}, must be one of {', '.join(map(repr, FORMATS))}.")
    # read once: recognising and parsing take the same bytes, which may be the end of a pipe
    data = b"" if path.is_dir() else text_files.read_bytes(path, _WHAT)
    if format == AUTO:
        format = _format_of(data, path)
    if class_info is not None and format not in (RSNA, AUTO):
        raise ConfigError(f"Class info belongs to RSNA's labels, but {path} is {format!r}. Leave it out.")
    if format == FOLDERS and not path.is_dir():
        raise DataError(f"{path} is a file; labels of the format {format!r} are a folder. Name that.")
    if format in (YOLO, FOLDERS) or (format in _SETS and path.is_dir()):
        labels = _of_set(format, path, None, classes, choices, evaluating=evaluating)
    elif format == VOC:
        labels = labels_voc.read(path, evaluating=evaluating, classes=classes)
    elif path.is_dir():
        raise DataError(f"{path} is a folder, in which labels of the format {format!r} do not lie. Name the file.")
    elif format == COCO:
        labels = labels_coco.read(text_files.parse_json(text_files.decode(data, path), path), path, evaluating=evaluating, classes=classes)
    else:
        table = tables.parse(text_files.decode(data, path), path)
        format = _format_of_table(table) if format == AUTO else format
        if format == RSNA:
            if classes is not None:  # before the rows are read: RSNA's have no class that could be named
                classes.check({}, path)
            return annotations.from_table(table.need(_COLUMNS[RSNA]), class_info=class_info)
        if class_info is not None:
            raise ConfigError(f"Class info belongs to RSNA's labels, but {path} is {format!r}. Leave it out.")
        labels = _of_set(format, path, table, classes, choices, evaluating=evaluating)
    if not labels.exams and not labels.rejected:
        raise DataError(f"{path} names no image. Is this the right file?")
    if classes is not None and format not in (*_SETS, FOLDERS):  # of those the reader did it
        classes.check(labels.classes, path)
    return labels


def _of_set(format: str, path: Path, table: tables.Table | None, classes: ClassMap | None, choices: Choices, *, evaluating: bool) -> Labels:
    """Return the labels of a data set's folder or file, or of any table; ``table`` is of the file, where it is one."""
    if format == FOLDERS:
        return labels_folders.read(path, classes=classes)
    if format == YOLO:
        return labels_yolo.read(path, classes=classes)
    if format == NIH:
        return labels_nih.read(path, classes=classes, table=table)
    if format == SIIM:
        return labels_siim.read(path, classes=classes, table=table)
    if format == CHEXPERT:
        return labels_chexpert.read(path, choices, classes=classes, table=table)
    if table is None:
        raise DataError(f"{path} is a folder, in which labels of the format {format!r} do not lie. Name the file.")
    if format == VINDR:
        return labels_vindr.read(table, choices, classes=classes)
    return labels_csv.read(table.need(CSV_COLUMNS), evaluating=evaluating, classes=classes)


def whole(labels: Labels, path: Path) -> Labels:
    """Return labels that are used as ground truth, which a rejected exam would change.

    Raises:
      DataError: an exam was rejected.
    """
    if labels.rejected:
        exam, reason = labels.rejected[0]
        raise DataError(
            f"{path}: {counted(len(labels.rejected), 'exam')} cannot be used as ground truth (first: {exam}: {reason}). Fix or remove them."
        )
    return labels


def _format_of(data: bytes, path: Path) -> str:
    """Return the format of contents; ``AUTO`` for a table, of which the columns decide."""
    if path.is_dir():
        return _format_of_folder(path)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (text_files.PACKED, ".zip")][-1:]
    # the content first: a name is often wrong, or missing
    if text_files.head(data).startswith("<") or suffixes == [".xml"]:
        return VOC
    if text_files.is_json(data) or suffixes == [".json"]:
        return COCO
    return YOLO if suffixes in ([".yaml"], [".yml"]) else AUTO


def _format_of_folder(path: Path) -> str:
    """Return the data set whose files lie in a folder, else Pascal VOC."""
    if labels_yolo.is_such(path):
        return YOLO
    if any(labels_nih.files(path)):
        return NIH
    if (path / labels_siim.IMAGE_FILE).is_file():
        return SIIM
    if labels_chexpert.file(path):
        return CHEXPERT
    return FOLDERS if labels_folders.is_such(path) else VOC


def _format_of_table(table: tables.Table) -> str:
    for format, of_tables in _SETS.items():
        if any(set(needed) <= set(table.columns) for needed in of_tables):
            return format
    for format, needed in _COLUMNS.items():
        if set(needed) <= set(table.columns) or needed[0] in table.columns:  # a column that is missing is named by the format's own reader
            return format
    has = f"has the columns {shown(list(table.columns))}" if table.columns else "is empty"
    raise DataError(f"{table.path} {has}. {_NEEDS}.")
