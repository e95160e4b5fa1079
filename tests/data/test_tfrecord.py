"""Record files against TensorFlow's own writer and reader, and damaged ones."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import DataError
from pneumodet.data import tfrecord

RECORDS = [b"", b"a", b"\0" * 1000, bytes(range(256)) * 40, "Röntgen".encode()]


def write(path, records):
    with open(path, "wb") as file:
        writer = tfrecord.Writer(file)
        for record in records:
            writer.write(record)
    return writer


def test_same_bytes_as_tensorflow_writes(tmp_path):
    import tensorflow as tf

    writer = write(tmp_path / "own", RECORDS)
    with tf.io.TFRecordWriter(str(tmp_path / "tf")) as other:
        for record in RECORDS:
            other.write(record)
    data = (tmp_path / "own").read_bytes()
    assert data == (tmp_path / "tf").read_bytes()
    assert (writer.bytes, writer.records, writer.sha256) == (len(data), len(RECORDS), hashlib.sha256(data).hexdigest())


def test_tensorflow_reads_ours_and_we_read_tensorflows(tmp_path):
    import tensorflow as tf

    write(tmp_path / "own", RECORDS)
    assert list(tf.data.TFRecordDataset(str(tmp_path / "own")).as_numpy_iterator()) == RECORDS
    with tf.io.TFRecordWriter(str(tmp_path / "tf")) as other:
        for record in RECORDS:
            other.write(record)
    assert list(tfrecord.read_records(tmp_path / "tf")) == RECORDS


def test_crc_is_castagnolis():
    # the check value of CRC-32C (RFC 3720 B.4 gives it for "123456789"), masked by hand
    crc = 0xE3069283
    assert tfrecord.masked_crc(b"123456789") == (((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def test_empty_file_has_no_records(tmp_path):
    write(tmp_path / "none", [])
    assert list(tfrecord.read_records(tmp_path / "none")) == []


def test_every_cut_is_noticed_unless_it_falls_between_records(tmp_path):
    path = tmp_path / "shard"
    write(path, [b"first record", b"second"])
    data = path.read_bytes()
    ends = {0: 0, 12 + 12 + 4: 1, len(data): 2}
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        if size in ends:
            assert len(list(tfrecord.read_records(path))) == ends[size]
        else:
            index = 0 if size < 28 else 1
            with pytest.raises(DataError, match=rf"shard, record {index}: the file is cut off\. Make the records again"):
                list(tfrecord.read_records(path))


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "shard"
    write(path, [b"first record", b"second"])
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
        with pytest.raises(DataError, match=rf"shard, record {int(position >= 28)}: .*(damaged|cut off)"):
            list(tfrecord.read_records(path))


def test_records_before_the_damage_are_given(tmp_path):
    path = tmp_path / "shard"
    write(path, [b"first", b"second"])
    path.write_bytes(path.read_bytes()[:-1])
    reader = tfrecord.read_records(path)
    assert next(reader) == b"first"
    with pytest.raises(DataError, match="record 1"):
        next(reader)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_other_files_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("other") / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match="record 0"):
        list(tfrecord.read_records(path))


def test_length_that_would_fill_the_memory_is_refused(tmp_path):
    length = (1 << 62).to_bytes(8, "little")
    (tmp_path / "file").write_bytes(length + tfrecord.masked_crc(length).to_bytes(4, "little") + b"abc")
    with pytest.raises(DataError, match="record 0: the record's length is damaged"):
        list(tfrecord.read_records(tmp_path / "file"))


@pytest.mark.parametrize("name", ["missing", "."])
def test_unreadable(tmp_path, name):
    with pytest.raises(DataError, match="Cannot read .*(No such file|Is a directory)"):
        list(tfrecord.read_records(tmp_path / name))
