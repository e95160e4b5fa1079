"""manifest.json of a record set: its form, its writer, and a reader that names the field that is wrong.

manifest = read(folder)
manifest.label_map["pneumonia"], manifest.splits["val"].exams, manifest.splits["val"].shards[0].name
paths.write_json(folder / MANIFEST, dataclasses.replace(manifest, seed=1).to_json())
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pneumodet.core import paths
from pneumodet.core.errors import DataError

MANIFEST = "manifest.json"
"""Written last: a folder that has it is whole."""

FORMAT, VERSION = "pneumodet-records", 2
"""What a manifest says of its own form. The version changes where an older reader would read something wrong; fields may be added without."""

HINT = "Make the records with tools/make_tfrecords.py."

_Kind = TypeVar("_Kind")
_Made = TypeVar("_Made")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file of a record set.

    Attributes:
      name: path, relative to the record set's folder or absolute.
      sha256: of its contents, 64 hex digits.
      bytes: its size.
      examples: records in it.
    """

    name: str
    sha256: str
    bytes: int
    examples: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitEntry:
    """One split.

    Attributes:
      exams, patients, positive_exams, boxes: how many there are.
      statistics: what is counted -> value -> how often it occurs, the most frequent first.
      annotations: path of its ground truth, COCO JSON, relative to the record set's folder.
      annotations_sha256: of that file.
      shards: its files, in the order of the ground truth's images.
    """

    exams: int
    patients: int
    positive_exams: int
    boxes: int
    statistics: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    annotations: str
    annotations_sha256: str
    shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """How exams were dealt to splits; None where the file does not say.

    Attributes:
      by: what identifies patients, as ``grouping`` names it; empty where it is not known.
      folds: number of folds; 0 for train and val.
      stratified_by: names of ``settings.STRATA``.
      given: exams whose split a split file named.
      patients: how many there are.
      patients_with_several_exams: how many of them.
      patient_overlap: patients in several splits; records are not written unless it is 0.
      same_image: groups of exams of several splits that have the very same image.
    """

    by: str = ""
    folds: int = 0
    stratified_by: tuple[str, ...] | None = None
    given: int | None = None
    patients: int | None = None
    patients_with_several_exams: int | None = None
    patient_overlap: int | None = None
    same_image: tuple[tuple[str, ...], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a record set is; fields that a file lacks have the values that stand here.

    Attributes:
      pneumodet: version that made it.
      versions: library -> its version, of those that pixels may depend on.
      arguments: what it was made with.
      label_map: class -> id.
      seed: of the split and of the records' order.
      val_fraction: expected share of patients in ``val``.
      split: how exams were dealt to splits.
      pseudonyms: whether ids are keyed hashes.
      splits: name -> split; ``train`` and ``val``, or ``fold-0`` and so on.
      counts: what happened -> how often.
      skipped: reason -> what could not be used, a line each.
      flagged: images with a finding of the quality check; None where there was no such check.
      clipped: boxes that reached over the image's edge, a line each.
    """

    pneumodet: str = ""
    versions: Mapping[str, str] | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    label_map: dict[str, int]
    seed: int | None = None
    val_fraction: float | None = None
    split: Grouping = Grouping()
    pseudonyms: bool = False
    splits: Mapping[str, SplitEntry] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    flagged: int | None = None
    clipped: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what manifest.json holds; fields of which nothing is known are left out."""
        # json turns tuples into lists; doing so here gives the same object as reading the file does
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "pneumodet": self.pneumodet,
            "versions": self.versions,
            "arguments": dict(self.arguments),
            "label_map": self.label_map,
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "split": _known(_plain(self.split)),
            "pseudonyms": self.pseudonyms,
            "splits": {name: _plain(split) for name, split in self.splits.items()},
            "counts": dict(self.counts),
            "skipped": {reason: list(lines) for reason, lines in self.skipped.items()},
        }
        quality = None if self.flagged is None else {"flagged": self.flagged}
        return _known(fields) | {"quality": quality, "clipped": list(self.clipped)}


