"""What several test modules share. TensorFlow is not imported here."""

from pathlib import Path

import pytest

from pneumodet.data import synthetic as synthetic_data

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real radiographs beside the checkout; never part of it."""


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of real data, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Return a synthetic data set of 12 exams of 256 px, not to be changed."""
    return synthetic_data.make_dataset(tmp_path_factory.mktemp("synthetic"), exams=12, size=256)
