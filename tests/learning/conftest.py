"""Records that the engine's tests share, and one run that was never cut."""

import pytest
import tiny

from pneumodet.cli import make_tfrecords
from pneumodet.data import synthetic
from pneumodet.learning import experiment


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams, with ages, sexes, views and RSNA's classes."""
    source = synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=14, seed=3, size=128)
    folder = tmp_path_factory.mktemp("data") / "records"
    files = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--class-info", source.class_info]
    flags = [*files, "--patient-map", source.patient_map, "--output-dir", folder]
    assert make_tfrecords.main([*map(str, flags), "--val-fraction", "0.4"]) == 0
    return folder


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome, metrics) of a run of 10 steps in two phases."""
    return experiment.train(tiny.Tiny(), tiny.request(records, tmp_path_factory.mktemp("runs") / "uncut"))
