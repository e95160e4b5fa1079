"""The validation records within training: what cannot be read, and what is kept in memory. Its detections: models/detection/test_running.py."""

import dataclasses

import numpy as np
import pytest
import small

from pneumodet.core.errors import DataError
from pneumodet.data import record_sets
from pneumodet.data.random_access import Reader
from pneumodet.models.inputs import split_images
from pneumodet.training import validation
from pneumodet.training.families import detection_request


@pytest.fixture(scope="module")
def parts(records, shallow_backbone):
    """Return (model, config, data)."""
    from pneumodet.models.detection import models

    prepared = detection_request.new(
        records / "nowhere", small.request(records, records / "nowhere"), say=lambda _: None, on_download=lambda *_: None
    )
    return models.build(prepared.config, is_training=True), prepared.config, prepared.data


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Give all validations of the module's model one runner: to trace it takes longer than to run it on all records."""
    runners = {}

    def of_model(model, config):
        if id(model) not in runners:
            runners[id(model)] = DetectorRunner(model, config)
        return runners[id(model)]

    from pneumodet.models.detection.running import DetectorRunner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "DetectorRunner", of_model)
        yield


def damaged(records, data, folder):
    """Return copies of the validation shards, of which record 1 of all is damaged, and its exam."""
    shards = [folder / path.name for path in data.val.shards]
    for path, copy in zip(data.val.shards, shards, strict=True):
        copy.write_bytes(path.read_bytes())
    shard, _, offset, length = Reader(shards)._places[1].tolist()
    content = bytearray(shards[shard].read_bytes())
    content[offset + length // 2] ^= 0xFF
    shards[shard].write_bytes(content)
    return dataclasses.replace(data.val, shards=shards), data.val.names[1]


def test_a_record_that_cannot_be_read(parts, records, tmp_path):
    model, config, data = parts
    split, exam = damaged(records, data, tmp_path)
    with pytest.raises(DataError, match=rf"{Reader(split.shards).where(1)}: the record is damaged"):
        validation.Validation(model, config, split).run()
    lenient = validation.Validation(model, config, split, skip_corrupt=True)
    for _ in range(2):
        evaluation = lenient.run()
        assert len(evaluation.detections[exam]) == 0, "whatever the model sees in no image"
        assert all(len(one) > 0 for name, one in evaluation.detections.items() if name != exam)
        assert list(lenient.skipped) == [Reader(split.shards).where(1)]


def test_memory_changes_nothing(parts, monkeypatch):
    model, config, data = parts
    whole = validation.Validation(model, config, data.val)
    first = whole.run()
    monkeypatch.setattr(split_images, "MEMORY_BYTES", 8 * small.SIDE**2 + 200)  # no more than the first batch
    short = validation.Validation(model, config, data.val)
    assert len(data.val.instances["images"]) > validation.BATCH
    for again in (whole.run(), short.run(), short.run()):
        assert again.figures == pytest.approx(first.figures, nan_ok=True)
        for name, one in again.detections.items():
            np.testing.assert_allclose(one.scores, first.detections[name].scores, atol=1e-6)
    assert whole._images.kept
    assert not short._images.kept


def test_pictures_are_of_exams_with_boxes(parts):
    model, config, data = parts
    evaluation = validation.Validation(model, config, data.val).run()
    assert 0 < len(evaluation.pixels) <= validation.PICTURES
    positive = {one["image_id"] for one in data.val.instances["annotations"]}
    by_name = {image["file_name"]: image for image in data.val.instances["images"]}
    for name, pixels in evaluation.pixels.items():
        assert by_name[name]["id"] in positive
        assert pixels.shape == (small.SIDE, small.SIDE)
        assert evaluation.sizes_hw[name] == (by_name[name]["height"], by_name[name]["width"])


def test_records_and_ground_truth_of_different_length(parts):
    model, config, data = parts
    short = dataclasses.replace(data.val, instances=data.val.instances | {"images": data.val.instances["images"][:-1]})
    with pytest.raises(DataError, match=r"There are \d+ validation records, but \d+ in their ground truth"):
        validation.Validation(model, config, short)


def test_the_manifest_knows_them(parts, records):
    assert len(parts[2].val) == record_sets.RecordSet.open(records).manifest.splits["val"].exams
