"""Records that the training tests share, and one run that was never cut."""

import types

import made
import pytest
import shallow
import small

from pneumodet.training import curves, watching
from pneumodet.training.families import detection


@pytest.fixture(scope="module", autouse=True)
def curves_in_outline():
    """Leave runs' curves.png undrawn: that takes longer than their few steps. Tests of the picture ask for ``drawn_curves``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "curves", types.SimpleNamespace(draw=lambda table, path, **_: path.write_bytes(b"\x89PNG")))
        yield


@pytest.fixture
def drawn_curves(monkeypatch):
    """Draw curves.png as training does."""
    monkeypatch.setattr(watching, "curves", curves)


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams."""
    return made.records(tmp_path_factory, exams=14, seed=3, size=192)[0]


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome) of a run of 12 steps."""
    with shallow.backbone():
        return detection.train(small.request(records, tmp_path_factory.mktemp("runs") / "uncut", keep=20))
