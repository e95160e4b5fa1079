"""One evaluation: detections made or read, evaluated, and written as metrics.json, detections.json and report.html.

outcome = of_runs([Path("workspace/my_first")], options=Options(aim="sensitivity>=0.9"))
outcome = of_models([Path("workspace/my_first/export")], data_dir, output_dir, options=Options(tta="flip"))
outcome = of_files(Path("instances.json"), Path("detections.json"), output_dir, options=Options())       # any framework, no TensorFlow
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import folders, json_text, overlap, paths, runs, split_use
from pneumodet.core.detections import Detections, to_coco
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.seen import Marks, Seen
from pneumodet.data import annotations, detection_files, images, label_map, record_sets, sources
from pneumodet.data import ground_truth as ground_truths
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import chosen_on, files, inputs, leaks, recipe_origin, summary
from pneumodet.evaluation import postprocess_files as gates
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.metrics import instance_masks
from pneumodet.evaluation.metrics_file import SCORED, Metrics
from pneumodet.evaluation.report import page, worst
from pneumodet.inference import exported
from pneumodet.inference.postprocess import ensembles
from pneumodet.inference.postprocess import gates as image_gates
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe

DETECTIONS = "detections.json"

EVAL_PROCESSED = "eval_processed"
"""A run's evaluation after a recipe or test-time augmentation; its eval/ is of the plain model, whose threshold the export takes."""

