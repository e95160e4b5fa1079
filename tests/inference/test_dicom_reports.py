"""What DICOM objects say of exported models."""

import hashlib
import types

import pytest

from pneumodet.core.errors import EnvironmentProblem
from pneumodet.dicom.objects import library
from pneumodet.inference import detectors
from pneumodet.inference.card import BOXES, Artefact, ModelCard
from pneumodet.inference.dicom_reports import algorithm_of
from pneumodet.inference.exported import Exported

RUN_AS = [("onnx", "onnx"), ("savedmodel", "savedmodel"), ("tflite-int8", "tflite"), ("onnx", "openvino")]
"""Format and backend of detectors."""


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(library, "check", lambda: None)


def exported(folder, artefacts, run="my_first"):
    return Exported(folder, {"pneumonia": 2}, ModelCard(run=run, score_threshold=0.3, artefacts=artefacts))


def artefact(file="model.onnx", sha256="ab" * 32):
    return Artefact(file=file, outputs=BOXES, sha256=sha256)


def test_a_model_is_named_by_run_and_hash(tmp_path):
    algorithm = algorithm_of([exported(tmp_path, {"onnx": artefact()})])
    assert (algorithm.name, algorithm.version, algorithm.manufacturer, algorithm.parameters) == (
        "pneumodet my_first",
        "ab" * 6,
        "pneumodet",
        (),
    )


def test_the_version_does_not_depend_on_the_order_of_the_files(tmp_path):
    one, other = ("onnx", artefact()), ("savedmodel", artefact("saved_model", "cd" * 32))
    assert {algorithm_of([exported(tmp_path, dict(pairs))]).version for pairs in ([one, other], [other, one])} == {"cd" * 6}


def test_an_old_export_without_a_hash_is_hashed(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    algorithm = algorithm_of([exported(tmp_path, {"onnx": artefact(sha256=None)})])
    assert algorithm.version == hashlib.sha256(b"weights").hexdigest()[:12]


def test_a_run_s_name_is_made_plain(tmp_path):
    artefacts = {"onnx": artefact()}
    assert algorithm_of([exported(tmp_path, artefacts, "modèle\\1\n")]).name == "pneumodet mod_le_1_"
    assert algorithm_of([exported(tmp_path, artefacts, None)]).name == "pneumodet"


def test_without_highdicom_it_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install .*\[dicom\]'"):
        algorithm_of([exported(tmp_path, {"onnx": artefact()})])


def test_an_inexact_file_or_backend_is_another_algorithm(tmp_path):
    model = exported(tmp_path, {"onnx": artefact()})
    opened = [types.SimpleNamespace(format=name, backend=backend) for name, backend in RUN_AS]
    each = [algorithm_of([model], numerics=[detectors.numerics_of(one)]) for one in opened]
    assert [one.parameters for one in each] == [(), (), ("numerics=tflite-int8",), ("numerics=openvino",)]
    assert algorithm_of([model, model], numerics=["", "openvino"]).parameters == ("numerics=exact,openvino",)
