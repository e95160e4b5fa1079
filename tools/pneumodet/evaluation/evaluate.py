"""One evaluation: detections made or read, and what they are of; ``results`` evaluates and writes them.

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

from pneumodet.core import folders, paths, runs, split_use
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations, detection_files, images, record_sets, sources
from pneumodet.data import ground_truth as ground_truths
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import chosen_on, files, inputs, leaks, results, summary
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.results import Options, Origin, Outcome
from pneumodet.inference import exported
from pneumodet.inference.postprocess import ensembles
from pneumodet.inference.postprocess import gates as image_gates
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe

EVAL_PROCESSED = "eval_processed"
"""A run's evaluation after a recipe or test-time augmentation; its eval/ is of the plain model, whose threshold the export takes."""

SCALARS = "evaluate"
"""Folder in an evaluation's for TensorBoard: training writes the same figures into eval/, and of a lower step than its last TensorBoard would take them for
those of a run that began anew, and forget the curve from there on."""

Progress = Callable[[int], Callable[[], None]]
"""Takes the number of images, and returns what to call after each."""


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
    splits than val into ``eval_test/`` and so on; of records that it was not trained with into ``eval_on_NAME/``. On test the operating point is the
    threshold that the evaluation on val chose, and the calibrator that it fitted is measured.

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
    records = [runs.read(folder) for folder in run_dirs]
    configs = [(folder / runs.CONFIG).read_text(encoding="utf-8") for folder in run_dirs]
    # eval/ is what the export takes threshold and calibrator from: figures of processed detections must not land there
    name = runs.EVAL if plan == Recipe() else EVAL_PROCESSED
    own = run_dirs[0] / chosen_on.folder_name(name, split)
    facts = _of_data(about)
    if data_dir and facts["manifest_sha256"] != records[0].records().manifest_sha256:
        own = chosen_on.folder_on_others(run_dirs[0], name, split, data=data_dir.resolve().name, manifest=facts["manifest_sha256"])
    if output_dir is not None:
        folders.check_free(output_dir, marker=runs.METRICS, overwrite=overwrite)
    gate = image_gates.gate_for(plan, options.gate)
    facts |= chosen_on.facts_of(about, facts, [chosen_on.trained_with(folder) for folder in run_dirs])
    sets, prefixes = detecting.of_runs(run_dirs, about, views=plan.views, progress=progress)
    # resolved: of --run . the folder has a name, too
    facts |= {"model": ", ".join(folder.resolve().name for folder in run_dirs), "checkpoint": ", ".join(Path(one).name for one in prefixes)}
    untrained = [one for folder, prefix in zip(run_dirs, prefixes, strict=True) if (one := runs.untrained(folder.name, prefix))]
    if len(run_dirs) == 1:
        facts |= {"step": checkpoints.step_of(prefixes[0])}
    # a run's own folder also holds TensorBoard's files of its training, so that it is not replaced as a whole
    into = folders.new_folder(output_dir, marker=runs.METRICS, overwrite=overwrite) if output_dir else contextlib.nullcontext(own)
    with into as folder:
        plain_on_test = plan == Recipe() and split_use.is_test(facts)
        threshold = None
        on_validation = chosen_on.on_validation(run_dirs[0], facts) if plain_on_test else None
        # not where another model is compared, whose scores have another scale
        if plain_on_test and not options.compare:
            threshold = chosen_on.threshold(on_validation, aim=options.aim, rules=options.rules)
            untrained += [chosen_on.NO_THRESHOLD] * (threshold is None and options.threshold is None)
            untrained += chosen_on.again(folder, facts["checkpoint"])
        origin = Origin(
            facts=facts,
            parts=leaks.of_runs(run_dirs),
            own_threshold=threshold,
            own_calibrator=chosen_on.calibrator(on_validation),
            record=_one_or_all([one.provenance for one in records]),
            config="\n".join(configs),
            warnings=untrained,
        )
        outcome = _of_split(folder, about, sets, plan, gate, options, origin)
        if "step" in facts:
            checkpoint_detections.write_scalars(folder / SCALARS, facts["step"], summary.scalars(outcome.metrics))
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
    card = infos[0].card if plan == Recipe() else None
    gate = image_gates.gate_for(plan, options.gate)
    with folders.new_folder(output_dir, marker=runs.METRICS, overwrite=overwrite) as folder:
        sets = detecting.of_models(model_dirs, about, views=plan.views, trust=options.trust, progress=progress)
        record = _one_or_all([info.card.trained for info in infos])
        untrained = [one for info in infos if (one := runs.untrained(info.card.run, info.card.checkpoint))]
        origin = Origin(
            facts=facts,
            parts=parts,
            own_threshold=card.score_threshold if card else None,
            own_calibrator=card.calibrator if card else None,
            record=record,
            warnings=untrained,
        )
        outcome = _of_split(folder, about, sets, plan, gate, options, origin)
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
        by_exam = detection_files.of_columns(loaded.detected, _ids(loaded), str(detections))
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
        origin = Origin(facts=facts, parts=leaks.of_file(detections))
        outcome = results.write(folder, loaded, detected, plan, options, origin, read, other=other)
    return _moved(outcome, output_dir)


def _of_data(about: Split) -> dict[str, Any]:
    return {"split": about.name, "manifest_sha256": paths.sha256_file(about.folder / record_sets.MANIFEST)}


def _one_or_all(records: Sequence[Any]) -> Any:
    return records[0] if len(records) == 1 else list(records)


def _of_split(
    folder: Path,
    about: Split,
    sets: Sequence[dict[str, Detections]],
    plan: Recipe,
    gate: Mapping[str, float] | None,
    options: Options,
    origin: Origin,
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
        lambda _, __: results.coco_rows(detected, instances),
        names=(str(about.truth), "the detections"),
        class_name=options.class_name,
        patients=annotations.read_patient_map(options.patient_map) if options.patient_map else None,
        facts=files.read_facts(options.facts) if options.facts else {},
    )
    other = None
    if compared := options.compare:
        other = inputs.assemble(
            instances,
            lambda ids, category: detection_files.read_columns(compared, ids, category_id=category),
            names=("the ground truth", str(compared)),
            class_name=options.class_name,
            patients=_patients(loaded),
        )
    return results.write(folder, loaded, detected, plan, options, origin, lambda wanted: about.pixels(set(wanted)), other=other)


def _patients(loaded: Loaded) -> dict[str, str]:
    """Return exam -> patient, as ``inputs.assemble`` takes it."""
    return dict(zip(loaded.cases.names, map(str, loaded.cases.patients.tolist()), strict=True))


def _ids(loaded: Loaded) -> dict[str, Any]:
    """Return exam -> COCO image id."""
    return {str(image.get("file_name", image["id"])): image["id"] for image in loaded.instances["images"]}


def _again(loaded: Loaded, detected: dict[str, Detections], options: Options) -> Loaded:
    """Return the same ground truth with other detections."""
    ids = _ids(loaded)
    rows = [row | {"image_id": ids[row["file_name"]]} for row in results.coco_rows(detected, loaded.instances)]
    facts = {exam: {name: values[index] for name, values in loaded.cases.facts.items()} for index, exam in enumerate(loaded.cases.names)}
    return inputs.assemble(loaded.instances, lambda _, __: rows, class_name=options.class_name, patients=_patients(loaded), facts=facts)


def _moved(outcome: Outcome, output_dir: Path) -> Outcome:
    # a new folder had another name while the results were written
    return dataclasses.replace(outcome, metrics_path=output_dir / runs.METRICS, report=output_dir / outcome.report.name)
