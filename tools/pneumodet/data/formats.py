"""Labels in the formats that tools exchange -> exams with boxes: RSNA's CSV, the API's classic CSV, Pascal VOC and COCO.

    labels = read_labels(Path("annotations"))                     # a folder of Pascal VOC, told by its content
    labels = read_labels(Path("boxes.csv"), format="csv")

A fault of the whole file raises; a fault of one row or annotation rejects its exam, with the place and the reason.
"""

import dataclasses
import json
import os
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np

from pneumodet.data import annotations, label_map
from pneumodet.data.annotations import Exam, Labels
from pneumodet.errors import ConfigError, DataError

AUTO, RSNA, CSV, VOC, COCO = "auto", "rsna", "csv", "voc", "coco"
FORMATS = (AUTO, RSNA, CSV, VOC, COCO)
"""What ``read_labels`` reads; ``auto`` looks at the content."""

CSV_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
"""Columns of the CSV from which the API's well-known generate_tfrecord.py scripts read; size and corners in px."""

CORNERS = CSV_COLUMNS[4:]
"""A box's corners in the classic CSV and in Pascal VOC."""

IMAGE_SUFFIXES = (".dcm", ".dicom", ".dic", ".png", ".jpg", ".jpeg")
"""What is taken off a file name to have the exam; other dots belong to the name, as in a UID."""

_NEEDS = (
    f"A label file is RSNA's CSV ({','.join(annotations.LABEL_COLUMNS)}), the classic CSV ({','.join(CSV_COLUMNS)}), COCO JSON "
    "(images, annotations, categories), Pascal VOC XML (<annotation>), or a folder of such XML files"
)

_HEAD_BYTES = 512
"""How much of a file tells JSON and XML from CSV."""

_SHOWN_CHARACTERS = 60

_Box = tuple[float, float, float, float]


def read_labels(path: Path, *, format: str = AUTO, class_info: Path | None = None) -> Labels:
    """Read labels of any of the formats.

    The exam is ``exam_id`` of the image's file name. Coordinates stand as they are written, in continuous px: the image's left edge is 0 and
    its right edge ``width``; nothing is subtracted from Pascal VOC's, although its first pixel is called 1 (VOC2012 development kit). COCO's
    ``bbox`` is left, top, width, height. A box of the class ``no-pneumonia`` marks its exam as negative, and is not kept; so do an image
    without objects, and a CSV row without class and corners.

    Args:
      path: the file; for Pascal VOC also a folder, searched with its subfolders for ``.xml``, hidden ones passed over.
      format: one of ``FORMATS``.
      class_info: RSNA's stage_2_detailed_class_info.csv.

    Returns:
      The labels. An exam is rejected where a value is missing, no number or beyond ``annotations.MAX_COORDINATE_PX``, a box has no area, two
      images have its name, sizes differ, it is negative and has a finding, or its COCO ids are unknown, repeated or of a crowd.

    Raises:
      ConfigError: there is no such format, or ``class_info`` is given for another one than RSNA's.
      DataError: the file is missing, of none of the formats, or holds no image.
    """
    if format not in FORMATS:
        raise ConfigError(f"The label format is {format!r}, must be one of {', '.join(map(repr, FORMATS))}.")
    if format == AUTO:
        format = _format_of(path)
    if format == RSNA:
        return annotations.read_rsna_labels(path, class_info=class_info)
    if class_info is not None:
        raise ConfigError(f"Class info belongs to RSNA's labels, but {path} is {format!r}. Leave it out.")
    found = {CSV: _read_csv, VOC: _read_voc, COCO: _read_coco}[format](path).labels()
    if not found.exams and not found.rejected:
        raise DataError(f"{path} names no image. Is this the right file?")
    return found


def exam_id(file_name: str) -> str:
    """Return the exam that an image is of: its file name without folders, blanks around it, and a suffix of ``IMAGE_SUFFIXES``."""
    name = file_name.replace("\\", "/").rpartition("/")[2].strip()
    stem, dot, suffix = name.rpartition(".")
    return stem.strip() if dot + suffix.lower() in IMAGE_SUFFIXES else name


