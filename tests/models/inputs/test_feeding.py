"""Batches: what they hold against the records and against the API's own inputs, and that seed and step alone decide them."""

import dataclasses
import functools
import importlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pneumodet.core import boxes
from pneumodet.core.errors import DataError
from pneumodet.data import record_images, tf_example, tfrecord
from pneumodet.models.detection import pipeline_config
from pneumodet.models.detection.resizing import Size
from pneumodet.models.inputs.augmentation_settings import NONE, RADIOGRAPH
from pneumodet.models.inputs.feeding import Feed

SIZES_HW = ((80, 80), (60, 90), (150, 70), (64, 64), (200, 130), (72, 96), (90, 90))
"""Of the records' images; each has as many boxes as its number, of which the first has none."""

FIXED = Size((64, 48))
PADDED = Size(None, 48, 64, True)


def record(number, size_hw, count, *, masks=False):
    height, width = size_hw
    rng = np.random.default_rng([9, number])
    pixels = cv2.GaussianBlur(rng.integers(0, 256, size_hw, np.uint8), (0, 0), 1.5)
    corner = rng.uniform(0, 0.6, (count, 2)) * [width, height]
    xyxy_px = np.concatenate([corner, corner + rng.uniform(0.2, 0.4, (count, 2)) * [width, height]], axis=1)
    ids = tuple(rng.integers(1, 3, count).tolist())
    of_boxes = []
    for left, top, right, bottom in xyxy_px.round().astype(int).tolist():
        mask = np.zeros(size_hw, np.uint8)
        mask[top:bottom, left:right] = 1
        of_boxes.append(cv2.imencode(".png", mask)[1].tobytes())
    return tf_example.Record(
        patient_id=f"exam-{number}",
        encoded=cv2.imencode(".png", pixels)[1].tobytes(),
        image_format="png",
        height=height,
        width=width,
        boxes_xyxy_px=xyxy_px,
        class_names=tuple("ab"[one - 1] for one in ids),
        class_ids=ids,
        image_class_name="b",
        image_class_id=2,
        masks=tuple(of_boxes) if masks else (),
    )


def write(folder, records):
    """Write records into two shards."""
    folder.mkdir()
    shards = folder / "train-00000-of-00002.tfrecord", folder / "train-00001-of-00002.tfrecord"
    for shard, part in zip(shards, (records[:3], records[3:]), strict=True):
        with open(shard, "wb") as file:
            writer = tfrecord.Writer(file)
            for one in part:
                writer.write(tf_example.encode(one))
    return shards


@pytest.fixture(scope="module")
def made():
    return [record(number, size_hw, number, masks=True) for number, size_hw in enumerate(SIZES_HW)]


@pytest.fixture(scope="module")
def shards(made, tmp_path_factory):
    return write(tmp_path_factory.mktemp("feed") / "records", made)


def feed_of(shards, **more):
    fields = {"size": FIXED, "classes": 2, "batch_size": 4, "max_boxes": 9, "augmentation": RADIOGRAPH, "seed": 3}
    return Feed(shards, **{**fields, **more})


def batches(feed, *, first_step=0, steps=4, parallel=None):
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in feed.batches(first_step=first_step, steps=steps, parallel=parallel)
    ]


