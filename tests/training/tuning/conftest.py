"""What the tests of tuning share."""

import made
import pytest

from pneumodet.training.tuning import charts


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return a record set without any records: a study reads its manifest only."""
    return made.manifest(tmp_path_factory.mktemp("records"))


@pytest.fixture
def charts_in_outline(monkeypatch):
    """Leave report.png undrawn: that takes longer than a study whose trials train nothing. test_tuning_report.py draws it."""
    monkeypatch.setattr(charts, "draw", lambda path, *_, **__: path.write_bytes(b"\x89PNG"))
