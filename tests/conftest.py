"""What several test modules share. TensorFlow is not imported here."""

from pathlib import Path

import pytest

from pneumodet.data import synthetic as synthetic_data

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real radiographs beside the checkout; never part of it."""


LONG = ("detection", "training", "exporting", "tuning", "cli", "classification", "segmentation", "pacs", "learning")
"""Folders that take long. They go first, so that several processes end at about the same time."""

TOGETHER = ("detection", "exporting")
"""Folders whose files share what takes longest to make, and so run in one process; elsewhere each file may run in another one."""


def pytest_collection_modifyitems(items):
    """Say what runs when and where in several processes (make test); in one process only the order changes."""

    def folder(item):
        return item.path.relative_to(Path(__file__).parent).parts[0]

    items.sort(key=lambda item: LONG.index(folder(item)) if folder(item) in LONG else len(LONG))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(folder(item) if folder(item) in TOGETHER else item.path.name))


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of real data, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="module")
def shallow_backbone():
    """Build shallow detectors in a module, as ``shallow`` says; with pytestmark = pytest.mark.usefixtures("shallow_backbone")."""
    import shallow

    with shallow.backbone():
        yield


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Return a synthetic data set of 12 exams of 256 px, not to be changed."""
    return synthetic_data.make_dataset(tmp_path_factory.mktemp("synthetic"), exams=12, size=256)