def same(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# a pipeline takes longer to be traced than to be run
@functools.cache
def in_order(shards, **more):
    """Return one epoch's samples without augmentation: record number -> sample, not to be changed."""
    feed = feed_of(shards, batch_size=1, augmentation=NONE, **more)
    taken = batches(feed, steps=len(feed))
    numbers = [feed._order.at(position) for position in range(len(feed))]
    assert sorted(numbers) == list(range(len(feed))), "each record comes once an epoch"
    return {number: {name: value[0] for name, value in batch.items()} for number, batch in zip(numbers, taken, strict=True)}


@pytest.fixture(scope="module")
def uncut(shards):
    """Return the first six batches of a run."""
    return batches(feed_of(shards), steps=6)


def test_threads_change_nothing(shards, uncut):
    one = batches(feed_of(shards), parallel=1)
    same(one, batches(feed_of(shards), parallel=5))
    same(one, uncut[:4])
    other = batches(feed_of(shards, seed=4), parallel=1)
    assert not np.array_equal(one[0]["image"], other[0]["image"])


def test_a_resumed_run_sees_what_an_uncut_one_sees(shards, uncut):
    """Across an epoch's end: 7 records, 4 a batch."""
    same(uncut[2:], batches(feed_of(shards), first_step=2, steps=4))
    assert not np.array_equal(uncut[0]["image"], uncut[2]["image"])


@pytest.mark.parametrize("size", [FIXED, PADDED], ids=["fixed", "padded"])
def test_a_sample_is_its_record(shards, made, size):
    for number, sample in in_order(shards, size=size).items():
        of = made[number]
        target = size.of((of.height, of.width))
        assert sample["true_shape"].tolist() == [*target, 3]
        decoded = record_images.decode(of.encoded, target_hw=target, where="")
        expected = tf.image.resize(decoded[..., None].astype(np.float32), target).numpy()
        image = sample["image"].astype(float)
        assert image.shape == (*size.canvas_hw, 1)
        assert np.abs(image[: target[0], : target[1]] - expected).max() <= 1, "rounding and no more"
        assert not image[target[0] :].any()
        assert not image[:, target[1] :].any()
        count = len(of.class_ids)
        assert sample["count"] == count
        assert sample["weights"].tolist() == [1.0] * count + [0.0] * (9 - count)
        norm = boxes.xyxy_px_to_yxyx_norm(of.boxes_xyxy_px, height=of.height, width=of.width)
        on_canvas = norm * np.tile(np.array(target) / size.canvas_hw, 2)
        np.testing.assert_allclose(sample["boxes_yxyx_norm"][:count], on_canvas, atol=1e-6)
        assert not sample["boxes_yxyx_norm"][count:].any()
        np.testing.assert_array_equal(sample["classes"][:count], np.eye(2)[np.array(of.class_ids, int) - 1].reshape(-1, 2))
        assert not sample["classes"][count:].any()


def test_the_first_boxes_stay_where_there_are_too_many(shards):
    whole, few = in_order(shards), in_order(shards, max_boxes=2)
    for number, sample in few.items():
        assert sample["count"] == min(number, 2)
        assert sample["boxes_yxyx_norm"].shape == (2, 4)
        np.testing.assert_array_equal(sample["boxes_yxyx_norm"], whole[number]["boxes_yxyx_norm"][:2])
        np.testing.assert_array_equal(sample["classes"], whole[number]["classes"][:2])


def test_masks_lie_where_their_boxes_are(shards):
    for size in (FIXED, PADDED):
        for sample in in_order(shards, size=size, masks=True).values():
            count, (height, width) = sample["count"], size.canvas_hw
            assert sample["masks"].shape == (9, height, width)
            assert not sample["masks"][count:].any()
            assert set(np.unique(sample["masks"])) <= {0.0, 1.0}
            px = boxes.yxyx_norm_to_xyxy_px(sample["boxes_yxyx_norm"], height=height, width=width)
            for mask, box in zip(sample["masks"][:count], px, strict=False):
                rows, columns = np.nonzero(mask)
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert np.abs(around - box).max() <= 2.0


def api_sample(config, of):
    """Return what the API's input pipeline makes of a record."""
    from pneumodet.models.detection import odapi

    api = odapi.load()
    model = api.model_builder.build(config.model, is_training=True, add_summaries=False)
    resizer = importlib.import_module("object_detection.builders.image_resizer_builder").build(
        pipeline_config.architecture(config).image_resizer
    )
    pixels = cv2.imdecode(np.frombuffer(of.encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    fields = api.fields.InputDataFields
    masks = [cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE) for mask in of.masks]
    norm = boxes.xyxy_px_to_yxyx_norm(of.boxes_xyxy_px, height=of.height, width=of.width)
    tensors = {
        fields.image: tf.constant(np.repeat(pixels[..., None], 3, 2)),
        fields.groundtruth_boxes: tf.constant(norm, tf.float32),
        fields.groundtruth_classes: tf.constant(of.class_ids, tf.int32),
        fields.groundtruth_instance_masks: tf.constant(np.reshape(masks, (-1, of.height, of.width)), tf.float32),
    }
    expected_by_api = api.inputs.transform_input_data(tensors, model.preprocess, resizer, num_classes=2)
    return model, fields, {name: value.numpy() for name, value in expected_by_api.items()}


@pytest.mark.parametrize("name", ["ssd_mobilenet", "mask_rcnn_resnet50"])
@pytest.mark.parametrize(
    ("size", "resizer"),
    [
        pytest.param(Size((72, 96)), "{fixed_shape_resizer {height: 72 width: 96}}", id="fixed"),
        pytest.param(
            Size(None, 72, 96, True),
            "{keep_aspect_ratio_resizer {min_dimension: 72 max_dimension: 96 pad_to_max_dimension: true}}",
            id="padded",
        ),
    ],
)
def test_a_sample_is_that_of_the_apis_inputs(shards, made, name, size, resizer):
    """But for the resize itself, which the API does without half-px centres: pixels are compared where there is none."""
    from pneumodet.models.detection import models

    config = pipeline_config.load(name)
    pipeline_config.set_classes(config, 2)
    pipeline_config.override(config, [f"model.{config.model.WhichOneof('model')}.image_resizer={resizer}"])
    ours = in_order(shards, size=size, masks=True)
    for number in (2, 3, 5):
        of, sample = made[number], ours[number]
        model, fields, expected = api_sample(config, of)
        count = len(of.class_ids)
        np.testing.assert_array_equal(sample["true_shape"], expected[fields.true_image_shape])
        np.testing.assert_allclose(sample["boxes_yxyx_norm"][:count], expected[fields.groundtruth_boxes], atol=1e-6)
        np.testing.assert_array_equal(sample["classes"][:count], expected[fields.groundtruth_classes])
        assert (sample["masks"][:count] != expected[fields.groundtruth_instance_masks]).mean() < 0.02, "at the edges only"
        if (of.height, of.width) == (72, 96):
            image = models.normalized(model, tf.constant(sample["image"][None]), sample["true_shape"][None] if size.padded else None)[0]
            np.testing.assert_allclose(image, expected[fields.image], atol=1e-4)
            np.testing.assert_array_equal(sample["masks"][:count], expected[fields.groundtruth_instance_masks])
    assert (made[5].height, made[5].width) == (72, 96)


@pytest.mark.slow
def test_devices_and_machines_share_a_batch(shards):
    whole = batches(feed_of(shards), steps=3)
    split = batches(feed_of(shards, replicas=2), steps=3)
    workers = [batches(feed_of(shards, workers=2, worker=worker, replicas=2), steps=3) for worker in (0, 1)]
    four = [batches(feed_of(shards, workers=2, worker=worker, replicas=4), steps=3) for worker in (0, 1)]
    for step, batch in enumerate(whole):
        for name, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([one[name] for one in split[2 * step : 2 * step + 2]]), value)
            np.testing.assert_array_equal(np.concatenate([one[step][name] for one in workers]), value)
            np.testing.assert_array_equal(np.concatenate([one[2 * step + part][name] for one in four for part in (0, 1)]), value)


def test_the_share_of_positives(shards):
    positive = np.array([False] * 6 + [True])
    plain = [int(batch["count"][0]) for batch in batches(feed_of(shards, batch_size=1, augmentation=NONE), steps=14)]
    assert plain.count(6) == 2
    feed = feed_of(shards, batch_size=1, augmentation=NONE, positive=positive, positive_share=0.43)
    counts = [int(batch["count"][0]) for batch in batches(feed, steps=14)]
    assert counts[:7].count(6) == counts[7:].count(6) == 3


def corrupt(made, shards, kind):
    """Damage record 4, which is the second one of the second shard."""
    bad = made[4]
    if kind == "crc":
        content = bytearray(shards[1].read_bytes())
        content[content.index(b"exam-4") + 2] ^= 1
        shards[1].write_bytes(content)
        return
    jpeg = cv2.imencode(".jpg", np.full((bad.height, bad.width), 90, np.uint8))[1].tobytes()
    changed = {
        "cut-off": {"encoded": jpeg[: len(jpeg) // 2], "image_format": "jpeg"},
        "empty": {"encoded": b""},
        "label-0": {"class_ids": (1, 2, 0, 1)},
        "label-3": {"class_ids": (1, 2, 3, 1)},
        "a-mask-less": {"masks": bad.masks[1:]},
        "mask-empty": {"masks": (*bad.masks[:3], b"")},
        "mask-broken": {"masks": (*bad.masks[:3], b"\x89PNG")},
    }[kind]
    write(shards[0].parent / "new", [*made[:4], dataclasses.replace(bad, **changed), *made[5:]])
    for shard in shards:
        (shard.parent / "new" / shard.name).rename(shard)


CORRUPT = {
    "crc": "the record is damaged",
    "cut-off": "the JPEG image is cut off",
    "empty": "the image cannot be decoded",
    "label-0": "class label 0 is not in the label map, which has 1 to 2",
    "label-3": "class label 3 is not in the label map, which has 1 to 2",
    "a-mask-less": "4 boxes, but 3 masks",
    "mask-empty": "a mask cannot be decoded",
    "mask-broken": "a mask cannot be decoded",
}


@pytest.mark.parametrize(("kind", "message"), CORRUPT.items(), ids=CORRUPT)
def test_a_corrupt_record_is_named_or_its_neighbour_taken(made, tmp_path, kind, message):
    """Of what a pipeline calls for each sample, without the pipeline."""
    shards = write(tmp_path / "records", made)
    corrupt(made, shards, kind)
    feed = feed_of(shards, masks=True)
    at = [feed._order.at(position) for position in range(len(feed))].index(4)
    with pytest.raises(DataError, match=message):
        feed._load(np.int64(at))
    exam = "" if kind == "crc" else " (exam exam-4)"
    assert str(feed.failure).startswith(f"{shards[1]}, record 1{exam}: {message}")
    feed = feed_of(shards, masks=True, skip_corrupt=True)
    counts = [len(feed._load(np.int64(position))[1]) for position in range(len(feed))]
    numbers = [feed._order.at(position) for position in range(len(feed))]
    assert counts == [5 if number == 4 else number for number in numbers]
    assert list(feed.skipped.reasons) == [f"{shards[1]}, record 1"]
    assert message in feed.skipped.reasons[f"{shards[1]}, record 1"]
    assert feed.failure is None


# each kind by itself above
@pytest.mark.parametrize(
    ("kind", "message"),
    [pytest.param(kind, message, id=kind, marks=() if kind == "cut-off" else pytest.mark.slow) for kind, message in CORRUPT.items()],
)
def test_a_corrupt_record_is_named_or_left_out(made, tmp_path, kind, message):
    shards = write(tmp_path / "records", made)
    corrupt(made, shards, kind)
    feed = feed_of(shards, masks=True)
    with pytest.raises(tf.errors.OpError):
        batches(feed)
    exam = "" if kind == "crc" else " (exam exam-4)"
    assert str(feed.failure).startswith(f"{shards[1]}, record 1{exam}: {message}")
    feed = feed_of(shards, masks=True, skip_corrupt=True)
    taken = batches(feed)
    assert [len(batch["image"]) for batch in taken] == [4] * 4
    assert list(feed.skipped.reasons) == [f"{shards[1]}, record 1"]
    assert message in feed.skipped.reasons[f"{shards[1]}, record 1"]
    assert feed.failure is None
    whole = batches(feed_of(write(tmp_path / "whole", made), masks=True))
    others = [int(one) for one in np.concatenate([batch["count"] for batch in whole])]
    assert [int(one) for one in np.concatenate([batch["count"] for batch in taken])] == [5 if one == 4 else one for one in others]


def test_too_many_corrupt_records_are_no_accident(made, tmp_path):
    shards = write(tmp_path / "records", [dataclasses.replace(one, encoded=b"") for one in made])
    feed = feed_of(shards, skip_corrupt=True)
    with pytest.raises(tf.errors.OpError):
        batches(feed)
    assert "2 records are corrupt, more than 5%; the last one: " in str(feed.failure)


def test_no_records_at_all(made, tmp_path):
    with pytest.raises(DataError, match="The training records are empty"):
        feed_of(write(tmp_path / "records", []))
