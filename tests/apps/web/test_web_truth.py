"""Ground truth that is dropped on the page."""

import json

import numpy as np
import pytest
import radiographs

from pneumodet.apps.web import truth
from pneumodet.apps.web.cases import Cases
from pneumodet.apps.web.uploads import File
from pneumodet.core.errors import DataError

RSNA = b"patientId,x,y,width,height,Target\nexam,10,20,30,40,1\nsecret-id,1,2,3,4,1\nempty,,,,,0\nbad,1,2,-3,4,1\n"


@pytest.fixture
def cases():
    return Cases(radiographs.detect)


def test_labels_are_found_by_name_and_by_patient_id(cases):
    boxes, rejected = truth.of_upload(File("labels.csv", RSNA))
    assert rejected == 1
    pixels = radiographs.square()
    np.testing.assert_array_equal(truth.find(boxes, cases.add(radiographs.png(pixels, "exam.png"))), [[10, 20, 40, 60]])
    np.testing.assert_array_equal(truth.find(boxes, cases.add(radiographs.dicom(pixels, "other.dcm"))), [[1, 2, 4, 6]])
    assert len(truth.find(boxes, cases.add(radiographs.png(radiographs.square(99), "empty.png")))) == 0
    assert truth.find(boxes, cases.add(radiographs.png(radiographs.square(98), "unknown.png"))) is None


def test_boxes_that_come_with_a_case_are_used_where_no_others_are(cases):
    own = np.array([[1.0, 1.0, 9.0, 9.0]])
    case = cases.add(radiographs.png(radiographs.square(), "exam.png"), truth_xyxy_px=own)
    assert truth.find({}, case) is own
    np.testing.assert_array_equal(truth.find(truth.of_upload(File("a.csv", RSNA))[0], case), [[10, 20, 40, 60]])


def test_coco_is_told_by_its_content():
    coco = {
        "images": [{"id": 1, "file_name": "exam.png", "width": 64, "height": 64}],
        "categories": [{"id": 2, "name": "pneumonia"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}],
    }
    boxes, _ = truth.of_upload(File("instances.json", json.dumps(coco).encode()))
    np.testing.assert_array_equal(boxes["exam"], [[1, 2, 4, 6]])


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"{", b"<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>"])
def test_what_is_no_label_file_is_told_by_its_own_name(data):
    with pytest.raises(DataError, match=r"strange\.csv") as caught:
        truth.of_upload(File("strange.csv", data))
    assert "/proc/" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_without_memory_files_it_works_too(monkeypatch):
    monkeypatch.delattr(truth.os, "memfd_create", raising=False)
    assert "exam" in truth.of_upload(File("labels.csv", RSNA))[0]
