"""model.json: what an exported model is, for programs.

card = read(folder / CARD)
card.run, card.score_threshold, card.artefacts["onnx"].file
write(folder / CARD, card)

Files of earlier exports are read, too: version 1 knew the SavedModel alone, and had fewer fields. A classifier's file is of version 3, a detector's of version
2, which earlier releases read. What this module does not know is left alone.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pneumodet.core import json_fields, paths, runs
from pneumodet.core import seen as seen_exams
from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.core.json_fields import Fields
from pneumodet.core.run_record import DataRecord
from pneumodet.core.seen import Seen
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.probability import Calibrator
from pneumodet.inference.sizes import Size
from pneumodet.inference.suppression import Ranges, Settings

CARD = "model.json"
"""The file's name."""

FORMAT, VERSION = "pneumodet-model", 3
"""Of the file."""

_WITHOUT_SCORES = 2
"""The version of a file without ``SCORES``."""

DETECTIONS, BOXES, ENCODINGS, TASK, SCORES = "detections", "boxes", "encodings", "task", "scores"
"""What an artefact answers with: detections as the API has them; boxes and scores before suppression; before these are decoded, the encodings and logits
of each feature map; detections as TensorFlow Lite's own operation has them, whose classes count from 0; or, of a classifier, a score of the whole image for
each class of the label map."""

FAMILIES = (runs.DETECTION, runs.CLASSIFICATION)
"""Families of models that are exported."""

_OF_DETECTORS, _OF_CLASSIFIERS = (DETECTIONS, BOXES, ENCODINGS, TASK), (SCORES,)
"""What their files may answer with."""

SAVED_MODEL = "saved_model"
"""The folder of a SavedModel in an export, as the API's exporter calls it."""

_NEXT = "Export the run again."