Progress = Callable[[int], Callable[[], None]]
"""Takes the number of images, and returns what to call after each."""


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


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The figures, and where the results lie."""

    metrics: Metrics
    metrics_path: Path
    report: Path


def of_runs(
    run_dirs: Sequence[Path],
    *,
    options: Options,
    data_dir: Path | None = None,
    split: str = "val",
    output_dir: Path | None = None,
    overwrite: bool = False,
    progress: Progress,
) -> Outcome:
    """Evaluate the best checkpoint of a run, or of several that are fused, on a split of the record set they were trained with, or of another one.

    Results go into ``output_dir``. Without one they go into the run's ``eval/``, or ``eval_processed/`` after a recipe or in several views; of other
    splits than val into ``eval_test/`` and so on. On test the operating point is the threshold that the evaluation on val chose.

    Raises:
      ConfigError: options do not go together, the runs have different record sets, or there is no ``output_dir`` for several runs.
      DataError: records, ground truth, label map or recipe do not fit.
      CheckpointError: a run has no checkpoint, or it does not fit.
    """
    plan = ensembles.planned(options.recipe, models=len(run_dirs), tta=options.tta)
    if output_dir is None and len(run_dirs) > 1:
        raise ConfigError("Several runs have no folder of their own for what they detect together. Give --output-dir.")
    # here, since detections in files of any framework are evaluated without TensorFlow
    from pneumodet.evaluation import checkpoint_detections, detecting
    from pneumodet.models.detection import checkpoints

    about = RecordSet.open(data_dir or detecting.data_of(run_dirs)).split(split)
    records = [runs.read(folder).provenance for folder in run_dirs]
    configs = [(folder / runs.CONFIG).read_text(encoding="utf-8") for folder in run_dirs]
    # eval/ is what the export takes threshold and calibrator from: figures of processed detections must not land there
    own = run_dirs[0] / chosen_on.folder_name(runs.EVAL if plan == Recipe() else EVAL_PROCESSED, split)
    if output_dir is not None:
        folders.check_free(output_dir, marker=runs.METRICS, overwrite=overwrite)
    gate = image_gates.gate_for(plan, options.gate)
    facts = _of_data(about)
    facts |= chosen_on.facts_of(about, facts, [chosen_on.trained_with(folder) for folder in run_dirs])
    sets, prefixes = detecting.of_runs(run_dirs, about, views=plan.views, progress=progress)
    # resolved: of --run . the folder has a name, too
    facts |= {"model": ", ".join(folder.resolve().name for folder in run_dirs), "checkpoint": ", ".join(Path(one).name for one in prefixes)}
    untrained = [one for folder, prefix in zip(run_dirs, prefixes, strict=True) if (one := runs.untrained(folder.name, prefix))]
    if len(run_dirs) == 1:
        facts |= {"step": checkpoints.step_of(prefixes[0])}
    # a run's own folder also holds TensorBoard files of earlier steps, so that it is not replaced as a whole
    into = folders.new_folder(output_dir, marker=runs.METRICS, overwrite=overwrite) if output_dir else contextlib.nullcontext(own)
    with into as folder:
        threshold = None
        # not where another model is compared, whose scores have another scale
        if len(run_dirs) == 1 and plan == Recipe() and facts[split_use.KEY] == split_use.TEST and not options.compare:
            threshold = chosen_on.threshold(run_dirs[0], facts, aim=options.aim, rules=options.rules)
            untrained += [chosen_on.NO_THRESHOLD] * (threshold is None and options.threshold is None)
            untrained += chosen_on.again(folder, facts["checkpoint"])
        more: dict[str, Any] = {
            "record": _one_or_all(records),
            "config": "\n".join(configs),
            "warnings": untrained,
            "own_threshold": threshold,
            "parts": leaks.of_runs(run_dirs),
        }
        outcome = _evaluated(folder, about, sets, plan, gate, options, facts, **more)
        if "step" in facts:
            checkpoint_detections.write_scalars(folder, facts["step"], summary.scalars(outcome.metrics))
    return _moved(outcome, output_dir or own)


def of_models(
    model_dirs: Sequence[Path],
    data_dir: Path,
    output_dir: Path,
    *,
    options: Options,
    split: str = "val",
    overwrite: bool,
    progress: Progress,
) -> Outcome:
    """Evaluate an exported model, or several that are fused, on each record's image of a split. Arguments and errors as ``of_runs``.

    A single model's own threshold is used where it is recorded that it was chosen on other exams and patients, and nothing is done with its
    detections; else thresholds are cross-fitted.
    """
    from pneumodet.evaluation import detecting

    plan = ensembles.planned(options.recipe, models=len(model_dirs), tta=options.tta)
    infos = exported.read_all(model_dirs)
    about = RecordSet.open(data_dir).split(split)
    if about.label_map != infos[0].label_map:
        raise DataError(f"The model's label map is {infos[0].label_map}, but the records in {data_dir} have {about.label_map}.")
    # of its run: the folders of exports are all called export
    names = [info.card.run or info.model_dir.resolve().name for info in infos]
    facts = {"model": ", ".join(names), "checkpoint": ", ".join(str(info.card.checkpoint) for info in infos)} | _of_data(about)
    facts |= chosen_on.facts_of(about, facts, [chosen_on.exported_of(info.card) for info in infos])
    parts = leaks.of_cards(zip(names, (info.card for info in infos), strict=True))
    own = infos[0].card.score_threshold if plan == Recipe() else None
    gate = image_gates.gate_for(plan, options.gate)
    with folders.new_folder(output_dir, marker=runs.METRICS, overwrite=overwrite) as folder:
        sets = detecting.of_models(model_dirs, about, views=plan.views, trust=options.trust, progress=progress)
        record = _one_or_all([info.card.trained for info in infos])
        untrained = [one for info in infos if (one := runs.untrained(info.card.run, info.card.checkpoint))]
        more: dict[str, Any] = {"own_threshold": own, "record": record, "warnings": untrained, "parts": parts}
        outcome = _evaluated(folder, about, sets, plan, gate, options, facts, **more)
    return _moved(outcome, output_dir)


def of_files(
    ground_truth: Path, detections: Path, output_dir: Path, *, options: Options, radiographs: Path | None = None, overwrite: bool
) -> Outcome:
    """Evaluate detections that are there, of any framework; ``radiographs`` is a folder of images for the gallery. Raises as ``of_runs``."""
    more = {name: getattr(options, name) for name in ("class_name", "patient_map", "facts", "class_info", "class_map", "split")}
    folders.check_free(output_dir, marker=runs.METRICS, overwrite=overwrite)
    plan = ensembles.planned(options.recipe, models=1)
    if options.recipe:
        ensembles.refuse_views(plan, options.recipe)
    loaded = inputs.load(ground_truth, detections, **more)
    detected = None
    if options.recipe:
        category = next(one["id"] for one in loaded.instances["categories"] if one["name"] == options.class_name)
        by_exam = detection_files.of_rows(loaded.coco_results, _ids(loaded), str(detections))
        detected = recipes.apply(plan, [by_exam], category_id=category, gate_scores=image_gates.gate_for(plan, options.gate))
        loaded = _again(loaded, detected, options)
    other = inputs.load(ground_truth, options.compare, **more) if options.compare else None
    read = None
    if radiographs:
        there, _ = sources.find_radiographs(radiographs, known=set(loaded.cases.names), images=True)

        def read(wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
            return ((exam, images.read_pixels(there[exam])) for exam in wanted if exam in there)

    facts = {
        "split": None,
        "ground_truth": {"name": ground_truth.name, "sha256": ground_truths.sha256(ground_truth)},
        "detections_file": {"name": detections.name, "sha256": paths.sha256_file(detections)},
    }
    with folders.new_folder(output_dir, marker=runs.METRICS, overwrite=overwrite) as folder:
        outcome = _write(folder, loaded, detected, plan, options, facts, read, other=other, parts=leaks.of_file(detections))
    return _moved(outcome, output_dir)


def _of_data(about: Split) -> dict[str, Any]:
    return {"split": about.name, "manifest_sha256": paths.sha256_file(about.folder / record_sets.MANIFEST)}


def _one_or_all(records: Sequence[Any]) -> Any:
    return records[0] if len(records) == 1 else list(records)


def _evaluated(
    folder: Path,
    about: Split,
    sets: Sequence[dict[str, Detections]],
    plan: Recipe,
    gate: Mapping[str, float] | None,
    options: Options,
    facts: dict[str, Any],
    *,
    parts: Mapping[str, Seen],
    own_threshold: float | None = None,
    record: Any = None,
    config: str = "",
    warnings: Sequence[str] = (),
) -> Outcome:
    """Put together what was detected on a split, and evaluate it."""
    instances = about.instances
    # a missing exam would count as one without detections
    differ = {image["file_name"] for image in instances["images"]} ^ sets[0].keys()
    if differ:
        raise DataError(f"Records and ground truth in {about.folder} do not list the same exams ({min(differ)} is in one of them only).")
    detected = sets[0]
    if plan != Recipe():
        detected = recipes.apply(plan, sets, category_id=about.label_map[options.class_name], gate_scores=gate)
    loaded = inputs.assemble(
        instances,
        lambda _, __: to_coco(detected, sizes_hw=_sizes_hw(instances)),
        names=(str(about.truth), "the detections"),
        class_name=options.class_name,
        patients=annotations.read_patient_map(options.patient_map) if options.patient_map else None,
        facts=files.read_facts(options.facts) if options.facts else {},
    )
    more: dict[str, Any] = {"own_threshold": own_threshold, "record": record, "config": config, "warnings": warnings, "parts": parts}
    return _write(folder, loaded, detected, plan, options, facts, lambda wanted: about.pixels(set(wanted)), **more)


def _ids(loaded: Loaded) -> dict[str, Any]:
    """Return exam -> COCO image id."""
    return {str(image.get("file_name", image["id"])): image["id"] for image in loaded.instances["images"]}


def _sizes_hw(instances: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return exam -> height and width in px, where the ground truth says them; masks are written for those."""
    named = ((str(image.get("file_name", image["id"])), image.get("height"), image.get("width")) for image in instances["images"])
    return {exam: (int(height), int(width)) for exam, height, width in named if height and width}


