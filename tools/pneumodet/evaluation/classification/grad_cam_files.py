"""What tools/grad_cam.py does: a run's heatmaps, weak boxes and figures, into a folder.

outcome = explain("my_classifier", data_dir, options=Options(method="grad-cam++"))
outcome.folder / HEATMAPS, OVERLAYS, DETECTIONS, LOCALIZATION
"""

import dataclasses
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core import detections, folders, overlap, paths, runs
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.core.seen import Exams
from pneumodet.data.cases import Cases
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import image_level, inputs, leaks
from pneumodet.evaluation.classification import localization, scoring, weak_boxes, weak_localization
from pneumodet.evaluation.metrics import operating_point
from pneumodet.models.classification import grad_cam
from pneumodet.models.inputs import images
from pneumodet.viz import heatmap as overlays
from pneumodet.viz import pictures

HEATMAPS, OVERLAYS, DETECTIONS, LOCALIZATION = "heatmaps", "overlays.jpg", "detections.json", "pointing.json"
FILES = (OVERLAYS, DETECTIONS, LOCALIZATION)
"""A folder with a PNG of each exam, a picture of some exams, COCO results, and the figures, which are written last."""

SHOWN_POSITIVE, SHOWN_NEGATIVE = 12, 4
"""Exams on the sheet of overlays."""

_COLUMNS, _TILE_PX, _OPACITY = 4, 448, 0.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How heatmaps are made and evaluated.

    Attributes:
      method: one of ``grad_cam.METHODS``.
      split: train, val or test.
      share: of a heatmap's maximum from which on it gives weak boxes, chosen on other data; None chooses it for each exam on other patients.
      tolerance_px: of the pointing game, in px of the radiograph.
      seed: of folds.
    """

    method: str = grad_cam.GRAD_CAM
    split: str = "val"
    share: float | None = None
    tolerance_px: float = localization.TOLERANCE_PX
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Where results lie, what pointing.json holds, and the ground truth that they were evaluated by."""

    folder: Path
    report: dict[str, Any]
    ground_truth: Path


@dataclasses.dataclass(frozen=True, eq=False)
class _Explained:
    """What a classifier says of C exams.

    Attributes:
      layer: of the feature map.
      heatmaps: (h, w) float32 of each exam.
      probabilities: (C,) float64 of pneumonia.
      read: (C,) bool, whether the record could be read; one that could not has an empty heatmap.
    """

    layer: str
    heatmaps: list[np.ndarray]
    probabilities: np.ndarray
    read: np.ndarray


def explain(
    run: str,
    data_dir: Path | None = None,
    output_dir: Path | None = None,
    *,
    options: Options,
    overwrite: bool = False,
    progress: Callable[[int], Callable[[int], Any]] = lambda total: lambda done: None,
) -> Outcome:
    """Explain a classifier's scores on a split of a record set.

    Args:
      run: name of a run of tools/train_classifier.py.
      data_dir: record set; by default that of the run.
      output_dir: new folder; by default ``grad_cam`` or ``grad_cam_plus_plus`` in the run's.
      options: how.
      overwrite: replace an earlier result.
      progress: takes the number of exams, and returns what takes how many more are done.

    Raises:
      DataError: there is no such run or record set, or the folder is in use.
      ConfigError: an option is out of range, or the classifier has no feature map.
      CheckpointError: the run has no checkpoint.
      TrainingError: its weights are broken.
    """
    run_dir = runs.find(run, family=runs.CLASSIFICATION)
    trained_with = runs.read(run_dir).records()
    data_dir = data_dir or Path(trained_with.folder)
    output_dir = output_dir or run_dir / options.method.replace("+", "_plus").replace("-", "_")
    # before the network is run: a folder in use should not cost its time
    folders.check_free(output_dir, marker=LOCALIZATION, overwrite=overwrite)
    records = RecordSet.open(data_dir).check_two_kinds()
    # the prior is of a split that is not explained, so that it has other patients
    split, other = records.split(options.split), records.val if options.split == "train" else records.train
    explained = _explained(run_dir, split, options.method, progress(len(split)))
    heatmaps = explained.heatmaps
    cases = image_level.of_scores(split, explained.probabilities).cases
    counted = overlap.count(leaks.of_runs([run_dir]), Exams.of(split.instances["images"]))
    folds = _folds(cases, options.seed)
    cut = weak_localization.shares(heatmaps, split, folds, given=options.share)
    boxes = _weak_boxes(explained, cut, split)
    report = {
        "run": run_dir.name,
        "method": options.method,
        "layer": explained.layer,
        "feature_map_hw": list(heatmaps[0].shape),
        "split": options.split,
        "manifest_sha256": records.manifest_sha256,
        "exams": len(split),
        "seen": counted.to_json() | {"warnings": counted.sentences("trained")},
        **_counts(explained, cut, split, cases),
        "weak_boxes": sum(map(len, boxes.values())),
        "tolerance_px": options.tolerance_px,
        "seed": options.seed,
        "figures": weak_localization.compared_with_priors(
            options.method,
            heatmaps,
            cut,
            split,
            other=other,
            patients=cases.patients,
            folds=folds,
            tolerance_px=options.tolerance_px,
        ),
    }
    with folders.new_folder(output_dir, marker=LOCALIZATION, overwrite=overwrite) as folder:
        (folder / HEATMAPS).mkdir()
        for name, heatmap in zip(split.names, heatmaps, strict=True):
            # quoted, since a patientId may hold characters that no file's name can have
            Image.fromarray(gray(heatmap)).save(folder / HEATMAPS / f"{urllib.parse.quote(name, safe=' ')}.png")
        detections.write_coco_results(folder / DETECTIONS, boxes)
        pictures.save(folder / OVERLAYS, _sheet(explained, list(boxes.values()), split))
        # last: it is the marker of a whole result
        paths.write_json(folder / LOCALIZATION, report)
    return Outcome(output_dir, report, split.truth)


