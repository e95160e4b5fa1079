"""Post-processing from files to a folder: what tools/postprocess.py does.

table = tune(instances, [detections], folder, gate=gate_csv)     # recipe.json, table.json, detections.json
table = choose(truth, [found_by_exam], folder)                   # the same, with detections that are in memory
counts = apply_only(recipe, [detections], folder)                # recipe.json, detections.json
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import folders, overlap, paths, runs, seen
from pneumodet.core.detections import Detections, write_coco_results
from pneumodet.core.errors import DataError
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import annotations, detection_files, label_map
from pneumodet.data import ground_truth as ground_truths
from pneumodet.data.cases import Cases
from pneumodet.evaluation import leaks, postprocess_search
from pneumodet.evaluation.metrics import operating_point
from pneumodet.inference.postprocess import ensembles, steps
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.gates import read_gate
from pneumodet.inference.postprocess.views import ONLY_IDENTITY

DETECTIONS, TABLE = "detections.json", "table.json"
"""Files beside the recipe."""


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of one class.

    Attributes:
      boxes_xyxy_px: exam -> (N, 4) float64.
      category_id: the class's id in detections.
      image_ids: exam -> image id in COCO results.
      patients: exam -> patient, or None where every exam counts as a patient of its own.
      exams: all that the exams may be known again by; None where that is but their names.
    """

    boxes_xyxy_px: dict[str, np.ndarray]
    category_id: int
    image_ids: dict[str, int | str]
    patients: dict[str, str] | None = None
    exams: Exams | None = None


def tune(
    ground_truth: Path,
    detections: Sequence[Path],
    output_dir: Path,
    *,
    gate: Path | None = None,
    patient_map: Path | None = None,
    class_map: Mapping[str, str] | None = None,
    split: str = "val",
    overwrite: bool = False,
    **how: Any,
) -> dict[str, Any]:
    """Choose a recipe on validation detections that lie in files.

    Args:
      ground_truth: as ``ground_truth.read``.
      detections: files as ``detection_files.read`` of one or more runs on these exams.
      output_dir: as in ``choose``.
      gate: CSV ``patientId,score`` with an image-level score in [0, 1] for every exam and no other.
      patient_map: as make_tfrecords takes it; without, patients are those of the ground truth, and else every exam is one of its own.
      class_map: as ``ground_truth.read``.
      split: of a record set that is the ground truth.
      overwrite: as in ``choose``.
      how: ``objective``, ``rules``, ``folds``, ``seed`` and ``on_start`` of ``choose``.

    Returns:
      The table of ``choose``.

    Raises:
      DataError, ConfigError: as ``choose``; or a file cannot be used.
    """
    folders.check_free(output_dir, marker=recipes.RECIPE, overwrite=overwrite)
    truth = read_truth(ground_truth, patient_map=patient_map, split=split, class_map=class_map)
    gate_scores = None if gate is None else read_gate(gate, exams=list(truth.boxes_xyxy_px))
    sets = [read_detections(path, truth=truth) for path in detections]
    parts: dict[str, Seen] = {}
    for path in detections:  # those of other frameworks record nothing
        parts |= leaks.of_file(path) if runs.run_around(path) else {}
    return choose(truth, sets, output_dir, gate_scores=gate_scores, overwrite=overwrite, parts=parts, **how)