def _again(loaded: Loaded, detected: dict[str, Detections], options: Options) -> Loaded:
    """Return the same ground truth with other detections."""
    ids = _ids(loaded)
    rows = [row | {"image_id": ids[row["file_name"]]} for row in to_coco(detected, sizes_hw=_sizes_hw(loaded.instances))]
    patients = dict(zip(loaded.cases.names, map(str, loaded.cases.patients.tolist()), strict=True))
    facts = {exam: {name: values[index] for name, values in loaded.cases.facts.items()} for index, exam in enumerate(loaded.cases.names)}
    return inputs.assemble(loaded.instances, lambda _, __: rows, class_name=options.class_name, patients=patients, facts=facts)


def _write(
    folder: Path,
    loaded: Loaded,
    detected: dict[str, Detections] | None,
    plan: Recipe,
    options: Options,
    about: dict[str, Any],
    read: Callable[[Iterable[str]], Iterator[tuple[str, np.ndarray]]] | None,
    *,
    parts: Mapping[str, Seen],
    own_threshold: float | None = None,
    other: Loaded | None = None,
    record: Any = None,
    config: str = "",
    warnings: Sequence[str] = (),
) -> Outcome:
    # of_files has read it with the ground truth already
    if other is None and (compared := options.compare):
        other = inputs.assemble(
            loaded.instances,
            lambda ids, category: detection_files.read(compared, ids, category_id=category),
            names=("the ground truth", str(compared)),
            class_name=options.class_name,
            patients=dict(zip(loaded.cases.names, map(str, loaded.cases.patients.tolist()), strict=True)),
        )
    exams, of_recipe = leaks.exams_of(loaded, options.patient_map), leaks.of_recipe(options.recipe, parts)
    counted = overlap.count({**parts, **of_recipe}, exams)
    of_test = about.get(split_use.KEY) == split_use.TEST
    threshold, source = recipe_origin.threshold(
        given=options.threshold,
        # using one that was chosen on these exams would flatter; a record set keeps its test apart, also for a run that does not say what it has seen
        of_model=own_threshold if not (counted.chosen or counted.trained) and (of_test or not counted.unrecorded) else None,
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
    )
    metrics |= instance_masks.of_loaded(loaded, class_name=options.class_name, score_threshold=metrics["rsna_threshold"])
    metrics |= about | {"postprocessing": None if plan == Recipe() else dataclasses.asdict(plan)}
    origin = recipe_origin.notes(plan, loaded.cases.names, of_file=options.recipe is not None, seen=counted if of_recipe else None)
    metrics["warnings"] = [
        *warnings,
        *origin,
        *leaks.of_compared(options.compare, exams),
        *instance_masks.of_rectangles(metrics),
        *metrics["warnings"],
    ]
    if (counted.tuned or recipe_origin.OPTIMISTIC in origin) and metrics.get(split_use.KEY) == split_use.TEST:
        metrics[split_use.KEY] = split_use.TUNED
    leaks.add(metrics, counted, without=["tuned"], warn_unrecorded=leaks.FILES not in parts)
    metrics[SCORED] = dataclasses.asdict(Marks.of(exams))
    paths.write_json(folder / runs.METRICS, metrics)
    if detected is not None:  # otherwise they are the caller's file
        paths.write_json(folder / DETECTIONS, to_coco(detected, sizes_hw=_sizes_hw(loaded.instances)))
    # where postprocess.py leaves it, beside the recipe
    table = options.recipe.parent / gates.TABLE if options.recipe else None
    report = page.write_report(
        folder,
        metrics,
        pictures=list(worst.pictures_of_worst(loaded, metrics, read)),
        provenance={"evaluated": runs.provenance(), "trained": record},
        config_text=config,
        gains=json_text.read(table, what="the table of gains", hint="Run tools/postprocess.py again.")
        if table and table.exists()
        else None,
    )
    return Outcome(Metrics(metrics), folder / runs.METRICS, report)


def _moved(outcome: Outcome, output_dir: Path) -> Outcome:
    # a new folder had another name while the results were written
    return dataclasses.replace(outcome, metrics_path=output_dir / runs.METRICS, report=output_dir / outcome.report.name)
