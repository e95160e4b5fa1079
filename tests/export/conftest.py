"""A small run and its exports in every format, made once by the command that a user types."""

import contextlib
import io

import lively_models
import made
import pytest
import shallow

from pneumodet.cli import evaluate, export
from pneumodet.core import metrics_table
from pneumodet.data import synthetic


@pytest.fixture(scope="session", params=["shallow", pytest.param("mobilenet", marks=pytest.mark.slow)])
def network(request):
    """Return which network the tests export: the shallow one, and MobileNetV2 among the slow tests."""
    return request.param


@pytest.fixture(scope="session")
def export_workspace(network, tmp_path_factory):
    """Return a workspace with a run, "small", that was evaluated, and with its records."""
    workspace = tmp_path_factory.mktemp("exports")
    source = synthetic.make_dataset(workspace / "source", exams=16, seed=5, size=192)
    records = made.records_of(source, workspace / "records", val_fraction=0.5, test_fraction=0.3)
    with shallow.builds(network):
        lively_models.run(workspace / "small", records, shallow.TWO_MAPS if network == "shallow" else ())
    reports = metrics_table.MetricsTable(workspace / "small" / metrics_table.FILE)
    for step, kind in ((2, "train"), (2, "validation"), (4, "validation"), (6, "train"), (6, "validation")):
        reports.add(metrics_table.Row(step, kind, float(step), None, {"loss/total": 1.0}))
    with pytest.MonkeyPatch.context() as patch, shallow.builds(network):
        patch.setenv("PNEUMODET_WORKSPACE", str(workspace))
        assert evaluate.main(["--run", "small", "--resamples", "20"]) == 0
    return workspace


@pytest.fixture
def workspace(network, export_workspace, monkeypatch):
    """Let every command use the session's workspace."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(export_workspace))
    with shallow.builds(network):
        yield export_workspace


@pytest.fixture(scope="session")
def exports(network, export_workspace):
    """Return (the run's export in two formats and then in four more, its files before these, what the second command printed)."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, shallow.builds(network):
        patch.setenv("PNEUMODET_WORKSPACE", str(export_workspace))
        assert export.main(["--run", "small", "--formats", "savedmodel,onnx"]) == 0
        before = {path.name: path.read_bytes() for path in (export_workspace / "small" / "export").iterdir() if path.is_file()}
        with contextlib.redirect_stdout(said):
            assert export.main(["--run", "small", "--formats", "tflite,tflite-fp16,tflite-int8,tflite-task"]) == 0
    return export_workspace / "small" / "export", before, said.getvalue()