def choose(
    truth: Truth,
    sets: Sequence[Mapping[str, Detections]],
    output_dir: Path,
    *,
    views: tuple[str, ...] = ONLY_IDENTITY,
    names: Sequence[str] | None = None,
    gate_scores: Mapping[str, float] | None = None,
    objective: str = "rsna",
    rules: str = "strict",
    folds: int = operating_point.FOLDS,
    seed: int = 0,
    overwrite: bool = False,
    parts: Mapping[str, Seen] | None = None,
    on_start: Callable[[int], Callable[[str], None]] = lambda total: lambda step: None,
) -> dict[str, Any]:
    """Choose a recipe on validation detections, and write it with the table of gains and the cross-fitted detections.

    Args:
      truth: ground truth.
      sets: of each model each view, model after model: exam -> Detections.
      output_dir: new folder for recipe.json, table.json and detections.json. The last holds each exam after the recipe that other patients gave,
        so that it may be evaluated on the same ground truth.
      views: names of the views of each model.
      names: of the sets of detections, for the table.
      gate_scores: exam -> image-level score in [0, 1].
      objective: ``rsna`` or ``ap50``.
      rules: of the RSNA metric.
      folds: number of groups of patients.
      seed: of folds and groups.
      overwrite: replace an earlier result.
      parts: name -> what it has seen, of each model whose detections these are, as far as known.
      on_start: called with the number of steps before the search; returns what is called with the name of each step that is done.

    Returns:
      The table, see ``search.search``; with ``patient_map``, whether patients are known, ``views``, and ``warnings``: a recipe that is tuned on exams of
      the training suits these.

    Raises:
      DataError: nothing can be chosen on these; see the messages.
      ConfigError: objective or folds are out of range.
    """
    exams = list(truth.boxes_xyxy_px)
    gate = None if gate_scores is None else recipes.gate_of(gate_scores, exams)
    # every exam a patient of its own, unless patients are known
    patients = np.arange(len(exams))
    if truth.patients is not None:
        patients = operating_point.patient_numbers([truth.patients[exam] for exam in exams])
    sources = [cases_of(truth, patients, one) for one in sets]
    result = postprocess_search.search(
        sources,
        folds=operating_point.patient_folds(sources[0], folds, seed=seed),
        gate=gate,
        objective=objective,
        rules=rules,
        views=len(views),
        names=names,
        seed=seed,
        on_step=on_start(len(postprocess_search.grids(len(sources), gate))),
    )
    known, parts = truth.exams or Exams.of([{"file_name": exam} for exam in exams]), parts or {}
    warnings = overlap.count(parts, known).sentences("trained")
    table = {**result.table, "patient_map": truth.patients is not None, "views": list(views), "warnings": warnings}
    # with its views, which later detections need, and its exams, on which an evaluation warns
    chosen = dataclasses.replace(result.recipe, views=views, exams_sha256=recipes.fingerprint(exams))
    with folders.new_folder(output_dir, marker=recipes.RECIPE, overwrite=overwrite) as folder:
        recipes.save(folder / recipes.RECIPE, chosen, seen=seen.united(parts.values()) | Seen(tuned=Marks.of(known)))
        paths.write_json(folder / TABLE, table)
        write_coco_results(folder / DETECTIONS, steps.from_cases(result.cross_fitted, category_id=truth.category_id))
    return table


def apply_only(
    recipe: Path,
    detections: Sequence[Path],
    output_dir: Path,
    *,
    ground_truth: Path | None = None,
    gate: Path | None = None,
    class_map: Mapping[str, str] | None = None,
    split: str = "val",
    overwrite: bool = False,
) -> dict[str, int]:
    """Apply a recipe that is there.

    Args:
      recipe: recipe.json.
      detections: as many files as the recipe takes.
      output_dir: new folder for detections.json and a copy of recipe.json.
      ground_truth: as in ``tune``; only its exams and classes are read. Without, the exams are those with detections, and the class is that of the
        default label map.
      gate: as in ``tune``; without ground truth it may have more exams.
      class_map: as in ``tune``.
      split: as in ``tune``.
      overwrite: replace an earlier result.

    Returns:
      ``exams``; of the recipe's class ``boxes_before``, ``boxes_after`` and ``exams_with_boxes``.

    Raises:
      DataError: a file cannot be used; see the messages.
      ConfigError: the recipe is malformed, or has views, for which detections are not enough.
    """
    folders.check_free(output_dir, marker=recipes.RECIPE, overwrite=overwrite)
    chosen = recipes.load(recipe)
    ensembles.refuse_views(chosen, recipe)
    truth = None if ground_truth is None else read_truth(ground_truth, split=split, class_map=class_map)
    # without ground truth nothing names the class
    category = label_map.read_label_map(paths.DEFAULT_LABEL_MAP)[label_map.PNEUMONIA] if truth is None else truth.category_id
    sources = [read_detections(path, truth=truth) for path in detections]
    # an exam that only one detector has boxes in is still an exam of all
    exams = list(dict.fromkeys(exam for one in sources for exam in one))
    sources = [{exam: one.get(exam, Detections.none()) for exam in exams} for one in sources]
    gate_scores = None if gate is None else read_gate(gate, exams=None if truth is None else exams)
    processed = recipes.apply(chosen, sources, category_id=category, gate_scores=gate_scores)
    with folders.new_folder(output_dir, marker=recipes.RECIPE, overwrite=overwrite) as folder:
        recipes.save(folder / recipes.RECIPE, chosen, seen=recipes.seen_of(recipe))
        write_coco_results(folder / DETECTIONS, processed)
    left = [len(one.of_class(category)) for one in processed.values()]  # those of other classes are passed on as they are
    return {
        "exams": len(exams),
        "boxes_before": sum(len(one.of_class(category)) for source in sources for one in source.values()),
        "boxes_after": sum(left),
        "exams_with_boxes": sum(number > 0 for number in left),
    }


