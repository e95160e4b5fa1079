"""Which files are exams of their own: file names decide nothing, SOPInstanceUID and bytes do; what pneumodet made is none."""

import csv
import json
import shutil
import threading
import zipfile

import numpy as np
import pytest
import squares

from pneumodet.cli import predict as command
from pneumodet.core.detections import Detections
from pneumodet.data import detection_files
from pneumodet.inference import detectors
from pneumodet.inference.predict import predicting

PLACES = {"PAT1": (12, 24), "PAT2": (60, 30), "PAT3": None}


@pytest.fixture
def cd(tmp_path):
    """Return a folder as CDs have it: the same file name in every patient's folder."""
    for number, (patient, place) in enumerate(PLACES.items()):
        path = squares.write(tmp_path / f"{number}.dcm", place, patient_id=patient)
        (tmp_path / "in" / patient / "CR Chest").mkdir(parents=True)
        path.rename(tmp_path / "in" / patient / "CR Chest" / "CR000000.dcm")
    return tmp_path / "in"


def scores(out):
    with open(out / "scores.csv", newline="") as file:
        return {row["patientId"]: float(row["score"]) for row in csv.DictReader(file)}


def reasons(summary):
    return dict(summary.refused)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "ZIP"])
def test_one_file_name_in_every_folder(model, cd, tmp_path, packed):
    root = cd
    if packed:
        root = tmp_path / "all.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for path in sorted(cd.rglob("*.dcm")):
                archive.write(path, path.relative_to(cd))
    out = tmp_path / "out"
    summary = predicting.predict([model], root, out)
    assert (summary.radiographs, summary.positive, summary.refused) == (3, 2, [])
    assert "called by the path below the input, as PAT1/CR Chest/CR000000." in summary.notes[0]
    ids = [f"{patient}/CR Chest/CR000000" for patient in PLACES]
    assert list(scores(out)) == ids
    results = detection_files.by_exam(out / "detections.json", ids)
    for exam, place in zip(ids, PLACES.values(), strict=True):
        assert bool(len(results[exam])) == bool(place)
        if place:
            np.testing.assert_allclose(results[exam].boxes_xyxy_px[0], squares.box(place), atol=0.1)
    with open(out / "boxes.csv", newline="") as file:
        assert [row["filename"] for row in csv.DictReader(file)] == [f"{exam}.dcm" for exam in ids]
    assert len(list((out / "images").iterdir())) == 3
    page = (out / "gallery.html").read_text()
    assert all(exam in page for exam in ids)


