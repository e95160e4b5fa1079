"""The 8-column CSV of the API's well-known generate_tfrecord.py scripts -> images and boxes."""

from pneumodet.data import annotations, label_map
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import CORNERS, Collector, exam_id, size_hw, text_number
from pneumodet.data.tables import Table

CSV_COLUMNS = ("filename", "width", "height", "class", *CORNERS)
"""Columns; size and corners in px."""


def read(table: Table, *, evaluating: bool = False, classes: ClassMap | None = None) -> Labels:
    """Return the labels in a table that has ``CSV_COLUMNS``; ``evaluating`` and ``classes`` as in ``Collector``; DataError where a box has no file name."""
    unplaced: list[int] = []
    collector = Collector(evaluating=evaluating, classes=classes)
    for line, (file_name, width, height, name, *texts) in table.stripped(CSV_COLUMNS):
        where = f"line {line}"
        exam = exam_id(file_name)
        try:
            if line in table.too_long:
                raise ValueError("the row has more cells than the header")
            if not exam:
                unplaced += [line] if any(texts) or name not in ("", label_map.NO_PNEUMONIA) else []
                raise ValueError("filename is empty")
            collector.rows[exam] += 1
            image = collector.image(file_name, size_hw(width, height, text_number), where)
            target = collector.class_of(name) if name else ""
            if target is None:
                continue
            # how negatives are written differs: no class, the negative class, empty corners or NaN
            if target in ("", label_map.NO_PNEUMONIA) and all(text.lower() in ("", "nan") for text in texts):
                collector.add(image, label_map.NO_PNEUMONIA, None, where)
            elif not name:
                raise ValueError("class is empty, but there is a box")
            else:
                collector.add(image, target, collector.corners(texts), where)
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
    annotations.refuse_unplaced(table, unplaced, "filename")
    return collector.labels(table=table)
