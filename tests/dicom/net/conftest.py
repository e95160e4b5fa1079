"""What the tests of DICOMweb share."""

import logging

import pytest
from fake_pacs import FakePacs


@pytest.fixture(autouse=True)
def log_lines_come_through(monkeypatch):
    """Whatever a command that ran before in this process made of the loggers."""
    for name in ("pneumodet", "pneumodet.dicom.net"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)


@pytest.fixture
def pacs():
    """Return a running DICOMweb service with nothing in it."""
    with FakePacs().running() as service:
        yield service
