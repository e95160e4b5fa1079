"""One evaluation: detections found or read, judged, and written down as metrics.json, detections.json and report.html.

outcome = of_run(Path("workspace/my_first"), options=Options(aim="sensitivity>=0.9"))
outcome = of_model(Path("workspace/my_first/export"), data_dir, output_dir, options=Options())
outcome = of_files(Path("instances.json"), Path("detections.json"), output_dir, options=Options())       # any framework, no TensorFlow
"""

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pneumodet import paths, pictures, results, run_folder
from pneumodet.assessment import files, inputs, summary
from pneumodet.assessment.inputs import Loaded
from pneumodet.data import annotations, boxes, folders, images, label_map, record_sets, sources, tf_example, tfrecord
from pneumodet.errors import DataError
from pneumodet.postprocessing import files as gates
from pneumodet.postprocessing import recipe as recipes
from pneumodet.reporting import page
from pneumodet.results import Detections

DETECTIONS = "detections.json"

GALLERY = 24
"""Worst cases that are drawn."""

FROM_MODEL = "from the model, which chose it on other data"

Progress = Callable[[int], Callable[[], None]]
"""Is told the number of images, and returns what to call after each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How detections are judged; see ``summary.assess`` and ``inputs.load``.

    Attributes:
      threshold: score threshold of the operating point, chosen on other data; cross-fitted for ``aim`` where it is None.
      aim: what thresholds are chosen for.
      rules: of the RSNA metric.
      resamples: of the bootstrap.
      seed: of folds and bootstrap.
      compare: another model's detections of the same images.
      recipe: post-processing to apply first.
      gate: image-level scores for the recipe, CSV ``patientId,score``.
      patient_map, facts, class_info: as ``inputs.load``.
      class_name: the class that is judged.
    """

    threshold: float | None = None
    aim: str = "rsna"
    rules: str = "strict"
    resamples: int = 1000
    seed: int = 0
    compare: Path | None = None
    recipe: Path | None = None
    gate: Path | None = None
    patient_map: Path | None = None
    facts: Path | None = None
    class_info: Path | None = None
    class_name: str = label_map.PNEUMONIA


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was found, and where it lies."""

    metrics: dict[str, Any]
    metrics_path: Path
    report: Path


def of_run(folder: Path, *, options: Options, data_dir: Path | None = None, split: str = "val", progress: Progress) -> Outcome:
    """Judge a run's newest checkpoint on a split of its record set, or of another one; results go into the run's ``eval/``.

    Raises:
      ConfigError: options do not go together.
      DataError: records, ground truth or label map do not fit.
      CheckpointError: the run has no checkpoint, or it does not fit.
    """
    record = paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Train the run again.")
    data_dir = data_dir or Path(record["data"]["folder"])
    manifest, about = _split(data_dir, split)
    classes = label_map.read_label_map(folder / run_folder.LABEL_MAP)
    if manifest["label_map"] != classes:
        raise DataError(f"The run was trained with the label map {classes}, but the records in {data_dir} have {manifest['label_map']}.")
    from pneumodet.detection import checkpoints, evaluation

    found, checkpoint = evaluation.detect_run(folder, data_dir, about, on_image=progress(about["exams"]))
    facts = {"checkpoint": Path(checkpoint).name, "step": checkpoints.step_of(checkpoint)} | _of_data(data_dir, split)
    loaded, found = _assembled(data_dir, about, found, classes, options)
    config = (folder / run_folder.CONFIG).read_text(encoding="utf-8")
    read = record_pixels(data_dir, about)
    outcome = _write(folder / run_folder.EVAL, loaded, found, options, facts, read, record=record.get("provenance"), config=config)
    evaluation.write_scalars(folder / run_folder.EVAL, facts["step"], summary.scalars(outcome.metrics))
    return outcome


def of_model(
    model_dir: Path, data_dir: Path, output_dir: Path, *, options: Options, split: str = "val", overwrite: bool, progress: Progress
) -> Outcome:
    """Judge an exported model on a split of a record set; it is run on each record's image. Arguments and errors as ``of_run``.

    The model's own threshold is used unless it was chosen on this very record set; then thresholds are cross-fitted.
    """
    from pneumodet.detection import inference

    manifest, about = _split(data_dir, split)
    info = inference.read_info(model_dir)
    if manifest["label_map"] != info.label_map:
        raise DataError(f"The model's label map is {info.label_map}, but the records in {data_dir} have {manifest['label_map']}.")
    facts = {"model": model_dir.name, "checkpoint": info.card.get("checkpoint")} | _of_data(data_dir, split)
    chosen_here = (info.card.get("metrics") or {}).get("manifest_sha256") == facts["manifest_sha256"]
    source = summary.GIVEN
    if options.threshold is None and info.score_threshold is not None and not chosen_here:
        options, source = dataclasses.replace(options, threshold=info.score_threshold), FROM_MODEL
    with folders.new_folder(output_dir, marker=run_folder.METRICS, overwrite=overwrite) as folder:
        detector = inference.SavedModelDetector(model_dir)
        done = progress(about["exams"])
        found = {}
        for exam, pixels in _records(data_dir, about):
            found[exam] = detector.detect(pixels)
            done()
        loaded, found = _assembled(data_dir, about, found, info.label_map, options)
        outcome = _write(
            folder, loaded, found, options, facts, record_pixels(data_dir, about), source=source, record=info.card.get("trained")
        )
    return _moved(outcome, output_dir)


def of_files(
    ground_truth: Path, detections: Path, output_dir: Path, *, options: Options, radiographs: Path | None = None, overwrite: bool
) -> Outcome:
    """Judge detections that are there, of any framework; ``radiographs`` is a folder of images for the gallery. Raises as ``of_run``."""
    more = {"class_name": options.class_name, "patient_map": options.patient_map, "facts": options.facts, "class_info": options.class_info}
    folders.check_free(output_dir, marker=run_folder.METRICS, overwrite=overwrite)
    loaded = inputs.load(ground_truth, detections, **more)
    found = None
    if options.recipe:
        category = next(one["id"] for one in loaded.instances["categories"] if one["name"] == options.class_name)
        found = _processed(_by_exam(loaded), category, options)
        loaded = _again(loaded, found, options)
    other = inputs.load(ground_truth, options.compare, **more) if options.compare else None
    read = None
    if radiographs:
        there, _ = sources.find_radiographs(radiographs, known=set(loaded.cases.names), images=True)

        def read(wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
            return ((exam, images.read_pixels(there[exam])) for exam in wanted if exam in there)

    facts = {
        "split": None,
        "ground_truth": {"name": ground_truth.name, "sha256": paths.sha256_file(ground_truth)},
        "detections_file": {"name": detections.name, "sha256": paths.sha256_file(detections)},
    }
    with folders.new_folder(output_dir, marker=run_folder.METRICS, overwrite=overwrite) as folder:
        outcome = _write(folder, loaded, found, options, facts, read, other=other)
    return _moved(outcome, output_dir)


def record_pixels(data_dir: Path, about: Mapping[str, Any]) -> Callable[[Iterable[str]], Iterator[tuple[str, np.ndarray]]]:
    """Return a function that yields (exam, pixels) of those exams of a split that it is asked for."""

    def read(wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        return _records(data_dir, about, set(wanted))

    return read


def _records(data_dir: Path, about: Mapping[str, Any], wanted: set[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    for shard in about["shards"]:
        for data in tfrecord.read_records(data_dir / shard["name"]):
            record = tf_example.decode(data)
            if wanted is None or record.patient_id in wanted:
                yield record.patient_id, np.asarray(Image.open(io.BytesIO(record.encoded)).convert("L"))


def _split(data_dir: Path, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = record_sets.load_manifest(data_dir)
    if split not in manifest["splits"]:
        raise DataError(f"The record set {data_dir} has no split {split!r}; it has {', '.join(manifest['splits'])}.")
    if not manifest["splits"][split]["exams"]:
        raise DataError(f"The split {split!r} of {data_dir} has no exams. Make the records again with a larger --val-fraction.")
    return manifest, manifest["splits"][split]


def _of_data(data_dir: Path, split: str) -> dict[str, Any]:
    return {"split": split, "manifest_sha256": paths.sha256_file(data_dir / record_sets.MANIFEST)}


def _assembled(
    data_dir: Path, about: Mapping[str, Any], found: dict[str, Detections], classes: Mapping[str, int], options: Options
) -> tuple[Loaded, dict[str, Detections]]:
    """Return (ground truth and detections of a split, the detections after the recipe)."""
    instances = paths.read_json(data_dir / about["annotations"], what="the ground truth", hint="Make the records again.")
    differ = {image["file_name"] for image in instances["images"]} ^ found.keys()
    if differ:
        raise DataError(f"Records and ground truth in {data_dir} do not list the same exams ({min(differ)} is in one of them only).")
    if options.recipe:
        found = _processed(found, classes[options.class_name], options)
    loaded = inputs.assemble(
        instances,
        lambda _, __: results.to_coco(found),
        names=(str(data_dir / about["annotations"]), "the detections"),
        class_name=options.class_name,
        patients=annotations.read_patient_map(options.patient_map) if options.patient_map else None,
        facts=files.read_facts(options.facts) if options.facts else {},
    )
    return loaded, found


def _processed(found: dict[str, Detections], category: int, options: Options) -> dict[str, Detections]:
    recipe = recipes.load(options.recipe)
    gate = gates.read_gate(options.gate) if options.gate else None
    return recipes.apply(recipe, [found], category_id=category, gate_scores=gate)


def _by_exam(loaded: Loaded) -> dict[str, Detections]:
    names = {image["id"]: str(image.get("file_name", image["id"])) for image in loaded.instances["images"]}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for row in loaded.coco_results:
        rows[names[row["image_id"]]].append(row)
    return {
        name: Detections(
            boxes.xywh_to_xyxy_px(np.array([row["bbox"] for row in of_exam], np.float64).reshape(-1, 4)),
            np.array([row["score"] for row in of_exam]),
            np.array([row["category_id"] for row in of_exam], np.int64),
        )
        for name, of_exam in rows.items()
    }


def _again(loaded: Loaded, found: dict[str, Detections], options: Options) -> Loaded:
    """Return the same ground truth with other detections."""
    ids = {str(image.get("file_name", image["id"])): image["id"] for image in loaded.instances["images"]}
    rows = [row | {"image_id": ids[row["file_name"]]} for row in results.to_coco(found)]
    patients = dict(zip(loaded.cases.names, map(str, loaded.cases.patients.tolist()), strict=True))
    facts = {exam: {name: values[index] for name, values in loaded.cases.facts.items()} for index, exam in enumerate(loaded.cases.names)}
    return inputs.assemble(loaded.instances, lambda _, __: rows, class_name=options.class_name, patients=patients, facts=facts)


def _write(
    folder: Path,
    loaded: Loaded,
    found: dict[str, Detections] | None,
    options: Options,
    about: dict[str, Any],
    read: Callable[[Iterable[str]], Iterator[tuple[str, np.ndarray]]] | None,
    *,
    source: str = summary.GIVEN,
    other: Loaded | None = None,
    record: Mapping[str, Any] | None = None,
    config: str = "",
) -> Outcome:
    if other is None and options.compare:
        other = inputs.assemble(
            loaded.instances,
            lambda ids, category: files.read_results(options.compare, ids, category),
            names=("the ground truth", str(options.compare)),
            class_name=options.class_name,
            patients=dict(zip(loaded.cases.names, map(str, loaded.cases.patients.tolist()), strict=True)),
        )
    metrics = summary.assess(
        loaded,
        threshold=options.threshold,
        threshold_source=source,
        aim=options.aim,
        rules=options.rules,
        class_name=options.class_name,
        resamples=options.resamples,
        seed=options.seed,
        other=other,
        names=("this model", options.compare.stem if options.compare else "B"),
    )
    metrics |= about
    paths.write_json(folder / run_folder.METRICS, metrics)
    if found is not None:  # otherwise they are the caller's file
        paths.write_json(folder / DETECTIONS, results.to_coco(found))
    table = options.recipe.parent / gates.TABLE if options.recipe else None
    report = page.write_report(
        folder,
        metrics,
        pictures=list(_gallery(loaded, metrics, read)),
        provenance={"evaluated": run_folder.provenance(), "trained": record},
        config_text=config,
        gains=paths.read_json(table, what="the table of gains", hint="Run tools/postprocess.py again.")
        if table and table.exists()
        else None,
    )
    return Outcome(metrics, folder / run_folder.METRICS, report)


def _gallery(
    loaded: Loaded, metrics: Mapping[str, Any], read: Callable[[Iterable[str]], Iterator[tuple[str, np.ndarray]]] | None
) -> Iterator[tuple[str, Image.Image | None, str]]:
    """Yield (exam, picture with ground truth and detections or None, why it is here) of the worst cases."""
    cases = loaded.cases
    threshold = metrics["rsna_threshold"] or 0.0
    worst = metrics["worst"][:GALLERY]
    pixels = dict(read([one["name"] for one in worst])) if read else {}
    for one in worst:
        index, picture = one["case"], None
        if one["name"] in pixels:
            mine = (cases.box_case == index) & (cases.scores >= threshold)
            detections = Detections(cases.boxes_xyxy_px[mine], cases.scores[mine], np.ones(int(mine.sum()), np.int64))
            truth = cases.truth_xyxy_px[cases.truth_case == index]
            picture = pictures.draw_boxes(pixels[one["name"]], truth_xyxy_px=truth, detections=detections)
        yield one["name"], picture, one["reason"]


def _moved(outcome: Outcome, output_dir: Path) -> Outcome:
    return dataclasses.replace(outcome, metrics_path=output_dir / run_folder.METRICS, report=output_dir / outcome.report.name)
