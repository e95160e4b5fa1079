"""Radiographs in; detections, tables, pictures and DICOM objects out. Needs an exported model, no training code and no API.

    summary = predict([Path("workspace/my_first/export")], Path("radiographs"), output_dir)

What is finished is in a journal (``journal``) beside the output folder, which appears whole at the end; a killed run is resumed from there.
"""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import folders, paths
from pneumodet.core.errors import DataError
from pneumodet.data import annotations, file_kinds, formats, ground_truth
from pneumodet.inference import detectors, exported
from pneumodet.inference.postprocess.recipe import GATE_HINT
from pneumodet.inference.predict import dicom_files, gallery, inputs, journal, outputs, reading, working
from pneumodet.inference.predict.chosen import Chosen
from pneumodet.inference.predict.journal import Journal
from pneumodet.inference.predict.plan import Plan, planned

SUMMARY = "predictions.json"
"""Written last: model, threshold and the files that were left out."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What prediction did.

    Attributes:
      radiographs: number of radiographs with a result.
      positive: those with at least one detection of pneumonia at the threshold.
      refused: (file, reason) for those left out.
      problems: (file, reason) for those of which a DICOM object could not be made; they have results.
      score_threshold: of tables, pictures and DICOM objects; detections.json has all scores.
      threshold_source: one of ``plan.GIVEN``, ``FROM_MODEL``, ``FROM_RECIPE``, ``BEFORE_FUSION``, ``ASSUMED``.
      backends: what ran each model.
      resumed: radiographs that an earlier run had finished.
      milliseconds: mean wall time a radiograph of this run, all included but the models' start.
      sheet: the overview picture, or None where none was drawn.
      notes: what the user should know of fusion and probabilities, a sentence each.
      images: what was done or passed over where pixels were made -> of how many radiographs, and which is the first.
      tables: names of the tables that were written.
    """

    radiographs: int
    positive: int
    refused: list[tuple[str, str]]
    problems: list[tuple[str, str]]
    score_threshold: float
    threshold_source: str
    backends: list[str]
    resumed: int
    milliseconds: float
    sheet: Path | None
    notes: list[str]
    images: dict[str, outputs.Noted]
    tables: Sequence[str] = outputs.TABLES


