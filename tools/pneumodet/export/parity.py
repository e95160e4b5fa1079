"""An exported file against the checkpoint that it was made of, on the same radiographs: scores, boxes, figures.

figures = compare(reference, candidate, sizes_hw=sizes_hw, limit=100, tolerance=tolerance)
issues = outside(figures, tolerance_of("onnx", two_stage=False))

Detections are compared after suppression, where a difference in the seventh decimal can decide which of two overlapping boxes with nearly the same
score stays. A single largest difference would say more of such ties than of the file, so that it is written down, and what is held to a tolerance is
the share of detections that have a like in the other set, and the figures of the evaluation.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet import inference
from pneumodet.core import boxes, detections
from pneumodet.core.detections import Detections
from pneumodet.evaluation.metrics import coco, rsna

SAME_IOU = 0.5
"""Detections of one class that overlap by as much count as the same one, the closest pair first."""


BAND_POINTS = 11
"""Thresholds over which the RSNA metric is averaged."""

FIGURES = ("ap50", "rsna_metric", "rsna_metric_nearby")
"""What ``figures`` returns."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far an exported file may be from its checkpoint.

    Attributes:
      score: a detection is alike whose score differs by no more, …
      box: … and each side of whose box by no more than this share of the radiograph's longer side.
      alike: the least share of detections, of both sets, that have a like.
      loss: AP50, and the RSNA metric at thresholds up to ``score`` from the model's, may be lower by no more, or by what a single image makes where
        there are few.
    """

    score: float
    box: float
    alike: float
    loss: float


TOLERANCES = {
    "savedmodel": Tolerance(score=1e-3, box=0.002, alike=0.98, loss=0.002),
    "onnx": Tolerance(score=1e-3, box=0.002, alike=0.98, loss=0.002),
    "tflite": Tolerance(score=1e-3, box=0.002, alike=0.98, loss=0.002),
    "tflite-fp16": Tolerance(score=0.01, box=0.01, alike=0.95, loss=0.01),
    "tflite-int8": Tolerance(score=0.1, box=0.05, alike=0.8, loss=0.03),
    "tflite-task": Tolerance(score=1e-3, box=0.002, alike=0.98, loss=0.002),
}
"""Format -> its tolerance. float16 and int8 round, and must have the same detections nevertheless; the others compute in float32 as the checkpoint does."""

TWO_STAGE_ALIKE = 0.9
"""``alike`` of a two-stage model's ONNX file. Which proposals its second stage takes is decided by scores that may tie: TensorFlow against itself, with
oneDNN and without, had 96 % alike (Faster and Mask R-CNN after a few steps, 77 radiographs). AP50 and RSNA metric are held to the same as of others."""


def tolerance_of(name: str, *, two_stage: bool) -> Tolerance:
    """Return the tolerance of a format for a model of one stage or two."""
    own = TOLERANCES[name]
    return dataclasses.replace(own, alike=TWO_STAGE_ALIKE) if two_stage and name == "onnx" else own


def of_scores(name: str) -> Tolerance:
    """Return the tolerance of a format for a classifier: nothing is suppressed, so that every score has its like."""
    return dataclasses.replace(TOLERANCES[name], box=0.0, alike=1.0)


def compare(
    reference: Mapping[str, Detections],
    candidate: Mapping[str, Detections],
    *,
    sizes_hw: Mapping[str, tuple[int, int]],
    limit: int,
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Compare the detections of two models on the same exams.

    Args:
      reference: exam -> detections of the checkpoint.
      candidate: exam -> detections of the exported file.
      sizes_hw: exam -> height and width, px.
      limit: detections that an image has at the most: the lowest of a full set may have been cut off in the other set.
      tolerance: what is alike.

    Returns:
      ``score_largest``, ``score_mean``, ``box_largest_px``, ``box_mean_px`` (largest difference of the four sides; None where nothing matches),
      ``detections``, ``matched``, ``alike`` (share of both sets' detections in [0, 1]; 1 where neither has any).
    """
    scores, distances, alike, total, matched = [], [], 0, 0, 0
    for exam, one in reference.items():
        other = candidate[exam]
        total += len(one) + len(other)
        first, second = _pairs(one, other)
        differences = np.abs(one.scores[first].astype(np.float64) - other.scores[second])
        apart = np.abs(one.boxes_xyxy_px[first].astype(np.float64) - other.boxes_xyxy_px[second]).max(axis=1, initial=0)
        near = (differences <= tolerance.score) & (apart <= tolerance.box * max(sizes_hw[exam]))
        # without a match it counts by its score alone: a faint box that one of them drops is no large difference
        alone = np.concatenate([_beyond(one, first, other, limit), _beyond(other, second, one, limit)])
        # a pair is two detections, one of each set
        alike += 2 * int(near.sum()) + int((alone <= tolerance.score).sum())
        matched += len(first)
        scores += [differences, alone]
        distances.append(apart)
    all_scores, all_distances = (np.concatenate([np.zeros(0), *parts]) for parts in (scores, distances))
    return {
        "detections": sum(map(len, candidate.values())),
        "matched": matched,
        "alike": alike / total if total else 1.0,
        "score_largest": float(all_scores.max(initial=0)),
        "score_mean": float(all_scores.mean()) if len(all_scores) else 0.0,
        "box_largest_px": float(all_distances.max()) if len(all_distances) else None,
        "box_mean_px": float(all_distances.mean()) if len(all_distances) else None,
    }


