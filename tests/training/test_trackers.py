"""Figures of a run sent to MLflow and Weights & Biases. Stand-ins take the place of both packages, which are not installed here."""

import sys
import types

import pytest

from pneumodet.core.errors import EnvironmentProblem
from pneumodet.models import options


class MLflow(types.ModuleType):
    """Takes what is logged, and refuses what MLflow refuses."""

    def __init__(self):
        super().__init__("mlflow")
        self.params, self.metrics, self.names, self.active = {}, [], {}, None

    def start_run(self, *, run_id=None, run_name=None):
        assert self.active is None
        self.active = run_id or f"id-{len(self.names)}"
        self.names.setdefault(self.active, run_name)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=self.active))

    def log_params(self, params):
        assert self.active not in self.params, "MLflow lets nobody change a parameter"
        self.params[self.active] = dict(params)

    def log_metrics(self, metrics, *, step):
        assert all(isinstance(value, float) for value in metrics.values())
        self.metrics.append((self.active, step, metrics))

    def end_run(self):
        self.active = None


class WandB(types.ModuleType):
    """Takes what is logged."""

    def __init__(self):
        super().__init__("wandb")
        self.inits, self.metrics, self.finished = [], [], 0

    def init(self, **given):
        self.inits.append(given)
        return types.SimpleNamespace(id=given["id"] or "made up", log=self.log, finish=self.finish)

    def log(self, metrics, *, step):
        self.metrics.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.fixture
def trackers():
    from pneumodet.training import trackers

    return trackers


@pytest.fixture
def mlflow(monkeypatch):
    module = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_a_run_that_is_resumed_goes_on_there_as_the_same_one(trackers, mlflow, tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    for step in (20, 40):
        tracker = trackers.start("mlflow", folder, {"batch_size": 8})
        tracker.log(step, {"loss/total": 1.5, "undefined": None})
        tracker.close()
    assert mlflow.names == {"id-0": "first"}
    assert mlflow.params == {"id-0": {"batch_size": 8}}
    assert mlflow.metrics == [("id-0", 20, {"loss/total": 1.5}), ("id-0", 40, {"loss/total": 1.5})]
    assert mlflow.active is None


def test_weights_and_biases(trackers, monkeypatch, tmp_path):
    module = WandB()
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        tracker = trackers.start("wandb", tmp_path, {"batch_size": 8})
        tracker.log(20, {"loss/total": 1})
        tracker.close()
    assert [(one["name"], one["id"], one["resume"], one["config"]) for one in module.inits] == [
        (tmp_path.name, None, None, {"batch_size": 8}),
        (tmp_path.name, "made up", "allow", {"batch_size": 8}),
    ]
    assert module.metrics == 2 * [(20, {"loss/total": 1.0})]
    assert module.finished == 2


def test_a_server_that_goes_away_ends_no_training(trackers, mlflow, tmp_path, caplog, monkeypatch):
    tracker = trackers.start("mlflow", tmp_path, {})
    monkeypatch.setattr(mlflow, "log_metrics", lambda *_, **__: 1 / 0)
    for step in range(3):
        tracker.log(step, {"loss/total": 1.0})
    (record,) = caplog.records
    assert "mlflow lacks what cannot be sent (division by zero). Training continues" in record.getMessage()


def test_a_server_that_is_not_there_is_said_before_the_first_step(trackers, mlflow, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow, "start_run", lambda **_: 1 / 0)
    with pytest.raises(EnvironmentProblem, match="--log-to mlflow: it cannot begin a run"):
        trackers.start("mlflow", tmp_path, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", options.TRACKERS)
def test_without_the_package_nothing_begins(name, tmp_path, monkeypatch):
    from pneumodet.training import experiment
    from pneumodet.training.engine import Request

    monkeypatch.setattr(experiment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=f"--log-to {name} needs the package {name}: pip install {name}"):
        experiment.train(None, Request(run=str(tmp_path / "a"), log_to=name))
    assert not list(tmp_path.iterdir())


def test_what_a_watcher_reports_arrives(trackers, mlflow, tmp_path):
    from pneumodet.training import watching
    from pneumodet.training.progress import Progress

    nothing = dict.fromkeys(("on_progress", "on_note", "on_evaluation"), lambda *_: None)
    tracker = trackers.start("mlflow", tmp_path, {"batch_size": 8})
    watcher = watching.Watcher(tmp_path, step=0, about={"batch_size": 8}, tracker=tracker, **nothing)
    watcher.report(Progress(20, 40, 1.5, None, None), {"Loss/total_loss": 1.5})
    watcher.evaluation(20, types.SimpleNamespace(figures={"rsna_metric": 0.25}, pictures=(), cases=None), best=True)
    watcher.close()
    assert mlflow.metrics == [("id-0", 20, {"Loss/total_loss": 1.5}), ("id-0", 20, {"validation/rsna_metric": 0.25})]
    assert mlflow.active is None
