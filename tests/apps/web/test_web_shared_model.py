"""The model that all users share."""

import json
import threading

import numpy as np
import pytest
import radiographs

from pneumodet.apps.web import shared_model
from pneumodet.apps.web.shared_model import SharedModel
from pneumodet.core.errors import CheckpointError, DataError

tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")


@pytest.fixture
def folder(tmp_path):
    return tiny_export.make(tmp_path / "model")


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_findings_are_those_of_the_model(folder):
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    model = SharedModel(folder)
    detections = model.detect(radiographs.square(size=256, at=(64, 96), side=64))
    np.testing.assert_allclose(detections.boxes_xyxy_px[0], [64, 96, 128, 160], atol=2)
    assert set(detections.classes.tolist()) == {model.category_id}
    assert (model.name, model.score_threshold, model.has_operating_point) == ("tiny", 0.5, True)


def test_it_is_opened_once_and_asked_by_one_at_a_time(folder, monkeypatch):
    opened, inside, most = [], [], []

    class Detector:
        def detect(self, pixels):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()
            return radiographs.detect(pixels)

    monkeypatch.setattr(shared_model.detectors, "open", lambda model_dir, backend, trust: opened.append(backend) or Detector())
    model = SharedModel(folder, backend="onnx")
    model.open()
    threads = [threading.Thread(target=model.detect, args=(radiographs.square(),)) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert opened == ["onnx"]
    assert most == [1] * 5


def test_a_model_that_cannot_be_opened_says_so_each_time(folder, monkeypatch):
    def refuse(model_dir, backend, trust):
        raise CheckpointError("The file is damaged.")

    monkeypatch.setattr(shared_model.detectors, "open", refuse)
    model = SharedModel(folder)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="damaged"):
            model.detect(radiographs.square())


def test_without_an_operating_point_one_is_assumed(tmp_path):
    model = SharedModel(tiny_export.make(tmp_path / "model", score_threshold=None))
    assert (model.score_threshold, model.has_operating_point) == (shared_model.DEFAULT_THRESHOLD, False)


def test_probabilities_are_those_of_the_calibrator(folder):
    assert SharedModel(folder).probability(0.9) is None
    change(folder, calibrator={"method": "isotonic", "scores": [0.0, 1.0], "probabilities": [0.1, 0.5]})
    assert SharedModel(folder).probability(0.5) == pytest.approx(0.3)


def test_a_model_of_something_else_is_refused(folder):
    (folder / "label_map.pbtxt").write_text("item { id: 1 name: 'cat' }\n")
    with pytest.raises(DataError, match="no class 'pneumonia'"):
        SharedModel(folder)
