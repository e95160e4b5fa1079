"""What the tests of the PACS worker share."""

import pytest
from fake_pacs import FakePacs


@pytest.fixture
def pacs():
    """Return a running DICOMweb service with nothing in it."""
    with FakePacs().running() as service:
        yield service
