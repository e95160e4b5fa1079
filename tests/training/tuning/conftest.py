"""What the tests of tuning share."""

import made
import pytest


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return a record set without any records: a study reads its manifest only."""
    return made.manifest(tmp_path_factory.mktemp("records"))
