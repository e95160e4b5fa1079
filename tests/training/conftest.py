"""Records that the training tests share, and one run that was never cut."""

import pytest
import small

from pneumodet import experiment
from pneumodet.cli import make_tfrecords
from pneumodet.data import synthetic


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return the folder of a record set of 14 synthetic exams."""
    source = synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=14, seed=3, size=192)
    folder = tmp_path_factory.mktemp("data") / "records"
    flags = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--patient-map", source.patient_map, "--output-dir", folder]
    assert make_tfrecords.main([*map(str, flags), "--val-fraction", "0.4"]) == 0
    return folder


@pytest.fixture(scope="session")
def uncut(records, tmp_path_factory):
    """Return (folder, outcome) of a run of 12 steps."""
    return experiment.train(small.request(records, tmp_path_factory.mktemp("runs") / "uncut", keep=20))
