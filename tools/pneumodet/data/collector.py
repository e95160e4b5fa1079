"""Images and objects of label files in any order -> exams; the rules that all formats but RSNA's CSV share.

collector = Collector()
collector.add(collector.image("a.png", (80, 100), "line 2"), "pneumonia", (1, 2, 3, 4), "line 2")
collector.labels().exams["a"].boxes_xyxy_px
"""

import dataclasses
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pneumodet.data import file_kinds, label_map
from pneumodet.data.annotations import MAX_COORDINATE_PX, Exam, Labels, Outline
from pneumodet.data.class_map import ClassMap
from pneumodet.data.tables import Table

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""A box's corners in the 8-column CSV and in Pascal VOC."""

IMAGE_SUFFIXES = (*file_kinds.DICOM, *file_kinds.IMAGES)
"""What is taken off a file name to have the exam; other dots belong to the name, as in a UID."""

DIFFICULT = "objects marked difficult"
"""Note on labels."""

SHOWN_CHARACTERS = 60
"""Of a value in a message."""

Box = tuple[float, float, float, float]
"""xyxy_px."""


def exam_id(file_name: str) -> str:
    """Return the exam that an image is of: its file name without folders, blanks around it, and a suffix of ``IMAGE_SUFFIXES``."""
    name = file_name.replace("\\", "/").rpartition("/")[2].strip()
    stem, dot, suffix = name.rpartition(".")
    return stem.strip() if dot + suffix.lower() in IMAGE_SUFFIXES else name


@dataclasses.dataclass
class Image:
    """One image as its file names it, with what was said of it."""

    file_name: str
    size_hw: tuple[int, int] | None
    where: str
    objects: dict[tuple[str, Box | None], str] = dataclasses.field(default_factory=dict)  # (class, box; None: the whole image) -> where
    outlines: dict[tuple[str, Box | None], Outline] = dataclasses.field(default_factory=dict)  # of those that have one
    difficult: set[tuple[str, Box | None]] = dataclasses.field(default_factory=set)


