"""Radiographs in, detections, a submission and pictures out. Needs an exported model, no training code and no API.

summary = predict([Path("workspace/my_first/export")], dicom_dir, output_dir)
"""

import concurrent.futures
import csv
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pneumodet import paths, pictures, results
from pneumodet.data import annotations, folders, images, label_map, sources
from pneumodet.data.sources import Source
from pneumodet.detection import detecting, inference
from pneumodet.errors import DataError
from pneumodet.metrics import calibration
from pneumodet.postprocessing import ensembles
from pneumodet.postprocessing import files as gate_files
from pneumodet.postprocessing import recipe as recipes
from pneumodet.results import Detections

SUMMARY = "predictions.json"
"""Written last: model, threshold and the files that were left out."""

SCORES = "scores.csv"
"""patientId, highest score, calibrated probability."""

SHEET = "overview.png"
"""All pictures on one sheet."""

SHEET_TILES = 12
"""Pictures on the sheet at the most."""

DEFAULT_THRESHOLD = 0.5
"""Used where neither the command nor the model has a threshold."""

GIVEN, FROM_MODEL, FROM_RECIPE, ASSUMED = "given", "the model's own", "the recipe's own", "assumed"
BEFORE_FUSION = "the mean of the models' own, which were chosen before anything was fused"
"""Where the score threshold is from."""

_READ_AHEAD = 4
"""Radiographs that are decoded while another one is in the model."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What prediction did.

    Attributes:
      radiographs: number of radiographs with a result.
      positive: those with at least one detection of pneumonia at the threshold.
      refused: (file, reason) for those left out.
      score_threshold: of submission and pictures.
      threshold_source: one of GIVEN, FROM_MODEL, FROM_RECIPE, BEFORE_FUSION, ASSUMED.
      milliseconds: mean wall time a radiograph, decoding and pictures included, the model's start not.
      sheet: the overview picture, or None where none was drawn.
      notes: what the user should know of fusion and probabilities, a sentence each.
    """

    radiographs: int
    positive: int
    refused: list[tuple[str, str]]
    score_threshold: float
    threshold_source: str
    milliseconds: float
    sheet: Path | None
    notes: list[str]


