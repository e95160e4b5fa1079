"""Records that the classifiers' tests share."""

import made
import pytest


@pytest.fixture(scope="session")
def classified(tmp_path_factory):
    """Return (record folder, class-info CSV) of 20 synthetic exams."""
    folder, source = made.records(tmp_path_factory, exams=20, seed=5, classes=True)
    return folder, source.class_info