def test_a_stopped_run_knows_its_radiographs_again(model, cd, tmp_path, monkeypatch):
    """Also the copy of one that it had done."""
    shutil.copytree(cd / "PAT1", cd / "PAT9")
    predicting.predict([model], cd, tmp_path / "whole")

    def stop(total, done):
        left = iter(range(1))

        def tick():
            if next(left, None) is None:
                raise KeyboardInterrupt

        return tick

    with pytest.raises(KeyboardInterrupt, match="radiographs are done and kept"):
        predicting.predict([model], cd, tmp_path / "out", progress=stop)
    runs = []
    real = detectors.Detector.detect
    monkeypatch.setattr(detectors.Detector, "detect", lambda self, pixels: runs.append(1) or real(self, pixels))
    summary = predicting.predict([model], cd, tmp_path / "out", resume=True)
    assert summary.resumed + len(runs) == 3, "the copy is not given to the model"
    assert reasons(summary) == {"PAT9/CR Chest/CR000000.dcm": "the same radiograph as PAT1/CR Chest/CR000000"}
    for name in ("detections.json", "scores.csv", "boxes.csv", "gallery.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_copies_have_one_result_whatever_they_are_called(model, tmp_path):
    folder = tmp_path / "in"
    squares.write(folder / "a.dcm", (12, 24))
    squares.write(folder / "b.png", (60, 30))
    shutil.copy(folder / "a.dcm", folder / "c.dcm")
    shutil.copy(folder / "b.png", folder / "d.png")
    summary = predicting.predict([model], folder, tmp_path / "out")
    assert list(scores(tmp_path / "out")) == ["a", "b"]
    assert reasons(summary) == {"c.dcm": "the same radiograph as a", "d.png": "the same radiograph as b"}


def test_a_damaged_copy_does_not_stand_for_the_whole_one(model, tmp_path):
    folder = tmp_path / "in"
    whole = squares.write(folder / "b.dcm", (12, 24)).read_bytes()
    (folder / "a.dcm").write_bytes(whole[:-400])
    summary = predicting.predict([model], folder, tmp_path / "out")
    assert (list(scores(tmp_path / "out")), list(reasons(summary))) == (["b"], ["a.dcm"])


def test_two_exams_of_the_labels_have_two_results_whatever_their_files_hold(model, tmp_path):
    folder = tmp_path / "in"
    for name in ("a", "b"):
        squares.write(folder / f"{name}.png", (12, 24))
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\na,12,24,24,24,1\nb,12,24,24,24,1\n")
    predicting.predict([model], folder, tmp_path / "out", labels=tmp_path / "labels.csv")
    assert list(scores(tmp_path / "out")) == ["a", "b"]


def test_what_pneumodet_made_is_not_predicted(model, tmp_path, capsys):
    """Its secondary captures, as a PACS gives them back, and the pictures of earlier predictions."""
    pytest.importorskip("highdicom", reason="DICOM objects are made by highdicom")
    folder = tmp_path / "in"
    squares.write(folder / "a.dcm", (12, 24))
    out = folder / "earlier"
    assert command.main(["--model", str(model), "--input", str(folder), "--output-dir", str(out), "--dicom-sc", "--dicom-sr"]) == 0
    for path in (out / "dicom").iterdir():
        shutil.copy(path, folder / f"IM-{path.name}")
    capsys.readouterr()
    assert command.main(["--model", str(model), "--input", str(folder), "--output-dir", str(tmp_path / "out")]) == 0
    assert list(scores(tmp_path / "out")) == ["a"]
    refused = dict(json.loads((tmp_path / "out" / "predictions.json").read_text())["refused"])
    assert refused.keys() == {"earlier", "IM-a.sc.dcm", "IM-a.sr.dcm"}
    assert all("pneumodet" in reason for reason in refused.values())
    assert "3 files left out" in capsys.readouterr().out


def test_files_left_out_are_counted_by_reason(model, tmp_path, capsys):
    folder = tmp_path / "in"
    squares.write(folder / "a.tif", (12, 24))
    for number in range(9):
        (folder / f"viewer{number}.exe").write_bytes(b"MZ")
    (folder / "b.jp2").write_bytes(b"\0\0\0\x0cjP  ")
    assert command.main(["--model", str(model), "--input", str(folder), "--output-dir", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "1 radiograph, 1 with pneumonia" in out
    assert "10 files left out" in out
    assert "left out: b.jp2: JPEG 2000 is read within DICOM only; convert it to PNG" in err
    assert "… and 5 more, all in predictions.json: 5 x it is no DICOM file and none of the images that are read" in err


def test_two_decoded_at_a_time_are_one(model, tmp_path, monkeypatch):
    """All copies are on their way before the first is done."""
    barrier = threading.Barrier(2, timeout=60)

    def detect(self, pixels):
        barrier.wait()
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))

    monkeypatch.setattr(detectors.Detector, "detect", detect)
    folder = tmp_path / "in"
    squares.write(folder / "a.dcm", (12, 24))
    shutil.copy(folder / "a.dcm", folder / "b.dcm")
    summary = predicting.predict([model], folder, tmp_path / "out", max_images=0)
    assert (list(scores(tmp_path / "out")), reasons(summary)) == (["a"], {"b.dcm": "the same radiograph as a"})
