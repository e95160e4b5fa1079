"""The end of every evaluation: figures with what a reader has to know of them, written as metrics.json, detections.json and report.html.

outcome = write(folder, loaded, detected, plan, options, Origin(facts=facts, parts=parts), read)
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import json_text, overlap, paths, runs, split_use
from pneumodet.core.detections import Detections, to_coco
from pneumodet.core.seen import Marks, Seen
from pneumodet.data import label_map
from pneumodet.evaluation import leaks, recipe_origin, summary
from pneumodet.evaluation import postprocess_files as gates
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.metrics import instance_masks
from pneumodet.evaluation.metrics_file import SCORED, Metrics
from pneumodet.evaluation.report import page, worst
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.probability import Calibrator

DETECTIONS = "detections.json"

Read = Callable[[Iterable[str]], Iterator[tuple[str, np.ndarray]]]
"""Takes exams, and yields (exam, pixels) of those that it has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How detections are evaluated; see ``summary.summarize`` and ``inputs.load``.

    Attributes:
      threshold: score threshold of the operating point, chosen on other data; cross-fitted for ``aim`` where it is None.
      aim: what thresholds are chosen for.
      rules: of the RSNA metric.
      resamples: as ``uncertainty.intervals``.
      seed: of folds and resamples.
      compare: another model's detections of the same images.
      recipe: post-processing to apply first, with the views that it was tuned with.
      tta: views as ``views.parse`` takes them, where there is no recipe.
      gate: image-level scores for the recipe, CSV ``patientId,score``.
      patient_map, facts, class_info, class_map: as ``inputs.load``.
      class_name: the class that is evaluated.
      split: of a record set that is the ground truth of detections in a file.
      trust: as ``inference.detectors.open`` takes it.
    """

    threshold: float | None = None
    aim: str = "rsna"
    rules: str = "strict"
    resamples: int = 1000
    seed: int = 0
    compare: Path | None = None
    recipe: Path | None = None
    tta: str | None = None
    gate: Path | None = None
    patient_map: Path | None = None
    facts: Path | None = None
    class_info: Path | None = None
    class_map: Mapping[str, str] | None = None
    class_name: str = label_map.PNEUMONIA
    split: str = "val"
    trust: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """What is evaluated, beside its detections.

    Attributes:
      facts: fields of metrics.json: split, record set or files, model, and what the exams are to it, as ``split_use.Choice.facts``.
      parts: name -> what it has seen, of each part of the model.
      own_threshold: the model's own, where it may be used on exams that the model has not seen.
      own_calibrator: likewise.
      record: how the model was trained, for the report.
      config: its pipeline.config.
      warnings: on the model, sentences.
    """

    facts: Mapping[str, Any]
    parts: Mapping[str, Seen]
    own_threshold: float | None = None
    own_calibrator: Calibrator | None = None
    record: Any = None
    config: str = ""
    warnings: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The figures, and where the results lie."""

    metrics: Metrics
    metrics_path: Path
    report: Path


def coco_rows(detected: Mapping[str, Detections], instances: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return detections as COCO results, with masks where the ground truth says the size of an exam."""
    return to_coco(detected, sizes_hw=_sizes_hw(instances))


def _sizes_hw(instances: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return exam -> height and width in px, where the ground truth says them."""
    named = ((str(image.get("file_name", image["id"])), image.get("height"), image.get("width")) for image in instances["images"])
    return {exam: (int(height), int(width)) for exam, height, width in named if height and width}


def write(
    folder: Path,
    loaded: Loaded,
    detected: dict[str, Detections] | None,
    plan: Recipe,
    options: Options,
    origin: Origin,
    read: Read | None,
    *,
    other: Loaded | None = None,
) -> Outcome:
    """Evaluate, and write all results.

    Args:
      folder: where to.
      loaded: ground truth and detections.
      detected: the same detections by exam; None where they are the caller's file, and need not be written.
      plan: what was done with the detections.
      options: how they are evaluated.
      origin: what they are of.
      read: gives radiographs for the gallery.
      other: another model's detections of the same images, where ``options.compare`` names them.
    """
    exams, of_recipe = leaks.exams_of(loaded, options.patient_map), leaks.of_recipe(options.recipe, origin.parts)
    counted = overlap.count({**origin.parts, **of_recipe}, exams)
    of_test = split_use.is_test(origin.facts)
    # using what was chosen on these exams would flatter; a record set keeps its test apart, also for a run that does not say what it has seen
    unseen = not (counted.chosen or counted.trained) and (of_test or not counted.unrecorded)
    threshold, source = recipe_origin.threshold(
        given=options.threshold,
        of_model=origin.own_threshold if unseen else None,
        of_recipe=plan.score_threshold if of_recipe and not counted.tuned and not options.compare else None,
    )
    metrics = summary.summarize(
        loaded,
        threshold=threshold,
        threshold_source=source,
        aim=options.aim,
        rules=options.rules,
        class_name=options.class_name,
        resamples=options.resamples,
        seed=options.seed,
        other=other,
        names=("this model", options.compare.stem if options.compare else "B"),
        calibrator=origin.own_calibrator if unseen else None,
    )
    metrics |= instance_masks.of_loaded(loaded, class_name=options.class_name, score_threshold=metrics["rsna_threshold"])
    metrics |= {**origin.facts, "postprocessing": None if plan == Recipe() else dataclasses.asdict(plan)}
    notes = recipe_origin.notes(plan, loaded.cases.names, of_file=options.recipe is not None, seen=counted if of_recipe else None)
    metrics["warnings"] = [
        *origin.warnings,
        *notes,
        *leaks.of_compared(options.compare, exams),
        *instance_masks.of_rectangles(metrics),
        *metrics["warnings"],
    ]
    if recipe_origin.OPTIMISTIC in notes and split_use.is_test(metrics):
        metrics[split_use.KEY] = split_use.TUNED
    leaks.add(metrics, counted, without=["tuned"], warn_unrecorded=leaks.FILES not in origin.parts)
    metrics[SCORED] = dataclasses.asdict(Marks.of(exams))
    paths.write_json(folder / runs.METRICS, metrics)
    if detected is not None:  # otherwise they are the caller's file
        paths.write_json(folder / DETECTIONS, coco_rows(detected, loaded.instances))
    # where postprocess.py leaves it, beside the recipe
    table = options.recipe.parent / gates.TABLE if options.recipe else None
    report = page.write_report(
        folder,
        metrics,
        pictures=list(worst.pictures_of_worst(loaded, metrics, read)),
        provenance={"evaluated": runs.provenance(), "trained": origin.record},
        config_text=origin.config,
        gains=json_text.read(table, what="the table of gains", hint="Run tools/postprocess.py again.")
        if table and table.exists()
        else None,
    )
    return Outcome(Metrics(metrics), folder / runs.METRICS, report)
