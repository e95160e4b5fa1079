"""COCO instances -> images and boxes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Box, Collector, Image, exam_id, is_text, json_number, shown, size_hw

PARTS = ("images", "annotations", "categories")
"""Lists of a COCO object."""

FACTS = ("patient", "view_position", "sex", "age", "rsna_class")
"""What a record set's images say besides: a text, a number or nothing."""


def read(data: Any, path: Path, *, evaluating: bool = False, classes: ClassMap | None = None) -> Labels:
    """Return the labels in a COCO object.

    Args:
      data: value of the JSON file.
      path: the file, for messages.
      evaluating: keep crowds and boxes without area, which evaluation counts; and where two images of different folders have one file name,
        have the folders in the exams' names.
      classes: as in ``Collector``.

    Returns:
      The labels. ``coco`` has each image's exam as its ``file_name``. Images may have neither width nor height: their size is not known then.

    Raises:
      DataError: it is no COCO object, or a category is malformed.
    """
    if isinstance(data, list):
        raise DataError(
            f"{path} is a JSON list, as COCO results are. Labels are COCO instances: images, annotations and categories. Are the two files swapped, "
            "or is this one of detections?"
        )
    parts: dict[str, list[Any]] = {}
    for name in PARTS:
        part = data.get(name) if isinstance(data, dict) else None
        if not isinstance(part, list):
            raise DataError(f"{path} has no list {name!r}. COCO instances are an object with the lists images, annotations and categories.")
        parts[name] = part
    categories = _coco_categories(path, parts["categories"])
    collector = Collector(evaluating=evaluating, name_of=_names(parts["images"]) if evaluating else exam_id, classes=classes)
    collector.classes.update(dict.fromkeys(categories.values(), 0))
    images = _coco_images(collector, parts["images"])
    seen: dict[Any, tuple[str, tuple[str, Box]]] = {}  # id of an annotation -> its exam and object
    for index, annotation in enumerate(parts["annotations"]):
        where, exam = f"annotation entry {index}", f"(annotation entry {index})"
        try:
            image_number = _id(annotation, "image_id")
            if image_number not in images:
                raise ValueError(f"there is no image with the id {shown(image_number)}")
            exam, image = images[image_number]
            number = _id(annotation, "id")
            where = f"annotation {shown(number)}"
            if (crowd := annotation.get("iscrowd", 0)) != 0 and not (evaluating and crowd == 1):
                raise ValueError(f"iscrowd is {shown(crowd)}, must be 0: a crowd's box is not the box of a finding")
            category = _id(annotation, "category_id")
            if category not in categories:
                raise ValueError(f"there is no category with the id {shown(category)}")
            attributes = annotation.get("attributes")
            if rotation := attributes.get("rotation") if isinstance(attributes, dict) else None:  # CVAT: bbox is that of the box before
                raise ValueError(f"the box is rotated by {shown(rotation)} degrees. Draw an upright one")
            target = collector.class_of(categories[category])
            if target is None:
                continue
            one = (target, _coco_box(collector, annotation.get("bbox")))
            # a repeated id is no harm where the objects are equal; else one of two exams would lose its box
            first_exam, first = seen.setdefault(number, (exam, one))
            if (first_exam, first) != (exam, one):
                collector.reject(first_exam, f"{where}: another annotation has this id")
                raise ValueError("another annotation has this id")
            collector.rows[exam] += 1
            if image is not None:
                collector.add(image, *one, where)
        except ValueError as error:
            collector.reject(exam, f"{where}: {error}")
    collector.rows.update(exam for exam in collector.images if exam not in collector.rows)
    named = [{**entry, "file_name": images[entry["id"]][0]} for entry in parts["images"] if _is_known(entry, images)]
    return collector.labels(coco={**data, "images": named})


def _is_known(entry: Any, images: dict[Any, Any]) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) in (int, str) and entry["id"] in images


def _names(entries: list[Any]) -> Callable[[str], str]:
    """Return what gives an image's exam: ``exam_id``, or the whole name where that would give two images one exam."""
    names = {name.strip() for entry in entries if isinstance(entry, dict) and isinstance(name := entry.get("file_name"), str)}
    return exam_id if len({exam_id(name) for name in names}) == len(names) else str.strip


def _coco_categories(path: Path, entries: list[Any]) -> dict[Any, str]:
    categories: dict[Any, str] = {}
    for index, entry in enumerate(entries):
        try:
            number, name = _id(entry, "id"), _name(entry, "name")
            if categories.setdefault(number, name) != name:
                raise ValueError(f"two categories have the id {shown(number)}")
        except ValueError as error:
            raise DataError(f"{path}, category entry {index}: {error}. Fix it: all annotations depend on it.") from error
    return categories


def _coco_images(collector: Collector, entries: list[Any]) -> dict[Any, tuple[str, Image | None]]:
    """Add all images, and return id -> (exam, image, or None where it was rejected)."""
    images: dict[Any, tuple[str, Image | None]] = {}
    for index, entry in enumerate(entries):
        where, exam, image, number = f"image entry {index}", f"(image entry {index})", None, None
        try:
            number = _id(entry, "id")
            where = f"image {shown(number)}"
            file_name = _name(entry, "file_name")
            exam = collector.name_of(file_name) or exam
            if not exam_id(file_name):
                raise ValueError(f"file_name is {shown(file_name)}, which names no image")
            if number in images and images[number][0] != exam:
                collector.reject(images[number][0], f"{where}: two images have this id")
                raise ValueError("two images have this id")
            if exam in collector.images and number not in images:
                raise ValueError(f"{collector.images[exam].where} has the name {collector.images[exam].file_name} as well")
            size = size_hw(entry.get("width"), entry.get("height"), json_number) if {"width", "height"} & entry.keys() else None
            for name in FACTS:
                if not isinstance(entry.get(name), str | int | float | None):
                    raise ValueError(f"{name} is {shown(entry[name])}, must be text or a number")
            image = collector.image(file_name, size, where)
            for finding in _findings(entry):
                if (target := collector.class_of(finding)) is not None:
                    collector.add(image, target, None, where)
            collector.duplicates += number in images
        except ValueError as error:
            collector.reject(exam, f"{where}: {error}")
        if number is not None:
            images.setdefault(number, (exam, image))
    return images


def _findings(entry: dict[str, Any]) -> list[str]:
    """Return the classes that a record set's image has as a whole; ValueError where they are no list of names."""
    names = entry.get("findings") or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name and is_text(name) for name in names):
        raise ValueError(f"findings is {shown(names)}, must be a list of classes")
    return names


def _id(entry: Any, name: str) -> int | str:
    """Return an id; ValueError where it is missing or neither a whole number nor text, or the entry is no object."""
    if not isinstance(entry, dict):
        raise ValueError(f"the entry is {shown(entry)}, must be an object")
    value = entry.get(name)
    if not isinstance(value, int | str) or isinstance(value, bool):  # True == 1
        raise ValueError(f"{name} is {shown(value)}, must be a whole number")
    return value


def _name(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip() or not is_text(value):
        raise ValueError(f"{key} is {shown(value)}, must be text")
    return value.strip()


def _coco_box(collector: Collector, bbox: Any) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"bbox is {shown(bbox)}, must be [x, y, width, height]")
    x, y, width, height = (json_number(name, value) for name, value in zip(("x", "y", "width", "height"), bbox, strict=True))
    for name, value in (("width", width), ("height", height)):
        if value < 0 or (value == 0 and not collector.evaluating):
            raise ValueError(f"{name} is {value:g}, must be above 0")
    return collector.check_area((x, y, x + width, y + height))
