"""manifest.json of a record set: its form, and a reader that names the field that is wrong.

manifest = read(folder)
manifest.label_map["pneumonia"], manifest.splits["val"].exams, manifest.splits["val"].shards[0].name
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import DataError

MANIFEST = "manifest.json"
"""Written last: a folder that has it is whole."""

FORMAT, VERSION = "pneumodet-records", 2

HINT = "Make the records with tools/make_tfrecords.py."


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file of a record set.

    Attributes:
      name: path, relative to the record set's folder or absolute.
      bytes: its size.
      sha256: of its contents, 64 hex digits.
      examples: records in it.
    """

    name: str
    bytes: int
    sha256: str
    examples: int


@dataclasses.dataclass(frozen=True)
class SplitEntry:
    """What a manifest says of a split.

    Attributes:
      exams, patients, positive_exams, boxes: how many there are.
      annotations: path of its ground truth, COCO JSON, relative to the record set's folder.
      annotations_sha256: of that file.
      shards: its files, in the order of the ground truth's images.
    """

    exams: int
    patients: int
    positive_exams: int
    boxes: int
    annotations: str
    annotations_sha256: str
    shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a record set is.

    Attributes:
      splits: name -> split; ``train`` and ``val``, or ``fold-0`` and so on.
      label_map: class -> id.
      split_by: what identifies patients, as ``grouping`` names it; empty where it is not known.
      arguments: what it was made with; empty where it is not known.
      document: the whole JSON object, for printing.
    """

    splits: Mapping[str, SplitEntry]
    label_map: dict[str, int]
    split_by: str
    arguments: Mapping[str, Any]
    document: dict[str, Any]


def read(folder: Path) -> Manifest:
    """Read a record set's manifest.

    Raises:
      DataError: the folder is no record set, or a field is missing or of the wrong kind.
    """
    if not folder.is_dir():
        raise DataError(f"There is no record set {folder}. {HINT}")
    path = folder / MANIFEST
    document = paths.read_json(path, what="the manifest", hint=HINT)
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
        raise DataError(f"{path} is not the manifest of a record set of this version. {HINT}")
    return of(document, path)


def of(document: dict[str, Any], path: Path) -> Manifest:
    """Return a manifest's JSON object checked; ``path`` names it in messages.

    Raises:
      DataError: a field is missing or of the wrong kind.
    """
    fields = _Fields(document, path)
    label_map = fields.get("label_map", dict)
    if not all(isinstance(number, int) for number in label_map.values()):
        fields.refuse("label_map", label_map, "must map names to whole numbers")
    return Manifest(
        splits=fields.each("splits", _split),
        label_map=label_map,
        split_by=fields.below("split").get("by", str, ""),
        arguments=fields.get("arguments", dict, {}),
        document=document,
    )


def _split(fields: "_Fields") -> SplitEntry:
    counts = {name: fields.get(name, int) for name in ("exams", "patients", "positive_exams", "boxes")}
    texts = {name: fields.get(name, str) for name in ("annotations", "annotations_sha256")}
    shards = tuple(
        Shard(one.get("name", str), one.get("bytes", int), one.get("sha256", str), one.get("examples", int))
        for one in fields.objects("shards")
    )
    return SplitEntry(**counts, **texts, shards=shards)


_OPTIONAL = ("split",)
"""Objects that a manifest may lack."""

_KINDS = {int: "a whole number", str: "a text", dict: "an object", list: "a list"}


@dataclasses.dataclass(frozen=True)
class _Fields:
    """A JSON object whose fields are read by name; ``name`` is where it stands in the file, with a dot at the end."""

    values: dict[str, Any]
    path: Path
    name: str = ""

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.values.get(key, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(key, value, f"must be {_KINDS[kind]}")
        return value

    def below(self, key: str) -> "_Fields":
        return _Fields(self.get(key, dict, {} if key in _OPTIONAL else None), self.path, f"{self.name}{key}.")

    def each(self, key: str, make: Callable[["_Fields"], Any]) -> dict[str, Any]:
        within = self.below(key)
        return {name: make(within.below(name)) for name in within.values}

    def objects(self, key: str) -> list["_Fields"]:
        within = self.get(key, list)
        for number, value in enumerate(within):
            if not isinstance(value, dict):
                self.refuse(f"{key}[{number}]", value, "must be an object")
        return [_Fields(value, self.path, f"{self.name}{key}[{number}].") for number, value in enumerate(within)]

    def refuse(self, key: str, value: Any, rule: str) -> None:
        """Raise a DataError about a field."""
        there = "is missing" if value is None else f"is {repr(value)[:80]}"
        raise DataError(f"{self.path} is damaged: {self.name}{key} {there}; it {rule}. {HINT}")
