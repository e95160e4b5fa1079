"""Records and short runs that tests of Keras models share, wherever in the rooms they stand; a plugin that conftest.py names."""

import made
import pytest


@pytest.fixture(scope="session")
def classified(tmp_path_factory):
    """Return (record folder, class-info CSV) of 20 synthetic exams."""
    folder, source = made.records(tmp_path_factory, exams=20, seed=5, classes=True)
    return folder, source.class_info


@pytest.fixture(scope="session")
def keras_records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams, with ages, sexes, views and RSNA's classes."""
    return made.records(tmp_path_factory, exams=14, seed=3, classes=True)[0]


@pytest.fixture(scope="session")
def unet_records(tmp_path_factory):
    """Return the folder of a record set of 16 synthetic exams."""
    return made.records(tmp_path_factory, exams=16, seed=5, val_fraction=0.5)[0]


@pytest.fixture(scope="session")
def unet_run(unet_records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 4 steps."""
    import tiny_unet

    return tiny_unet.train(tiny_unet.request(unet_records, tmp_path_factory.mktemp("runs") / "whole"))
