"""Batches and validation images: the right rows with the right images, masks that follow the pixels, one order for one seed."""

import itertools
import tracemalloc
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pneumodet.core.errors import DataError, TrainingError
from pneumodet.data import tf_example
from pneumodet.data.equalizing import equalized
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import runner
from pneumodet.evaluation.runner import Runner
from pneumodet.models.inputs import images
from pneumodet.models.inputs.augmentation_settings import NONE, Augmentation
from pneumodet.models.inputs.keras_feeding import Feed

SIZE = (48, 48)


@pytest.fixture(scope="module")
def split(keras_records):
    return RecordSet.open(keras_records).check_two_kinds().train


def feed_of(split, **more):
    given = {"size_hw": SIZE, "batch_size": 3, "augmentation": NONE, "seed": 4}
    return Feed(split.shards, **given | more)


def batches_of(feed, *, first_step=0, steps=4):
    taken = [{name: value.numpy() for name, value in batch.items()} for batch in feed.batches(first_step=first_step, steps=steps)]
    feed.close()
    return taken


def stacked(taken, name):
    return np.concatenate([batch[name] for batch in taken])


def test_rows_belong_to_their_images(split):
    """The targets are numbers of records; each image must be that of its number."""
    count = len(split)
    rows = {"targets": np.arange(count), "metadata": np.arange(2 * count, dtype=np.float32).reshape(count, 2), "positive": split.positive}
    taken = batches_of(feed_of(split, **rows), steps=-(-count // 3))
    numbers = stacked(taken, "target")
    assert sorted(numbers[:count]) == list(range(count)), "each record once an epoch"
    np.testing.assert_array_equal(stacked(taken, "metadata")[:, 0], 2 * numbers)
    np.testing.assert_array_equal(stacked(taken, "positive"), split.positive[numbers].astype(np.float32))
    for image, number in zip(stacked(taken, "image"), numbers.tolist(), strict=True):
        sample = images.read(split.examples.read(number), size_hw=SIZE, normalization="none")
        assert sample.record.patient_id == split.names[number]
        assert np.abs(image[..., 0].astype(int) - images.resized(sample.pixels, SIZE)).max() <= 1


def test_a_mask_is_where_the_boxes_are(split):
    taken = batches_of(feed_of(split, masks_from_boxes=True, targets=np.arange(len(split))), steps=5)
    sizes = split.sizes_hw
    for mask, number in zip(stacked(taken, "mask"), stacked(taken, "target").tolist(), strict=True):
        assert mask.shape == (*SIZE, 1) and mask.dtype == np.float32 and set(np.unique(mask)) <= {0, 1}
        ys, xs = (np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        wanted = np.zeros(SIZE, bool)
        for left, top, right, bottom in split.boxes_xyxy_px[number] * SIZE[0] / sizes[number][0]:
            wanted |= ((ys >= top) & (ys < bottom))[:, None] & ((xs >= left) & (xs < right))[None, :]
        assert (mask[..., 0].astype(bool) != wanted).sum() <= 0.02 * mask.size, "but for rounding at the edges"


def test_masks_follow_the_pixels_of_a_turned_image(split, tmp_path):
    """Records whose boxes are white on black: wherever the image goes, the mask must be."""
    path = tmp_path / "white-00000-of-00001.tfrecord"
    box = np.array([[20.0, 30.0, 70.0, 60.0]])
    pixels = np.zeros((96, 96), np.uint8)
    pixels[30:60, 20:70] = 255
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    record = tf_example.Record("white", encoded, "png", 96, 96, box, ("pneumonia",), (2,), "pneumonia", 2)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf_example.encode(record))
    moved = Augmentation(scale=(0.8, 1.2), shift=0.05, rotation_degrees=20, shear_degrees=8, flip=0.5)
    feed = Feed([path], size_hw=SIZE, batch_size=4, augmentation=moved, seed=1, masks_from_boxes=True)
    taken = batches_of(feed, steps=3)
    image, mask = stacked(taken, "image")[..., 0] > 127, stacked(taken, "mask")[..., 0] > 0
    assert len(np.unique(mask.reshape(len(mask), -1), axis=0)) == len(mask), "each one is moved otherwise"
    overlap = (image & mask).sum(axis=(1, 2)) / (image | mask).sum(axis=(1, 2))
    assert overlap.min() > 0.9


def test_later_steps_do_not_depend_on_earlier_ones(split):
    moved = Augmentation(rotation_degrees=10, brightness=0.1, blur=0.5)
    whole = batches_of(feed_of(split, augmentation=moved), steps=5)
    rest = batches_of(feed_of(split, augmentation=moved), first_step=3, steps=2)
    np.testing.assert_array_equal(stacked(whole[3:], "image"), stacked(rest, "image"))
    assert not np.array_equal(stacked(batches_of(feed_of(split, augmentation=moved, seed=5), steps=5), "image"), stacked(whole, "image"))


def test_the_share_of_positives(split):
    taken = batches_of(feed_of(split, positive=split.positive, positive_share=0.75, batch_size=len(split)), steps=4)
    assert stacked(taken, "positive").mean() == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("normalization", ["histogram", "clahe"])
def test_normalization_comes_before_the_resize(split, normalization):
    plain = images.read(split.examples.read(0), size_hw=SIZE, normalization="none").pixels
    pixels_read = images.read(split.examples.read(0), size_hw=SIZE, normalization=normalization).pixels
    np.testing.assert_array_equal(pixels_read, equalized(plain, normalization))
    assert not np.array_equal(pixels_read, plain)


def test_not_as_many_rows_as_records(split):
    with pytest.raises(DataError, match=f"{len(split)} training records, but 2 rows of target"):
        feed_of(split, targets=np.zeros(2))


def test_the_images_that_are_kept_take_their_size_once(split, monkeypatch):
    """Half a GiB of them may be kept."""
    side, times = 512, 4
    many = Split(split.shards * times, split.instances | {"images": split.instances["images"] * times})
    numbers = itertools.count()
    monkeypatch.setattr(runner, "BATCH", 1)
    monkeypatch.setattr(runner, "read", lambda example, **_: np.full((side, side, 1), next(numbers), np.uint8))
    of_split = Runner(types.SimpleNamespace(inputs=[]), many, size_hw=(side, side))
    monkeypatch.setattr(of_split, "_call", lambda inputs: {})
    tracemalloc.start()
    try:
        seen = [int(batch.images.mean()) for batch in of_split.batches()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == list(range(len(many)))
    assert peak < 1.6 * len(many) * side**2


def test_an_output_that_is_not_finite_is_no_result(split, monkeypatch):
    of_split = Runner(types.SimpleNamespace(inputs=[]), split, size_hw=SIZE)
    outputs = np.zeros((len(split), 3))
    outputs[1, 2] = np.nan
    monkeypatch.setattr(of_split, "_call", lambda inputs: {"mask": tf.constant(np.zeros(2)), "pneumonia": tf.constant(outputs)})
    with pytest.raises(TrainingError, match="not finite.* with a lower learning rate"):
        list(of_split.batches())


def test_box_mask_counts_px_whose_centres_are_inside():
    mask = images.box_mask(np.array([[0.25, 0.0, 0.75, 0.5], [0.9, 0.9, 1.0, 1.0]], np.float32), (4, 4))
    np.testing.assert_array_equal(mask, [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert images.box_mask(np.zeros((0, 4)), (3, 2)).sum() == 0
    assert images.box_mask(np.array([[0.0, 0.0, 1.0, 1.0]]), (3, 2)).all()