def read_truth(path: Path, *, patient_map: Path | None = None, split: str = "val", class_map: Mapping[str, str] | None = None) -> Truth:
    """Read the boxes of pneumonia, or of the only class that there is.

    Args:
      path: as ``ground_truth.read``.
      patient_map: as in ``tune``.
      split: of a record set.
      class_map: as ``ground_truth.read``.

    Raises:
      DataError: the file cannot be read, an exam in it cannot be used or is not in the patient map, or there are several classes and none is
        pneumonia.
    """
    truth = ground_truths.read(path, split=split, class_map=class_map)
    categories = {name: number for name, number in truth.categories.items() if name != label_map.NO_PNEUMONIA}
    name = next(iter(categories)) if len(categories) == 1 else label_map.PNEUMONIA
    if name not in categories:
        raise DataError(
            f"{path} has the classes {', '.join(categories) or '(none)'}. Call the one to post-process {label_map.PNEUMONIA!r}."
        )
    boxes = {
        exam: one.boxes_xyxy_px[[each == name for each in one.class_names]].reshape(-1, 4) if len(one.class_names) else np.zeros((0, 4))
        for exam, one in truth.labels.exams.items()
    }
    mapped = None if patient_map is None else _mapped(patient_map, boxes)
    exams = Exams.of(truth.instances["images"], patients=mapped)
    return Truth(boxes, categories[name], truth.image_ids, truth.patients if mapped is None else mapped, exams)


def read_detections(path: Path, *, truth: Truth | None = None) -> dict[str, Detections]:
    """Read detections.

    Args:
      path: as ``detection_files.read``.
      truth: lists the exams; each has an entry in the result. Without, the exams are those that the file names.

    Returns:
      exam -> Detections.

    Raises:
      DataError: as ``detection_files.by_exam``.
    """
    return detection_files.by_exam(path) if truth is None else detection_files.by_exam(path, truth.image_ids, category_id=truth.category_id)


def cases_of(truth: Truth, patients: np.ndarray, detections: Mapping[str, Detections]) -> Cases:
    """Return cases with ground truth and the detections of its class; ``patients`` is (C,) int64."""
    exams = list(truth.boxes_xyxy_px)
    boxes = [truth.boxes_xyxy_px[exam] for exam in exams]
    return dataclasses.replace(
        steps.to_cases({exam: detections[exam] for exam in exams}, category_id=truth.category_id),
        patients=patients,
        truth_xyxy_px=np.concatenate([np.zeros((0, 4)), *boxes]),
        truth_case=np.repeat(np.arange(len(exams)), [len(one) for one in boxes]),
    )


def _mapped(patient_map: Path, exams: Iterable[str]) -> dict[str, str]:
    known = ground_truths.with_exam_names(annotations.read_patient_map(patient_map))
    missing = [exam for exam in exams if exam not in known]
    if missing:
        raise DataError(f"The patient map {patient_map} does not name {len(missing)} exams, for example {missing[0]}. Add them.")
    return known
