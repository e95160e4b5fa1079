"""What the tests of tuning share."""

import json

import pytest


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return a record set without any records: a study reads its manifest only."""
    folder = tmp_path_factory.mktemp("records")
    split = {
        "shards": [],
        "annotations": "instances.json",
        "annotations_sha256": "",
        "exams": 1,
        "patients": 1,
        "positive_exams": 1,
        "boxes": 1,
    }
    manifest = {"format": "pneumodet-records", "version": 2, "splits": {"train": split, "val": split}, "label_map": {"pneumonia": 1}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "instances.json").write_text("{}")
    return folder