def predict(
    model_dirs: Sequence[Path],
    dicom_dir: Path,
    output_dir: Path,
    *,
    labels: Path | None = None,
    recipe: Path | None = None,
    tta: str | None = None,
    gate: Path | None = None,
    score_threshold: float | None = None,
    max_images: int = 100,
    overwrite: bool = False,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> Summary:
    """Write ``detections.json`` (COCO results), ``submission.csv``, ``scores.csv``, ``images/``, ``overview.png`` and ``predictions.json``.

    Args:
      model_dirs: one or more, each made by ``exporting.export``; what several find is fused.
      dicom_dir: folder of DICOM files; one that cannot be read is listed and left out.
      output_dir: the new folder; it appears whole or not at all.
      recipe: post-processing that ``postprocessing.search`` found, with the views that it was found with.
      tta: views as ``views.parse`` takes them, where there is no recipe.
      gate: image-level scores for the recipe, CSV ``patientId,score``.
      labels: RSNA labels, to draw the ground truth beside the detections.
      score_threshold: of submission and pictures; detections.json has every score from ``inference.SCORE_FLOOR``.
      max_images: pictures at the most.
      overwrite: replace earlier predictions in ``output_dir``.
      progress: wraps the list of files, to show how far it is.

    Returns:
      The summary.

    Raises:
      DataError: no radiograph can be read, the output folder cannot be used, or models and recipe do not fit together.
      ConfigError: recipe or views are malformed, or do not fit together.
      CheckpointError: one of ``model_dirs`` is no exported model.
    """
    infos = inference.read_infos(model_dirs)
    classes = infos[0].label_map
    if label_map.PNEUMONIA not in classes:
        raise DataError(f"The model in {model_dirs[0]} has no class 'pneumonia'; its classes are {', '.join(classes)}.")
    steps = ensembles.planned(recipe, models=len(model_dirs), tta=tta)
    gate_scores = gate_files.gate_for(steps, gate)
    threshold, source = (score_threshold, GIVEN) if score_threshold is not None else _threshold(steps, infos, by_recipe=recipe is not None)
    calibrator = infos[0].card.get("calibrator") if steps == recipes.Recipe() else None
    notes = [ensembles.untuned(steps)] if recipe is None and steps.sources > 1 else []
    if calibrator is None and any(info.card.get("calibrator") for info in infos):
        notes.append(f"{SCORES} has no probabilities: the model was calibrated for its own scores, not for those after post-processing.")
    truth = annotations.read_rsna_labels(labels).exams if labels else {}
    files, refused = sources.find_radiographs(dicom_dir, known=truth, images=True)
    pneumonia = classes[label_map.PNEUMONIA]
    with folders.new_folder(output_dir, marker=SUMMARY, overwrite=overwrite) as folder:
        detectors = detecting.Detectors(model_dirs)
        (folder / "images").mkdir()
        found: dict[str, Detections] = {}
        tiles = []
        started = time.perf_counter()
        for exam, pixels in _read_ahead(progress(files.items())):
            if isinstance(pixels, DataError):
                refused.append((files[exam].name, str(pixels).replace(str(files[exam]), files[exam].name)))
                continue
            sets = [{exam: one} for one in detectors.detect(pixels, steps.views)]
            found[exam] = recipes.apply(steps, sets, category_id=pneumonia, gate_scores=gate_scores)[exam]
            if len(found) <= max_images:
                picture = pictures.draw_boxes(
                    pixels,
                    truth_xyxy_px=truth[exam].boxes_xyxy_px if exam in truth else None,
                    detections=found[exam].of_class(pneumonia).above(threshold),
                    title=exam,
                )
                pictures.save(folder / "images" / f"{_file_name(exam)}.png", picture)
                if len(tiles) < SHEET_TILES:
                    tiles.append(picture)
        if not found:
            raise DataError(f"None of the {len(files)} files in {dicom_dir} could be read (first: {refused[0][1]}).")
        seconds = time.perf_counter() - started
        results.write_coco_results(folder / "detections.json", found)
        results.write_submission(folder / "submission.csv", found, category_id=pneumonia, score_threshold=threshold)
        _write_scores(folder / SCORES, {exam: one.of_class(pneumonia) for exam, one in found.items()}, calibrator)
        if tiles:
            pictures.save(folder / SHEET, pictures.contact_sheet(tiles, columns=min(4, len(tiles))))
        summary = Summary(
            radiographs=len(found),
            positive=sum(len(one.of_class(pneumonia).above(threshold)) > 0 for one in found.values()),
            refused=refused,
            score_threshold=threshold,
            threshold_source=source,
            milliseconds=1000 * seconds / len(found),
            sheet=output_dir / SHEET if tiles else None,
            notes=notes,
        )
        cards = [{key: info.card.get(key) for key in ("run", "checkpoint")} for info in infos]
        more = {"sheet": SHEET if tiles else None, "model": cards[0], "models": cards, "postprocessing": dataclasses.asdict(steps)}
        paths.write_json(folder / SUMMARY, {**dataclasses.asdict(summary), **more})
    return summary


def _threshold(steps: recipes.Recipe, infos: Sequence[inference.ModelInfo], *, by_recipe: bool) -> tuple[float, str]:
    """Return the score threshold that nobody gave, and where it is from."""
    if by_recipe:
        return steps.score_threshold, FROM_RECIPE
    own = [info.score_threshold for info in infos]
    if None in own:
        return DEFAULT_THRESHOLD, ASSUMED
    return float(np.mean(own)), FROM_MODEL if steps.sources == 1 else BEFORE_FUSION


def _write_scores(path: Path, found: dict[str, Detections], calibrator: dict | None) -> None:
    """Write each exam's highest score and, where the model was calibrated, the probability of pneumonia as its validation data have it."""
    scores = np.array([one.scores.max(initial=0.0) for one in found.values()], np.float64)
    texts = [""] * len(scores)
    if calibrator is not None:
        texts = [f"{one:.6g}" for one in calibration.Calibrator.from_json(calibrator)(scores).tolist()]
    with paths.atomic_path(path) as tmp, tmp.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("patientId", "score", "probability"))
        writer.writerows((exam, f"{score:.6g}", text) for exam, score, text in zip(found, scores.tolist(), texts, strict=True))


def _read_ahead(files: Iterable[tuple[str, Source]]) -> Iterable[tuple[str, np.ndarray | DataError]]:
    """Yield (exam, pixels or the reason why there are none), decoding the next files in other threads meanwhile."""

    def read(source: Source) -> np.ndarray | DataError:
        try:
            return images.read_pixels(source)
        except DataError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting: list[tuple[str, concurrent.futures.Future]] = []
        for exam, source in files:
            waiting.append((exam, pool.submit(read, source)))
            if len(waiting) > _READ_AHEAD:
                first, future = waiting.pop(0)
                yield first, future.result()
        for exam, future in waiting:
            yield exam, future.result()


def _file_name(exam: str) -> str:
    """Return an exam's id as a file name: a PatientID may hold a slash."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in exam).lstrip(".") or "unnamed"
