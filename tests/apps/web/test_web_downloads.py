"""Findings as files, read back."""

import csv
import io
import json
import types
import zipfile

import numpy as np
import pydicom
import pytest
import radiographs
from PIL import Image

from pneumodet.apps.web import downloads
from pneumodet.apps.web.cases import Cases
from pneumodet.apps.web.rendering import Display
from pneumodet.core.errors import DataError
from pneumodet.data import detection_files, formats


@pytest.fixture
def model():
    return types.SimpleNamespace(name="tiny", category_id=2, probability=lambda score: score / 2)


@pytest.fixture
def cases():
    return Cases(radiographs.detect)


@pytest.fixture
def three(cases):
    """A DICOM file and two pictures; the last one has nothing above 0.01."""
    cases.add(radiographs.dicom(radiographs.square(255), "first.dcm"))
    cases.add(radiographs.png(radiographs.square(204), "second.png"))
    cases.add(radiographs.png(radiographs.square(60), "third.png"))
    return cases.by_score()


def test_json_has_detections_as_coco_results(three, model, tmp_path):
    whole = json.loads(downloads.as_json(three, model, score_threshold=0.5))
    assert "not a medical device" in whole["note"]
    assert (whole["model"], whole["score_threshold"]) == ("tiny", 0.5)
    assert [one["exam"] for one in whole["exams"]] == ["first", "second", "third"]
    assert whole["exams"][1]["score"] == pytest.approx(0.8)
    assert whole["exams"][1]["probability"] == pytest.approx(0.4)
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(whole["detections"]))
    results = detection_files.by_exam(path, ["first", "second", "third"])
    assert {exam: len(one) for exam, one in results.items()} == {"first": 1, "second": 1, "third": 0}
    np.testing.assert_array_equal(results["first"].boxes_xyxy_px, [[16, 24, 32, 40]])


@pytest.mark.parametrize(("probability", "shown"), [(None, None), (0.0004, 0.01), (0.7368, 0.74), (0.9996, 0.99)])
def test_json_has_no_certainty(three, model, probability, shown):
    """As scores.csv of tools/predict.py."""
    model.probability = lambda score: probability
    whole = json.loads(downloads.as_json(three, model, score_threshold=0.5))
    assert [one["probability"] for one in whole["exams"]] == [shown] * 3


def test_csv_is_the_classic_one_with_scores(three, tmp_path):
    text = downloads.as_csv(three, score_threshold=0.5).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["filename"] for row in rows] == ["first.dcm", "second.png", "third.png"]
    assert float(rows[1]["score"]) == pytest.approx(0.8)
    assert rows[2]["class"] == rows[2]["score"] == ""
    path = tmp_path / "found.csv"
    path.write_text(text)
    labels = formats.read_labels(path)
    assert labels.rejected == []
    np.testing.assert_array_equal(labels.exams["second"].boxes_xyxy_px, [[16, 24, 32, 40]])
    assert labels.exams["third"].positive is False


def test_png_is_of_full_size(cases):
    case = cases.add(radiographs.png(radiographs.square(size=1500)))
    assert Image.open(io.BytesIO(downloads.as_png(case, Display(0.5)))).size == (1500, 1500)


def test_nothing_of_the_header_gets_into_files(three, model):
    for data in (downloads.as_json(three, model, score_threshold=0), downloads.as_csv(three, score_threshold=0)):
        assert b"secret" not in data.lower()
    assert b"secret" not in downloads.as_png(three[0], Display(0.5)).lower()


def test_an_archive_names_what_is_not_in_it(three):
    def make(case):
        if case.name == "second":
            raise DataError("It cannot be made.")
        return case.name.encode()

    with zipfile.ZipFile(io.BytesIO(downloads.together(three, ".txt", make))) as archive:
        assert sorted(archive.namelist()) == ["first.txt", "left_out.txt", "third.txt"]
        assert archive.read("first.txt") == b"first"
        assert archive.read("left_out.txt").decode() == "second: It cannot be made.\n"


def test_an_archive_of_nothing_is_refused(three):
    def make(case):
        raise DataError(f"{case.name} is odd: no.")

    with pytest.raises(DataError, match="^first is odd: no.$"):
        downloads.together(three, ".txt", make)


@pytest.mark.parametrize(("date", "expected"), [("20260101", "20260101"), ("", "19000101")], ids=["dated", "without-a-date"])
def test_an_sr_belongs_to_its_study(tmp_path, cases, date, expected):
    pytest.importorskip("highdicom", reason="highdicom, which writes the SR, is not installed")
    tiny_export = pytest.importorskip("tiny_export", reason="onnx is not installed")
    from pneumodet.apps.web.shared_model import SharedModel

    file = radiographs.dicom(radiographs.square(), StudyDate=date)
    model = SharedModel(tiny_export.make(tmp_path / "model"))
    case = cases.add(file)
    assert downloads.sr_obstacle(case) is None
    report = pydicom.dcmread(io.BytesIO(downloads.as_sr(case, model, score_threshold=0.5)))
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert report.StudyInstanceUID == pydicom.dcmread(io.BytesIO(file.data)).StudyInstanceUID
    assert report.ContentDate == expected


def test_what_keeps_an_sr_from_being_made_is_told_before(three, cases, monkeypatch):
    assert "second.png is a PNG file" in downloads.sr_obstacle(three[1])
    without = cases.add(radiographs.dicom(radiographs.square(99), StudyInstanceUID=""))
    monkeypatch.setattr("pneumodet.dicom.objects.library.check", lambda: None)
    assert "StudyInstanceUID" in downloads.sr_obstacle(without)


def test_a_header_that_only_the_page_can_read_gets_a_sentence_and_not_an_sr(cases, monkeypatch):
    file = radiographs.dicom(radiographs.square(), SpecificCharacterSet="ISO_IR 100")
    case = cases.add(radiographs.File("odd.dcm", file.data.replace(b"ISO_IR 100", b"ISO_\0R 100")))
    monkeypatch.setattr("pneumodet.dicom.objects.library.check", lambda: None)
    assert "odd.dcm: its header cannot be read (ValueError)" in downloads.sr_obstacle(case)
