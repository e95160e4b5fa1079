"""A small run and its exports, made once by the command that a user types: in every format, and among the quick tests in two."""

import contextlib
import io

import lively_models
import made
import pytest
import shallow

from pneumodet.cli import evaluate, export
from pneumodet.core import metrics_table
from pneumodet.data import synthetic
from pneumodet.inference import exported


@pytest.fixture(scope="session", params=["shallow", pytest.param("mobilenet", marks=pytest.mark.slow)])
def network(request):
    """Return which network the tests export: the shallow one, and MobileNetV2 among the slow tests."""
    return request.param


@pytest.fixture(scope="session")
def formats(network):
    """Return what the run is exported as.

    Of the shallow network the one format that converts boxes, and the one with most steps of its own; its SavedModel is made and compared with its
    checkpoint in tests/models/detection.
    """
    return ("onnx", "tflite-int8") if network == "shallow" else tuple(exported.FILES)


@pytest.fixture(scope="session")
def export_workspace(network, tmp_path_factory, kept_runners):
    """Return a workspace with a run, "small", that was evaluated, and with its records."""
    workspace = tmp_path_factory.mktemp("exports")
    # 10 exams of training, 4 with pneumonia: the int8 file takes its ranges from them, and cuts off what is brighter than all of them
    source = synthetic.make_dataset(workspace / "source", exams=24, seed=5, size=192)
    records = made.records_of(source, workspace / "records", val_fraction=0.3, test_fraction=0.2)
    with shallow.builds(network):
        lively_models.run(workspace / "small", records, shallow.TWO_MAPS if network == "shallow" else ())
    reports = metrics_table.MetricsTable(workspace / "small" / metrics_table.FILE)
    for step, kind in ((2, "train"), (2, "validation"), (4, "validation"), (6, "train"), (6, "validation")):
        reports.add(metrics_table.Row(step, kind, float(step), None, {"loss/total": 1.0}))
    with pytest.MonkeyPatch.context() as patch, shallow.builds(network), kept_runners():
        patch.setenv("PNEUMODET_WORKSPACE", str(workspace))
        assert evaluate.main(["--run", "small", "--resamples", "20"]) == 0
    return workspace


@pytest.fixture
def workspace(network, export_workspace, monkeypatch, kept_runners):
    """Let every command use the session's workspace, and what evaluates its checkpoint."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(export_workspace))
    with shallow.builds(network), kept_runners():
        yield export_workspace


@pytest.fixture(scope="session")
def exports(network, formats, export_workspace):
    """Return (the run's export, its files before those for TensorFlow Lite were added, what the command that added them printed)."""
    lite = [name for name in formats if name.startswith("tflite")]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, shallow.builds(network):
        patch.setenv("PNEUMODET_WORKSPACE", str(export_workspace))
        assert export.main(["--run", "small", "--formats", ",".join(name for name in formats if name not in lite)]) == 0
        before = {path.name: path.read_bytes() for path in (export_workspace / "small" / "export").iterdir() if path.is_file()}
        with contextlib.redirect_stdout(said):
            assert export.main(["--run", "small", "--formats", ",".join(lite)]) == 0
    return export_workspace / "small" / "export", before, said.getvalue()
