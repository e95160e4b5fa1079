"""Records that the tests of segmentation share, and one short run."""

import pytest
import tiny_unet

from pneumodet.cli import make_tfrecords
from pneumodet.data import synthetic


@pytest.fixture(scope="session")
def unet_records(tmp_path_factory):
    """Return the folder of a record set of 16 synthetic exams."""
    source = synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=16, seed=5, size=128)
    folder = tmp_path_factory.mktemp("data") / "records"
    flags = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--patient-map", source.patient_map, "--output-dir", folder]
    assert make_tfrecords.main([*map(str, flags), "--val-fraction", "0.5"]) == 0
    return folder


@pytest.fixture(scope="session")
def unet_run(unet_records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 4 steps."""
    return tiny_unet.train(tiny_unet.request(unet_records, tmp_path_factory.mktemp("runs") / "whole"))
