"""The metric of the RSNA Pneumonia Detection Challenge (Kaggle, 2018).

    value = rsna_metric(ground_truth, predictions, score_threshold=0.3)
    threshold, value = best_threshold(ground_truth, predictions)
    scores = case_scores(cases, score_threshold=0.3)                     # the same of Cases; np.nanmean(scores) is the metric

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
Predictions of equal confidence are taken in the order given. Nothing loops over exams: the mappings become flat arrays at once.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases, once
from pneumodet.evaluation.metrics import matching, ranking

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
      predictions: patientId -> (boxes_xyxy_px (M, 4), scores (M,)), of the same exams; M is 0 where nothing was detected.
      rules: ``strict`` or ``community``, see the module.
      score_threshold: predictions that score less are left out.

    Raises:
      DataError: the exams differ, arrays do not fit, the rules are unknown, or no exam counts (none has a box, truth or prediction).
    """
    return _mean(_case_scores(_flat(ground_truth, predictions, rules, score_threshold), rules))


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
    flat = _flat(ground_truth, predictions, rules, -np.inf)
    return _best(flat, rules, _ordered(flat, np.argsort(-flat.scores, kind="stable"), _pairs(flat), rules))


def case_scores(cases: Cases, *, rules: str = "strict", score_threshold: float | np.ndarray = 0.0) -> np.ndarray:
    """Return the (C,) float64 score of each case in [0, 1], NaN where it is left out; their mean without NaN is the metric.

    Raises:
      DataError: the rules are unknown.
    """
    _check_rules(rules)
    return _case_scores(_of_cases(cases.above(score_threshold)), rules)


def case_threshold(cases: Cases, *, rules: str = "strict") -> tuple[float, float]:
    """Return ``best_threshold`` of ``cases``: (threshold, metric at this threshold).

    Raises:
      DataError: the rules are unknown, or no case has a ground-truth box.
    """
    _check_rules(rules)
    return _best(_of_cases(cases), rules, _changing(cases, rules))


def case_thresholds(cases: Cases, subsets: np.ndarray, *, rules: str = "strict") -> list[float]:
    """Return the threshold of ``case_threshold`` for each subset of the cases; boxes are matched and sorted once for all of them.

    Arguments and errors as ``threshold_curves``.
    """
    _check_rules(rules)
    # one after the other: a curve has a point for each score
    return [_of_highest(*curve) for curve in _threshold_curves(_of_cases(cases), subsets, _changing(cases, rules))]


def threshold_curves(cases: Cases, subsets: np.ndarray, *, rules: str = "strict") -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ``threshold_curve`` of each subset of the cases; boxes are matched once for all of them.

    Args:
      cases: with a ground-truth box in each subset.
      subsets: (C, S) bool, whether a case is in a subset.
      rules: ``strict`` or ``community``.

    Raises:
      DataError: the rules are unknown, or no case of a subset has a ground-truth box.
    """
    _check_rules(rules)
    return list(_threshold_curves(_of_cases(cases), subsets, _known(cases, rules)))


def threshold_curve(cases: Cases, *, rules: str = "strict") -> tuple[np.ndarray, np.ndarray]:
    """Return the metric at every threshold that makes a difference.

    Returns:
      (S,) thresholds, falling: one above all scores, then every distinct score; and the (S,) metric at each. The first is 0: with nothing
      predicted all positives are missed.

    Raises:
      DataError: the rules are unknown, or no case has a ground-truth box.
    """
    _check_rules(rules)
    return _threshold_curve(_of_cases(cases), _known(cases, rules))


def steps(cases: Cases, *, rules: str = "strict") -> tuple[np.ndarray, np.ndarray]:
    """Return what each detection adds to the score of its case as the threshold falls to its own score, and whether it brings a case without boxes into
    the mean, both (D,).

    Raises:
      DataError: the rules are unknown.
    """
    _check_rules(rules)
    return _known(cases, rules)[1:]


@dataclasses.dataclass(frozen=True, eq=False)
class _Flat:
    """Exams as in ``Cases``, except that scores may be any finite number."""

    count: int
    truth_xyxy_px: np.ndarray
    truth_case: np.ndarray
    boxes_xyxy_px: np.ndarray
    scores: np.ndarray
    box_case: np.ndarray


_Known = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(D,) order of falling scores, what each prediction adds to the score of its exam, and whether it brings a negative exam into the mean."""


@once
def _known(cases: Cases, rules: str) -> _Known:
    return _ordered(_of_cases(cases), ranking.ranked(cases).order, matching.pairs_of(cases), rules)