def _plain(value: Any) -> Any:
    """Return a dataclass as JSON has it."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def read(folder: Path) -> Manifest:
    """Read a record set's manifest.

    Raises:
      DataError: the folder is no record set, or a field is missing or of the wrong kind.
    """
    if not folder.is_dir():
        raise DataError(f"There is no record set {folder}. {HINT}")
    path = folder / MANIFEST
    return of_json(paths.read_json(path, what="the manifest", hint=HINT), where=str(path))


def of_json(document: Any, *, where: str) -> Manifest:
    """Return the manifest that a file's content is.

    Args:
      document: parsed JSON.
      where: the file, for messages.

    Raises:
      DataError: it is no manifest of this version, or a field is missing or of the wrong kind.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
        raise DataError(f"{where} is not the manifest of a record set of this version. {HINT}")
    fields = _Fields(document, where)
    label_map = fields.get("label_map", dict)
    if not all(isinstance(number, int) for number in label_map.values()):
        fields.refuse("label_map", label_map, "must map names to whole numbers")
    quality = fields.below("quality")
    return Manifest(
        pneumodet=fields.get("pneumodet", str, ""),
        versions=fields.optional("versions", dict),
        arguments=fields.get("arguments", dict, {}),
        label_map=label_map,
        seed=fields.optional("seed", int),
        val_fraction=fields.optional("val_fraction", float),
        split=_grouping(fields.below("split")),
        pseudonyms=fields.get("pseudonyms", bool, False),
        splits=fields.each("splits", _split),
        counts=fields.numbers("counts"),
        skipped={reason: fields.below("skipped").texts(reason) or () for reason in fields.get("skipped", dict, {})},
        flagged=quality.get("flagged", int) if quality.values else None,
        clipped=fields.texts("clipped") or (),
    )


def _grouping(fields: "_Fields") -> Grouping:
    same_image = fields.get("same_image", list, [])
    for number, exams in enumerate(same_image):
        if not isinstance(exams, list) or not all(isinstance(exam, str) for exam in exams):
            fields.refuse(f"same_image[{number}]", exams, "must be a list of texts")
    return Grouping(
        by=fields.get("by", str, ""),
        folds=fields.get("folds", int, 0),
        stratified_by=fields.texts("stratified_by"),
        given=fields.optional("given", int),
        patients=fields.optional("patients", int),
        patients_with_several_exams=fields.optional("patients_with_several_exams", int),
        patient_overlap=fields.optional("patient_overlap", int),
        same_image=tuple(map(tuple, same_image)),
    )


def _split(fields: "_Fields") -> SplitEntry:
    statistics = fields.below("statistics")
    return SplitEntry(
        exams=fields.get("exams", int),
        patients=fields.get("patients", int),
        positive_exams=fields.get("positive_exams", int),
        boxes=fields.get("boxes", int),
        statistics={name: statistics.numbers(name) for name in statistics.values},
        annotations=fields.get("annotations", str),
        annotations_sha256=fields.get("annotations_sha256", str),
        shards=tuple(
            Shard(one.get("name", str), one.get("sha256", str), one.get("bytes", int), one.get("examples", int))
            for one in fields.objects("shards")
        ),
    )


_OPTIONAL = ("split", "quality", "statistics", "skipped")
"""Objects that a manifest may lack: it may be of another tool, or of a release that did not write them."""

_KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


@dataclasses.dataclass(frozen=True)
class _Fields:
    """A JSON object whose fields are read by name; ``name`` is where it stands in the file, with a dot at the end."""

    values: dict[str, Any]
    path: str
    name: str = ""

    def get(self, key: str, kind: type[_Kind], default: _Kind | None = None) -> _Kind:
        value = self.values.get(key, default)
        if kind is float and type(value) is int:
            value = float(value)
        # Python's True is an int, JSON's true is no number
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(key, value, f"must be {_KINDS[kind]}")
        return value

    def optional(self, key: str, kind: type[_Kind]) -> _Kind | None:
        return None if self.values.get(key) is None else self.get(key, kind)

    def below(self, key: str) -> "_Fields":
        values = (self.optional(key, dict) or {}) if key in _OPTIONAL else self.get(key, dict)
        return _Fields(values, self.path, f"{self.name}{key}.")

    def each(self, key: str, make: Callable[["_Fields"], _Made]) -> dict[str, _Made]:
        within = _Fields(self.get(key, dict), self.path, f"{self.name}{key}.")
        return {name: make(_Fields(within.get(name, dict), self.path, f"{within.name}{name}.")) for name in within.values}

    def numbers(self, key: str) -> dict[str, int]:
        within = _Fields(self.get(key, dict, {}), self.path, f"{self.name}{key}.")
        return {name: within.get(name, int) for name in within.values}

    def texts(self, key: str) -> tuple[str, ...] | None:
        lines = self.optional(key, list)
        if lines is not None and not all(isinstance(line, str) for line in lines):
            self.refuse(key, lines, "must be a list of texts")
        return None if lines is None else tuple(lines)

    def objects(self, key: str) -> list["_Fields"]:
        within = self.get(key, list)
        for number, value in enumerate(within):
            if not isinstance(value, dict):
                self.refuse(f"{key}[{number}]", value, "must be an object")
        return [_Fields(value, self.path, f"{self.name}{key}[{number}].") for number, value in enumerate(within)]

    def refuse(self, key: str, value: Any, rule: str) -> NoReturn:
        """Raise a DataError about a field."""
        there = "is missing" if value is None else f"is {repr(value)[:80]}"
        raise DataError(f"{self.path} is damaged: {self.name}{key} {there}; it {rule}. {HINT}")
