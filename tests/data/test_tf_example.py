"""Records against tf.train.Example, in both directions."""

import contextlib
import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import DataError
from pneumodet.data import tf_example

RECORD = tf_example.Record(
    patient_id="0004cfab-ü",
    encoded=b"\xff\xd8\0\xff",
    image_format="jpeg",
    height=1024,
    width=512,
    boxes_xyxy_px=np.array([[64.0, 128, 256, 512], [0, 0, 512, 1024]]),
    class_names=("pneumonia", "pneumonia"),
    class_ids=(2, 2),
    image_class_name="pneumonia",
    image_class_id=2,
)
NEGATIVE = dataclasses.replace(
    RECORD, boxes_xyxy_px=np.zeros((0, 4)), class_names=(), class_ids=(), image_class_name="no-pneumonia", image_class_id=1
)


def same(a, b):
    one, other = (dataclasses.asdict(record) for record in (a, b))
    np.testing.assert_allclose(one.pop("boxes_xyxy_px"), other.pop("boxes_xyxy_px"), atol=1e-3)  # float32 of a share of 1024 px
    return one == other


def as_tensorflow(record, **changes):
    """Return the record as tf.train.Example, made by TensorFlow, with the API's keys written out here."""
    import tensorflow as tf

    def feature(values):
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    left, top, right, bottom = record.boxes_xyxy_px.T
    values = {
        "image/height": [record.height],
        "image/width": [record.width],
        "image/filename": [record.patient_id.encode()],
        "image/source_id": [record.patient_id.encode()],
        "image/key/sha256": [hashlib.sha256(record.encoded).hexdigest().encode()],
        "image/encoded": [record.encoded],
        "image/format": [record.image_format.encode()],
        "image/object/bbox/xmin": (left / record.width).tolist(),
        "image/object/bbox/xmax": (right / record.width).tolist(),
        "image/object/bbox/ymin": (top / record.height).tolist(),
        "image/object/bbox/ymax": (bottom / record.height).tolist(),
        "image/object/class/text": [name.encode() for name in record.class_names],
        "image/object/class/label": list(record.class_ids),
        "image/class/label": [record.image_class_id],
        "image/class/text": [record.image_class_name.encode()],
    } | changes
    return tf.train.Example(
        features=tf.train.Features(feature={key: feature(value) for key, value in values.items() if value is not None and len(value)})
    )


def test_tensorflow_reads_what_we_write():
    import tensorflow as tf

    assert tf.train.Example.FromString(tf_example.encode(RECORD)) == as_tensorflow(RECORD)


def test_negative_has_every_key_with_an_empty_list():
    import tensorflow as tf

    feature = tf.train.Example.FromString(tf_example.encode(NEGATIVE)).features.feature
    assert set(feature) == set(as_tensorflow(RECORD).features.feature)
    for side in ("xmin", "xmax", "ymin", "ymax"):
        assert feature[f"image/object/bbox/{side}"].WhichOneof("kind") == "float_list"
        assert not feature[f"image/object/bbox/{side}"].float_list.value
    assert feature["image/object/class/label"].WhichOneof("kind") == "int64_list"
    assert feature["image/object/class/text"].WhichOneof("kind") == "bytes_list"
    assert feature["image/class/label"].int64_list.value == [1]


@pytest.mark.parametrize("record", [pytest.param(RECORD, id="boxes"), pytest.param(NEGATIVE, id="no boxes")])
def test_we_read_what_tensorflow_writes(record):
    assert same(tf_example.decode(as_tensorflow(record).SerializeToString()), record)
    assert same(tf_example.decode(tf_example.encode(record)), record)


def test_tensorflow_parses_with_the_apis_shapes():
    import tensorflow as tf

    parsed = tf.io.parse_single_example(
        tf_example.encode(RECORD),
        {
            "image/height": tf.io.FixedLenFeature((), tf.int64),
            "image/source_id": tf.io.FixedLenFeature((), tf.string),
            "image/object/bbox/ymin": tf.io.VarLenFeature(tf.float32),
            "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        },
    )
    assert parsed["image/height"].numpy() == 1024
    assert parsed["image/source_id"].numpy().decode() == RECORD.patient_id
    assert parsed["image/object/bbox/ymin"].values.numpy().tolist() == [0.125, 0.0]
    assert parsed["image/object/class/label"].values.numpy().tolist() == [2, 2]


def test_same_record_same_bytes():
    again = dataclasses.replace(RECORD, boxes_xyxy_px=RECORD.boxes_xyxy_px.copy())
    assert tf_example.encode(RECORD) == tf_example.encode(again)


def test_keys_are_sorted_so_that_every_machine_writes_the_same_bytes():
    import tensorflow as tf

    data = tf_example.encode(RECORD)
    keys = sorted(tf.train.Example.FromString(data).features.feature)
    places = [data.index(bytes([len(key)]) + key.encode()) for key in keys]
    assert places == sorted(places)


number = st.floats(0, 1024, width=32)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1), st.binary(min_size=1), st.lists(st.tuples(number, number, number, number), max_size=4))
def test_round_trip(patient, encoded, rows):
    record = dataclasses.replace(
        RECORD,
        patient_id=patient,
        encoded=encoded,
        boxes_xyxy_px=np.array(rows, np.float64).reshape(-1, 4),
        class_names=("pneumonia",) * len(rows),
        class_ids=(2,) * len(rows),
    )
    assert same(tf_example.decode(tf_example.encode(record)), record)


@pytest.mark.parametrize("key", ["image/encoded", "image/height", "image/source_id", "image/class/label", "image/format"])
def test_missing_key_is_named(key):
    with pytest.raises(DataError, match=f"has no '{key}'"):
        tf_example.decode(as_tensorflow(RECORD, **{key: None}).SerializeToString())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"image/object/bbox/xmin": [0.1]}, id="three sides have two boxes and one has one"),
        pytest.param({"image/object/bbox/ymax": None}, id="a side is missing"),
        pytest.param({"image/object/class/label": [2]}, id="fewer labels than boxes"),
        pytest.param({"image/object/class/text": [b"pneumonia"] * 3}, id="more names than boxes"),
        pytest.param({"image/height": [b"1024"]}, id="height is bytes"),
        pytest.param({"image/source_id": [7]}, id="source_id is a number"),
        pytest.param({"image/source_id": [b"\xff\xfe"]}, id="source_id is not UTF-8"),
        pytest.param({"image/encoded": [1]}, id="image is a number"),
        pytest.param({"image/height": [0]}, id="height is 0"),
    ],
)
def test_values_that_do_not_fit(changes):
    with pytest.raises(DataError, match="A record .*Was this file made by make_tfrecords"):
        tf_example.decode(as_tensorflow(RECORD, **changes).SerializeToString())


def test_an_empty_example():
    with pytest.raises(DataError, match="has no 'image/"):
        tf_example.decode(b"")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 400))
def test_damaged_bytes_are_a_data_error_or_a_record(junk, start, end):
    data = tf_example.encode(RECORD)
    for damaged in (junk, data[:start] + junk + data[end:]):
        with contextlib.suppress(DataError):
            tf_example.decode(damaged)
