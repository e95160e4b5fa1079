"""Ground truth in the formats that tools exchange -> exams with boxes: RSNA's CSV, the 8-column CSV, Pascal VOC and COCO.

    labels = read_labels(Path("annotations"))                     # a folder of Pascal VOC, recognised by its content
    labels = read_labels(Path("boxes.csv.zip"), format="csv")

An error of the whole file raises; an error of one row or annotation rejects its exam, with the place and the reason.
"""

from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations, labels_coco, labels_csv, labels_voc, tables, text_files
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import CORNERS, IMAGE_SUFFIXES, exam_id, shown
from pneumodet.data.labels_csv import CSV_COLUMNS

__all__ = ["CORNERS", "CSV_COLUMNS", "FORMATS", "IMAGE_SUFFIXES", "exam_id", "read_labels", "whole"]

AUTO, RSNA, CSV, VOC, COCO = "auto", "rsna", "csv", "voc", "coco"
FORMATS = (AUTO, RSNA, CSV, VOC, COCO)
"""What ``read_labels`` reads; ``auto`` goes by the content."""

_COLUMNS = {RSNA: annotations.LABEL_COLUMNS, CSV: CSV_COLUMNS}

_NEEDS = (
    f"A label file is RSNA's CSV ({','.join(annotations.LABEL_COLUMNS)}), the 8-column CSV ({','.join(CSV_COLUMNS)}), COCO JSON "
    "(images, annotations, categories), Pascal VOC XML (<annotation>), or a folder of such XML files"
)

_WHAT = "the labels "


def read_labels(
    path: Path, *, format: str = AUTO, class_info: Path | None = None, evaluating: bool = False, classes: ClassMap | None = None
) -> Labels:
    """Read labels of any of the formats; a file may be packed, and a CSV in any encoding of ``text_files``.

    The exam is ``exam_id`` of the image's file name. Coordinates stand as they are written, in continuous px: the image's left edge is 0 and
    its right edge ``width``; nothing is subtracted from Pascal VOC's, although its first pixel is called 1 (VOC2012 development kit). COCO's
    ``bbox`` is left, top, width, height. A box of the class ``no-pneumonia`` marks its exam as negative, and is not kept; so do an image
    without objects, and a CSV row without class and corners.

    Args:
      path: the file; for Pascal VOC also a folder, searched with its subfolders for ``.xml``, hidden ones passed over.
      format: one of ``FORMATS``.
      class_info: RSNA's stage_2_detailed_class_info.csv.
      evaluating: keep COCO's crowds and boxes without area, which are of no use in training, and which evaluation counts.
      classes: what becomes of the file's classes, which are checked; by default they stay as they are. RSNA's CSV has none.

    Returns:
      The labels. An exam is rejected where a value is missing, no number or beyond ``annotations.MAX_COORDINATE_PX``, a box has no area, two
      images have its name, sizes differ, it is negative and has a finding, or its COCO ids are unknown, repeated or of a crowd.

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
    if format == VOC:
        labels = labels_voc.read(path, evaluating=evaluating, classes=classes)
    elif path.is_dir():
        raise DataError(f"{path} is a folder. A folder of labels is read as Pascal VOC; for another format name the file.")
    elif format == COCO:
        labels = labels_coco.read(text_files.parse_json(text_files.decode(data, path), path), path, evaluating=evaluating, classes=classes)
    else:
        table = tables.parse(text_files.decode(data, path), path)
        format = _format_of_table(table) if format == AUTO else format
        table.need(_COLUMNS[format])
        if format == RSNA:
            if classes is not None:  # before the rows are read: RSNA's have no class that could be named
                classes.check({}, path)
            return annotations.from_table(table, class_info=class_info)
        if class_info is not None:
            raise ConfigError(f"Class info belongs to RSNA's labels, but {path} is {format!r}. Leave it out.")
        labels = labels_csv.read(table, evaluating=evaluating, classes=classes)
    if not labels.exams and not labels.rejected:
        raise DataError(f"{path} names no image. Is this the right file?")
    if classes is not None:
        classes.check(labels.classes, path)
    return labels


def whole(labels: Labels, path: Path) -> Labels:
    """Return labels that are used as ground truth, which a rejected exam would change.

    Raises:
      DataError: an exam was rejected.
    """
    if labels.rejected:
        exam, reason = labels.rejected[0]
        raise DataError(
            f"{path}: {len(labels.rejected)} exams cannot be used as ground truth (first: {exam}: {reason}). Fix or remove them."
        )
    return labels


def _format_of(data: bytes, path: Path) -> str:
    """Return the format of contents; ``AUTO`` for a table, of which the columns decide."""
    if path.is_dir():
        return VOC
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (text_files.PACKED, ".zip")][-1:]
    # the content first: a name is often wrong, or missing
    if text_files.head(data).startswith("<") or suffixes == [".xml"]:
        return VOC
    if text_files.is_json(data) or suffixes == [".json"]:
        return COCO
    return AUTO


def _format_of_table(table: tables.Table) -> str:
    for format, needed in _COLUMNS.items():
        if set(needed) <= set(table.columns) or needed[0] in table.columns:  # a column that is missing is named by the format's own reader
            return format
    has = f"has the columns {shown(list(table.columns))}" if table.columns else "is empty"
    raise DataError(f"{table.path} {has}. {_NEEDS}.")
