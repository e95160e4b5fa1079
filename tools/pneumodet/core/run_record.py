"""What run.json keeps of a run: what was asked for, on what data, with which versions. One form for all families of models.

record = read(folder / "run.json")
record.data.folder, record.steps
write(folder / "run.json", dataclasses.replace(record, steps=2000))

A file of an earlier pneumodet, which has no ``version`` and fewer fields, is read, too; what this module does not know is kept as it is.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import DataError

VERSION = 1
"""Of the form of run.json."""

_NEXT = "Restore the file, or start a new run."

_KINDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    tuple: "a list of texts",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The record set that a run was trained with.

    Attributes:
      folder: where it lay; a path of one machine.
      manifest_sha256: SHA-256 of its manifest, by which it is known again.
      train_exams: exams of the training split; None where the file does not say, likewise below.
      val_exams: exams of the validation split.
      split_by: what was kept together when the exams were split.
      audit: split -> counts of boxes that spoil training, of a detector.
      more: fields that this version does not know.
    """

    folder: str
    manifest_sha256: str
    train_exams: int | None = None
    val_exams: int | None = None
    split_by: str | None = None
    audit: dict[str, Any] | None = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run.

    Attributes:
      family: of the model; a file without it is a detector's.
      config: name or path of the config, as it was asked for.
      settings: ``KEY=VALUE`` that were given besides.
      seed: of weights, order and augmentation.
      steps: in all.
      batch_size: images a step.
      data: the record set; None where the file does not say.
      training: how a detector is trained beside its pipeline.config, as ``models.options.Options``.
      provenance: time, versions, commit, hardware.
      files_sha256: setting of a classifier or segmenter that names a file -> SHA-256 of that file at the start.
      parameters: numbers that the model holds.
      training_seconds: wall time of all training so far.
      steps_done: steps of the newest checkpoint.
      facts: what else the family keeps, such as the backbone and what training started from.
    """

    family: str = "detection"
    config: str | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    data: DataRecord | None = None
    training: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    files_sha256: dict[str, Any] | None = None
    parameters: int | None = None
    training_seconds: float | None = None
    steps_done: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def records(self) -> DataRecord:
        """Return the record set.

        Raises:
          DataError: the run does not say.
        """
        if self.data is None:
            raise DataError(f"run.json does not say on which records the run was trained: the field data is missing. {_NEXT}")
        return self.data

    def to_json(self) -> dict[str, Any]:
        """Return what run.json holds; fields of which nothing is known are left out."""
        facts, fields = self.facts, _known(self, without="facts")
        if self.data is not None:
            fields["data"] = _known(self.data, without="more") | self.data.more
        return {"version": VERSION} | {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()} | facts


def _known(record: Any, *, without: str) -> dict[str, Any]:
    pairs = ((field.name, getattr(record, field.name)) for field in dataclasses.fields(record) if field.name != without)
    return {name: value for name, value in pairs if value is not None}


def read(path: Path) -> RunRecord:
    """Read a run.json.

    Raises:
      DataError: there is none, it is no JSON, a newer pneumodet wrote it, or a field is wrong, which is named.
    """
    return of_json(paths.read_json(path, what="the run's record", hint=_NEXT), where=str(path))


def write(path: Path, record: RunRecord) -> None:
    """Write a run.json, atomically."""
    paths.write_json(path, record.to_json())


def of_json(content: Any, *, where: str) -> RunRecord:
    """Return the record that a run.json's content is.

    Args:
      content: parsed JSON.
      where: the file, for messages.

    Raises:
      DataError: a newer pneumodet wrote it, or a field is wrong, which is named.
    """
    fields = _checked(RunRecord, content, where=where, prefix="", rest="facts")
    # a form's version is no field of the record, and so lies among what is not known
    version = fields["facts"].pop("version", VERSION)
    if type(version) is not int or version < 1:
        raise _wrong(where, "version", version, "a whole number of at least 1")
    if version > VERSION:
        raise DataError(
            f"{where} has the form {version}, but this pneumodet knows 1 to {VERSION}. Use the pneumodet that trained the run, or a newer one."
        )
    if fields.get("data") is not None:
        of_data = _checked(DataRecord, fields["data"], where=where, prefix="data.", rest="more")
        for name in ("folder", "manifest_sha256"):
            if of_data.get(name) is None:
                raise DataError(f"{where}: the field data.{name} is missing. {_NEXT}")
        fields["data"] = DataRecord(**of_data)
    return RunRecord(**fields)


_TYPES: dict[str, type] = {
    **dict.fromkeys(("family", "config", "folder", "manifest_sha256", "split_by"), str),
    **dict.fromkeys(("seed", "steps", "batch_size", "parameters", "steps_done", "train_exams", "val_exams"), int),
    **dict.fromkeys(("data", "training", "provenance", "files_sha256", "audit"), dict),
    "settings": tuple,
    "training_seconds": float,
}


def _checked(kind: type, content: Any, *, where: str, prefix: str, rest: str) -> dict[str, Any]:
    """Return a dataclass's fields out of a JSON object, each of its type; all others under the name ``rest``."""
    if not isinstance(content, Mapping):
        raise _wrong(where, prefix.rstrip(".") or "content", content, _KINDS[dict])
    known = {field.name for field in dataclasses.fields(kind)} - {rest}
    fields: dict[str, Any] = {rest: {key: value for key, value in content.items() if key not in known}}
    for name in known & content.keys():
        value, wanted = content[name], _TYPES[name]
        if wanted is tuple and isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = tuple(value)
        if wanted is float and type(value) is int:
            value = float(value)
        # type, not isinstance: true is no whole number
        if value is not None and type(value) is not wanted:
            raise _wrong(where, prefix + name, value, _KINDS[wanted])
        if value is not None:
            fields[name] = value
    return fields


def _wrong(where: str, name: str, value: Any, wanted: str) -> DataError:
    return DataError(f"{where}: the field {name} is {value!r}, must be {wanted}. {_NEXT}")