@once
def _changing(cases: Cases, rules: str) -> _Known:
    """Return ``_known`` with the order of those predictions alone at whose scores the metric can be highest, and of the first of each case."""
    # by most predictions, the later ones of negative exams, it does not change; the first ones say what lies above all scores
    order, gains, enters = _known(cases, rules)
    changes = gains != 0
    changes |= np.diff(cases.box_case, prepend=-1) > 0
    return order[changes[order]], gains, enters


def _ordered(flat: _Flat, order: np.ndarray, pairs: matching.Pairs, rules: str) -> _Known:
    return (order, *_gains(flat, np.bincount(flat.truth_case, minlength=flat.count), pairs, rules))


def _of_cases(cases: Cases) -> _Flat:
    return _Flat(len(cases), cases.truth_xyxy_px, cases.truth_case, cases.boxes_xyxy_px, cases.scores, cases.box_case)


def _mean(scores: np.ndarray) -> float:
    counted = scores[~np.isnan(scores)]
    if not counted.size:
        raise DataError(
            f"The RSNA metric has no value: none of {len(scores)} exams has a ground-truth box or a prediction. "
            "Use a set with positive exams."
        )
    return float(counted.mean())


def _case_scores(flat: _Flat, rules: str) -> np.ndarray:
    """Return (count,) scores with all predictions kept; NaN where an exam is left out of the mean."""
    truth, kept = (np.bincount(case, minlength=flat.count) for case in (flat.truth_case, flat.box_case))
    box, iou_index = _hits(_pairs(flat), rules)
    tp = np.zeros((flat.count, len(IOU_THRESHOLDS)))
    np.add.at(tp, (flat.box_case[box], iou_index), 1)
    scores = (tp / np.maximum(kept + truth - tp.T, 1).T).mean(axis=1)  # TP + FP = kept, FN = truth - TP
    return np.where((truth == 0) & (kept == 0), np.nan, scores)


def _best(flat: _Flat, rules: str, known: _Known) -> tuple[float, float]:
    thresholds, values = _threshold_curve(flat, known)
    threshold = _of_highest(thresholds, values)
    # once more by the metric itself, so that both give the very same number at this threshold
    mask = flat.scores >= threshold
    kept = dataclasses.replace(flat, boxes_xyxy_px=flat.boxes_xyxy_px[mask], scores=flat.scores[mask], box_case=flat.box_case[mask])
    return threshold, _mean(_case_scores(kept, rules))


def _of_highest(thresholds: np.ndarray, values: np.ndarray) -> float:
    return float(thresholds[np.argmax(values >= values.max() - TIE_TOLERANCE)])  # the first, so the highest threshold


def _threshold_curve(flat: _Flat, known: _Known) -> tuple[np.ndarray, np.ndarray]:
    return next(_threshold_curves(flat, np.ones((flat.count, 1), bool), known))


def _threshold_curves(flat: _Flat, subsets: np.ndarray, known: _Known) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    truth = np.bincount(flat.truth_case, minlength=flat.count)
    order, gains, enters = known
    for inside in subsets.T:
        positives = int(np.count_nonzero(truth[inside]))
        if not positives:
            raise DataError(
                f"No threshold can be chosen: none of {np.count_nonzero(inside)} exams has a ground-truth box. Use a set with positive exams."
            )
        here = order[inside[flat.box_case[order]]]
        yield _curve(flat.scores[here], gains[here], enters[here], positives)


