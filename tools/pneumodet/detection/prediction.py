"""Radiographs in, detections, a submission and pictures out. Needs an exported model, no training code and no API.

summary = predict(Path("workspace/my_first/export"), dicom_dir, output_dir)
"""

import concurrent.futures
import csv
import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pneumodet import paths, pictures, results
from pneumodet.data import annotations, folders, images, label_map, sources
from pneumodet.data.sources import Source
from pneumodet.detection import inference
from pneumodet.errors import DataError
from pneumodet.metrics import calibration
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
      threshold_source: one of GIVEN, FROM_MODEL, FROM_RECIPE, ASSUMED.
      milliseconds: mean wall time a radiograph, decoding and pictures included, the model's start not.
      sheet: the overview picture, or None where none was drawn.
    """

    radiographs: int
    positive: int
    refused: list[tuple[str, str]]
    score_threshold: float
    threshold_source: str
    milliseconds: float
    sheet: Path | None


def predict(
    model_dir: Path,
    dicom_dir: Path,
    output_dir: Path,
    *,
    labels: Path | None = None,
    recipe: Path | None = None,
    gate: Path | None = None,
    score_threshold: float | None = None,
    max_images: int = 100,
    overwrite: bool = False,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> Summary:
    """Write ``detections.json`` (COCO results), ``submission.csv``, ``scores.csv``, ``images/``, ``overview.png`` and ``predictions.json``.

    Args:
      model_dir: made by ``exporting.export``.
      dicom_dir: folder of DICOM files; one that cannot be read is listed and left out.
      output_dir: the new folder; it appears whole or not at all.
      recipe: post-processing that ``postprocessing.search`` found.
      gate: image-level scores for the recipe, CSV ``patientId,score``.
      labels: RSNA labels, to draw the ground truth beside the detections.
      score_threshold: of submission and pictures; detections.json has every score from ``inference.SCORE_FLOOR``.
      max_images: pictures at the most.
      overwrite: replace earlier predictions in ``output_dir``.
      progress: wraps the list of files, to show how far it is.

    Returns:
      The summary.

    Raises:
      DataError: no radiograph can be read, or the output folder cannot be used.
      CheckpointError: ``model_dir`` is no exported model.
    """
    info = inference.read_info(model_dir)
    if label_map.PNEUMONIA not in info.label_map:
        raise DataError(f"The model in {model_dir} has no class 'pneumonia'; its classes are {', '.join(info.label_map)}.")
    threshold, source = score_threshold, GIVEN
    steps = recipes.load(recipe) if recipe else recipes.Recipe()
    gate_scores = gate_files.read_gate(gate) if gate else None
    if threshold is None and recipe:
        threshold, source = steps.score_threshold, FROM_RECIPE
    if threshold is None:
        threshold, source = info.score_threshold, FROM_MODEL
    if threshold is None:
        threshold, source = DEFAULT_THRESHOLD, ASSUMED
    truth = annotations.read_rsna_labels(labels).exams if labels else {}
    files, refused = sources.find_radiographs(dicom_dir, known=truth, images=True)
    pneumonia = info.label_map[label_map.PNEUMONIA]
    with folders.new_folder(output_dir, marker=SUMMARY, overwrite=overwrite) as folder:
        detector = inference.SavedModelDetector(model_dir)
        (folder / "images").mkdir()
        found: dict[str, Detections] = {}
        tiles = []
        started = time.perf_counter()
        for exam, pixels in _read_ahead(progress(files.items())):
            if isinstance(pixels, DataError):
                refused.append((files[exam].name, str(pixels).replace(str(files[exam]), files[exam].name)))
                continue
            found[exam] = recipes.apply(steps, [{exam: detector.detect(pixels)}], category_id=pneumonia, gate_scores=gate_scores)[exam]
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
        _write_scores(folder / SCORES, {exam: one.of_class(pneumonia) for exam, one in found.items()}, info.card.get("calibrator"))
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
        )
        card = {"run": info.card.get("run"), "checkpoint": info.card.get("checkpoint")}
        paths.write_json(folder / SUMMARY, {**dataclasses.asdict(summary), "sheet": SHEET if tiles else None, "model": card})
    return summary


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
