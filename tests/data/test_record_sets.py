"""Finished record sets: what is missing or was changed is noticed."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from record_making import convert

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.data import record_sets, tf_example, tfrecord, verification
from pneumodet.data.manifest import Manifest, of_json


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


def change(folder, how):
    manifest = json.loads((folder / "manifest.json").read_text())
    how(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


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
            "the field label_map is missing",
            id="no label map",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest.pop("splits")),
            "the field splits is missing",
            id="no splits",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["splits"]["val"].update(exams="7")),
            r"the field splits\.val\.exams is '7', must be a whole number",
            id="a number as text",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["splits"]["val"]["shards"][0].pop("name")),
            r"the field splits\.val\.shards\[0\]\.name is missing",
            id="a shard without name",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["splits"]["val"].update(shards=[1])),
            r"the field splits\.val\.shards\[0\] is 1, must be an object",
            id="no shard but a number",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["label_map"].update(pneumonia="2")),
            r"the field label_map\.pneumonia is '2', must be a whole number",
            id="label map of texts",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["split"].update(by=1)),
            r"the field split\.by is 1, must be a text",
            id="a number for what identifies patients",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["split"].update(same_image=[["a"], "b"])),
            r"the field split\.same_image\[1\] is 'b', must be a list",
            id="an exam in place of a group",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["counts"].update(images_copied=True)),
            r"the field counts\.images_copied is True, must be a whole number",
            id="a count that is true",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest.update(skipped={"file refused": "a.dcm"})),
            r"the field skipped\.file refused is 'a\.dcm', must be a list",
            id="one line in place of several",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest["splits"]["val"]["statistics"].update(sizes={"64x64": "1"})),
            r"the field splits\.val\.statistics\.sizes\.64x64 is '1', must be a whole number",
            id="a statistic of texts",
        ),
        pytest.param(
            lambda folder: change(folder, lambda manifest: manifest.update(quality={"flagged": None})),
            r"the field quality\.flagged is missing",
            id="a quality check without a number",
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


def test_a_manifest_that_says_the_least(tmp_path):
    """As other tools may write it: what is not said has a value that says so."""
    content = {"format": "pneumodet-records", "version": 2, "label_map": {"pneumonia": 1}, "splits": {}, "of another tool": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    read = record_sets.RecordSet.open(tmp_path).manifest
    assert read == Manifest(label_map={"pneumonia": 1})
    assert (read.seed, read.split.by, read.split.patients, read.flagged) == (None, "", None, None)


def test_a_manifest_is_read_as_it_was_written(done):
    content = json.loads((done / "manifest.json").read_text())
    read = record_sets.RecordSet.open(done).manifest
    assert read.to_json() == content
    assert list(read.to_json()) == list(content)
    assert of_json(content, where="here") == read


@pytest.mark.parametrize("workers", [1, 2])
def test_a_whole_set_has_no_problems(done, workers):
    assert verification.verify(done, workers=workers) == []


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
    """Exchange two shards' contents, which only the ground truth's order shows."""
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
    sentences = verification.verify(copy)
    assert len(sentences) == len(problems)
    for text, pattern in zip(sentences, problems, strict=True):
        assert re.search(pattern, text), text
        assert str(copy) not in text


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match="Cannot read the manifest"):
        verification.verify(tmp_path)


def test_a_split_is_its_ground_truth(done):
    records = record_sets.RecordSet.open(done)
    truth = json.loads((done / "instances_val.json").read_text())
    assert [example.record.patient_id for example in records.val.read_exams()] == [image["file_name"] for image in truth["images"]]
    assert records.split("val") is records.val
    assert len(records.train) + len(records.val) == sum(split.exams for split in records.manifest.splits.values())
    for number, example in enumerate(records.val.read_exams()):
        np.testing.assert_allclose(example.record.boxes_xyxy_px, records.val.boxes_xyxy_px[number], atol=1e-3)
        assert example.pixels().shape == records.val.sizes_hw[number]
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        records.split("test")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        pytest.param(lambda truth: truth["images"][0].pop("height"), r"is damaged \(KeyError\('height'\)\)", id="no height"),
        pytest.param(
            lambda truth: truth["annotations"][0].update(image_id=1), "is damaged .*is of image 1, which is not there", id="image"
        ),
        pytest.param(lambda truth: truth["annotations"][0].update(category_id=9), "is damaged .*category_id 9, which is not", id="class"),
        pytest.param(lambda truth: truth["annotations"][0].update(bbox=[1, 2, 3]), "is damaged .*ValueError", id="three numbers"),
        pytest.param(lambda truth: truth.pop("categories"), "is damaged .*categories", id="no categories"),
    ],
)
def test_damaged_ground_truth_is_named(copy, how, message):
    path = copy / "instances_train.json"
    truth = json.loads(path.read_text())
    how(truth)
    path.write_text(json.dumps(truth))
    with pytest.raises(DataError, match=f"instances_train.json {message}"):
        record_sets.RecordSet.open(copy).split("train")


def test_records_in_another_order_than_the_ground_truth(copy):
    path = copy / "instances_val.json"
    truth = json.loads(path.read_text())
    truth["images"].reverse()
    path.write_text(json.dumps(truth))
    with pytest.raises(DataError, match=r"record 0 \(exam .*\): the ground truth .* has exam .* at its place.*do not list the same exams"):
        record_sets.RecordSet.open(copy).val.read(0)


def test_some_records_are_read_and_no_others(copy, monkeypatch):
    """For 24 pictures of a split, whole shards were read, and a damaged record elsewhere ended all."""
    split = record_sets.RecordSet.open(copy).train
    wanted = set(split.names[2::5])
    flip(split.shards[0], 100)  # within the body of record 0
    read = []
    pread = os.pread

    def counted(file, count, offset):
        read.append(count)
        return pread(file, count, offset)

    monkeypatch.setattr("os.pread", counted)
    examples = list(split.read_exams(wanted))
    assert [example.record.patient_id for example in examples] == [name for name in split.names if name in wanted]
    bodies = sum(len(tf_example.encode(example.record)) + 4 for example in examples)
    assert sum(read) == bodies + 12 * len(split), "headers of all, bodies of those"
    assert sum(read) < sum(path.stat().st_size for path in split.shards) / 2
    with pytest.raises(DataError, match=r"record 0: the record is damaged \(CRC\)"):
        list(split.read_exams({split.names[0]}))
