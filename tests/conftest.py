"""What several test modules share. TensorFlow is not imported here."""

from pathlib import Path

import pytest

from pneumodet.data import synthetic as synthetic_data

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real radiographs beside the checkout; never part of it."""


pytest_plugins = ["dicom_fixtures", "keras_fixtures"]

LONG = ("models/detection", "models", "training", "export", "cli", "apps/pacs", "evaluation")
"""Folders that take long. They go first, so that several processes end at about the same time."""

TOGETHER = ("models/detection", "export")
"""Folders whose files share what takes longest to make, and so run in one process; elsewhere each file may run in another one."""


# before pytest-xdist's, which reads the groups
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Say what runs when and where in several processes (make test); in one process only the order changes."""

    def first_of(folders, item):
        folder = item.path.parent.relative_to(Path(__file__).parent).as_posix()
        return next((number for number, one in enumerate(folders) if f"{folder}/".startswith(f"{one}/")), None)

    items.sort(key=lambda item: len(LONG) if first_of(LONG, item) is None else first_of(LONG, item))
    for item in items:
        together = first_of(TOGETHER, item)
        item.add_marker(pytest.mark.xdist_group(item.path.name if together is None else TOGETHER[together]))


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
