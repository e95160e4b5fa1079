"""Exams of a record set -> label files, one writer for each format; ``label_export`` says which exams, and checks what was written.

WRITERS["voc"](folder / "annotations", exams, {"0004cfab": "0004cfab.jpg"}, {"pneumonia": 1})
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pneumodet.core import csv_cells, paths
from pneumodet.core.errors import DataError
from pneumodet.data import annotations, formats, label_map, labels_voc, labels_yolo
from pneumodet.data.collector import Box

IMAGES = "images"
"""Folder of the images."""


@dataclasses.dataclass(frozen=True)
class ExamTruth:
    """One exam of the ground truth: its split, its COCO image, (class, xywh_px) of each finding, which of them are marked difficult, whole-image classes."""

    id: str
    split: str
    image: dict[str, Any]
    objects: tuple[tuple[str, Box], ...]
    difficult: tuple[bool, ...]
    findings: tuple[str, ...] = ()

    def corners(self) -> list[tuple[str, Box]]:
        """Return (class, xyxy_px) of each finding, added up as readers of COCO and of RSNA's CSV do."""
        return [(name, (x, y, x + width, y + height)) for name, (x, y, width, height) in self.objects]


def _plain(value: float) -> int | float:
    """Return a coordinate as it is written: 12 instead of 12.0, and otherwise the shortest text that reads as the same float64."""
    return int(value) if value.is_integer() else value


def _write_coco(path: Path, exams: list[ExamTruth], image_names: dict[str, str], categories: dict[str, int]) -> None:
    entries: list[dict[str, Any]] = []
    for exam in exams:
        for (name, xywh), difficult in zip(exam.objects, exam.difficult, strict=True):
            entry = {"id": len(entries) + 1, "image_id": exam.image["id"], "category_id": categories[name]}
            entry |= {"difficult": 1} if difficult else {}
            entries.append(entry | {"bbox": [_plain(value) for value in xywh], "area": _plain(xywh[2] * xywh[3]), "iscrowd": 0})
    images = [exam.image | {"file_name": image_names[exam.id], "split": exam.split} for exam in exams]
    named = [{"id": number, "name": name} for name, number in categories.items()]
    paths.write_json(path, {"images": images, "annotations": entries, "categories": named})


def _write_voc(folder: Path, exams: list[ExamTruth], image_names: dict[str, str], categories: dict[str, int]) -> None:
    folder.mkdir()

    def put(parent: ElementTree.Element, tag: str, text: Any = None) -> ElementTree.Element:
        element = ElementTree.SubElement(parent, tag)
        element.text = None if text is None else str(text)
        return element

    for exam in exams:
        root = ElementTree.Element("annotation")
        put(root, "folder", IMAGES)
        put(root, "filename", image_names[exam.id])
        size = put(root, "size")
        for tag, value in (("width", exam.image["width"]), ("height", exam.image["height"]), ("depth", 1)):  # records hold gray images
            put(size, tag, value)
        for (name, corners), difficult in zip(exam.corners(), exam.difficult, strict=True):
            element = put(root, "object")
            # the three that readers of Pascal VOC, the API's among them, ask for
            for tag, value in (("name", name), ("pose", "Unspecified"), ("truncated", 0), ("difficult", int(difficult))):
                put(element, tag, value)
            for tag, values in _voc_boxes(corners).items():
                box = put(element, tag)
                for corner, value in zip(formats.CORNERS, values, strict=True):
                    put(box, corner, value)
        ElementTree.indent(root)
        (folder / f"{exam.id}.xml").write_bytes(ElementTree.tostring(root, encoding="utf-8"))


def _voc_boxes(corners: Box) -> dict[str, tuple[int | float, ...]]:
    """Return element -> corners: the box in whole px, and, where that is another one, the exact one after it.

    Scripts that read Pascal VOC call ``int`` on the text of each corner, and take the fifth child of an object for its box. An element of its own after the
    box disturbs none of them; an attribute of the corners would, since some parsers then return something else than text.
    """
    whole = labels_voc.outward(corners)
    exact = {} if whole == corners else {labels_voc.EXACT: tuple(map(_plain, corners))}
    return {labels_voc.BOX: whole} | exact


def _write_yolo(path: Path, exams: list[ExamTruth], image_names: dict[str, str], categories: dict[str, int]) -> None:
    classes = [name for name in categories if name != label_map.NO_PNEUMONIA]
    splits_ = list(dict.fromkeys(exam.split for exam in exams))
    path.write_text(labels_yolo.data_yaml(splits_, classes), encoding="utf-8")
    for split in splits_:
        (path.parent / labels_yolo.LABELS / split).mkdir(parents=True)
    for exam in exams:
        size = {"width": exam.image["width"], "height": exam.image["height"]}
        rows = "".join(labels_yolo.line(classes.index(name), xywh, **size) for name, xywh in exam.objects)
        (path.parent / labels_yolo.LABELS / exam.split / image_names[exam.id]).with_suffix(".txt").write_text(rows, encoding="utf-8")


def _write_csv(path: Path, exams: list[ExamTruth], image_names: dict[str, str], categories: dict[str, int]) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        for exam in exams:
            image = (image_names[exam.id], exam.image["width"], exam.image["height"])
            for name, corners in exam.corners():
                yield (*image, name, *map(_plain, corners))
            if not exam.objects:
                yield (*image, label_map.NO_PNEUMONIA, "", "", "", "")

    write_rows(path, formats.CSV_COLUMNS, rows())


def _write_rsna(path: Path, exams: list[ExamTruth], image_names: dict[str, str], categories: dict[str, int]) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        for exam in exams:
            if csv_cells.is_formula(exam.id):  # Kaggle's programs compare ids, which must not be changed
                raise DataError(
                    f"RSNA's CSV cannot have the exam {exam.id!r}, which a spreadsheet takes for a formula. Choose another format."
                )
            for name, xywh in exam.objects:
                if name != label_map.PNEUMONIA:
                    raise DataError(
                        f"RSNA's CSV has no class but {label_map.PNEUMONIA}, and exam {exam.id!r} has {name!r}. Choose another format."
                    )
                yield (exam.id, *map(_plain, xywh), 1)
            if not exam.objects:
                yield (exam.id, "", "", "", "", 0)

    write_rows(path, annotations.LABEL_COLUMNS, rows())


WRITERS: dict[str, Callable[[Path, list[ExamTruth], dict[str, str], dict[str, int]], None]] = {
    formats.COCO: _write_coco,
    formats.VOC: _write_voc,
    formats.CSV: _write_csv,
    formats.RSNA: _write_rsna,
    formats.YOLO: _write_yolo,
}
"""Format -> what writes its file, or folder: of a path, the exams, exam -> file name of its image, and class -> id."""


def write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write a CSV file of guarded cells."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv_cells.Writer(file)
        writer.writerow(header)
        writer.writerows(rows)
