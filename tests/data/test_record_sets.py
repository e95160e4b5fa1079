"""Finished record sets: what is missing or was changed is noticed."""

import json
import re
import shutil

import pytest
from record_making import convert

from pneumodet import paths
from pneumodet.data import record_sets, tfrecord
from pneumodet.errors import DataError


@pytest.fixture(scope="module")
def done(synthetic, tmp_path_factory):
    """Return a record set, not to be changed."""
    folder = tmp_path_factory.mktemp("done") / "records"
    convert(synthetic, folder, patient_map=synthetic.patient_map, val_fraction=0.4)
    return folder


@pytest.fixture
def copy(done, tmp_path):
    """Return a copy of the record set."""
    return shutil.copytree(done, tmp_path / "records")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda folder: shutil.rmtree(folder), "There is no record set", id="no folder"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), "Cannot read the manifest", id="no manifest"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("{"), "not valid JSON", id="no JSON"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest of a record set", id="a list"),
        pytest.param(
            lambda folder: (folder / "manifest.json").write_text('{"format": "pneumodet-records", "version": 3}'),
            "not the manifest of a record set of this version",
            id="another version",
        ),
        pytest.param(
            lambda folder: (folder / "manifest.json").write_text('{"format": "pneumodet-records", "version": 2}'),
            "is damaged",
            id="no splits",
        ),
        pytest.param(lambda folder: next(folder.glob("val-*")).unlink(), "val-00000.* is missing or not of the size", id="no shard"),
        pytest.param(lambda folder: next(folder.glob("val-*")).write_bytes(b"x"), "is missing or not of the size", id="cut shard"),
        pytest.param(lambda folder: (folder / "instances_val.json").unlink(), "instances_val.json is missing", id="no ground truth"),
    ],
)
def test_opening_a_broken_set(copy, spoil, message):
    spoil(copy)
    with pytest.raises(DataError, match=f"{message}.*make_tfrecords"):
        record_sets.RecordSet.open(copy)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_whole_set_has_no_problems(done, workers):
    assert record_sets.verify(done, workers=workers) == []


def flip(path, index):
    data = bytearray(path.read_bytes())
    data[index] ^= 1
    path.write_bytes(data)


def reseal(folder, name, **more):
    """Make the manifest agree with a shard that was changed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            if shard["name"] == name:
                shard |= {"sha256": paths.sha256_file(folder / name), "bytes": (folder / name).stat().st_size} | more
    (folder / "manifest.json").write_text(json.dumps(manifest))


SHARD = "train-00001-of-00004.tfrecord"


def swap(folder):
    """Exchange two shards' contents, which only the ground truth's order tells."""
    a, b = folder / SHARD, folder / "train-00002-of-00004.tfrecord"
    a_bytes, b_bytes = a.read_bytes(), b.read_bytes()
    a.write_bytes(b_bytes)
    b.write_bytes(a_bytes)
    for path in (a, b):
        reseal(folder, path.name, examples=len(list(tfrecord.read_records(path))))


def without_last_record(folder):
    path = folder / SHARD
    *rest, _ = tfrecord.read_records(path)
    with open(path, "wb") as file:
        writer = tfrecord.Writer(file)
        for record in rest:
            writer.write(record)
    reseal(folder, SHARD)


@pytest.mark.parametrize(
    ("spoil", "problems"),
    [
        pytest.param(lambda folder: (folder / SHARD).unlink(), [f"{SHARD} is missing"], id="missing"),
        pytest.param(
            lambda folder: (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-3]),
            [f"{SHARD} has .* bytes; the manifest says", f"{SHARD}, record .*: the file is cut off"],
            id="cut off",
        ),
        pytest.param(
            lambda folder: flip(folder / SHARD, 5000),
            [f"{SHARD} was changed: its SHA-256", f"{SHARD}, record 0: the record is damaged"],
            id="a flipped bit",
        ),
        pytest.param(
            lambda folder: [flip(folder / SHARD, 5000), reseal(folder, SHARD)],
            [f"{SHARD}, record 0: the record is damaged"],
            id="a flipped bit under a new checksum",
        ),
        pytest.param(
            lambda folder: (folder / "train-00004-of-00005.tfrecord").write_bytes(b""),
            ["train-00004-of-00005.tfrecord is not in the manifest"],
            id="extra",
        ),
        pytest.param(without_last_record, [f"{SHARD} has . records; the manifest says"], id="a record less"),
        pytest.param(swap, ["instances_train.json and the records of train do not name the same exams"], id="other order than the truth"),
        pytest.param(lambda folder: (folder / "instances_val.json").unlink(), ["instances_val.json is missing"], id="no truth"),
        pytest.param(lambda folder: flip(folder / "instances_val.json", 20), ["instances_val.json was changed"], id="changed truth"),
    ],
)
def test_what_is_wrong_is_told(copy, spoil, problems):
    spoil(copy)
    found = record_sets.verify(copy)
    assert len(found) == len(problems)
    for text, pattern in zip(found, problems, strict=True):
        assert re.search(pattern, text), text
        assert str(copy) not in text


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match="Cannot read the manifest"):
        record_sets.verify(tmp_path)