def _counts(explained: _Explained, cut: weak_localization.Shares, split: Split, cases: Cases) -> dict[str, Any]:
    """Return what pointing.json says of the exams, and of the share at which their heatmaps are cut off."""
    empty = np.array([not heatmap.any() for heatmap in explained.heatmaps])
    return {
        "patients": len(np.unique(cases.patients)),
        "positive_exams": int(split.positive.sum()),
        "boxes": len(cases.truth_case),
        "not_read": int((~explained.read).sum()),
        "without_heat": {"exams": int(empty.sum()), "positive_exams": int((empty & split.positive).sum())},
        "share": {
            "source": cut.source,
            "lowest": float(cut.of_exams.min()),
            "highest": float(cut.of_exams.max()),
            "for_new_data": cut.for_new_data,
        },
    }


def gray(heatmap: np.ndarray) -> np.ndarray:
    """Return a (h, w) heatmap as (GRID, GRID) uint8 over the whole radiograph; its maximum is 255, and an empty one is all 0."""
    return np.rint(255 * weak_boxes.enlarged(heatmap)).astype(np.uint8)


def _explained(run_dir: Path, split: Split, method: str, done: Callable[[int], Any]) -> _Explained:
    """Explain all exams of a split.

    Raises:
      TrainingError: a heatmap is not finite.
    """
    trained = scoring.restored(run_dir)
    explainer = grad_cam.Explainer(trained.model, scoring.logit, method=method)
    heatmaps, probabilities, read = [], [], []
    for seen in trained.runner(split, model=explainer).batches():
        heatmaps_of_batch = seen.outputs[grad_cam.HEATMAP]
        # a record that cannot be read was shown as black, on which a network has a heatmap all the same
        heatmaps += list(heatmaps_of_batch * seen.read[:, np.newaxis, np.newaxis])
        probabilities.append(np.where(seen.read, scoring.probability(seen.outputs), 0.0))
        read.append(seen.read)
        done(len(heatmaps_of_batch))
    return _Explained(explainer.layer, heatmaps, np.concatenate(probabilities), np.concatenate(read))


def _folds(cases: Cases, seed: int) -> np.ndarray | None:
    """Return the (C,) int64 fold of each exam; None where there are too few patients."""
    try:
        return operating_point.patient_folds(cases, seed=seed)
    except DataError:
        return None


def _weak_boxes(explained: _Explained, cut: weak_localization.Shares, split: Split) -> dict[str, Detections]:
    category = inputs.category_of(split)
    rows = zip(split.names, explained.heatmaps, cut.of_exams, split.sizes_hw, explained.probabilities, strict=True)
    return {
        name: weak_boxes.weak_boxes(heatmap, share=share, image_hw=size_hw, probability=probability, category_id=category)
        for name, heatmap, share, size_hw, probability in rows
    }


def _sheet(explained: _Explained, detected: Sequence[Detections], split: Split) -> Image.Image:
    """Return overlays of positive exams, evenly spread from the highest probability to the lowest, and of the negative ones of the highest."""
    by_probability = np.argsort(-explained.probabilities, kind="stable")
    # without those that could not be read, of which there is no picture
    by_probability = by_probability[explained.read[by_probability]]
    positive, negative = (by_probability[split.positive[by_probability] == kind] for kind in (True, False))
    spread = np.unique(np.linspace(0, len(positive) - 1, SHOWN_POSITIVE).round().astype(int))
    tiles, captions = [], []
    for row in [*positive[spread], *negative[:SHOWN_NEGATIVE]]:
        pixels = images.read(split.examples.read(int(row)), size_hw=(_TILE_PX, _TILE_PX), normalization="none").pixels
        picture = overlays.overlay(Image.fromarray(pixels).convert("RGB"), gray(explained.heatmaps[row]), opacity=_OPACITY)
        # boxes are in px of the radiograph, and the tile is smaller
        scale = np.array([*pixels.shape[::-1]] * 2) / np.array([*split.sizes_hw[row][::-1]] * 2)
        boxes = dataclasses.replace(detected[row], boxes_xyxy_px=detected[row].boxes_xyxy_px * scale)
        truth = split.boxes_xyxy_px[row] * scale
        tiles.append(pictures.draw_boxes(np.asarray(picture), truth_xyxy_px=truth, detections=boxes, panel=False))
        counts = f"p {explained.probabilities[row]:.2f}, truth {len(truth)}, weak {len(boxes)}"
        captions.append((split.names[row], counts))
    sheet = pictures.contact_sheet(tiles, columns=_COLUMNS, tile_px=_TILE_PX, captions=captions)
    colours = overlays.scale(opacity=_OPACITY)
    return pictures.with_key(
        sheet, solid="weak box of the heatmap, with its score", scale=colours, scale_name="heatmap, 0 to the exam's most"
    )
