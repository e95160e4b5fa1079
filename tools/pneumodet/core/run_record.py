"""What run.json keeps of a run: what was asked for, on what data, with which versions. One form for all families of models.

record = read(folder / "run.json")
record.data.folder, record.steps
write(folder / "run.json", dataclasses.replace(record, steps=2000))

A file of an earlier pneumodet, which has no ``version`` and fewer fields, is read, too; what this module does not know is kept as it is.
"""

import dataclasses
from pathlib import Path
from typing import Any

from pneumodet.core import json_text, paths
from pneumodet.core import seen as seen_exams
from pneumodet.core.errors import DataError
from pneumodet.core.json_fields import REST, Fields
from pneumodet.core.seen import Seen

VERSION = 1
"""Of the form of run.json."""

_NEXT = "Restore the file, or start a new run."


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
    more: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=REST)


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
      seen: the exams that it was trained and chosen on, with those of the runs that it began from; None where the file does not say.
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
    seen: Seen | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=REST)

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
        if self.seen is not None:
            fields["seen"] = self.seen.to_json()
        return {"version": VERSION} | {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()} | facts


def _known(record: Any, *, without: str) -> dict[str, Any]:
    pairs = ((field.name, getattr(record, field.name)) for field in dataclasses.fields(record) if field.name != without)
    return {name: value for name, value in pairs if value is not None}


def read(path: Path) -> RunRecord:
    """Read a run.json.

    Raises:
      DataError: there is none, it is no JSON, a newer pneumodet wrote it, or a field is wrong, which is named.
    """
    return of_json(json_text.read(path, what="the run's record", hint=_NEXT), where=str(path))


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
    fields = Fields(content, where=where, error=DataError, hint=_NEXT)
    fields.version(VERSION)
    if part := fields.part("seen"):
        part.version(seen_exams.VERSION)
    record = fields.build(RunRecord)
    # a form's version is no field of the record, and so lies among what is not known
    return dataclasses.replace(record, facts={name: value for name, value in record.facts.items() if name != "version"})
