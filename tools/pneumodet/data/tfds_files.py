"""The two files by which TensorFlow Datasets opens a record set: ``tfds.builder_from_directory(folder).as_dataset(split="train")``.

files(manifest, masks=False)            # {"dataset_info.json": …, "features.json": …}

Written without that package, whose forms they have (tensorflow-datasets 4.9): dataset_info.proto and feature.proto as JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

from pneumodet.data import tf_example
from pneumodet.data.manifest import Manifest

DATASET_INFO, FEATURES = "dataset_info.json", "features.json"
"""Names that the package gives these files."""

NAME, VERSION = "pneumodet", "1.0.0"
"""Of the data set, as the package asks for them; the version is that of the examples' form."""

_MODULE = "tensorflow_datasets.core.features"

_IMAGE = {
    "pythonClassName": f"{_MODULE}.image_feature.Image",
    "image": {"shape": {"dimensions": ["-1", "-1", "1"]}, "dtype": "uint8"},
}

_TEXT: dict[str, Any] = {"pythonClassName": f"{_MODULE}.text_feature.Text", "text": {}}


def _number(dtype: str) -> dict[str, Any]:
    return {"pythonClassName": f"{_MODULE}.scalar.Scalar", "tensor": {"shape": {}, "dtype": dtype, "encoding": "none"}}


def _many(feature: Mapping[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_MODULE}.sequence_feature.Sequence", "sequence": {"feature": feature, "length": "-1"}}


_INTEGER, _FLOAT = _number("int64"), _number("float32")

_FEATURES = {
    tf_example.HEIGHT: _INTEGER,
    tf_example.WIDTH: _INTEGER,
    tf_example.FILENAME: _TEXT,
    tf_example.SOURCE_ID: _TEXT,
    tf_example.SHA256: _TEXT,
    tf_example.IMAGE_ENCODED: _IMAGE,
    tf_example.FORMAT: _TEXT,
    tf_example.IMAGE_CLASS_LABEL: _INTEGER,
    tf_example.IMAGE_CLASS_TEXT: _TEXT,
    **dict.fromkeys((tf_example.XMIN, tf_example.XMAX, tf_example.YMIN, tf_example.YMAX), _many(_FLOAT)),
    tf_example.CLASS_TEXT: _many(_TEXT),
    tf_example.CLASS_LABEL: _many(_INTEGER),
}
"""Key of an example -> its feature. ``image/encoded`` is given decoded, (H, W, 1) uint8."""


def files(manifest: Manifest, *, masks: bool) -> dict[str, str]:
    """Return file name -> contents of a record set whose shards lie in its own folder.

    Args:
      manifest: the record set's.
      masks: whether its examples have masks.
    """
    splits = [
        {
            "name": name,
            "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
            "shardLengths": [str(shard.examples) for shard in split.shards],
            "numBytes": str(sum(shard.bytes for shard in split.shards)),
        }
        for name, split in manifest.splits.items()
    ]
    info = {
        "name": NAME,
        "version": VERSION,
        "description": f"Chest radiographs with boxes around pneumonia, converted by pneumodet {manifest.pneumodet}.",
        "fileFormat": "tfrecord",
        "splits": splits,
    }
    features = _FEATURES | ({tf_example.MASK: _many(_IMAGE)} if masks else {})
    root = _dict(features)
    about = {"type": root["pythonClassName"], "content": root["featuresDict"], "proto_cls": "tensorflow_datasets.FeaturesDict"}
    return {DATASET_INFO: json.dumps(info, indent=2) + "\n", FEATURES: json.dumps(about, indent=1) + "\n"}


def _dict(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the nested features of keys with slashes between their parts."""
    parts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key, feature in features.items():
        first, _, rest = key.partition("/")
        parts.setdefault(first, {})[rest] = feature
    nested = {name: below[""] if "" in below else _dict(below) for name, below in parts.items()}
    return {"pythonClassName": f"{_MODULE}.features_dict.FeaturesDict", "featuresDict": {"features": nested}}
