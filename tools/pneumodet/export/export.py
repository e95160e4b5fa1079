"""Export a run: its checkpoint in one or more formats, each proven to find what the checkpoint finds, and beside them what they are.

outcome = export(Path("workspace/my_first"), Path("workspace/my_first/export"), formats=("savedmodel", "onnx"))
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import folders, paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, first_line
from pneumodet.core.logs import hidden_output
from pneumodet.export import card as cards
from pneumodet.export import graphs, measuring, quantizing, sampling
from pneumodet.inference import exported
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.models.detection import pipeline_config

FORMATS = tuple(exported.FILES)
"""What a run is exported as."""

CALIBRATION_IMAGES = 200
"""Training radiographs from which a quantized model takes the ranges of its values; 100 to 500 are usual."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was exported.

    Attributes:
      card: what model.json holds.
      parity: what parity.json holds, or None where nothing was compared.
    """

    card: dict[str, Any]
    parity: dict[str, Any] | None


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
    on_measured: Callable[[dict[str, Any]], None] = lambda parity: None,
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
      CheckpointError: the run has no checkpoint, it does not fit its config, or a file does not find what the checkpoint finds.
      EnvironmentProblem: a converter is not installed.
    """
    from pneumodet.models.detection import checkpoints

    config = pipeline_config.load(str(folder / runs.CONFIG))
    checkpoint = checkpoints.of_run(folder)
    kept, formats = _plan(output_dir, cards.sha256_of(checkpoint), formats, overwrite=overwrite)
    if recipe is None and kept and (output_dir / recipes.RECIPE).is_file():
        recipe = output_dir / recipes.RECIPE
    card, metrics = cards.of_run(folder, config, checkpoint, recipe=recipe)
    kinds = {name: _kind(name, config) for name in formats}
    records = measuring.Records.of_run(folder, data_dir, limit=limit) if parity else None
    samples = _samples(folder, data_dir, config) if "tflite-int8" in formats else None
    with folders.new_folder(output_dir, marker=exported.CARD, overwrite=True) as new, _on_disk(output_dir):
        card["artefacts"] = _copied(output_dir, new, kept)
        if "savedmodel" in formats:
            _saved_model(config, checkpoint, new)
        else:
            shutil.copyfile(folder / runs.CONFIG, new / runs.CONFIG)
        shutil.copyfile(folder / runs.LABEL_MAP, new / exported.LABEL_MAP)
        if recipe:
            shutil.copyfile(recipe, new / recipes.RECIPE)
        model = None if not records and set(formats) <= {"savedmodel"} else _restored(config, checkpoint)
        for name, kind in kinds.items():
            more = {}
            if name != "savedmodel":
                more = _write(name, kind, model, config, new, metadata=_metadata(card), samples=samples)
            card["artefacts"][name] = _about(name, kind, new) | more
        card["artefacts"] = {name: card["artefacts"][name] for name in FORMATS if name in card["artefacts"]}
        paths.write_json(new / exported.CARD, card)
        found = None
        if records:
            found = records.compare(model, config, exported.read(new), formats, threshold=card["score_threshold"], progress=progress)
            _keep_earlier(found, output_dir, kept)
            on_measured(found)
            measuring.refuse_unlike(found, formats)
        elif kept and (output_dir / exported.PARITY).is_file():
            found = paths.read_json(output_dir / exported.PARITY, what="the comparison", hint="Export with --overwrite.")
            found["artefacts"] = {name: one for name, one in found["artefacts"].items() if name in kept}
        if found:
            paths.write_json(new / exported.PARITY, found)
        (new / exported.READ_ME).write_text(cards.read_me(card, metrics, found), encoding="utf-8")
    return Outcome(card, found)


def _plan(output_dir: Path, checkpoint_sha256: str, formats: Sequence[str], *, overwrite: bool) -> tuple[dict[str, Any], list[str]]:
    """Return (the artefacts that stay, the formats to make).

    Raises:
      DataError: ``output_dir`` is in use, and nothing there may be replaced.
    """
    wanted = [name for name in FORMATS if name in formats]
    try:
        there = exported.read(output_dir)
    except CheckpointError:  # none, or a damaged one
        folders.check_free(output_dir, marker=exported.CARD, overwrite=overwrite)
        return {}, wanted
    same = there.card.get("checkpoint_sha256") == checkpoint_sha256
    adds = same and not set(wanted) & there.artefacts.keys()
    if not adds:
        folders.check_free(output_dir, marker=exported.CARD, overwrite=overwrite)
    if same:
        return {name: about for name, about in there.artefacts.items() if name not in wanted}, wanted
    return {}, [name for name in FORMATS if name in wanted or name in there.artefacts]


