"""Export a run: its checkpoint in one or more formats, each compared with the checkpoint on radiographs, and beside them what they are.

outcome = export(Path("workspace/my_first"), Path("workspace/my_first/export"), formats=("savedmodel", "onnx"))
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import folders, paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, first_line
from pneumodet.core.logs import hidden_output
from pneumodet.export import card as run_card
from pneumodet.export import graphs, measuring, quantizing, sampling
from pneumodet.inference import card as cards
from pneumodet.inference import exported, trust
from pneumodet.inference import parity as parity_file
from pneumodet.inference.card import Artefact, ModelCard
from pneumodet.inference.parity import Parity
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.models.detection import pipeline_config

FORMATS = tuple(exported.FILES)
"""What a run is exported as."""

Samples = Callable[[], Iterator[list[np.ndarray]]]
"""Gives anew what a model takes of some training radiographs."""

CALIBRATION_IMAGES = 200
"""Training radiographs from which a quantized model takes the ranges of its values; 100 to 500 are usual."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was exported.

    Attributes:
      card: of the model, which model.json holds.
      parity: what parity.json holds, or None where nothing was compared.
    """

    card: ModelCard
    parity: Parity | None


def export(
    folder: Path,
    output_dir: Path,
    *,
    formats: Sequence[str] = ("savedmodel",),
    data_dir: Path | None = None,
    parity: bool = True,
    limit: int | None = None,
    recipe: Path | None = None,
    overwrite: bool = False,
    on_measured: Callable[[Parity], None] = lambda parity: None,
    progress: measuring.Progress = lambda total: lambda: None,
) -> Outcome:
    """Export the best checkpoint of a run, or its newest where it has no best one.

    Writes the files of ``exported.FILES``, ``model.json``, ``label_map.pbtxt``, ``pipeline.config``, ``parity.json`` and ``MODEL_CARD.md``. The SavedModel
    has the API's signature (uint8 ``input_tensor`` (1, H, W, 3) in; ``detection_boxes`` yxyx_norm, ``detection_scores``, ``detection_classes`` from 1,
    ``num_detections`` out), and ``checkpoint/`` beside it. The folder appears whole or not at all: where one file is outside of its tolerance, nothing
    changes.

    Formats that are in the folder already stay. Where they were made of another checkpoint, which takes ``overwrite``, they are made again.

    Args:
      folder: the run.
      output_dir: the folder.
      formats: some of FORMATS.
      data_dir: the records; by default those that the run was trained with.
      parity: compare each new file with the checkpoint on the validation records.
      limit: on so many of them, chosen by class and view; None: on all.
      recipe: post-processing that goes with the model, see ``inference.postprocess.recipe``.
      overwrite: replace formats that are there; they stay until the new ones are whole.
      on_measured: is given what parity.json will hold, before anything is refused.
      progress: see ``measuring.Progress``.

    Raises:
      ConfigError: a format cannot carry this model, or the recipe is malformed.
      DataError: ``output_dir`` is in use, the disk is full, or there are no records.
      CheckpointError: the run has no checkpoint, it does not fit its config, or a file's detections are not those of the checkpoint.
      EnvironmentProblem: a converter is not installed.
    """
    from pneumodet.models.detection import checkpoints

    config = pipeline_config.load(str(folder / runs.CONFIG))
    checkpoint = checkpoints.of_run(folder)
    # what can refuse an export comes before the model is built and converted
    kept, formats = _plan(output_dir, run_card.sha256_of(checkpoint), formats, overwrite=overwrite)
    # the formats that stay were exported with this recipe, and the new card is theirs, too
    if recipe is None and kept and (output_dir / recipes.RECIPE).is_file():
        recipe = output_dir / recipes.RECIPE
    card, metrics = run_card.of_run(folder, config, checkpoint, recipe=recipe)
    kinds = {name: _kind(name, config) for name in formats}
    records = measuring.Records.of_run(folder, data_dir, limit=limit) if parity else None
    samples = _samples(folder, data_dir, config) if "tflite-int8" in formats else None
    with folders.new_folder(output_dir, marker=cards.CARD, overwrite=True) as new, _on_disk(output_dir):
        artefacts = _copied(output_dir, new, kept)
        if "savedmodel" in formats:
            _saved_model(config, checkpoint, new)
        else:
            # the API's exporter, which writes the SavedModel, writes this file as well
            shutil.copyfile(folder / runs.CONFIG, new / runs.CONFIG)
        shutil.copyfile(folder / runs.LABEL_MAP, new / exported.LABEL_MAP)
        if recipe:
            shutil.copyfile(recipe, new / recipes.RECIPE)
        # a SavedModel that is not compared needs no model here: the API's exporter restores one of its own
        model = None if not records and set(formats) <= {"savedmodel"} else _restored(config, checkpoint)
        artefacts |= _made(kinds, model, config, new, metadata=card.to_json(), samples=samples)
        card = dataclasses.replace(card, artefacts={name: artefacts[name] for name in FORMATS if name in artefacts})
        cards.write(new / cards.CARD, card)  # before the comparison, which opens the export as any user of it does
        if not records:
            measured = _earlier(output_dir, kept)
        else:
            measured = records.compare(model, config, exported.read(new), formats, threshold=card.score_threshold, progress=progress)
            earlier = _earlier(output_dir, kept)
            if earlier is not None:
                measured = dataclasses.replace(measured, artefacts=earlier.artefacts | measured.artefacts)
            on_measured(measured)  # first, so that a refused export says by how much it differs
            measuring.refuse_unlike(measured, formats)
        if measured:
            paths.write_json(new / exported.PARITY, measured.to_json())
        if "savedmodel" in formats and (sha256 := card.artefacts["savedmodel"].sha256):
            trust.remember(sha256, run=folder.name)  # before it has its name: then nobody finds it without
        (new / exported.READ_ME).write_text(run_card.read_me(card, metrics, measured), encoding="utf-8")
    return Outcome(card, measured)


def _plan(output_dir: Path, checkpoint_sha256: str, formats: Sequence[str], *, overwrite: bool) -> tuple[dict[str, Artefact], list[str]]:
    """Return (the artefacts that stay, the formats to make).

    Raises:
      DataError: ``output_dir`` is in use, and nothing there may be replaced.
    """
    wanted = [name for name in FORMATS if name in formats]
    try:
        there = exported.read(output_dir)
    except CheckpointError:  # none, or a damaged one
        folders.check_free(output_dir, marker=cards.CARD, overwrite=overwrite)
        return {}, wanted
    same = there.card.checkpoint_sha256 == checkpoint_sha256
    # a new format of the same checkpoint replaces nothing, and needs no --overwrite
    adds = same and not set(wanted) & there.artefacts.keys()
    if not adds:
        folders.check_free(output_dir, marker=cards.CARD, overwrite=overwrite)
    if same:
        return {name: artefact for name, artefact in there.artefacts.items() if name not in wanted}, wanted
    # of another checkpoint: all is made again, since one model.json can name only one
    return {}, [name for name in FORMATS if name in wanted or name in there.artefacts]


def _kind(name: str, config: Any) -> str:
    """Return what a format's file answers with.

    Raises:
      ConfigError: the format cannot carry this model.
    """
    from pneumodet.models.detection import resizing

    settings, reason = graphs.settings_of(config)
    if name == "savedmodel":
        return cards.DETECTIONS
    if settings and not resizing.of_config(config).canvas_hw:
        settings, reason = None, "its input has no fixed size"
    if name == "onnx":
        # suppression in numpy where it is known; else it stays in the graph, for which ONNX has operations
        return cards.BOXES if settings else cards.DETECTIONS
    if not settings:
        raise ConfigError(
            f"{name} cannot carry this model: {reason}, and TensorFlow Lite has no operations for what follows then (crops of feature maps, numbers of "
            f"boxes that vary). Leave {name} out of --formats; savedmodel and onnx can."
        )
    if name == "tflite-task":
        if resizing.of_config(config).padded:
            raise ConfigError(
                f"{name} cannot carry this model, which pads its images: programs that read its metadata stretch every image to the whole input. Leave "
                f"{name} out of --formats."
            )
        return cards.TASK
    return cards.ENCODINGS if name == "tflite-int8" else cards.BOXES


def _samples(folder: Path, data_dir: Path | None, config: Any) -> Samples:
    """Return what gives what the model takes of training radiographs, chosen by class and view.

    Raises:
      DataError: there are no training records.
    """
    try:
        split = measuring.split_of_run(folder, data_dir, "train")
    except DataError as error:
        raise DataError(f"tflite-int8 takes the ranges of its values from the training records: {error}") from error
    exams = set(sampling.choose(split.instances["images"], {row["image_id"] for row in split.instances["annotations"]}, CALIBRATION_IMAGES))
    return lambda: measuring.inputs(config, (pixels for _, pixels in split.pixels(exams)))


@contextlib.contextmanager
def _on_disk(output_dir: Path) -> Iterator[None]:
    """Say which folder an error of TensorFlow is about."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise DataError(f"Cannot write {output_dir}: {first_line(error)}. Free some disk space or choose another folder.") from error


