"""Records by their number: the same bytes as reading in order, and damage that is named."""

import pytest

from pneumodet.core.errors import DataError
from pneumodet.data import tfrecord
from pneumodet.data.random_access import Reader


@pytest.fixture
def shards(tmp_path):
    """Return two files with three and two records."""
    shards = []
    for name, records in (("a.tfrecord", [b"one", b"", b"three" * 100]), ("b.tfrecord", [b"four", b"five"])):
        with open(tmp_path / name, "wb") as file:
            writer = tfrecord.Writer(file)
            for record in records:
                writer.write(record)
        shards.append(tmp_path / name)
    return shards


def test_records_are_those_of_reading_in_order(shards):
    reader = Reader(shards)
    in_order = [record for shard in shards for record in tfrecord.read_records(shard)]
    assert [reader.read(index) for index in range(len(reader))] == in_order
    assert reader.read(4) == b"five"
    assert reader.where(4).endswith("b.tfrecord, record 1")


def test_a_flipped_bit_is_named(shards):
    content = bytearray(shards[1].read_bytes())
    content[14] ^= 1
    shards[1].write_bytes(content)
    reader = Reader(shards)
    assert reader.read(4) == b"five"
    with pytest.raises(DataError, match=r"b\.tfrecord, record 0: the record is damaged \(CRC\).*--skip-corrupt"):
        reader.read(3)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_file_that_is_cut_off_is_refused(shards, cut):
    shards[0].write_bytes(shards[0].read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"a\.tfrecord, record 2: the file is cut off"):
        Reader(shards)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("patientId,x,y,width,height,Target\n" * 3)
    with pytest.raises(DataError, match="no TFRecord file"):
        Reader([tmp_path / "x.csv"])
    with pytest.raises(DataError, match="Cannot read"):
        Reader([tmp_path / "gone"])
