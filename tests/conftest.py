"""What several test modules share. TensorFlow is not imported here."""

import functools
from pathlib import Path
from unittest import mock

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

    tests = Path(__file__).parent

    def first_of(folders, folder):
        return next((number for number, one in enumerate(folders) if f"{folder}/".startswith(f"{one}/")), None)

    place = {}
    # once a file: marks of a file are those of its tests
    for file, module in {item.path: item.getparent(pytest.Module) or item.parent for item in items}.items():
        folder = file.parent.relative_to(tests).as_posix()
        first, together = first_of(LONG, folder), first_of(TOGETHER, folder)
        place[file] = len(LONG) if first is None else first
        module.add_marker(pytest.mark.xdist_group(file.name if together is None else TOGETHER[together]))
    items.sort(key=lambda item: place[item.path])


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
def kept_runners():
    """Return what restores and traces a checkpoint only once, for as long as it is entered: that takes longer than all the records of several tests."""
    from pneumodet.models.detection import running

    real, kept = running.of_checkpoint, {}

    @functools.wraps(real)
    def of_checkpoint(config, checkpoint):
        key = config.SerializeToString(deterministic=True), checkpoint
        if key not in kept:
            kept[key] = real(config, checkpoint)
        return kept[key]

    return lambda: mock.patch.object(running, "of_checkpoint", of_checkpoint)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Return a synthetic data set of 12 exams of 256 px, not to be changed."""
    return synthetic_data.make_dataset(tmp_path_factory.mktemp("synthetic"), exams=12, size=256)
