"""The field's data sets as they are laid out on disk, each with the same eight exams: four with a finding, half for training and half for validation.

layout = LAYOUTS["vindr"](folder)           # where labels and images lie, the flags of make_tfrecords, and what the exams have
"""

import dataclasses
import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pneumodet.data import tfrecord

SIDE = 64
"""Of every image, px."""

BOXES = {
    0: [[8, 10, 30, 40]],
    2: [[5.5, 5, 25, 30], [34, 8, 60, 50]],
    4: [[20, 12, 52, 44]],
    6: [[6, 30, 40, 58]],
}
"""Exam -> its boxes, xyxy px, of exams with a finding; the others of ``EXAMS`` have none."""

EXAMS = range(8)
TRAIN = range(4)
"""Exams for training; the others are for validation."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A data set on disk.

    Attributes:
      labels, images: as make_tfrecords takes them.
      names: what each exam of ``EXAMS`` is called there.
      boxes: whether findings have boxes; otherwise whole images are positive.
      flags: further ones for make_tfrecords.
    """

    labels: Path
    images: Path
    names: Mapping[int, str]
    boxes: bool
    flags: tuple[str, ...] = ()

    def split_file(self, folder: Path) -> Path:
        """Write who is for training and who for validation, and return the file."""
        rows = (f"{name},{'train' if exam in TRAIN else 'val'}" for exam, name in self.names.items())
        return _text(folder / "split.csv", "patientId,split", *rows)

    def boxes_of(self, exam: int) -> list[list[float]]:
        """Return the exam's boxes as the labels have them."""
        return BOXES.get(exam, []) if self.boxes else []


def _picture(path: Path, exam: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(exam).integers(0, 255, (SIDE, SIDE), np.uint8)).save(path)
    return path


def _text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _split(exam: int, *, val: str = "val") -> str:
    return "train" if exam in TRAIN else val


def kermany(folder: Path) -> Layout:
    """Folders of findings, with a hidden file of macOS."""
    names = {exam: f"person{exam}_bacteria_1" if exam in BOXES else f"IM-011{exam}-0001" for exam in EXAMS}
    for exam, name in names.items():
        _picture(folder / _split(exam) / ("PNEUMONIA" if exam in BOXES else "NORMAL") / f"{name}.jpeg", exam)
    _text(folder / "train/NORMAL/._IM-0111-0001.jpeg", "\x00\x05\x16\x07")
    return Layout(folder, folder, names, boxes=False)


def keras_example(folder: Path) -> Layout:
    """Pairs of images.tfrec and paths.tfrec."""
    source = kermany(folder / "source")
    out = folder / "ChestXRay2017"
    for split in ("train", "val"):
        (out / split).mkdir(parents=True)
        files = sorted(path for path in (source.images / split).rglob("*.jpeg") if not path.name.startswith("."))
        paths = [f"gs://bucket/data/ChestXRay2017/{path.relative_to(source.images).as_posix()}".encode() for path in files]
        for name, written in (("images.tfrec", [path.read_bytes() for path in files]), ("paths.tfrec", paths)):
            with open(out / split / name, "wb") as file:
                writer = tfrecord.Writer(file)
                for one in written:
                    writer.write(one)
    return dataclasses.replace(source, labels=out, images=out)


def nih(folder: Path) -> Layout:
    """Findings of whole images."""
    names = {exam: f"{exam:08}_000" for exam in EXAMS}
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],"
    rows = []
    for exam, name in names.items():
        _picture(folder / "images" / f"{name}.png", exam)
        found = "Cardiomegaly|Pneumonia" if exam in BOXES else "No Finding"
        rows.append(f"{name}.png,{found},0,{exam},58,M,PA,{SIDE},{SIDE},0.143,0.143,")
    labels = _text(folder / "Data_Entry_2017_v2020.csv", f"{header}OriginalImagePixelSpacing[x,y],", *rows)
    return Layout(labels, folder / "images", names, boxes=False)


