"""dataset_info.json and features.json of a record set: TensorFlow Datasets opens it by them."""

import json

import numpy as np
import pytest

from pneumodet.data import conversion, tf_example, tfds_files, tfrecord
from pneumodet.data.record_sets import RecordSet
from pneumodet.data.settings import Inputs, Settings


@pytest.fixture(scope="module")
def records(synthetic, tmp_path_factory):
    """Return a record set with masks, not to be changed."""
    folder = tmp_path_factory.mktemp("tfds") / "set"
    conversion.convert(
        Inputs(dicom_dir=synthetic.dicom_dir, labels=synthetic.labels), folder, Settings(val_fraction=0.3, test_fraction=0.3, masks=True)
    )
    return folder


def keys(features, prefix=""):
    """Yield the key of each feature that is no group of others."""
    for name, feature in features.items():
        below = feature.get("featuresDict")
        yield from keys(below["features"], f"{prefix}{name}/") if below else [prefix + name]


@pytest.mark.parametrize("masks", [False, True])
def test_the_features_are_those_of_an_example(records, masks):
    manifest = RecordSet.open(records).manifest
    files = tfds_files.files(manifest, masks=masks)
    named = set(keys(json.loads(files[tfds_files.FEATURES])["content"]["features"]))
    record = next(tfrecord.read_records(records / manifest.splits["train"].shards[0].name))
    example = set(tf_example.features(record))
    assert named | {tf_example.MASK} == example | {tf_example.MASK}
    assert (tf_example.MASK in named) == masks


def test_the_splits_are_those_of_the_manifest(records):
    info = json.loads((records / tfds_files.DATASET_INFO).read_text())
    splits = RecordSet.open(records).manifest.splits
    assert {one["name"]: [int(length) for length in one["shardLengths"]] for one in info["splits"]} == {
        name: [shard.examples for shard in split.shards] for name, split in splits.items()
    }
    for one in info["splits"]:
        count = len(one["shardLengths"])
        for number, shard in enumerate(splits[one["name"]].shards):
            name = one["filepathTemplate"].replace("{SPLIT}", one["name"]).replace("{FILEFORMAT}", info["fileFormat"])
            assert name.replace("{SHARD_X_OF_Y}", f"{number:05d}-of-{count:05d}") == shard.name


@pytest.mark.slow
def test_tensorflow_datasets_reads_them(records):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(str(records))
    for name, split in RecordSet.open(records).manifest.splits.items():
        read = list(builder.as_dataset(split=name).as_numpy_iterator())
        assert len(read) == split.exams == builder.info.splits[name].num_examples
        assert sum(len(one["image"]["object"]["bbox"]["xmin"]) for one in read) == split.boxes
        for one in read:
            assert one["image"]["encoded"].shape == (one["image"]["height"], one["image"]["width"], 1)
            assert one["image"]["object"]["mask"].shape[0] == len(one["image"]["object"]["class"]["label"])
            assert one["image"]["encoded"].dtype == np.uint8