def _pairs(one: Detections, other: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of what is the same in both: pairs of one class that overlap, the closest first, each detection once."""
    overlap = boxes.iou(one.boxes_xyxy_px, other.boxes_xyxy_px) * (one.classes[:, None] == other.classes[None])
    rows, columns = np.nonzero(overlap >= SAME_IOU)
    # overlaps are rounded: where they differ in the last decimals only, the closer score decides
    order = np.lexsort((np.abs(one.scores[rows] - other.scores[columns]), -overlap[rows, columns].round(3)))
    taken: dict[int, int] = {}
    used: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken and column not in used:
            taken[row] = column
            used.add(column)
    return np.array(list(taken), np.int64), np.array(list(taken.values()), np.int64)


def _beyond(one: Detections, matched: np.ndarray, other: Detections, limit: int) -> np.ndarray:
    """Return by how much those that have no match score above what the other set would have cut off."""
    alone = np.delete(one.scores.astype(np.float64), matched)
    least = float(other.scores.min()) if len(other) >= limit else inference.SCORE_FLOOR
    return np.maximum(alone - least, 0)


def figures(
    instances: Mapping[str, Any],
    by_exam: Mapping[str, Detections],
    *,
    class_name: str,
    category_id: int,
    score_threshold: float | None,
    band: float = 0.0,
) -> dict[str, float | None]:
    """Return ``ap50``, ``rsna_metric`` and ``rsna_metric_nearby`` of detections, in [0, 1]; None where no image has a box, and without a threshold.

    A threshold that was chosen on these images stands on a peak of a jagged curve, from which every change leads down. ``rsna_metric_nearby`` is
    the mean over ``BAND_POINTS`` thresholds up to ``band`` below and above it.

    Args:
      instances: COCO object of the very exams of ``by_exam``.
      by_exam: exam -> detections.
      class_name: whose AP50.
      category_id: its id.
      score_threshold: of the RSNA metric, as ``threshold_for`` returns it.
      band: half the width of the range of thresholds.
    """
    ap50 = coco.coco_metrics(instances, detections.to_coco(by_exam))[f"coco.{class_name}.AP50"]
    truth = truth_of(instances, category_id)
    if score_threshold is None or not any(map(len, truth.values())):
        return {"ap50": ap50, "rsna_metric": None, "rsna_metric_nearby": None}
    predictions = predictions_of(by_exam, category_id)
    near = np.clip(np.linspace(score_threshold - band, score_threshold + band, BAND_POINTS), 0, 1)
    at = [rsna.rsna_metric(truth, predictions, score_threshold=one) for one in (score_threshold, *near.tolist())]
    return {"ap50": ap50, "rsna_metric": at[0], "rsna_metric_nearby": float(np.mean(at[1:]))}


def threshold_for(
    instances: Mapping[str, Any], reference: Mapping[str, Detections], *, category_id: int, own: float | None
) -> float | None:
    """Return the score threshold at which the RSNA metrics are compared; None where no image has a box.

    The model's own is taken as it is stored: what is compared is what the model does with it (``operating_point.just_below`` keeps it away from the scores
    that it was chosen by). One that is chosen here is the score of one of the detections, which rounding in the last decimal would lose. It lies halfway
    between that score and the next lower one instead: the reference finds the same there.

    Args:
      instances: COCO object of the exams.
      reference: exam -> detections of the checkpoint.
      category_id: of pneumonia.
      own: the model's threshold; None: the one of the reference's highest metric here.
    """
    truth = truth_of(instances, category_id)
    if not any(map(len, truth.values())):
        return None
    if own is not None:
        return own
    predictions = predictions_of(reference, category_id)
    threshold = rsna.best_threshold(truth, predictions)[0]
    scores = np.concatenate([scores for _, scores in predictions.values()]).astype(np.float64)
    above, below = scores[scores >= threshold], scores[scores < threshold]
    return float((above.min(initial=1.0) + below.max(initial=0.0)) / 2)


def truth_of(instances: Mapping[str, Any], category_id: int) -> dict[str, np.ndarray]:
    """Return exam -> (N, 4) ground-truth boxes_xyxy_px of a class."""
    rows: dict[int, list[list[float]]] = {image["id"]: [] for image in instances["images"]}
    for row in instances["annotations"]:
        if row["category_id"] == category_id:
            rows[row["image_id"]].append(row["bbox"])
    return {image["file_name"]: boxes.xywh_to_xyxy_px(np.array(rows[image["id"]], np.float64)) for image in instances["images"]}


def predictions_of(by_exam: Mapping[str, Detections], category_id: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return exam -> (boxes_xyxy_px, scores) of a class."""
    each = {exam: one.of_class(category_id) for exam, one in by_exam.items()}
    return {exam: (one.boxes_xyxy_px, one.scores) for exam, one in each.items()}