def _curve(scores: np.ndarray, gains: np.ndarray, enters: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds and values of predictions in falling order of their scores, with what ``_gains`` says of each."""
    # over the exams with boxes, and over the negative ones in which something is predicted by then
    values = np.cumsum(gains) / (positives + np.cumsum(enters))
    last_of_score = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    return np.append(_above_all(scores), scores[last_of_score]), np.append(0.0, values[last_of_score])


def _gains(flat: _Flat, truth: np.ndarray, pairs: matching.Pairs, rules: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what each prediction adds to the score of its exam, and whether it brings a negative exam into the mean, both (D,)."""
    first = np.diff(flat.box_case, prepend=-1) > 0
    enters = first & (truth[flat.box_case] == 0)
    positive = truth[flat.box_case] > 0  # in a negative exam nothing is ever gained
    case, first = flat.box_case[positive], first[positive]
    gains = np.zeros(len(flat.scores))
    if not len(case):
        return gains, enters
    box, iou_index = _hits(pairs, rules)
    hits = np.zeros((len(case), len(IOU_THRESHOLDS)))
    hits[(np.cumsum(positive) - 1)[box], iou_index] = 1
    start = np.flatnonzero(first)
    here = np.repeat(start, np.diff(start, append=len(case)))  # the first prediction of the same exam
    tp = np.cumsum(hits, axis=0)
    # running sums over all predictions, less what was there before the exam
    tp -= (tp - hits)[here]
    kept = np.arange(len(case)) - here + 1
    score = (tp / ((kept + truth[case])[:, None] - tp)).mean(axis=1)
    # what each adds to its exam, which has 0 before its first prediction
    gains[positive] = score - np.where(first, 0.0, np.append(0.0, score[:-1]))
    return gains, enters


def _pairs(flat: _Flat) -> matching.Pairs:
    return matching.overlaps(flat.truth_xyxy_px, flat.truth_case, flat.boxes_xyxy_px, flat.box_case, count=flat.count)


def _hits(pairs: matching.Pairs, rules: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (index of the prediction, index of the IoU threshold) of every hit among all pairs."""
    pairs = pairs.where(pairs.iou >= IOU_THRESHOLDS[0])
    # community keeps the order of ``overlaps``: the boxes of a case as they stand in the file
    if rules == "strict":
        pairs = pairs.where(np.lexsort((pairs.truth, -pairs.iou, pairs.box)))
    # all thresholds at once, each with detections, boxes and cases of its own
    count = len(IOU_THRESHOLDS)
    reaches = np.less.outer if rules == "strict" else np.less_equal.outer
    iou_index, pair = np.nonzero(reaches(IOU_THRESHOLDS, pairs.iou))
    hits = pairs.where(pair)
    box, _ = matching.greedy(
        matching.Pairs(hits.box * count + iou_index, hits.truth * count + iou_index, hits.case * count + iou_index, hits.iou)
    )
    return box // count, box % count


def _above_all(scores: np.ndarray) -> float:
    """Return a threshold above every score, also after a cast to float32."""
    return float(np.nextafter(np.float32(scores[0]), np.float32(np.inf))) if len(scores) else 1.0


def _flat(ground_truth: Mapping[str, np.ndarray], predictions: Mapping[str, Predictions], rules: str, score_threshold: float) -> _Flat:
    """Return checked exams, in the order of ``ground_truth``, with the predictions of at least ``score_threshold``."""
    _check_rules(rules)
    # a missing negative exam would raise the metric unnoticed, so that "nothing detected" has to be said
    for there, here, what in ((ground_truth, predictions, "no entry in the predictions"), (predictions, ground_truth, "no ground truth")):
        missing = there.keys() - here.keys()
        if missing:
            raise DataError(f"{len(missing)} exams have {what}, for example {min(missing)}. Give empty arrays for exams without boxes.")
    names = list(ground_truth)
    truth, truth_case = _joined(names, [ground_truth[name] for name in names], "ground truth")
    boxes, box_case = _joined(names, [predictions[name][0] for name in names], "predictions")
    scores = _joined_scores(names, [predictions[name][1] for name in names], np.bincount(box_case, minlength=len(names)))
    order = np.lexsort((-scores, box_case))  # stable: equal scores stay in the order given
    order = order[scores[order] >= score_threshold]
    return _Flat(len(names), truth, truth_case, boxes[order], scores[order], box_case[order])


def _joined(names: list[str], arrays: list[np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all boxes (N, 4) float64 of exams, and the exam's index of each."""
    arrays = [np.asarray(boxes, np.float64) for boxes in arrays]
    wrong = [index for index, boxes in enumerate(arrays) if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4)]
    if not wrong:
        boxes = np.concatenate([np.zeros((0, 4)), *(boxes for boxes in arrays if boxes.size)])
        case = np.repeat(np.arange(len(names)), [boxes.size // 4 for boxes in arrays])
        wrong = case[~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)]
    if len(wrong):
        raise DataError(
            f"Exam {names[wrong[0]]}: the boxes of its {what} must be finite xyxy px of shape (N, 4), right >= left and bottom >= top."
        )
    return boxes, case


def _joined_scores(names: list[str], arrays: list[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    arrays = [np.asarray(scores, np.float64) for scores in arrays]
    wrong = [index for index, (scores, size) in enumerate(zip(arrays, sizes.tolist(), strict=True)) if scores.shape != (size,)]
    if not wrong:
        joined = np.concatenate([np.zeros(0), *arrays])
        wrong = np.repeat(np.arange(len(names)), sizes)[~np.isfinite(joined)]
    if len(wrong):
        index = wrong[0]
        raise DataError(
            f"Exam {names[index]}: {sizes[index]} predicted boxes need as many finite scores, but got shape {arrays[index].shape}."
        )
    return joined


def _check_rules(rules: str) -> None:
    if rules not in RULES:
        raise DataError(f"The RSNA metric has no rules {rules!r}. Rules: {', '.join(RULES)}.")
