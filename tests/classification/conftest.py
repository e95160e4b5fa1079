"""Records that the classifiers' tests share."""

import pytest

from pneumodet.cli import make_tfrecords
from pneumodet.data import synthetic


@pytest.fixture(scope="session")
def classified(tmp_path_factory):
    """Return (record folder, class-info CSV) of 20 synthetic exams."""
    source = synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=20, seed=5, size=128)
    folder = tmp_path_factory.mktemp("data") / "records"
    files = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--class-info", source.class_info]
    flags = [*files, "--patient-map", source.patient_map, "--output-dir", folder]
    assert make_tfrecords.main([*map(str, flags), "--val-fraction", "0.4"]) == 0
    return folder, source.class_info