def _copied(output_dir: Path, new: Path, kept: dict[str, Artefact]) -> dict[str, Artefact]:
    names = [name for one in kept.values() for name in (one.file, one.anchors) if name] + ["checkpoint"] * ("savedmodel" in kept)
    for name in names:
        path = output_dir / name
        shutil.copytree(path, new / name) if path.is_dir() else shutil.copyfile(path, new / name)
    return dict(kept)


def _saved_model(config: Any, checkpoint: str, new: Path) -> None:
    from pneumodet.models.detection import odapi

    api = odapi.load()
    import tensorflow as tf

    tf.keras.backend.clear_session()
    try:
        with hidden_output(), _exported_from(config, checkpoint) as source, _traced_as_written(api.exporter.DetectionInferenceModule):
            api.exporter.export_inference_graph("image_tensor", config, str(source), str(new))
    except (AssertionError, IndexError, ValueError) as error:  # upstream's restore: not all matched, cut off, another shape
        raise CheckpointError(f"Checkpoint {checkpoint} is damaged or does not fit the run's config: {first_line(error)}.") from error


@contextlib.contextmanager
def _exported_from(config: Any, checkpoint: str) -> Iterator[Path]:
    """Yield the folder of the checkpoint that the API's exporter reads, which knows weights only: averages are written as such for it."""
    if not pipeline_config.averaged(config):
        yield Path(checkpoint).parent
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.train.CheckpointManager(tf.train.Checkpoint(model=_restored(config, checkpoint)), folder, max_to_keep=1).save(
            checkpoint_number=0
        )
        tf.keras.backend.clear_session()
        yield Path(folder)


