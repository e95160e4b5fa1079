"""Records that the engine's tests share, and one run that was never cut."""

import pytest
import tiny

from pneumodet.training.keras import experiment


@pytest.fixture(scope="session")
def records(keras_records):
    """Return the folder of a record set."""
    return keras_records


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 10 steps in two phases."""
    return experiment.train(tiny.Tiny(), tiny.request(records, tmp_path_factory.mktemp("runs") / "uncut"))
