"""Records that the engine's tests share, and one run that was never cut."""

import made
import pytest
import tiny

from pneumodet.training.keras import experiment


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams, with ages, sexes, views and RSNA's classes."""
    return made.records(tmp_path_factory, exams=14, seed=3, classes=True)[0]


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 10 steps in two phases."""
    return experiment.train(tiny.Tiny(), tiny.request(records, tmp_path_factory.mktemp("runs") / "uncut"))