INPUT_FACTS: dict[str, Any] = {"dtype": "uint8", "range": [0, 255], "layout": "NHWC, three equal channels, dark air and bright bone"}
"""Of every model's input; written for other programs, and not read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file, or folder, that holds the model in one format.

    Attributes:
      file: its name in the export.
      outputs: what it answers with, one of DETECTIONS, BOXES, ENCODINGS, TASK, SCORES.
      sha256: as ``exported.sha256`` computes it; an export of version 1 has none, nor the size.
      bytes: its size.
      anchors: with ENCODINGS: the name of the file of anchors, …
      feature_maps: … the number of feature maps, …
      ranges: … and what the outputs of each were cut off at; None where they were not.
    """

    file: str
    outputs: str
    sha256: str | None = None
    bytes: int | None = None
    anchors: str | None = None
    feature_maps: int | None = None
    ranges: tuple[Ranges, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what model.json holds of it; what is not known is left out, but for the ranges of a model that may have some."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if value is not None or (key == "ranges" and self.anchors is not None)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What an exported model is. Of a field that is None nothing is known.

    Attributes:
      run: name of the run that was exported.
      family: of the run, detection or classification; None of an earlier export, which is a detector's.
      checkpoint: name of its checkpoint.
      checkpoint_sha256: of the sorted lines "sha256  name" of the checkpoint's files.
      checkpoint_chosen_of: of how many evaluations on the validation split the checkpoint is the best.
      architecture: the API's name of the kind of model, such as ``ssd``, or the backbone of a classifier.
      label_map: class -> id.
      size: what it takes; ``input`` in the file.
      postprocessing: how boxes become detections, of a model of one stage.
      recipe: post-processing that goes with the model.
      config: name or path of the config that the run was trained with.
      seen: the exams that it was trained, chosen and tuned on, its recipe and the runs that it began from included; None where an earlier pneumodet
        exported it.
      data: the records that it was trained with; their folder, a path of one machine, is not in the file, and empty here.
      trained: versions and hardware of the training, as ``runs.provenance`` returns them.
      exported: versions and hardware of the export.
      metrics: figures of the evaluation of this checkpoint, with the keys of metrics.json; None where it was not evaluated.
      score_threshold: of that evaluation.
      calibrator: makes probabilities of scores.
      artefacts: format -> its file.
    """

    run: str | None = None
    family: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    checkpoint_chosen_of: int | None = None
    architecture: str | None = None
    label_map: dict[str, int] | None = None
    size: Size | None = None
    postprocessing: Settings | None = None
    recipe: Recipe | None = None
    config: str | None = None
    seen: Seen | None = None
    data: DataRecord | None = None
    trained: dict[str, Any] | None = None
    exported: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    score_threshold: float | None = None
    calibrator: Calibrator | None = None
    artefacts: dict[str, Artefact] = dataclasses.field(default_factory=dict)

    @property
    def has_boxes(self) -> bool:
        """Whether it detects; a classifier scores whole images."""
        return self.family in (None, runs.DETECTION)

    def to_json(self) -> dict[str, Any]:
        """Return what model.json holds, but for the artefacts and ``seen``: what goes into a file of another format, too, as its metadata."""
        return {
            "format": FORMAT,
            "version": _WITHOUT_SCORES if self.has_boxes else VERSION,
            "run": self.run,
            "family": self.family,
            "checkpoint": self.checkpoint,
            "checkpoint_sha256": self.checkpoint_sha256,
            "checkpoint_chosen_of": self.checkpoint_chosen_of,
            "architecture": self.architecture,
            "label_map": self.label_map,
            "input": self.size and {**dataclasses.asdict(self.size), **INPUT_FACTS},
            "postprocessing": self.postprocessing and dataclasses.asdict(self.postprocessing),
            "recipe": self.recipe and dataclasses.asdict(self.recipe),
            "config": self.config,
            "data": self.data and _data_json(self.data),
            "trained": self.trained,
            "exported": self.exported,
            "metrics": self.metrics,
            "score_threshold": self.score_threshold,
            "calibrator": self.calibrator and self.calibrator.to_json(),
        }


def _data_json(data: DataRecord) -> dict[str, Any]:
    known = ("manifest_sha256", "train_exams", "val_exams", "split_by", "audit")
    return {name: getattr(data, name) for name in known if getattr(data, name) not in (None, "")} | data.more


def write(path: Path, card: ModelCard) -> None:
    """Write a model.json, atomically.

    Raises:
      DataError: it cannot be written.
    """
    artefacts = {name: artefact.to_json() for name, artefact in card.artefacts.items()}
    paths.write_json(path, {**card.to_json(), "seen": card.seen and card.seen.to_json(), "artefacts": artefacts})


def read(path: Path) -> ModelCard:
    """Read a model.json.

    Raises:
      CheckpointError: there is none, it is no JSON, a newer pneumodet wrote it, or a field is wrong, which is named.
    """
    fields = json_fields.of_file(path, what="the model card", error=CheckpointError, hint=_NEXT)
    if fields.optional("format", str) not in (None, FORMAT):
        raise fields.wrong("format", repr(FORMAT))
    # none by hand, or by a test; every export has written one
    version = fields.version(VERSION) or VERSION
    family = fields.choice("family", FAMILIES) if fields.optional("family", str) is not None else None
    return ModelCard(
        run=fields.optional("run", str),
        family=family,
        checkpoint=fields.optional("checkpoint", str),
        checkpoint_sha256=fields.optional("checkpoint_sha256", str),
        checkpoint_chosen_of=fields.optional("checkpoint_chosen_of", int),
        architecture=fields.optional("architecture", str),
        label_map=fields.typed("label_map", dict[str, int]),
        size=Size.of_fields(part) if (part := fields.part("input")) else None,
        postprocessing=Settings.of_fields(part) if (part := fields.part("postprocessing")) else None,
        recipe=_recipe(fields),
        config=fields.optional("config", str),
        seen=_seen(part) if (part := fields.part("seen")) else None,
        data=_data(part) if (part := fields.part("data")) else None,
        trained=fields.optional("trained", dict),
        exported=fields.optional("exported", dict),
        metrics=_metrics(fields),
        score_threshold=fields.optional("score_threshold", float),
        calibrator=_calibrator(fields),
        artefacts=_artefacts(fields, version, family),
    )


def _seen(fields: Fields) -> Seen:
    fields.version(seen_exams.VERSION)
    return fields.build(Seen)


def _metrics(fields: Fields) -> dict[str, Any] | None:
    """Return the figures, those of them checked that sentences about the model are made of."""
    part = fields.part("metrics")
    if part is not None:
        for name in ("images", "patients", "checkpoint_chosen_of"):
            part.count(name)
        part.part("operating_point")
    return fields.optional("metrics", dict)


def _recipe(fields: Fields) -> Recipe | None:
    content = fields.optional("recipe", dict)
    try:
        return None if content is None else Recipe.of_json(content)
    except ConfigError as error:
        # the recipe's error names its key, but not the file that it is in
        raise fields.wrong("recipe", f"a recipe: {str(error).rstrip('.')}") from error


def _calibrator(fields: Fields) -> Calibrator | None:
    content = fields.optional("calibrator", dict)
    try:
        return None if content is None else Calibrator.from_json(content)
    except ConfigError as error:
        raise fields.wrong("calibrator", f"a calibrator: {str(error).rstrip('.')}") from error


def _data(fields: Fields) -> DataRecord:
    return DataRecord(
        folder="",
        manifest_sha256=fields.optional("manifest_sha256", str) or "",
        train_exams=fields.optional("train_exams", int),
        val_exams=fields.optional("val_exams", int),
        split_by=fields.optional("split_by", str),
        audit=fields.optional("audit", dict),
    )


def _artefacts(fields: Fields, version: int, family: str | None) -> dict[str, Artefact]:
    # version 1 has no list: it knew the SavedModel alone
    if version == 1 and fields.optional("artefacts", dict) is None:
        return {"savedmodel": Artefact(file=SAVED_MODEL, outputs=DETECTIONS)}
    answers = _OF_CLASSIFIERS if family == runs.CLASSIFICATION else _OF_DETECTORS
    artefacts = {name: _artefact(part, answers) for name, part in fields.parts("artefacts")}
    if not artefacts:
        raise fields.wrong("artefacts", "an object with at least one file of a model")
    return artefacts


def _artefact(fields: Fields, answers: Collection[str]) -> Artefact:
    file = fields.file_name("file")
    if file is None:
        raise fields.wrong("file", "a text")
    outputs, anchors, feature_maps = fields.choice("outputs", answers), None, None
    ranges = None
    if outputs == ENCODINGS:
        anchors, feature_maps = fields.file_name("anchors"), fields.count("feature_maps", least=1)
        if anchors is None:
            raise fields.wrong("anchors", "a text")
        if feature_maps is None:
            raise fields.wrong("feature_maps", "a whole number of at least 1")
        # an empty list is null: outputs that were not cut off
        parts = fields.listed("ranges")
        if parts is not None and len(parts) not in (0, feature_maps):
            raise fields.wrong("ranges", f"a list of {feature_maps} objects, one for each feature map")
        ranges = tuple(map(Ranges.of_fields, parts)) if parts else None
    return Artefact(
        file=file,
        outputs=outputs,
        sha256=fields.optional("sha256", str),
        bytes=fields.count("bytes"),
        anchors=anchors,
        feature_maps=feature_maps,
        ranges=ranges,
    )
