"""Records that the tests of segmentation share, and one short run."""

import made
import pytest
import tiny_unet


@pytest.fixture(scope="session")
def unet_records(tmp_path_factory):
    """Return the folder of a record set of 16 synthetic exams."""
    return made.records(tmp_path_factory, exams=16, seed=5, val_fraction=0.5)[0]


@pytest.fixture(scope="session")
def unet_run(unet_records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 4 steps."""
    return tiny_unet.train(tiny_unet.request(unet_records, tmp_path_factory.mktemp("runs") / "whole"))
