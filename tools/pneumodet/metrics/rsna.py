"""The metric of the RSNA Pneumonia Detection Challenge (Kaggle, 2018).

    value = rsna_metric(ground_truth, predictions, score_threshold=0.3)
    threshold, value = best_threshold(ground_truth, predictions)

For each IoU threshold t in 0.40, 0.45 … 0.75 an exam scores TP / (TP + FP + FN); the mean over t is the exam's score, and the mean
over exams is the metric. An exam without ground truth scores 0 where anything is predicted, and is left out where nothing is.

Two rules for a hit are in use, and the scores of this field were made with both:

``strict`` is the challenge's text: IoU **greater than** t; predictions in order of confidence; each ground-truth box used once. The text
does not say which box a prediction takes that fits two. It takes the unused one of highest IoU, as COCO does, so that the score does not
depend on the order of ground-truth boxes in a file.

``community`` is the kernel that most notebooks copied: IoU **of at least** t; ground-truth boxes are taken in the order of the file, and
each takes the most confident unused prediction that fits. That is the same as: predictions in order of confidence, each takes the *first*
unused box that fits. A prediction more of lower confidence can only add a hit to a box that was free, in either way.

So under both rules a prediction's fate depends only on those before it, which lets ``best_threshold`` try every threshold in one pass.
Predictions of equal confidence are taken in the order given.
"""

from collections.abc import Mapping

import numpy as np

from pneumodet.data.boxes import iou
from pneumodet.errors import DataError

IOU_THRESHOLDS = np.arange(8, 16) / 20
"""0.40, 0.45 … 0.75, each the double nearest to its decimal."""

RULES = ("strict", "community")
"""Names of the rules for a hit."""

TIE_TOLERANCE = 1e-12
"""Values of ``best_threshold`` that differ by less are the same; sums in another order differ by about 1e-16."""

Predictions = tuple[np.ndarray, np.ndarray]
"""(boxes_xyxy_px (M, 4), scores (M,)) of one exam."""


def rsna_metric(
    ground_truth: Mapping[str, np.ndarray], predictions: Mapping[str, Predictions], *, rules: str = "strict", score_threshold: float = 0.0
) -> float:
    """Return the challenge's metric in [0, 1].

    Args:
      ground_truth: patientId -> (N, 4) boxes_xyxy_px; N is 0 for an exam without pneumonia.
      predictions: patientId -> (boxes_xyxy_px (M, 4), scores (M,)), of the same exams; M is 0 where nothing was found.
      rules: ``strict`` or ``community``, see the module.
      score_threshold: predictions that score less are left out.

    Raises:
      DataError: the exams differ, arrays do not fit, the rules are unknown, or no exam counts (none has a box, truth or prediction).
    """
    counted = [
        score
        for score in image_scores(ground_truth, predictions, rules=rules, score_threshold=score_threshold).values()
        if score is not None
    ]
    if not counted:
        raise DataError(
            f"The RSNA metric has no value: none of {len(ground_truth)} exams has a ground-truth box or a prediction. "
            "Use a set with positive exams."
        )
    return float(np.mean(counted))


def image_scores(
    ground_truth: Mapping[str, np.ndarray], predictions: Mapping[str, Predictions], *, rules: str = "strict", score_threshold: float = 0.0
) -> dict[str, float | None]:
    """Return patientId -> the exam's score in [0, 1], or None where it is left out of the mean. Arguments as in ``rsna_metric``."""
    _check_exams(ground_truth, predictions, rules)
    found = {}
    for patient, truth in ground_truth.items():
        boxes, scores = _sorted(patient, *predictions[patient], score_threshold)
        curve = _curve(_checked_boxes(patient, truth, "ground truth"), boxes, rules)
        found[patient] = None if np.isnan(curve[-1]) else float(curve[-1])
    return found


