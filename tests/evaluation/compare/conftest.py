"""A workspace with a run of each family, not to be changed."""

import made_up_runs
import pytest


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Return (workspace, truth, what evaluate.py said of the detector); its runs are ssd, unet and resnet, on 80 exams of 40 patients."""
    workspace = tmp_path_factory.mktemp("workspace")
    truth = made_up_runs.instances()
    data = made_up_runs.records(workspace / "records", truth)
    metrics = made_up_runs.detection_run(workspace / "ssd", data, made_up_runs.detections(truth))
    made_up_runs.other_run(workspace / "resnet", data, made_up_runs.scores(truth, apart=2.5))
    boxes = made_up_runs.detections(truth, sensitivity=0.5, jitter=20, seed=3)
    made_up_runs.other_run(workspace / "unet", data, made_up_runs.scores(truth, seed=4), family="segmentation", boxes=boxes)
    return workspace, truth, metrics


@pytest.fixture
def workspace(runs, monkeypatch):
    """Return the workspace, which names of runs then mean."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(runs[0]))
    return runs[0]
