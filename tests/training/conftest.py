"""Records that the training tests share, and one run that was never cut."""

import made
import pytest
import shallow
import small

from pneumodet import experiment


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams."""
    return made.records(tmp_path_factory, exams=14, seed=3, size=192)[0]


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome) of a run of 12 steps."""
    with shallow.backbone():
        return experiment.train(small.request(records, tmp_path_factory.mktemp("runs") / "uncut", keep=20))
