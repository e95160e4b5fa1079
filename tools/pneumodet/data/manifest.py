"""manifest.json of a record set: its form, its writer, and a reader that names the field that is wrong.

manifest = read(folder)
manifest.label_map["pneumonia"], manifest.splits["val"].exams, manifest.splits["val"].shards[0].name
paths.write_json(folder / MANIFEST, dataclasses.replace(manifest, seed=1).to_json())
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import json_text
from pneumodet.core.errors import DataError
from pneumodet.core.json_fields import Fields

MANIFEST = "manifest.json"
"""Written last: a folder that has it is whole."""

FORMAT, VERSION = "pneumodet-records", 2
"""What a manifest says of its own form. The version changes where an older reader would read something wrong; fields may be added without."""

IMAGE_NOTE = "image: "
"""Begins what was done or passed over where images were made, in ``Manifest.counts``."""

WITHOUT_A_BOX = "positive exams without a box"
"""Counted under "labels: " in ``Manifest.counts``: exams for classifiers, which a detector refuses."""

HINT = "Make the records with tools/make_tfrecords.py."


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
      own: splits of the data set's own that were kept; empty where it has none, or all patients were dealt.
      own_moved: exams that are in another split than the data set's own, since their patient is in several of its splits.
      patients: how many there are.
      patients_with_several_exams: how many of them.
      patient_overlap: patients in several splits; records are not written unless it is 0.
      same_image: groups of exams of several splits that have the very same image.
    """

    by: str = ""
    folds: int = 0
    stratified_by: tuple[str, ...] | None = None
    given: int | None = None
    own: tuple[str, ...] = ()
    own_moved: int | None = None
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
      test_fraction: expected share of patients in ``test``.
      split: how exams were dealt to splits.
      pseudonyms: whether ids are keyed hashes.
      splits: name -> split; ``train`` and ``val``, or ``fold-0`` and so on, and ``test``.
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
    test_fraction: float | None = None
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
            "test_fraction": self.test_fraction,
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
    return of_json(json_text.read(path, what="the manifest", hint=HINT), where=str(path))


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
    fields = Fields(document, where=where, error=DataError, hint=HINT)
    manifest = fields.build(Manifest)
    fields.required("splits", dict)  # of other fields another tool, or an earlier release, may say nothing
    quality = fields.part("quality")
    return dataclasses.replace(manifest, flagged=None if quality is None else quality.required("flagged", int))