def nih_boxes(folder: Path) -> Layout:
    """The same with boxes of all positive images."""
    whole = nih(folder)
    rows = [
        f"{whole.names[exam]}.png,Pneumonia,{x1},{y1},{x2 - x1},{y2 - y1},,," for exam, boxes in BOXES.items() for x1, y1, x2, y2 in boxes
    ]
    _text(folder / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", *rows)
    return dataclasses.replace(whole, labels=folder, boxes=True)


def vindr(folder: Path) -> Layout:
    """Two readers, who drew the same findings 1 px to the left and to the right."""
    names = {exam: f"{exam:032x}" for exam in EXAMS}
    rows = []
    for exam, name in names.items():
        _picture(folder / "train" / f"{name}.png", exam)
        for reader, shift in (("R8", -1), ("R9", 1)):
            drawn = [f"Lung Opacity,7,{reader},{x1 + shift},{y1},{x2 + shift},{y2}" for x1, y1, x2, y2 in BOXES.get(exam, [])]
            rows += [f"{name},{one}" for one in drawn or [f"No finding,14,{reader},,,,"]]
    labels = _text(folder / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *rows)
    return Layout(labels, folder / "train", names, boxes=True, flags=("--readers", "fused"))


def siim(folder: Path) -> Layout:
    """Two tables, of images and of studies."""
    names = {exam: f"{exam:012x}" for exam in EXAMS}
    images, studies = [], []
    for exam, name in names.items():
        _picture(folder / "train" / f"study{exam}" / "series" / f"{name}.png", exam)
        drawn = " ".join(f"opacity 1 {x1} {y1} {x2} {y2}" for x1, y1, x2, y2 in BOXES.get(exam, []))
        images.append(f"{name}_image,,{drawn or 'none 1 0 0 1 1'},study{exam}")
        studies.append(f"study{exam}_study,{'0,1' if drawn else '1,0'},0,0")
    _text(folder / "train_image_level.csv", "id,boxes,label,StudyInstanceUID", *images)
    header = "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance"
    _text(folder / "train_study_level.csv", header, *studies)
    return Layout(folder, folder / "train", names, boxes=True)


def chexpert(folder: Path) -> Layout:
    """Findings of whole images, of which one is uncertain and one is of a lateral image."""
    names, rows = {}, []
    for exam in EXAMS:
        path = f"CheXpert-v1.0-small/train/patient{exam:05}/study1/view1_frontal.jpg"
        names[exam] = f"patient{exam:05}_study1_view1_frontal"
        _picture(folder / path, exam)
        rows.append(f"{path},Female,68,Frontal,AP,{',1.0' if exam in BOXES else '1.0,'}")
    for number, what in ((90, "view1_frontal.jpg,Female,68,Frontal,AP,,-1.0"), (91, "view2_lateral.jpg,Female,68,Lateral,,,1.0")):
        path = f"CheXpert-v1.0-small/train/patient{number:05}/study1/{what}"
        _picture(folder / path.partition(",")[0], number)
        rows.append(path)
    labels = _text(folder / "CheXpert-v1.0-small/train.csv", "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Pneumonia", *rows)
    return Layout(labels, labels.parent, names, boxes=False, flags=("--uncertain", "leave-out"))


def mimic(folder: Path) -> Layout:
    """Findings of studies, and another table that says which images are theirs."""
    names = {exam: f"{exam:08x}-dicom" for exam in EXAMS}
    findings, images = [], []
    for exam, name in names.items():
        _picture(folder / "files" / "p10" / f"p{1000 + exam}" / f"s{5000 + exam}" / f"{name}.jpg", exam)
        findings.append(f"{1000 + exam},{5000 + exam},{',1.0' if exam in BOXES else '1.0,'}")
        images.append(f"{name},{1000 + exam},{5000 + exam},PA")
    table = "\n".join(["subject_id,study_id,No Finding,Pneumonia", *findings]) + "\n"
    (folder / "mimic-cxr-2.0.0-chexpert.csv.gz").write_bytes(gzip.compress(table.encode()))
    _text(folder / "mimic-cxr-2.0.0-metadata.csv", "dicom_id,subject_id,study_id,ViewPosition", *images)
    return Layout(folder, folder / "files", names, boxes=False)


def _yolo_line(box: list[float]) -> str:
    x1, y1, x2, y2 = (value / SIDE for value in box)
    return f"1 {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}"


def yolo(folder: Path) -> Layout:
    """As Roboflow writes it, with a class of another name."""
    names = {exam: f"exam{exam}" for exam in EXAMS}
    for exam, name in names.items():
        of_split = folder / _split(exam, val="valid")
        _picture(of_split / "images" / f"{name}.jpg", exam)
        _text(of_split / "labels" / f"{name}.txt", *map(_yolo_line, BOXES.get(exam, [])))
    labels = _text(folder / "data.yaml", "train: ../train/images", "val: ../valid/images", "nc: 2", "names: ['pneumonia', 'opacity']")
    return Layout(labels, folder, names, boxes=True, flags=("--class-map", "opacity=pneumonia"))


def label_studio(folder: Path) -> Layout:
    """COCO with ids from 0, a hash before each name and characters as %20."""
    names = {exam: f"IM {exam:04}" for exam in EXAMS}
    images, rows = [], []
    for exam, name in names.items():
        _picture(folder / "images" / f"{name}.png", exam)
        file_name = f"images/{exam:08x}-{name.replace(' ', '%20')}.png"
        images.append({"id": exam, "file_name": file_name, "width": SIDE, "height": SIDE})
        for x1, y1, x2, y2 in BOXES.get(exam, []):
            rows.append({"id": len(rows), "image_id": exam, "category_id": 0, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    data = {"images": images, "annotations": rows, "categories": [{"id": 0, "name": "pneumonia"}]}
    return Layout(_text(folder / "result.json", json.dumps(data)), folder / "images", names, boxes=True)


def cvat(folder: Path) -> Layout:
    """Pascal VOC with the attributes that CVAT gives each object."""
    names = {exam: f"exam{exam}" for exam in EXAMS}
    attribute = "<attributes><attribute><name>rotation</name><value>0.0</value></attribute></attributes>"
    for exam, name in names.items():
        _picture(folder / "JPEGImages" / f"{name}.png", exam)
        objects = "".join(
            f"<object><name>pneumonia</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>{attribute}</object>"
            for x1, y1, x2, y2 in BOXES.get(exam, [])
        )
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>1</depth></size>"
        _text(folder / "Annotations" / f"{name}.xml", f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>")
    return Layout(folder / "Annotations", folder / "JPEGImages", names, boxes=True)


LAYOUTS = {one.__name__: one for one in (kermany, keras_example, nih, nih_boxes, vindr, siim, chexpert, mimic, yolo, label_studio, cvat)}
"""Name -> what writes the data set into a folder."""
