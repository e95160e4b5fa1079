"""Errors of a whole label file stop the conversion, and what labels say beside boxes goes through it."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from record_making import convert, records

from pneumodet.core.errors import DataError
from pneumodet.data import dicom_images, formats, label_export

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def pictures(tmp_path):
    """Return a folder with four images of 32 x 32 px."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        Image.new("L", (32, 32), 40 * number).save(folder / f"P{number}.png")
    return folder


@pytest.fixture
def labelled(pictures, synthetic, tmp_path):
    """Return a function: text of the labels -> what manifest.json holds."""

    def run(text, name="labels.csv", **arguments):
        (tmp_path / name).write_text(text)
        return convert(synthetic, tmp_path / "out", dicom_dir=pictures, labels=tmp_path / name, **arguments)

    return run


def coco(*annotations):
    images = [{"id": number, "file_name": f"P{number}.png", "width": 32, "height": 32} for number in range(4)]
    rows = [{"id": number, "category_id": 1, "bbox": [4, 4, 16, 16]} | row for number, row in enumerate(annotations, start=1)]
    return json.dumps({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "pneumonia"}]})


def test_a_class_of_another_case_stops_before_anything_is_written(labelled, tmp_path):
    rows = [HEADER, "P0.png,32,32,Pneumonia,4,4,9,9", "P1.png,32,32,,,,,"]
    with pytest.raises(DataError, match=r"has the classes 'Pneumonia' \(1 object\).* --class-map \"Pneumonia=pneumonia\""):
        labelled("\n".join(rows))
    assert not (tmp_path / "out").exists()
    manifest = labelled("\n".join(rows), class_map={"Pneumonia": "pneumonia"})
    assert sum(split["positive_exams"] for split in manifest["splits"].values()) == 1
    assert manifest["arguments"]["class_map"] == {"Pneumonia": "pneumonia"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            f"{HEADER}\nP0.png,32,32,pneumonia,400,400,900,900\nP1.png,32,32,,,,,\n",
            r"No positive exam can be converted \(1 rejected, first: P0: .*\), so that only negative ones would be left",
            id="boxes in px of another size",
        ),
        pytest.param(
            f"{HEADER}\nP0.png,32,32,pneumonia,1;5,4,9,9\nP1.png,32,32,,,,,\n",
            "the labels of 1 exam cannot be used .*, and without them there is no positive exam left",
            id="numbers of another form",
        ),
    ],
)
def test_a_set_of_negatives_that_is_left_of_a_wrong_file_is_not_written(labelled, tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        labelled(text)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("number", ["1", 1.0])
def test_ids_that_are_equal_by_value(labelled, tmp_path, number):
    manifest = labelled(coco({"image_id": number}), "labels.json")
    assert manifest["skipped"] == {}
    assert {one.patient_id: len(one.class_ids) for one in records(tmp_path / "out")} == {"P0": 0, "P1": 1, "P2": 0, "P3": 0}


@pytest.mark.parametrize("number", [None, "x", 9, 1.5])
def test_an_annotation_that_cannot_be_placed_makes_no_negative(labelled, tmp_path, number):
    with pytest.raises(DataError, match=r"labels\.json: 1 annotation cannot be placed"):
        labelled(coco({"image_id": 0}, {"image_id": number}), "labels.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("max_side", "pixels"), [(None, 15 * 16 // 2), (16, 7 * 8 // 2)])
def test_polygons_become_masks(labelled, tmp_path, max_side, pixels):
    triangle = [[4, 4, 20, 4, 4, 20]]
    labelled(coco({"image_id": 0, "segmentation": triangle}, {"image_id": 1}), "labels.json", masks=True, max_side=max_side)
    sums = {
        one.patient_id: [int(np.asarray(Image.open(io.BytesIO(mask))).sum()) for mask in one.masks] for one in records(tmp_path / "out")
    }
    side = 16 if max_side is None else 8
    assert sums == {"P0": [pixels], "P1": [side * side], "P2": [], "P3": []}
    truth = [json.loads((tmp_path / "out" / f"instances_{name}.json").read_text()) for name in ("train", "val")]
    exams = {image["id"]: image["file_name"] for one in truth for image in one["images"]}
    outlines = {exams[row["image_id"]]: row.get("segmentation") for one in truth for row in one["annotations"]}
    assert outlines == {"P0": [[value * side / 16 for value in triangle[0]]], "P1": None}, "a box is no outline"


@pytest.mark.parametrize("format", ["voc", "coco"])
def test_difficult_survives_the_way_there_and_back(labelled, tmp_path, format):
    boxes = ({"image_id": 0, "difficult": 1}, {"image_id": 0, "bbox": [1, 1, 5, 5]}, {"image_id": 1})
    manifest = labelled(coco(*boxes), "labels.json")
    assert manifest["counts"]["labels: objects marked difficult"] == 1
    assert label_export.export_labels(tmp_path / "out", tmp_path / "back", format=format)["difficult"] == 1
    read = formats.read_labels(tmp_path / "back" / label_export.LABELS[format])
    assert {exam: one.difficult for exam, one in read.exams.items()} == {"P0": (True, False), "P1": (), "P2": (), "P3": ()}


@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_the_ground_truth_says_which_radiograph_an_exam_is(synthetic, tmp_path, key):
    convert(synthetic, tmp_path / "out", pseudonym_key=key)
    images = [
        image for name in ("train", "val") for image in json.loads((tmp_path / "out" / f"instances_{name}.json").read_text())["images"]
    ]  # fmt: skip
    assert {image["file_name"]: image["sha256"] for image in images} == {one.patient_id: one.sha256 for one in records(tmp_path / "out")}
    assert {dicom_images.UID in image for image in images} == {key is None}