def predict(
    model_dirs: Sequence[Path],
    root: Path | str,
    output_dir: Path,
    *,
    backend: str = "auto",
    trust: bool = False,
    labels: Path | None = None,
    recipe: Path | None = None,
    tta: str | None = None,
    gate: Path | None = None,
    score_threshold: float | None = None,
    max_images: int = 100,
    dicom: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    progress: working.Progress = lambda total, done: lambda: None,
    phase: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Summary:
    """Write ``detections.json`` (COCO results), the tables of ``outputs``, ``images/``, ``overview.png``, ``gallery.html`` and ``predictions.json``.

    Of the tables a classifier has ``scores.csv`` alone, and its pictures have no boxes.

    Args:
      model_dirs: one or more, each made by tools/export.py, or a file in one; the detections of several are fused; or a classifier.
      root: what ``inputs.find`` takes: folder, archive, file or URL; a file that cannot be read is listed and left out.
      output_dir: the new folder; it appears whole or not at all.
      backend, trust: as ``detectors.open`` takes them.
      labels: RSNA labels, to draw the ground truth beside the detections.
      recipe: post-processing that ``evaluation.postprocess_search`` chose, with the views that it was chosen with.
      tta: views as ``views.parse`` takes them, where there is no recipe.
      gate: image-level scores for the recipe, CSV ``patientId,score``.
      score_threshold: of all but detections.json, which has every score from ``inference.SCORE_FLOOR``.
      max_images: pictures at the most, of the highest scores; see ``chosen``.
      dicom: of ``dicom_reports.KINDS``.
      overwrite: replace earlier predictions in ``output_dir``.
      resume: continue what an earlier call with the same arguments left unfinished, or begin where there is nothing.
      progress: see ``working.Progress``.
      phase: called with what is done that is not counted; a context of it.

    Returns:
      The summary.

    Raises:
      DataError: no radiograph can be read, the output folder cannot be used, or models and recipe do not fit together.
      ConfigError: recipe or views are malformed, or do not fit together; or unfinished predictions were made with other arguments.
      CheckpointError: one of ``model_dirs`` is no exported model.
      EnvironmentProblem: a package is missing.
    """
    plan = planned(model_dirs, recipe=recipe, tta=tta, gate=gate, score_threshold=score_threshold, dicom=dicom)
    # before the models are opened, which takes seconds
    folders.check_free(output_dir, marker=SUMMARY, overwrite=overwrite)
    begun = _begun(output_dir, resume=resume, overwrite=overwrite)
    truth = _read_truth(labels, plan.notes) if labels else None
    with phase("finding radiographs"):
        given = inputs.find(root, known=truth or (), leave_out=output_dir)
    plan.notes.extend(given.notes)
    if dicom:
        _refuse_pictures(given)
    with phase("loading the model"):
        sets = _open(model_dirs, backend, trust=trust)
    settings = _settings(plan, sets[0], root, gate=gate, labels=labels, max_images=max_images, dicom=dicom)
    # results of two models, or of two thresholds, must not end up in one table
    if begun:
        journal.check_same(begun["settings"], settings, where=output_dir)
    # fails where highdicom is missing, before any radiograph is read
    maker = dicom_files.Maker(tuple(dicom), plan.reporter(sets[0])) if dicom else None
    key = begun["key"] if begun else journal.new_key()
    with folders.new_folder(output_dir, marker=SUMMARY, overwrite=overwrite, resume_key=key) as folder:
        path = folder / journal.NAME
        with Journal.resume(path, key=key) if begun else Journal.begin(path, settings, key=key) as book, _kept(book):
            resumed, started = len(book.done), time.perf_counter()
            finisher = working.Finisher(folder, plan.rules, truth, maker)
            model = working.Model(sets, plan.steps, plan.rules.category_id, plan.gate_scores)
            chosen = working.run(book, given, model, finisher, max_images, progress)
            if not book.done:
                hint = f" {GATE_HINT}" if given.refused[0][1] == working.NO_GATE else ""
                raise DataError(
                    f"None of the {given.total or len(given.refused)} files in {root} could be read (first: {': '.join(given.refused[0])}).{hint}"
                )
            # of this run's own radiographs: those of an earlier run took no time now
            milliseconds = 1000 * (time.perf_counter() - started) / max(len(book.done) - resumed, 1)
            with phase("writing the results"):
                totals, sheet = _write_results(folder, book, plan, given, truth, chosen)
        summary = _summary(
            plan, totals, given, sets[0], resumed=resumed, milliseconds=milliseconds, sheet=sheet and output_dir / outputs.SHEET
        )
        _write_summary(folder, summary, plan, sets[0], settings)
    (output_dir / journal.NAME).unlink()  # last: until the folder has its name, a killed run is resumed from it
    return summary


def _settings(
    plan: Plan,
    opened: Sequence[detectors.Detector],
    root: Path | str,
    *,
    gate: Path | None,
    labels: Path | None,
    max_images: int,
    dicom: Sequence[str],
) -> dict[str, Any]:
    """Return what a resumed run must have in common with the one that it resumes, as it comes back from the journal."""
    settings = {
        "pneumodet": pneumodet.__version__,
        "model": [exported.sha256(one.exported.path(one.format)) for one in opened],
        "backend": [one.backend for one in opened],
        "input": str(root) if isinstance(root, str) else str(root.resolve()),
        "postprocessing": dataclasses.asdict(plan.steps),
        "score threshold": plan.rules.score_threshold,
        "gate": gate and paths.sha256_file(gate),
        "labels": labels and ground_truth.sha256(labels),
        "number of pictures": max_images,
        "DICOM objects": list(dicom),
    }
    # tuples become lists, as in what it is compared with
    back: dict[str, Any] = json.loads(json.dumps(settings))
    return back


def _write_results(
    folder: Path, book: Journal, plan: Plan, given: inputs.Inputs, truth: Mapping[str, annotations.Exam] | None, chosen: Chosen
) -> tuple[outputs.Totals, Path | None]:
    """Write tables, overview and gallery; return what is in them, and the overview or None."""
    pictured = chosen.final(threshold=plan.rules.score_threshold)
    totals = outputs.write(folder, book.entries(), plan.rules, pictured=pictured)
    if totals.not_submitted:
        plan.notes.append(
            f"{len(totals.not_submitted):,} exams are not in submission.csv, because a spreadsheet would take their ids for formulas; the first is "
            f"{totals.not_submitted[0]!r}. They are in detections.json and scores.csv."
        )
    truth_boxes = _truth_boxes(truth, totals.shown)
    sheet = outputs.write_sheet(folder, totals.shown, truth_boxes=truth_boxes, boxes=plan.rules.boxes)
    model = ", ".join(f"{model.card.run} ({model.card.checkpoint})" for model in plan.models)
    heading = gallery.Heading(model, totals.radiographs, totals.positive, len(given.refused), plan.threshold_source, plan.notes)
    gallery.write(folder, totals.shown, plan.rules, heading, truth_boxes=truth_boxes)
    return totals, sheet


def _summary(
    plan: Plan,
    totals: outputs.Totals,
    given: inputs.Inputs,
    opened: Sequence[detectors.Detector],
    *,
    resumed: int,
    milliseconds: float,
    sheet: Path | None,
) -> Summary:
    return Summary(
        radiographs=totals.radiographs,
        positive=totals.positive,
        refused=given.refused,
        problems=totals.problems,
        score_threshold=plan.rules.score_threshold,
        tables=plan.rules.tables,
        threshold_source=plan.threshold_source,
        backends=[one.format if one.format.startswith(one.backend) else one.backend for one in opened],
        resumed=resumed,
        milliseconds=milliseconds,
        sheet=sheet,
        notes=plan.notes,
        images=totals.images,
    )


def _write_summary(folder: Path, summary: Summary, plan: Plan, opened: Sequence[detectors.Detector], settings: Mapping[str, Any]) -> None:
    """Write ``SUMMARY``: the summary, the models and the post-processing."""
    cards = [
        {"run": model.card.run, "checkpoint": model.card.checkpoint, "format": one.format, "sha256": sha}
        for model, one, sha in zip(plan.models, opened, settings["model"], strict=True)
    ]
    more = {
        "sheet": outputs.SHEET if summary.sheet else None,
        "model": cards[0],
        "models": cards,
        "postprocessing": settings["postprocessing"],
    }
    paths.write_json(folder / SUMMARY, {**dataclasses.asdict(summary), **more})


def _open(model_dirs: Sequence[Path], backend: str, *, trust: bool) -> list[list[detectors.Detector]]:
    """Return the models once for each thread of ``reading``, with one core each; TensorFlow has threads of its own, and is opened once for all."""
    count = reading.threads_of_machine()
    each = []
    for model_dir in model_dirs:
        opener = functools.partial(detectors.open, model_dir, backend=backend, threads=1, trust=trust, boxes=False)
        first = opener()
        each.append([first] + [first if first.backend == "savedmodel" else opener() for _ in range(count - 1)])
    return [list(one) for one in zip(*each, strict=True)]


def _read_truth(path: Path, notes: list[str]) -> dict[str, annotations.Exam]:
    """Return the labels to draw; ``notes`` gets what cannot be drawn."""
    labels = formats.read_labels(path)
    if labels.rejected:
        exam, reason = labels.rejected[0]
        notes.append(
            f"{len(labels.rejected):,} exams of {path.name} have no usable labels and are drawn without; the first is {exam}: {reason}."
        )
    return labels.exams


def _truth_boxes(truth: Mapping[str, annotations.Exam] | None, shown: Sequence[outputs.Shown]) -> dict[str, int] | None:
    return None if truth is None else {one.exam: len(truth[one.exam].boxes_xyxy_px) for one in shown if one.exam in truth}


def _begun(output_dir: Path, *, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """Return the first line of the journal to resume, or None where a new one is to be begun.

    Raises:
      DataError: there is unfinished work, and nobody said what to do with it.
    """
    head, done = journal.peek(folders.unfinished(output_dir))
    if head is not None and done and not resume and not overwrite:
        raise DataError(
            f"{output_dir} was begun, and {done} radiographs are done. Give --resume to continue, or --overwrite to begin again without them."
        )
    return head if resume else None


def _refuse_pictures(given: inputs.Inputs) -> None:
    # the list of a server, which has no pictures, is not read twice
    if given.total is None:
        return
    name = next((source.name for _, source in given.radiographs if file_kinds.suffix_of(source.name) in file_kinds.IMAGES), None)
    if name is not None:
        raise DataError(
            f"DICOM objects refer to DICOM files, but {name} is an image file. Leave out --dicom-sr, --gsps, --dicom-sc and --dicom-seg, or that file."
        )


@contextlib.contextmanager
def _kept(book: Journal) -> Iterator[None]:
    """Name the journal where prediction stops for a reason that passes: Ctrl-C, a full disk, a server that is away."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_next(book)) from None
    except OSError as error:
        raise DataError(f"Cannot write {book.path}: {error.strerror or error}. Free some disk space. {_next(book)}") from error
    except DataError as error:
        if not book.done:
            raise DataError(str(error)) from None
        raise DataError(f"{error} {_next(book)}") from OSError(str(error))  # by which folders.new_folder keeps the journal


def _next(book: Journal) -> str:
    return f"{len(book.done)} radiographs are done and kept; the same command with --resume continues from there."
