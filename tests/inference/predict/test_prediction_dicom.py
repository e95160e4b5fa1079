"""DICOM objects beside the tables: one of each kind a radiograph, of its study, the same each time; what cannot have one is said."""

import io

import numpy as np
import pydicom
import pytest
import squares

from pneumodet.cli import predict as command
from pneumodet.core.errors import DataError
from pneumodet.inference import dicom_reports, exported
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.predict import predicting

pytest.importorskip("highdicom", reason="DICOM objects are made by highdicom")

SOP_CLASSES = {"sr": "1.2.840.10008.5.1.4.1.1.88.33", "gsps": "1.2.840.10008.5.1.4.1.1.11.1"}


def graphics(dataset):
    """Yield all polylines of a structured report, walking its content by hand."""
    for item in dataset.get("ContentSequence", ()):
        if item.get("ValueType") == "SCOORD":
            yield np.reshape([float(value) for value in item.GraphicData], (-1, 2))
        yield from graphics(item)


def test_reports_of_a_folder(model, radiographs, tmp_path, capsys):
    arguments = ["--model", str(model), "--input", str(radiographs), "--dicom-sr", "--gsps", "--dicom-sc"]
    for name in ("out", "again"):
        assert command.main([*arguments, "--output-dir", str(tmp_path / name)]) == 0
        assert "gallery.html, dicom/)" in capsys.readouterr().out
    written = {path.name: pydicom.dcmread(path) for path in (tmp_path / "out" / "dicom").iterdir()}
    assert sorted(written) == sorted(f"{exam}.{kind}.dcm" for exam in squares.PLACES for kind in ("gsps", "sc", "sr"))
    for name, dataset in written.items():
        exam, kind, _ = name.split(".")
        source = pydicom.dcmread(radiographs / f"{exam}.dcm", stop_before_pixels=True)
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert (tmp_path / "out" / "dicom" / name).read_bytes() == (tmp_path / "again" / "dicom" / name).read_bytes()
        if kind in SOP_CLASSES:
            assert dataset.SOPClassUID == SOP_CLASSES[kind]
            assert source.SOPInstanceUID in str(dataset), "it refers to the radiograph"
        if kind == "sr":
            place = squares.PLACES[exam]
            boxes = [[*corners.min(axis=0), *corners.max(axis=0)] for corners in graphics(dataset)]
            assert bool(boxes) == (place is not None)
            if place is not None:
                assert min(np.abs(np.subtract(box, squares.box(place))).max() for box in boxes) < 0.2
        if kind == "sc":
            assert (dataset.Rows, dataset.Columns) == (squares.SIDE, squares.SIDE)


def test_pictures_have_no_reports(model, tmp_path):
    squares.write(tmp_path / "in" / "a.png", (12, 24))
    squares.write(tmp_path / "in" / "b.dcm", (12, 24))
    with pytest.raises(DataError, match="DICOM objects refer to DICOM files, but a.png is an image file"):
        predicting.predict([model], tmp_path / "in", tmp_path / "out", dicom=["sr"])
    assert not (tmp_path / "out").exists()


def test_a_radiograph_without_a_study_has_results_but_no_report(model, radiographs, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("left", "right"):
        dataset = pydicom.dcmread(radiographs / f"{name}.dcm")
        if name == "left":
            del dataset.StudyInstanceUID
        else:
            for date in [element.tag for element in dataset if element.VR == "DA"]:
                del dataset[date]
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        (folder / f"{name}.dcm").write_bytes(buffer.getvalue())
    summary = predicting.predict([model], folder, tmp_path / "out", dicom=["sr"])
    assert (summary.radiographs, summary.positive, summary.refused) == (2, 2, [])
    ((name, reason),) = summary.problems
    assert name == "left.dcm"
    assert reason.startswith("no DICOM SR: ")
    (report,) = (tmp_path / "out" / "dicom").iterdir()
    assert report.name == "right.sr.dcm"
    assert pydicom.dcmread(report).ContentDate == "19000101", "a dummy, as the radiograph has no date"


def test_one_object_that_cannot_be_made_does_not_take_the_others_along(model, radiographs, tmp_path, monkeypatch):
    from pneumodet.dicom import objects

    def broken(*args, **more):
        raise DataError("its window is broken.")

    monkeypatch.setattr(objects, "presentation_state", broken)
    summary = predicting.predict([model], radiographs / "left.dcm", tmp_path / "out", dicom=["gsps", "sr"])
    assert [reason for _, reason in summary.problems] == ["no DICOM GSPS: its window is broken."]
    assert [path.name for path in (tmp_path / "out" / "dicom").iterdir()] == ["left.sr.dcm"]


def test_other_steps_are_another_algorithm(model):
    one = exported.read(model)
    plain = dicom_reports.algorithm_of([one], Recipe())
    assert dicom_reports.algorithm_of([one], Recipe(score_threshold=0.3, exams_sha256="ab")) == plain, "the findings have the threshold"
    flipped = dicom_reports.algorithm_of([one], Recipe(sources=2, views=("identity", "flip"), fusion="wbf"))
    assert flipped.parameters == ("sources=2", "views=identity,flip", "fusion=wbf")
    twins = dicom_reports.algorithm_of([one, one], Recipe(sources=2, fusion="wbf"))
    assert len({plain.identity, flipped.identity, twins.identity}) == 3
    assert len(twins.version) == len(plain.version)