def _format_of(path: Path) -> str:
    if path.is_dir():
        return VOC
    with annotations.unpacked(path, "the labels ") as file:
        head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"<") or path.suffix.lower() == ".xml":
        return VOC
    if head.startswith((b"{", b"[")) or path.suffix.lower() == ".json":
        return COCO
    columns = annotations.read_header(path)
    for format, needed in ((RSNA, annotations.LABEL_COLUMNS), (CSV, CSV_COLUMNS)):
        if set(needed) <= set(columns) or needed[0] in columns:  # a column that is missing is told by the format's own reader
            return format
    has = f"has the columns {_shown(columns)}" if columns else "is empty"
    raise DataError(f"{path} {has}. {_NEEDS}.")


@dataclasses.dataclass
class _Image:
    """One image as its file names it, with what was said of it."""

    file_name: str
    size_hw: tuple[int, int]
    where: str
    objects: dict[tuple[str, _Box | None], str] = dataclasses.field(default_factory=dict)  # (class, box) -> where


class _Collector:
    """Gathers images and objects in any order, and the first fault of each exam."""

    def __init__(self) -> None:
        self.images: dict[str, _Image] = {}
        self.faults: dict[str, str] = {}
        self.duplicates = 0

    def fault(self, exam: str, reason: str) -> None:
        self.faults.setdefault(exam, reason)

    def image(self, file_name: str, size_hw: tuple[int, int], where: str) -> _Image:
        """Return an exam's image; ValueError where another one has its name, or it was of another size before."""
        image = self.images.setdefault(exam_id(file_name), _Image(file_name, size_hw, where))
        if image.file_name != file_name:
            raise ValueError(f"{file_name} and {image.file_name} ({image.where}) are two images of one name")
        if image.size_hw != size_hw:
            sizes = [f"{width} x {height} px" for height, width in (size_hw, image.size_hw)]
            raise ValueError(f"the image has {sizes[0]}, but {sizes[1]} at {image.where}")
        return image

    def add(self, image: _Image, name: str, box: _Box | None, where: str) -> None:
        """Add an object; no box, or the class no-pneumonia, marks a negative exam."""
        if (name, box) in image.objects:
            self.duplicates += 1
        else:
            image.objects[name, box] = where

    def labels(self) -> Labels:
        exams = {}
        for exam, image in self.images.items():
            marks = [where for (name, _), where in image.objects.items() if name == label_map.NO_PNEUMONIA]
            findings = {one: where for one, where in image.objects.items() if one[0] != label_map.NO_PNEUMONIA}
            if marks and findings:
                self.fault(exam, f"{marks[0]}: says {label_map.NO_PNEUMONIA}, but there is a finding at {next(iter(findings.values()))}")
            if exam not in self.faults:
                boxes = np.array([box for _, box in findings], np.float64).reshape(-1, 4)
                exams[exam] = Exam(exam, boxes, bool(findings), class_names=tuple(name for name, _ in findings), size_hw=image.size_hw)
        return Labels(exams, sorted(self.faults.items()), self.duplicates)


def _read_csv(path: Path) -> _Collector:
    found = _Collector()
    for line, row in annotations.read_rows(path, CSV_COLUMNS):
        where = f"line {line}"
        exam = exam_id(row["filename"]) or f"({where})"
        try:
            if any(cell.strip() for cell in row.get(annotations.MORE_CELLS, ())):
                raise ValueError("the row has more cells than the header")
            if not exam_id(row["filename"]):
                raise ValueError("filename is empty")
            image = found.image(row["filename"].strip(), _size(row["width"], row["height"], _text_number), where)
            name, corners = row["class"].strip(), [row[corner].strip() for corner in CORNERS]
            if name in ("", label_map.NO_PNEUMONIA) and all(corner.lower() in ("", "nan") for corner in corners):
                found.add(image, label_map.NO_PNEUMONIA, None, where)
            elif not name:
                raise ValueError("class is empty, but there is a box")
            else:
                found.add(image, name, _corners(corners), where)
        except ValueError as error:
            found.fault(exam, f"{where}: {error}")
    return found