def _kind(name: str, config: Any) -> str:
    """Return what a format's file answers with.

    Raises:
      ConfigError: the format cannot carry this model.
    """
    from pneumodet.models.detection import resizing

    settings, reason = graphs.settings_of(config)
    if name == "savedmodel":
        return exported.DETECTIONS
    if settings and not resizing.of_config(config).canvas_hw:
        settings, reason = None, "its input has no fixed size"
    if name == "onnx":
        return exported.BOXES if settings else exported.DETECTIONS
    if not settings:
        raise ConfigError(
            f"{name} cannot carry this model: {reason}, and TensorFlow Lite has no operations for what follows then (crops of feature maps, numbers of "
            f"boxes that vary). Leave {name} out of --formats; savedmodel and onnx can."
        )
    return exported.ENCODINGS if name == "tflite-int8" else exported.BOXES


def _samples(folder: Path, data_dir: Path | None, config: Any) -> Callable[[], Iterator[list[np.ndarray]]]:
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


def _copied(output_dir: Path, new: Path, kept: dict[str, Any]) -> dict[str, Any]:
    names = [one[key] for one in kept.values() for key in ("file", "anchors") if key in one] + ["checkpoint"] * ("savedmodel" in kept)
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
        with hidden_output():
            api.exporter.export_inference_graph("image_tensor", config, str(Path(checkpoint).parent), str(new))
    except (AssertionError, IndexError, ValueError) as error:  # upstream's restore: not all matched, cut off, another shape
        raise CheckpointError(f"Checkpoint {checkpoint} is damaged or does not fit the run's config: {first_line(error)}.") from error


def _restored(config: Any, checkpoint: str) -> Any:
    import tensorflow as tf

    from pneumodet.models.detection import checkpoints, models

    tf.keras.backend.clear_session()
    model = models.build(config, is_training=False)
    checkpoints.restore({"model": model}, checkpoint, hint="Was it written by this run's pipeline.config?")
    return model


def _write(name: str, kind: str, model: Any, config: Any, new: Path, *, metadata: dict[str, Any], samples: Any) -> dict[str, Any]:
    """Write a format's file, and return what ``inference`` needs to know of it besides."""
    from pneumodet.export import to_onnx, to_tflite

    part, path = graphs.of_model(model, config, kind=kind), new / exported.FILES[name]
    if name == "onnx":
        to_onnx.write(part, path, metadata=metadata)
        return {}
    if kind == exported.BOXES:
        to_tflite.write(part, path, kind=name, metadata=metadata)
        return {}
    settings, _ = graphs.settings_of(config)
    ranges = quantizing.ranges(part, settings, samples())
    bounded = graphs.of_model(model, config, kind=kind, ranges=ranges)
    to_tflite.write(bounded, path, kind=name, metadata=metadata, images=samples)
    np.save(new / exported.ANCHORS, graphs.anchors_of(model, config))
    ranges = ranges and [dataclasses.asdict(one) for one in ranges]
    return {"anchors": exported.ANCHORS, "feature_maps": len(part.names) // 2, "ranges": ranges}


def _metadata(card: dict[str, Any]) -> dict[str, Any]:
    """Return what goes into a file itself."""
    return {key: value for key, value in card.items() if key != "artefacts"}


def _about(name: str, kind: str, new: Path) -> dict[str, Any]:
    path = new / exported.FILES[name]
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    return {"file": path.name, "sha256": exported.sha256(path), "bytes": sum(one.stat().st_size for one in files), "outputs": kind}


def _keep_earlier(found: dict[str, Any], output_dir: Path, kept: dict[str, Any]) -> None:
    """Add what an earlier comparison said of the files that stay."""
    if kept and (output_dir / exported.PARITY).is_file():
        earlier = paths.read_json(output_dir / exported.PARITY, what="the comparison", hint="Export with --overwrite.")
        found["artefacts"] = {name: one for name, one in earlier["artefacts"].items() if name in kept} | found["artefacts"]