@contextlib.contextmanager
def _traced_as_written(module: Any) -> Iterator[None]:
    """Keep AutoGraph away from what the API's exporter traces: it has no Python if or while on tensors, and rewriting it takes two thirds of an export."""
    import tensorflow as tf

    methods = {name: getattr(module, name) for name in ("_preprocess_input", "_run_inference_on_images")}
    for name, method in methods.items():
        setattr(module, name, tf.autograph.experimental.do_not_convert(method))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(module, name, method)


def _restored(config: Any, checkpoint: str) -> Any:
    import tensorflow as tf

    from pneumodet.models.detection import running

    tf.keras.backend.clear_session()
    return running.model_of(config, checkpoint)


def _made(
    kinds: dict[str, str], model: Any, config: Any, new: Path, *, metadata: dict[str, Any], samples: Samples | None
) -> dict[str, Artefact]:
    """Write the files of formats, but for the SavedModel, which is there; return all of these artefacts.

    Args:
      kinds: format -> what its file answers with.
      model: restored; None where the SavedModel is the only format.
      config: its TrainEvalPipelineConfig.
      new: the folder.
      metadata: goes into each file.
      samples: for "tflite-int8".
    """
    artefacts = {}
    parts: dict[str, graphs.Part] = {}  # formats that answer alike share one, which is traced once
    for name, kind in kinds.items():
        artefact = Artefact(file=exported.FILES[name], outputs=kind)
        if name != "savedmodel":
            if kind not in parts:
                parts[kind] = graphs.of_model(model, config, kind=kind)
            artefact = _write(name, artefact, parts[kind], model, config, new, metadata=metadata, samples=samples)
        artefacts[name] = _measured(artefact, new)
    return artefacts


def _write(
    name: str,
    artefact: Artefact,
    part: graphs.Part,
    model: Any,
    config: Any,
    new: Path,
    *,
    metadata: dict[str, Any],
    samples: Samples | None,
) -> Artefact:
    """Write a format's file, and return what ``inference`` needs to know of it."""
    from pneumodet.export import to_onnx, to_tflite

    path = new / artefact.file
    if name == "onnx":
        to_onnx.write(part, path, metadata=metadata)
        return artefact
    settings, _ = graphs.settings_of(config)
    if artefact.outputs in (cards.BOXES, cards.TASK) or settings is None or samples is None:  # encodings have both, see _kind and export
        to_tflite.write(part, path, kind=name, metadata=metadata)
        return artefact
    # twice: ranges are taken from outputs that are not cut off, and the quantized part cuts them off there
    ranges = quantizing.ranges(part, settings, samples())
    bounded = graphs.of_model(model, config, kind=artefact.outputs, ranges=ranges)
    to_tflite.write(bounded, path, kind=name, metadata=metadata, images=samples)
    np.save(new / exported.ANCHORS, graphs.anchors_of(model, config))
    return dataclasses.replace(
        artefact, anchors=exported.ANCHORS, feature_maps=len(part.names) // 2, ranges=None if ranges is None else tuple(ranges)
    )


def _measured(artefact: Artefact, new: Path) -> Artefact:
    """Return an artefact with the SHA-256 and the size of its file."""
    path = new / artefact.file
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    return dataclasses.replace(artefact, sha256=exported.sha256(path), bytes=sum(one.stat().st_size for one in files))


def _earlier(output_dir: Path, kept: dict[str, Artefact]) -> Parity | None:
    """Return an earlier comparison, of the files that stay; None where there is none."""
    if not kept or not (output_dir / exported.PARITY).is_file():
        return None
    measured = parity_file.read(output_dir / exported.PARITY)
    return dataclasses.replace(measured, artefacts={name: one for name, one in measured.artefacts.items() if name in kept})