def best_threshold(
    ground_truth: Mapping[str, np.ndarray], predictions: Mapping[str, Predictions], *, rules: str = "strict"
) -> tuple[float, float]:
    """Find the score threshold of the highest metric.

    Every distinct score is tried, and a threshold just above all scores, which keeps no prediction at all. Among equal values the highest
    threshold wins, that is the fewest boxes; where nothing ever hits, that is no box at all, and the value is 0.

    Args:
      ground_truth: as in ``rsna_metric``; at least one exam has a box, since nothing can be chosen without.
      predictions: as in ``rsna_metric``.
      rules: ``strict`` or ``community``.

    Returns:
      (threshold, metric at this threshold): keep ``score >= threshold``. The threshold is in [0, 1] for scores in [0, 1], except that
      "no prediction at all" is one float32 step above the highest score.

    Raises:
      DataError: as in ``rsna_metric``, or no exam has a ground-truth box.
    """
    _check_exams(ground_truth, predictions, rules)
    if not any(len(truth) for truth in ground_truth.values()):
        raise DataError(
            f"No threshold can be chosen: none of {len(ground_truth)} exams has a ground-truth box. Use a set with positive exams."
        )
    steps, gains, counted = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    exams = 0
    for patient, truth in ground_truth.items():
        boxes, scores = _sorted(patient, *predictions[patient], -np.inf)
        curve = _curve(_checked_boxes(patient, truth, "ground truth"), boxes, rules)
        exams += len(truth) > 0
        steps.append(scores)
        gains.append(np.diff(np.nan_to_num(curve)))
        counted.append((np.arange(len(scores)) == 0) & (len(truth) == 0))  # a negative exam enters the mean with its first prediction
    scores = np.concatenate(steps)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    values = np.cumsum(np.concatenate(gains)[order]) / (exams + np.cumsum(np.concatenate(counted)[order]))
    last_of_score = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, bool)
    values, candidates = np.append(0.0, values[last_of_score]), np.append(_above_all(scores), scores[last_of_score])
    best = int(np.argmax(values >= values.max() - TIE_TOLERANCE))  # the first, so the highest threshold
    threshold = float(candidates[best])
    return threshold, rsna_metric(ground_truth, predictions, rules=rules, score_threshold=threshold)


def _above_all(scores: np.ndarray) -> float:
    """Return a threshold above every score, also after a cast to float32."""
    return float(np.nextafter(np.float32(scores[0]), np.float32(np.inf))) if len(scores) else 1.0


def _curve(truth_xyxy_px: np.ndarray, boxes_xyxy_px: np.ndarray, rules: str) -> np.ndarray:
    """Return (M + 1,) scores of an exam when its first 0, 1 … M predictions are kept; NaN where it is left out of the mean."""
    kept = np.arange(len(boxes_xyxy_px) + 1)
    if not len(truth_xyxy_px):
        return np.where(kept == 0, np.nan, 0.0)
    if not len(boxes_xyxy_px):
        return np.zeros(1)
    hits = _hits(iou(boxes_xyxy_px, truth_xyxy_px), rules)
    tp = np.concatenate([np.zeros((1, len(IOU_THRESHOLDS))), np.cumsum(hits, axis=0)])
    return (tp / (kept[:, None] + len(truth_xyxy_px) - tp)).mean(axis=1)  # TP + FP = kept, FN = truth - TP


def _hits(ious: np.ndarray, rules: str) -> np.ndarray:
    """Return (M, 8) bool: which prediction hits at which IoU threshold, for (M, N) ious with predictions in order of confidence."""
    count, boxes = ious.shape
    hits = np.zeros((count, len(IOU_THRESHOLDS)), bool)
    unused = np.ones((len(IOU_THRESHOLDS), boxes), bool)
    every = np.arange(len(IOU_THRESHOLDS))
    for row in np.flatnonzero(ious.max(axis=1) >= IOU_THRESHOLDS[0]):
        over = ious[row] > IOU_THRESHOLDS[:, None] if rules == "strict" else ious[row] >= IOU_THRESHOLDS[:, None]
        fits = unused & over
        taken = np.where(fits, ious[row], -1.0).argmax(axis=1) if rules == "strict" else fits.argmax(axis=1)
        hits[row] = fits.any(axis=1)
        unused[every[hits[row]], taken[hits[row]]] = False
    return hits


def _sorted(patient: str, boxes_xyxy_px: np.ndarray, scores: np.ndarray, score_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an exam's checked predictions of at least ``score_threshold``, the most confident first, as float64."""
    boxes, scores = _checked_boxes(patient, boxes_xyxy_px, "predictions"), np.asarray(scores, np.float64)
    if scores.shape != (len(boxes),) or not np.isfinite(scores).all():
        raise DataError(f"Exam {patient}: {len(boxes)} predicted boxes need as many finite scores, but got shape {scores.shape}.")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= score_threshold]
    return boxes[order], scores[order]


def _checked_boxes(patient: str, boxes_xyxy_px: np.ndarray, what: str) -> np.ndarray:
    boxes = np.asarray(boxes_xyxy_px, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise DataError(f"Exam {patient}: the boxes of its {what} must be finite xyxy px of shape (N, 4), right >= left and bottom >= top.")
    return boxes


def _check_exams(ground_truth: Mapping[str, np.ndarray], predictions: Mapping[str, Predictions], rules: str) -> None:
    if rules not in RULES:
        raise DataError(f"The RSNA metric has no rules {rules!r}. Rules: {', '.join(RULES)}.")
    # a missing negative exam would raise the metric in silence, so that "nothing found" has to be said
    for there, here, what in ((ground_truth, predictions, "no entry in the predictions"), (predictions, ground_truth, "no ground truth")):
        missing = there.keys() - here.keys()
        if missing:
            raise DataError(f"{len(missing)} exams have {what}, for example {min(missing)}. Give empty arrays for exams without boxes.")
