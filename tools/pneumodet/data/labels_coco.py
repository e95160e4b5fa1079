"""COCO instances -> images and boxes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.core.formatting import counted
from pneumodet.data import coco_ids
from pneumodet.data.annotations import Labels, Outline
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Box, Collector, Image, exam_id, is_text, json_number, shown, size_hw

PARTS = ("images", "annotations", "categories")
"""Lists of a COCO object."""

FACTS = ("patient", "view_position", "sex", "age", "rsna_class")
"""What a record set's images say besides: a text, a number or nothing."""

NO_POLYGON = "segmentations that are no polygons, of which the box is taken"
"""Note on labels: COCO has run lengths, too."""

CROWDS = "crowds (iscrowd), of which the box is kept as an object marked difficult"
"""Note on labels: CVAT marks every painted mask so, which is most often one finding."""

_LEAST_NUMBERS = 6
"""Of a polygon: three corners."""


def read(data: Any, path: Path, *, evaluating: bool = False, classes: ClassMap | None = None) -> Labels:
    """Return the labels in a COCO object.

    Args:
      data: value of the JSON file.
      path: the file, for messages.
      evaluating: keep boxes without area, which evaluation counts; and where two images of different folders have one file name,
        have the folders in the exams' names.
      classes: as in ``Collector``.

    Returns:
      The labels. ``coco`` has each image's exam as its ``file_name``. Images may have neither width nor height: their size is not known then.

    Raises:
      DataError: it is no COCO object, a category is malformed, or an annotation is of no image that is listed: its own would count as negative.
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
    merged = _merged(categories, classes)
    unplaced: list[str] = []
    placed: list[dict[str, Any]] = []
    seen: dict[Any, tuple[str, tuple[str, Box]]] = {}  # id of an annotation -> its exam and object
    for index, annotation in enumerate(parts["annotations"]):
        where, exam = f"annotation entry {index}", f"(annotation entry {index})"
        try:
            image_number = coco_ids.of_entry(annotation, "image_id")
            if image_number not in images:
                raise ValueError(f"there is no image with the id {shown(annotation['image_id'])}")
        except ValueError as error:
            unplaced.append(f"{where}: {error}")
            continue
        try:
            exam, image = images[image_number]
            number = coco_ids.of_entry(annotation, "id")
            where = f"annotation {shown(number)}"
            if (crowd := annotation.get("iscrowd", 0)) not in (0, 1):
                raise ValueError(f"iscrowd is {shown(crowd)}, must be 0 or 1")
            category = coco_ids.of_entry(annotation, "category_id")
            if category not in categories:
                raise ValueError(f"there is no category with the id {shown(annotation['category_id'])}")
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
            placed.append({**annotation, "image_id": image_number, "category_id": merged[category][0]})
            if image is not None:
                outline = _outline(collector, annotation.get("segmentation"))
                difficult = crowd == 1 or annotation.get("difficult") in (1, "1")
                if crowd == 1:
                    collector.notes[CROWDS] += 1
                collector.add(image, *one, where, outline=outline, difficult=difficult)
        except ValueError as error:
            collector.reject(exam, f"{where}: {error}")
    if unplaced:
        raise DataError(
            f"{path}: {counted(len(unplaced), 'annotation')} cannot be placed (first: {unplaced[0]}). The image that is meant would count as one "
            "without findings. Fix or remove such annotations."
        )
    collector.rows.update(exam for exam in collector.images if exam not in collector.rows)
    named_categories = [{"id": number, "name": name} for number, name in dict(merged.values()).items()]
    # ids as they are equal, so that those who take the object need no rule of their own
    known = [(entry, _known(entry, images)) for entry in parts["images"]]
    named = [{**entry, "id": one, "file_name": images[one][0], **_meant(entry, classes)} for entry, one in known if one is not None]
    return collector.labels(coco={**data, "images": named, "annotations": placed, "categories": named_categories})


def _known(entry: Any, images: Mapping[coco_ids.Id, Any]) -> coco_ids.Id | None:
    try:
        number = coco_ids.of_entry(entry, "id")
    except ValueError:
        return None
    return number if number in images else None


def _meant(entry: dict[str, Any], classes: ClassMap | None) -> dict[str, list[str]]:
    """Return what becomes of the findings of an image as a whole, where it has any."""
    try:
        names = _findings(entry)
    except ValueError:  # the image was rejected for it
        return {}
    if classes is None or not names:
        return {}
    return {"findings": list(dict.fromkeys(target for name in names if (target := classes.target(name)) is not None))}


def _outline(collector: Collector, segmentation: Any) -> Outline | None:
    """Return an annotation's polygons; None where it has none, and note what cannot be used."""
    if not segmentation:
        return None
    try:
        if not isinstance(segmentation, list):
            raise ValueError("run lengths")
        outline = tuple(tuple(json_number("a corner", value) for value in polygon) for polygon in segmentation)
        if any(len(polygon) < _LEAST_NUMBERS or len(polygon) % 2 for polygon in outline):
            raise ValueError("no area")
    except (TypeError, ValueError):
        collector.notes[NO_POLYGON] += 1
        return None
    return outline


def _merged(categories: Mapping[coco_ids.Id, str], classes: ClassMap | None) -> dict[coco_ids.Id, tuple[coco_ids.Id, str]]:
    """Return id of a category -> (id, name) of what it becomes; several that become one class have the id of the first, others their own."""
    if classes is None or not classes.pairs:
        return {number: (number, name) for number, name in categories.items()}
    targets = {number: target for number, name in categories.items() if (target := classes.target(name)) is not None}
    first: dict[str, coco_ids.Id] = {}
    return {number: (first.setdefault(target, number), target) for number, target in targets.items()}


def _names(entries: list[Any]) -> Callable[[str], str]:
    """Return what gives an image's exam: ``exam_id``, or the whole name where that would give two images one exam."""
    names = {name.strip() for entry in entries if isinstance(entry, dict) and isinstance(name := entry.get("file_name"), str)}
    return exam_id if len({exam_id(name) for name in names}) == len(names) else str.strip


def _coco_categories(path: Path, entries: list[Any]) -> dict[coco_ids.Id, str]:
    categories: dict[coco_ids.Id, str] = {}
    for index, entry in enumerate(entries):
        try:
            number, name = coco_ids.of_entry(entry, "id"), _name(entry, "name")
            if categories.setdefault(number, name) != name:
                raise ValueError(f"two categories have the id {shown(number)}")
        except ValueError as error:
            raise DataError(f"{path}, category entry {index}: {error}. Fix it: all annotations depend on it.") from error
    return categories


def _coco_images(collector: Collector, entries: list[Any]) -> dict[Any, tuple[str, Image | None]]:
    """Add all images, and return id -> (exam, image, or None where it was rejected)."""
    images: dict[Any, tuple[str, Image | None]] = {}
    for index, entry in enumerate(entries):
        where, exam, image = f"image entry {index}", f"(image entry {index})", None
        number: coco_ids.Id | None = None
        try:
            number = coco_ids.of_entry(entry, "id")
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
