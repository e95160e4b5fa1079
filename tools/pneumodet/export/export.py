"""Export a run: its checkpoint in one or more formats, each compared with the checkpoint on radiographs, and beside them what they are.

outcome = export(Path("workspace/my_first"), Path("workspace/my_first/export"), formats=("savedmodel", "onnx"))
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import folders, paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, first_line
from pneumodet.data import label_map
from pneumodet.export import card as run_card
from pneumodet.export import families, graphs, measuring
from pneumodet.export.subject import Samples, Subject
from pneumodet.inference import card as cards
from pneumodet.inference import exported, trust
from pneumodet.inference import parity as parity_file
from pneumodet.inference.card import Artefact, ModelCard
from pneumodet.inference.parity import Parity
from pneumodet.inference.postprocess import recipe as recipes

FORMATS = tuple(exported.FILES)
"""What a run is exported as."""

Phase = Callable[[str], contextlib.AbstractContextManager[object]]
"""Takes what is being done, and is entered while it is: a line or a bar."""


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
    phase: Phase = contextlib.nullcontext,
) -> Outcome:
    """Export the best checkpoint of a run, or its newest where it has no best one.

    Writes the files of ``exported.FILES``, ``model.json``, ``label_map.pbtxt``, ``pipeline.config`` or ``config.toml``, ``parity.json`` and
    ``MODEL_CARD.md``. A detector's SavedModel has the API's signature (uint8 ``input_tensor`` (1, H, W, 3) in; ``detection_boxes`` yxyx_norm,
    ``detection_scores``, ``detection_classes`` from 1, ``num_detections`` out), and ``checkpoint/`` beside it; all files of a classifier answer with
    ``scores`` (1, C). The folder appears whole or not at all: where one file is outside of its tolerance, nothing changes.

    Formats that are in the folder already stay. Where they were made of another checkpoint, which takes ``overwrite``, they are made again.

    Args:
      folder: the run, of a detector or a classifier.
      output_dir: the folder.
      formats: some of FORMATS.
      data_dir: the records; by default those that the run was trained with.
      parity: compare each new file with the checkpoint on the validation records.
      limit: on so many of them, chosen by class and view; None: on all.
      recipe: post-processing that goes with the model, see ``inference.postprocess.recipe``.
      overwrite: replace formats that are there; they stay until the new ones are whole.
      on_measured: is given what parity.json will hold, before anything is refused.
      progress: see ``measuring.Progress``.
      phase: see ``Phase``.

    Raises:
      ConfigError: a format cannot carry this model, or the recipe is malformed.
      DataError: ``output_dir`` is in use, the disk is full, or there are no records.
      CheckpointError: the run has no checkpoint, it does not fit its config, or a file does not answer as the checkpoint does.
      EnvironmentProblem: a converter is not installed.
    """
    subject = families.of_run(folder)
    if recipe is not None and not subject.card.has_boxes:
        raise ConfigError("A recipe is for the boxes of a detector, and a classifier has none. Leave out --recipe.")
    # what can refuse an export comes before the model is built and converted
    kept, formats = _plan(output_dir, run_card.sha256_of(subject.checkpoint), formats, overwrite=overwrite)
    # the formats that stay were exported with this recipe, and the new card is theirs, too
    if recipe is None and kept and (output_dir / recipes.RECIPE).is_file():
        recipe = output_dir / recipes.RECIPE
    card, metrics = run_card.of_run(subject, recipe=recipe)
    kinds = {name: subject.kind(name) for name in formats}
    records = measuring.Records.of_run(folder, data_dir, limit=limit) if parity else None
    samples = subject.samples(data_dir) if "tflite-int8" in formats else None
    with folders.new_folder(output_dir, marker=cards.CARD, overwrite=True) as new, _on_disk(output_dir):
        artefacts = _copied(output_dir, new, kept)
        if "savedmodel" in formats:
            with phase("savedmodel: writing"):
                subject.save(new)
        _copy_settings(subject, new)
        if recipe:
            shutil.copyfile(recipe, new / recipes.RECIPE)
        artefacts |= _made(subject, kinds, new, metadata=card.to_json(), samples=samples, phase=phase)
        card = dataclasses.replace(card, artefacts={name: artefacts[name] for name in FORMATS if name in artefacts})
        cards.write(new / cards.CARD, card)  # before the comparison, which opens the export as any user of it does
        if not records:
            measured = _earlier(output_dir, kept)
        else:
            measured = records.compare(subject, exported.read(new, boxes=False), formats, threshold=card.score_threshold, progress=progress)
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
        there = exported.read(output_dir, boxes=False)
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


@contextlib.contextmanager
def _on_disk(output_dir: Path) -> Iterator[None]:
    """Say which folder an error of TensorFlow is about."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise DataError(f"Cannot write {output_dir}: {first_line(error)}. Free some disk space or choose another folder.") from error


def _copied(output_dir: Path, new: Path, kept: dict[str, Artefact]) -> dict[str, Artefact]:
    names = [name for one in kept.values() for name in (one.file, one.anchors) if name] + ["checkpoint"] * (
        "savedmodel" in kept and (output_dir / "checkpoint").is_dir()
    )
    for name in names:
        path = output_dir / name
        shutil.copytree(path, new / name) if path.is_dir() else shutil.copyfile(path, new / name)
    return dict(kept)


def _made(
    subject: Subject, kinds: dict[str, str], new: Path, *, metadata: dict[str, Any], samples: Samples | None, phase: Phase
) -> dict[str, Artefact]:
    """Write the files of formats, but for the SavedModel, which is there; return all of these artefacts.

    Args:
      subject: what is exported.
      kinds: format -> what its file answers with.
      new: the folder.
      metadata: goes into each file.
      samples: for "tflite-int8".
      phase: see ``Phase``.
    """
    artefacts = {}
    parts: dict[str, graphs.Part] = {}  # formats that answer alike share one, which is traced once
    for name, kind in kinds.items():
        artefact = Artefact(file=exported.FILES[name], outputs=kind)
        if name != "savedmodel":
            with phase(f"{name}: converting"):
                if kind not in parts:
                    parts[kind] = subject.part(kind)
                artefact = subject.write(name, artefact, parts[kind], new, metadata=metadata, samples=samples)
        artefacts[name] = _measured(artefact, new)
    return artefacts


def _copy_settings(subject: Subject, new: Path) -> None:
    """Write what says what the model is and which classes it has, where the SavedModel's exporter has not done so."""
    if not (new / subject.settings).is_file():
        shutil.copyfile(subject.folder / subject.settings, new / subject.settings)
    if (subject.folder / runs.LABEL_MAP).is_file():
        shutil.copyfile(subject.folder / runs.LABEL_MAP, new / exported.LABEL_MAP)
    else:
        label_map.write_label_map(new / exported.LABEL_MAP, subject.card.label_map or {})


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