def _read_voc(path: Path) -> _Collector:
    found = _Collector()
    if not path.is_dir():
        _add_voc(found, path, path.name)
        return found
    files = sorted(_xml_files(path))
    if not files:
        raise DataError(f"There is no .xml file in {path}. A folder of labels is read as Pascal VOC; for another format name the file.")
    for relative in files:
        try:
            _add_voc(found, path / relative, relative)
        except DataError as error:
            found.fault(exam_id(Path(relative).stem) or relative, str(error).replace(str(path / relative), relative))
    return found


def _xml_files(root: Path) -> Iterable[str]:
    """Yield the names, relative to ``root``, of the XML files that are not hidden."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def _add_voc(found: _Collector, path: Path, relative: str) -> None:
    """Add the image that an XML file is of; DataError where it is no Pascal VOC file."""
    from defusedxml import DefusedXmlException  # here: predicting does without it
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} has a document type definition, which labels do not need and may be an attack. Remove it.") from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:  # Lookup: an encoding that Python does not know
        raise DataError(f"{path} is not valid XML ({error}).") from error
    if root.tag != "annotation":
        raise DataError(f"{path} is not Pascal VOC: its root is <{_shown(root.tag)[1:-1]}>, not <annotation>.")
    exam, where = exam_id(Path(relative).stem) or relative, relative
    try:
        file_name = _text(root, "filename")
        exam = exam_id(file_name) or exam
        if not exam_id(file_name):
            raise ValueError(f"<filename> is {_shown(file_name)}, which names no image")
        if exam in found.images:
            raise ValueError(f"{found.images[exam].where} has labels of {found.images[exam].file_name} as well; keep one of the two files")
        image = found.image(file_name, _size(_text(root, "size/width"), _text(root, "size/height"), _text_number), where)
        for number, element in enumerate(root.findall("object"), start=1):
            where = f"{relative}, object {number}"
            found.add(image, _text(element, "name"), _corners([_text(element, f"bndbox/{corner}") for corner in CORNERS]), where)
    except ValueError as error:
        found.fault(exam, f"{where}: {error}")


def _text(element: Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"<{path}> is missing or empty")
    return text


def _read_coco(path: Path) -> _Collector:
    with annotations.unpacked(path) as file:
        text = file.read()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
    if isinstance(data, list):
        raise DataError(f"{path} is a JSON list, as COCO results are. Labels are COCO instances: images, annotations and categories.")
    parts = {name: data.get(name) if isinstance(data, dict) else None for name in ("images", "annotations", "categories")}
    for name, part in parts.items():
        if not isinstance(part, list):
            raise DataError(f"{path} has no list {name!r}. COCO instances are an object with the lists images, annotations and categories.")
    categories = _coco_categories(path, parts["categories"])
    found = _Collector()
    images = _coco_images(found, parts["images"])
    seen: dict[Any, tuple[str, tuple]] = {}
    for index, annotation in enumerate(parts["annotations"]):
        where, exam = f"annotation entry {index}", f"(annotation entry {index})"
        try:
            image_number = _id(annotation, "image_id")
            if image_number not in images:
                raise ValueError(f"there is no image with the id {_shown(image_number)}")
            exam, image = images[image_number]
            number = _id(annotation, "id")
            where = f"annotation {_shown(number)}"
            if (crowd := annotation.get("iscrowd", 0)) != 0:
                raise ValueError(f"iscrowd is {_shown(crowd)}, must be 0: a crowd's box is not the box of a finding")
            category = _id(annotation, "category_id")
            if category not in categories:
                raise ValueError(f"there is no category with the id {_shown(category)}")
            one = (categories[category], _coco_box(annotation.get("bbox")))
            first_exam, first = seen.setdefault(number, (exam, one))
            if (first_exam, first) != (exam, one):
                found.fault(first_exam, f"{where}: another annotation has this id")
                raise ValueError("another annotation has this id")
            if image is not None:
                found.add(image, *one, where)
        except ValueError as error:
            found.fault(exam, f"{where}: {error}")
    return found


def _coco_categories(path: Path, entries: list) -> dict[Any, str]:
    categories: dict[Any, str] = {}
    for index, entry in enumerate(entries):
        try:
            number, name = _id(entry, "id"), _name(entry, "name")
            if categories.setdefault(number, name) != name:
                raise ValueError(f"two categories have the id {_shown(number)}")
        except ValueError as error:
            raise DataError(f"{path}, category entry {index}: {error}. Mend it: all annotations depend on it.") from error
    return categories


def _coco_images(found: _Collector, entries: list) -> dict[Any, tuple[str, _Image | None]]:
    """Add all images, and return id -> (exam, image, or None where it was rejected)."""
    images: dict[Any, tuple[str, _Image | None]] = {}
    for index, entry in enumerate(entries):
        where, exam, image, number = f"image entry {index}", f"(image entry {index})", None, None
        try:
            number = _id(entry, "id")
            where = f"image {_shown(number)}"
            file_name = _name(entry, "file_name")
            exam = exam_id(file_name) or exam
            if not exam_id(file_name):
                raise ValueError(f"file_name is {_shown(file_name)}, which names no image")
            if number in images and images[number][0] != exam:
                found.fault(images[number][0], f"{where}: two images have this id")
                raise ValueError("two images have this id")
            if exam in found.images and number not in images:
                raise ValueError(f"{found.images[exam].where} has the name {found.images[exam].file_name} as well")
            image = found.image(file_name, _size(entry.get("width"), entry.get("height"), _json_number), where)
            found.duplicates += number in images
        except ValueError as error:
            found.fault(exam, f"{where}: {error}")
        if number is not None:
            images.setdefault(number, (exam, image))
    return images


def _shown(value: Any) -> str:
    """Return a value of a file as a message shows it, which is not longer than a line."""
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _id(entry: Any, name: str) -> int | str:
    """Return an id; ValueError where it is missing or neither a whole number nor text, or the entry is no object."""
    if not isinstance(entry, dict):
        raise ValueError(f"the entry is {_shown(entry)}, must be an object")
    value = entry.get(name)
    if type(value) not in (int, str):  # no bool, for which True == 1
        raise ValueError(f"{name} is {_shown(value)}, must be a whole number")
    return value


def _name(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip() or value.encode(errors="ignore").decode() != value:  # JSON can hold half a character
        raise ValueError(f"{key} is {_shown(value)}, must be text")
    return value.strip()


def _coco_box(bbox: Any) -> _Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"bbox is {_shown(bbox)}, must be [x, y, width, height]")
    x, y, width, height = (_json_number(name, value) for name, value in zip(("x", "y", "width", "height"), bbox, strict=True))
    for name, value in (("width", width), ("height", height)):
        if value <= 0:
            raise ValueError(f"{name} is {value:g}, must be above 0")
    return _check_area((x, y, x + width, y + height))


def _corners(texts: list[str]) -> _Box:
    """Return the box of ``CORNERS``; ValueError where one is missing, no number, or the box has no area."""
    xmin, ymin, xmax, ymax = (_text_number(name, text) for name, text in zip(CORNERS, texts, strict=True))
    return _check_area((xmin, ymin, xmax, ymax))


def _check_area(box: _Box) -> _Box:
    for low, high, axis in ((box[0], box[2], "x"), (box[1], box[3], "y")):
        if not low < high:
            raise ValueError(f"the box has no area: {axis}min is {low:g} and {axis}max is {high:g}")
    return box


def _size(width: Any, height: Any, number: Callable[[str, Any], float]) -> tuple[int, int]:
    """Return size_hw; ValueError where one is no whole number above 0."""
    size = number("height", height), number("width", width)
    for name, value in zip(("height", "width"), size, strict=True):
        if value < 1 or not value.is_integer():
            raise ValueError(f"{name} is {value:g}, must be a whole number of px above 0")
    return int(size[0]), int(size[1])


def _text_number(name: str, text: str) -> float:
    try:
        value = float(text.replace("_", "?"))  # Python reads 1_0 as 10
    except ValueError:
        raise ValueError(f"{name} is {_shown(text)}, which is no number" if text.strip() else f"{name} is empty") from None
    return _json_number(name, value)


def _json_number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{name} is {_shown(value)}, which is no number")
    if not abs(value) <= annotations.MAX_COORDINATE_PX:  # NaN compares as False
        raise ValueError(f"{name} is {_shown(value)}, must be a number up to {annotations.MAX_COORDINATE_PX:,} px")
    return float(value)
