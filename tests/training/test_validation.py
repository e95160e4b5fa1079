"""The validation records within training: what cannot be read, and what is kept in memory. Its detections: detection/test_looking.py."""

import numpy as np
import pytest
import small

from pneumodet import preparation
from pneumodet.data import record_sets
from pneumodet.data.random_access import Reader
from pneumodet.errors import DataError
from pneumodet.training import validation
from pneumodet.training.start import Data


@pytest.fixture(scope="module")
def parts(records, shallow_backbone):
    """Return (model, config, data)."""
    from pneumodet.detection import models

    config, manifest, _ = preparation.new(
        records / "nowhere", small.request(records, records / "nowhere"), say=lambda _: None, on_download=lambda *_: None
    )
    return models.build(config, is_training=True), config, Data.of(records, manifest)


def damaged(records, data, folder):
    """Return copies of the validation shards, of which record 1 of all is damaged, and its exam."""
    shards = [folder / path.name for path in data.val]
    for path, copy in zip(data.val, shards, strict=True):
        copy.write_bytes(path.read_bytes())
    shard, _, offset, length = Reader(shards)._places[1].tolist()
    content = bytearray(shards[shard].read_bytes())
    content[offset + length // 2] ^= 0xFF
    shards[shard].write_bytes(content)
    return shards, data.val_instances["images"][1]["file_name"]


def test_a_record_that_cannot_be_read(parts, records, tmp_path):
    model, config, data = parts
    shards, exam = damaged(records, data, tmp_path)
    with pytest.raises(DataError, match=rf"{Reader(shards).where(1)}: the record is damaged"):
        validation.Validation(model, config, shards, data.val_instances).run()
    lenient = validation.Validation(model, config, shards, data.val_instances, skip_corrupt=True)
    for _ in range(2):
        found = lenient.run()
        assert len(found.detections[exam]) == 0, "whatever the model sees in no image"
        assert all(len(one) > 0 for name, one in found.detections.items() if name != exam)
        assert list(lenient.skipped) == [Reader(shards).where(1)]


def test_memory_changes_nothing(parts, monkeypatch):
    model, config, data = parts
    whole = validation.Validation(model, config, data.val, data.val_instances)
    first = whole.run()
    monkeypatch.setattr(validation, "MEMORY_BYTES", 8 * small.SIDE**2 + 1)  # no more than the first batch
    short = validation.Validation(model, config, data.val, data.val_instances)
    assert len(data.val_instances["images"]) > validation.BATCH
    for again in (whole.run(), short.run(), short.run()):
        assert again.figures == pytest.approx(first.figures, nan_ok=True)
        for name, one in again.detections.items():
            np.testing.assert_allclose(one.scores, first.detections[name].scores, atol=1e-6)
    assert whole._kept
    assert not short._kept


def test_looks_are_of_exams_with_boxes(parts):
    model, config, data = parts
    found = validation.Validation(model, config, data.val, data.val_instances).run()
    assert 0 < len(found.looks) <= validation.LOOKS
    positive = {one["image_id"] for one in data.val_instances["annotations"]}
    by_name = {image["file_name"]: image for image in data.val_instances["images"]}
    for name, pixels in found.looks.items():
        assert by_name[name]["id"] in positive
        assert pixels.shape == (small.SIDE, small.SIDE)
        assert found.sizes_hw[name] == (by_name[name]["height"], by_name[name]["width"])


def test_records_and_ground_truth_of_different_length(parts):
    model, config, data = parts
    short = {**data.val_instances, "images": data.val_instances["images"][:-1]}
    with pytest.raises(DataError, match=r"There are \d+ validation records, but \d+ in their ground truth"):
        validation.Validation(model, config, data.val, short)


def test_the_manifest_knows_them(parts, records):
    assert len(parts[2].val_instances["images"]) == record_sets.load_manifest(records)["splits"]["val"]["exams"]
