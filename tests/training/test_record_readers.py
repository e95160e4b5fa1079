"""One record set, read by all: the same pixels, and the same sentence about what is damaged, in training, evaluation, export and label export."""

import io
import types

import cv2
import numpy as np
import pytest
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data import foreign_records, images, label_export, tf_example, tfrecord
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation import checkpoint_detections, detecting
from pneumodet.inference.postprocess.views import view_of
from pneumodet.models.detection.resizing import Size
from pneumodet.models.inputs import images as keras_images
from pneumodet.models.inputs.augmentation_settings import NONE
from pneumodet.models.inputs.feeding import Feed
from pneumodet.models.inputs.keras_feeding import Feed as KerasFeed

HEIGHT, WIDTH = 60, 44
EXAMS = 40


def radiograph(number, dtype=np.uint8):
    rng = np.random.default_rng([7, number])
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, WIDTH)), (0, 0), 4)
    return np.rint(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)).astype(dtype)


def encoded(pixels, kind):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def record(name, data, image_format):
    boxes = np.array([[4.0, 6.0, 30.0, 40.0]])
    return tf_example.Record(name, data, image_format, HEIGHT, WIDTH, boxes, ("pneumonia",), (2,), "pneumonia", 2)


def record_set(root, records):
    """Return a record set whose two splits have these records, as other tools write them: in files that stay where they are."""
    root.mkdir()
    for side in ("train", "val"):
        with open(root / f"{side}.record", "wb") as file:
            writer = tfrecord.Writer(file)
            for one in records:
                writer.write(tf_example.encode(one if side == "val" else record(f"t-{one.patient_id}", one.encoded, one.image_format)))
    (root / "map.pbtxt").write_text("item { id: 1 name: 'no-pneumonia' }\nitem { id: 2 name: 'pneumonia' }\n")
    foreign_records.adopt([str(root / "train.record")], [str(root / "val.record")], root / "map.pbtxt", root / "set")
    return RecordSet.open(root / "set")


def fed(split, feed=None, **more):
    """Return the images of a split as detectors are trained on them, by their number."""
    feed = Feed(split.shards, size=Size((HEIGHT, WIDTH)), classes=2, batch_size=1, max_boxes=1, augmentation=NONE, seed=0, **more)
    read = [batch["image"].numpy()[0, ..., 0] for batch in feed.batches(first_step=0, steps=len(split), parallel=1)]
    feed.close()
    return {feed._order.at(position): pixels for position, pixels in enumerate(read)}


def fed_to_keras(split):
    feed = KerasFeed(split.shards, size_hw=(HEIGHT, WIDTH), batch_size=1, augmentation=NONE, seed=0)
    read = [batch["image"].numpy()[0, ..., 0] for batch in feed.batches(first_step=0, steps=len(split), parallel=1)]
    feed.close()
    return {feed._order.at(position): pixels for position, pixels in enumerate(read)}


def evaluated(split):
    """Return what evaluation of a run gives the model."""
    runner = types.SimpleNamespace(prepared=lambda pixels: pixels)
    return [checkpoint_detections._read(split.read(number), runner, [view_of("identity")])[2][0] for number in range(len(split))]


def seen_by_exports(split, monkeypatch):
    """Return what evaluation of an exported model gives it."""
    given = []
    monkeypatch.setattr(detecting, "Detectors", lambda _, **__: types.SimpleNamespace(detect=lambda pixels, views: [given.append(pixels)]))
    detecting.of_models(["a model"], split)
    return given


def exported_labels(records, folder):
    """Return the images of the validation split's label export, read as files."""
    label_export.export_labels(records.folder, folder, format="coco", images=True)
    return [images.read_pixels(next((folder / label_export.IMAGES).glob(f"{name}.*"))) for name in records.val.names]


def test_16_bits_are_the_same_to_all(tmp_path, monkeypatch):
    """They were 0 to 12 of 255 in training, and 255 nearly everywhere where exports are compared."""
    every = [record(f"e{number}", encoded(radiograph(number, np.uint16) * 13, "PNG"), "png") for number in range(2)]
    records = record_set(tmp_path / "in", [*every, record("e2", encoded(radiograph(2), "PNG"), "png")])
    split = records.val
    expected = [split.read(number).pixels() for number in range(3)]
    for pixels in expected[:2]:
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert 60 < pixels.mean() < 200
    np.testing.assert_array_equal(expected[2], radiograph(2))
    readers = {
        "training": fed(split),
        "training of Keras models": fed_to_keras(split),
        "evaluation of Keras models": [
            keras_images.read(split.examples.read(number), size_hw=(HEIGHT, WIDTH), normalization="none").pixels for number in range(3)
        ],
        "evaluation": evaluated(split),
        "exported models": seen_by_exports(split, monkeypatch),
        "comparison of an export": [pixels for _, pixels in split.pixels({"e0", "e1", "e2"})],
        "label export": exported_labels(records, tmp_path / "labels"),
    }
    for reader, given in readers.items():
        for number, pixels in enumerate(expected):
            np.testing.assert_array_equal(given[number], pixels, err_msg=f"{reader}, record {number}")


@pytest.fixture
def cut(tmp_path):
    """Return a record set in whose validation split record 1 has a JPEG file of which the last third is missing."""
    every = [record(f"e{number}", encoded(radiograph(number), "JPEG"), "jpeg") for number in range(EXAMS)]
    records = record_set(tmp_path / "in", every)
    data = every[1].encoded
    every[1] = record("e1", data[: len(data) * 2 // 3], "jpeg")
    (shard,) = records.val.shards
    with open(shard, "wb") as file:
        writer = tfrecord.Writer(file)
        for one in every:
            writer.write(tf_example.encode(one))
    manifest = records.folder / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace(f'"bytes": {records.manifest.splits["val"].shards[0].bytes}', f'"bytes": {writer.bytes}')
    )
    return RecordSet.open(records.folder)


def test_a_jpeg_cut_off_is_one_sentence(cut, tmp_path, monkeypatch):
    """Evaluation of an exported model gave a bare OSError."""
    (shard,) = cut.val.shards
    sentence = (
        f"{shard}, record 1 (exam e1): the JPEG image is cut off. Make the records again, or leave it out of training by --skip-corrupt."
    )
    readers = {
        "evaluation": lambda: evaluated(cut.val),
        "exported models": lambda: seen_by_exports(cut.val, monkeypatch),
        "comparison of an export": lambda: list(cut.val.pixels({"e1"})),
        "evaluation of Keras models": lambda: keras_images.read(cut.val.examples.read(1), size_hw=(32, 32), normalization="none"),
        "label export": lambda: exported_labels(cut, tmp_path / "labels"),
    }
    for reader, read in readers.items():
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value) == sentence, reader
    feed = Feed(cut.val.shards, size=Size((32, 32)), classes=2, batch_size=1, max_boxes=1, augmentation=NONE, seed=0)
    with pytest.raises(Exception, match="the JPEG image is cut off"):
        list(feed.batches(first_step=0, steps=EXAMS))
    feed.close()
    assert str(feed.failure) == sentence
    lenient = Feed(cut.val.shards, size=Size((32, 32)), classes=2, batch_size=1, max_boxes=1, augmentation=NONE, seed=0, skip_corrupt=True)
    assert len(list(lenient.batches(first_step=0, steps=EXAMS))) == EXAMS
    lenient.close()
    assert lenient.skipped.reasons == {f"{shard}, record 1": sentence}
