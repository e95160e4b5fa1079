"""A SavedModel is a program: it runs where this workspace exported it, or where the user says so, and nowhere else."""

import json
import shutil

import pytest

from pneumodet.api import loading
from pneumodet.cli import app, evaluate, predict
from pneumodet.core.errors import CheckpointError
from pneumodet.inference import backends, detectors, exported, trust
from pneumodet.inference import card as cards

tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


@pytest.fixture
def ran(monkeypatch):
    """Return what was run, which is nothing at all: the names of files that would have been."""
    names = []
    monkeypatch.setattr(backends, "open_file", lambda backend, path, threads: names.append(path.name))
    monkeypatch.setattr(backends, "available", lambda backend: True)
    return names


@pytest.fixture
def model(tmp_path, workspace):
    """Return an export with an ONNX file and a SavedModel, in a run's folder that has come from elsewhere, with all that a run has."""
    folder = tiny_export.make(workspace / "theirs" / "export")
    (workspace / "theirs" / "run.json").write_text("{}")
    change(folder, savedmodel="saved_model")
    return folder


def change(folder, **files):
    card = json.loads((folder / cards.CARD).read_text())
    for name, file in files.items():
        (folder / file).mkdir()
        (folder / file / "saved_model.pb").write_text("a program")
        card["artefacts"][name] = {"file": file, "outputs": cards.DETECTIONS, "sha256": exported.sha256(folder / file)}
    (folder / cards.CARD).write_text(json.dumps(card))


def test_a_saved_model_of_elsewhere_is_not_run(model, ran):
    with pytest.raises(CheckpointError, match="is a program, .* Say --trust-model .* or take model.onnx, which is none"):
        detectors.open(model, backend="savedmodel")
    with pytest.raises(CheckpointError, match="is a program"):
        detectors.open(model / "saved_model")
    with pytest.raises(CheckpointError, match="is a program"):
        loading.load(model, backend="savedmodel")
    assert ran == []


def test_it_runs_where_the_user_says_so(model, ran):
    detectors.open(model, backend="savedmodel", trust=True)
    loading.load(model, backend="savedmodel", trust=True)
    assert ran == ["saved_model"] * 2


def test_the_workspace_knows_its_own_exports_wherever_they_lie(model, ran, tmp_path, workspace):
    trust.remember(exported.sha256(model / "saved_model"), run="mine")
    trust.remember("0" * 64, run="other")
    moved = shutil.copytree(model, tmp_path / "moved")
    detectors.open(moved, backend="savedmodel")
    assert ran == ["saved_model"]
    (moved / "saved_model" / "saved_model.pb").write_text("another program")
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        detectors.open(moved, backend="savedmodel")
    shutil.rmtree(moved / "saved_model")
    change(moved, savedmodel="saved_model")
    (moved / "saved_model" / "saved_model.pb").write_text("another program")
    card = json.loads((moved / cards.CARD).read_text())
    card["artefacts"]["savedmodel"]["sha256"] = exported.sha256(moved / "saved_model")
    (moved / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="is a program"):
        detectors.open(moved, backend="savedmodel")
    assert ran == ["saved_model"]


def test_a_workspace_that_cannot_be_written_costs_nothing_but_trust(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "file"))
    trust.remember("0" * 64, run="mine")
    assert "say --trust-model" in caplog.text


def test_a_file_without_a_sum_is_not_run(model, ran):
    card = json.loads((model / cards.CARD).read_text())
    del card["artefacts"]["onnx"]["sha256"]
    (model / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"artefacts\.onnx\.sha256 is missing"):
        detectors.open(model)
    detectors.open(model, trust=True)
    assert ran == ["model.onnx"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "app"])
def test_commands_say_it_before_anything_is_done(command, model, ran, tmp_path, capsys, monkeypatch, request):
    from pneumodet.apps.web import server

    monkeypatch.setattr(server, "check_ready", lambda port: None)
    flags = ["--model", str(model / "saved_model")]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"")
    if command == "predict":
        code = predict.main([*flags, "--input", str(tmp_path / "in"), "--output-dir", str(tmp_path / "out")])
    elif command == "evaluate":
        records = request.getfixturevalue("tiny_records")
        code = evaluate.main([*flags, "--data", str(records), "--output-dir", str(tmp_path / "out")])
    else:
        code = app.main(flags)
    assert code == 2 and "is a program" in capsys.readouterr().err
    assert ran == [] and not (tmp_path / "out").exists()


@pytest.fixture
def tiny_records(tmp_path_factory):
    import made

    return made.records(tmp_path_factory, exams=6, seed=3, size=64)[0]


def test_an_onnx_file_of_several_parts_is_refused(tmp_path):
    import onnx

    folder = tiny_export.make(tmp_path / "model")
    graph = onnx.load(folder / "model.onnx")
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    card = json.loads((folder / cards.CARD).read_text())
    card["artefacts"]["onnx"]["sha256"] = exported.sha256(folder / "model.onnx")
    (folder / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="takes a part of its numbers from other files"):
        detectors.open(folder)