class Collector:
    """Gathers images and objects in any order, and the first error of each exam.

    Args of the constructor:
      evaluating: keep boxes without area, as evaluation does, which counts them.
      name_of: file name -> exam.
      classes: what becomes of the labels' classes; nothing by default.
    """

    def __init__(self, *, evaluating: bool = False, name_of: Callable[[str], str] = exam_id, classes: ClassMap | None = None) -> None:
        self.evaluating, self.name_of, self.class_map = evaluating, name_of, classes
        self.classes: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.images: dict[str, Image] = {}
        self.errors: dict[str, str] = {}
        self.duplicates = 0
        self.rows: Counter[str] = Counter()

    def reject(self, exam: str, reason: str) -> None:
        """Reject an exam; the first reason counts."""
        self.errors.setdefault(exam, reason)

    def class_of(self, name: str) -> str | None:
        """Return what an object's class becomes, and count it; None where the object is left out. To be called once an object, before its box is read."""
        self.classes[name] += 1
        target = name if self.class_map is None else self.class_map.target(name)
        if target is None:
            self.notes[f"objects of the class {name!r} left out"] += 1
        return target

    def image(self, file_name: str, size_hw: tuple[int, int] | None, where: str) -> Image:
        """Return an exam's image; ValueError where another one has its name, or it was of another size before."""
        image = self.images.setdefault(self.name_of(file_name), Image(file_name, size_hw, where))
        if image.file_name != file_name:
            raise ValueError(f"{file_name} and {image.file_name} ({image.where}) are two images of one name")
        if image.size_hw != size_hw:
            sizes = [f"{one[1]} x {one[0]} px" if one else "no size" for one in (size_hw, image.size_hw)]
            raise ValueError(f"the image has {sizes[0]}, but {sizes[1]} at {image.where}")
        return image

    def add(self, image: Image, name: str, box: Box | None, where: str, *, outline: Outline | None = None, difficult: bool = False) -> None:
        """Add an object of a class that ``class_of`` returned, or without a box a class of the whole image; no-pneumonia marks a negative exam.

        Args:
          image: that it is on.
          name: of its class.
          box: of it.
          where: in the labels.
          outline: polygons of it.
          difficult: whether it is marked so, as in Pascal VOC.
        """
        if (name, box) in image.objects:
            self.duplicates += 1
            return
        image.objects[name, box] = where
        if outline is not None:
            image.outlines[name, box] = outline
        if difficult:
            image.difficult.add((name, box))
            self.notes[DIFFICULT] += 1

    def check_area(self, box: Box) -> Box:
        """Return a box; ValueError where it has no area, unless that is evaluated."""
        for low, high, axis in ((box[0], box[2], "x"), (box[1], box[3], "y")):
            if not (low < high or (self.evaluating and low == high)):
                raise ValueError(f"the box has no area: {axis}min is {low:g} and {axis}max is {high:g}")
        return box

    def corners(self, texts: list[str]) -> Box:
        """Return the box of ``CORNERS``; ValueError where one is missing, no number, or the box has no area."""
        xmin, ymin, xmax, ymax = (text_number(name, text) for name, text in zip(CORNERS, texts, strict=True))
        return self.check_area((xmin, ymin, xmax, ymax))

    def labels(
        self,
        *,
        table: Table | None = None,
        coco: Mapping[str, Any] | None = None,
        patients: Mapping[str, str] | None = None,
        splits: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Labels:
        """Return what was gathered, sorted into exams and rejected ones; the arguments are fields of ``Labels``."""
        exams = {}
        for exam, image in self.images.items():
            marks = [where for (name, _), where in image.objects.items() if name == label_map.NO_PNEUMONIA]
            findings = {one: where for one, where in image.objects.items() if one[0] != label_map.NO_PNEUMONIA}
            if marks and findings:
                self.reject(exam, f"{marks[0]}: says {label_map.NO_PNEUMONIA}, but there is a finding at {next(iter(findings.values()))}")
            if exam not in self.errors:
                placed = [(name, box) for name, box in findings if box is not None]
                exams[exam] = Exam(
                    exam,
                    np.array([box for _, box in placed], np.float64).reshape(-1, 4),
                    bool(findings),
                    class_names=tuple(name for name, _ in placed),
                    size_hw=image.size_hw,
                    outlines=tuple(image.outlines.get(one) for one in placed) if image.outlines else (),
                    difficult=tuple(one in image.difficult for one in placed) if image.difficult else (),
                    findings=tuple(name for name, box in findings if box is None),
                )
        return Labels(
            exams,
            sorted(self.errors.items()),
            self.duplicates,
            self.rows,
            table,
            coco,
            patients=patients or {},
            splits=splits or {},
            files=files or {},
            classes=self.classes,
            notes=self.notes,
        )


def is_text(value: str) -> bool:
    """Whether a text can be written: JSON can hold half a character."""
    return value.encode(errors="ignore").decode() == value


def shown(value: Any) -> str:
    """Return a value of a file as a message shows it, which is not longer than a line."""
    text = reprlib.repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def size_hw(width: Any, height: Any, number: Callable[[str, Any], float]) -> tuple[int, int]:
    """Return size_hw; ValueError where one is no whole number above 0."""
    size = number("height", height), number("width", width)
    for name, value in zip(("height", "width"), size, strict=True):
        if value < 1 or not value.is_integer():
            raise ValueError(f"{name} is {value:g}, must be a whole number of px above 0")
    return int(size[0]), int(size[1])


def text_number(name: str, text: str) -> float:
    """Return a number that a text is; ValueError where it is none, or as ``json_number``."""
    try:
        value = float(text.replace("_", "?"))  # Python reads 1_0 as 10
    except ValueError:
        raise ValueError(f"{name} is {shown(text)}, which is no number" if text.strip() else f"{name} is empty") from None
    return json_number(name, value)


def json_number(name: str, value: Any) -> float:
    """Return a number; ValueError where it is none, or beyond ``MAX_COORDINATE_PX``."""
    if type(value) not in (int, float):  # a bool is an int to isinstance
        raise ValueError(f"{name} is {shown(value)}, which is no number")
    if not abs(value) <= MAX_COORDINATE_PX:  # NaN compares as False
        raise ValueError(f"{name} is {shown(value)}, must be a number up to {MAX_COORDINATE_PX:,} px")
    return float(value)