def outside(measured: Mapping[str, Any], tolerance: Tolerance, *, has_boxes: bool = True) -> list[str]:
    """Return what of a file is outside of its tolerance, as parts of a sentence.

    Args:
      measured: as ``compare`` returns it, with ``images``, ``ap50_change`` and ``rsna_metric_nearby_change`` (None where undefined).
      tolerance: of its format.
      has_boxes: False of a classifier: nothing is suppressed there, so that no score at all may differ by more.
    """
    issues = []
    if not has_boxes and measured["score_largest"] > tolerance.score:
        issues.append(f"a score differs by {measured['score_largest']:.2g} ({tolerance.score:g} is allowed)")
    elif measured["alike"] < tolerance.alike:
        issues.append(
            f"only {measured['alike']:.1%} of the detections are those of the checkpoint (scores within {tolerance.score:g}, boxes within "
            f"{tolerance.box:.1%} of the radiograph's side; {tolerance.alike:.0%} are needed)"
        )
    for key, name in (("ap50_change", "AP50"), ("rsna_metric_nearby_change", "the RSNA metric")):
        allowed = allowed_loss(tolerance.loss, measured["images"])
        if measured[key] is not None and measured[key] < -allowed:
            issues.append(f"{name} is lower by {-measured[key]:.4f} ({allowed:.4g} is allowed)")
    return issues


def allowed_loss(loss: float, images: int) -> float:
    """Return by how much AP50 and RSNA metric may be lower: ``Tolerance.loss``, or what one image can change where there are few.

    The RSNA metric is a mean over images: on n of them a single one can change it by 1 / n.
    """
    return max(loss, 1 / max(images, 1))
