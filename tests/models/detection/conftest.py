"""A record set and a run that the detection tests share: made once, by the commands that a user types."""

import made
import pytest
import shallow
from small_runs import SMALL

from pneumodet.cli import evaluate, export, train
from pneumodet.data import synthetic


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Return a synthetic data set of 14 exams."""
    return synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=14, seed=3, size=192)


@pytest.fixture(scope="session")
def records(source, tmp_path_factory):
    """Return the folder of its record set."""
    return made.records_of(source, tmp_path_factory.mktemp("data") / "records")


@pytest.fixture(scope="session", params=["shallow", pytest.param("mobilenet", marks=pytest.mark.slow)])
def network(request):
    """Return which network the session's run trains: the shallow one, and MobileNetV2 among the slow tests."""
    return request.param


@pytest.fixture(autouse=True)
def built_as_trained(request):
    """Build the network of the session's run in the tests that use it."""
    if "network" not in request.fixturenames:
        yield
        return
    with shallow.builds(request.getfixturevalue("network")):
        yield


@pytest.fixture(scope="session")
def shared_workspace(network, tmp_path_factory):
    """Return the workspace of the session's run."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def workspace(shared_workspace, monkeypatch):
    """Let every command use the session's workspace."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(shared_workspace))
    return shared_workspace


@pytest.fixture(scope="module", autouse=True)
def runners_once(kept_runners):
    """Keep runners in the tests of this folder, whatever runs after them in the same process."""
    with kept_runners():
        yield


@pytest.fixture(scope="session")
def detector(trained):
    """Return the SavedModel of the session's run, opened."""
    from pneumodet.inference import detectors

    return detectors.open(trained / "export", trust=True)


@pytest.fixture(scope="session")
def trained(network, records, shared_workspace, kept_runners):
    """Return the folder of a run of 6 steps, evaluated and exported."""
    maps = [word for setting in shallow.TWO_MAPS for word in ("--set", setting)] if network == "shallow" else []
    with pytest.MonkeyPatch.context() as patch, shallow.builds(network), kept_runners():
        patch.setenv("PNEUMODET_WORKSPACE", str(shared_workspace))
        flags = [
            "--config",
            "ssd_mobilenet",
            "--data",
            str(records),
            "--run",
            "six",
            "--steps",
            "6",
            "--checkpoint-every",
            "4",
            "--evaluate-every",
            "0",
            "--pretrained",
            "none",
        ]
        assert train.main([*flags, *SMALL, *maps]) == 0
        assert evaluate.main(["--run", "six", "--resamples", "20"]) == 0
        # test_running.py compares the export with the checkpoint, tests/export the parity that the command measures
        assert export.main(["--run", "six", "--no-parity"]) == 0
    return shared_workspace / "six"
