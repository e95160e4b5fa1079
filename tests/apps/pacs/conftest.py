"""What the tests of the PACS worker share."""

import contextlib

import pytest
from fake_pacs import FakePacs

from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import Folder


@pytest.fixture
def pacs():
    """Return a running DICOMweb service with nothing in it."""
    with FakePacs().running() as service:
        yield service


@pytest.fixture
def book(tmp_path):
    """Return the journal of a state folder, which is its ``folder`` and is held."""
    with Folder(tmp_path / "state").held() as folder, contextlib.closing(Journal(folder.journal)) as journal:
        journal.folder = folder
        yield journal
