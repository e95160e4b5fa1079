"""Why the detector errs: TIDE's buckets, the worst exams, and where and at what size boxes are hit and missed.

    buckets(cases, score_threshold=0.3)         # {"errors.missed": 12, ..., "errors.dap50.missed": 0.08, ...}
    worst_cases(cases, score_threshold=0.3)     # the exams to see first
    maps(cases, score_threshold=0.3)            # 2-D histograms, and a histogram of box sizes

The buckets are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2) that
exist with one class. By the highest IoU of a false detection with any ground-truth box of its image:

``localization``: 0.1 <= IoU < 0.5.
``duplicate``: IoU >= 0.5, and a more confident detection has the box.
``background``: IoU < 0.1, all of an image without ground truth included.
``missed``: a ground-truth box that no detection hits, and that is not the nearest one of a localization error either.

What an error costs is the AP50 that fixing it alone would add, over all scores (section 2.3): duplicates and background are taken away; of
the localization errors at a free ground-truth box the most confident becomes a hit and all others are taken away; missed boxes are taken
out of the number of boxes to find. The gains need not add up to what is missing to 1.
"""

import numpy as np

from pneumodet.core.boxes import area_px
from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import matching
from pneumodet.evaluation.metrics.average_precision import MAX_DETECTIONS, RECALLS
from pneumodet.evaluation.metrics.ranking import ranked

BACKGROUND_IOU = 0.1
"""IoU below which a detection shows nothing of a ground-truth box (TIDE's t_b)."""

BUCKETS = ("missed", "background", "duplicate", "localization")
"""Names of the errors."""

WORST = 24
"""Default number of exams for the gallery."""

MAP_BINS = 16
"""Default number of bins of a map along each side of the image."""

SIZE_EDGES = tuple((np.arange(21) / 20).tolist())
"""Edges of the histogram of box sizes: square root of box area over image area."""


def buckets(cases: Cases, *, score_threshold: float | np.ndarray) -> dict[str, float | int | str | None]:
    """Return how many errors of each kind there are, and what they cost.

    Args:
      cases: with all detections.
      score_threshold: one, or (D,), of the operating point at which errors are counted.

    Returns:
      ``errors.<bucket>``: counts at the operating point, and ``errors.hits``. ``errors.dap50.<bucket>``: gain in AP50 in [0, 1], of the 100 most
      confident detections of each case at any score, and ``errors.ap50`` itself. Gains are None without ground truth, and that of ``missed``
      where every box is missed; ``errors.dap50.undefined`` says so.
    """
    kept = _Sorted(cases.above(score_threshold))
    counts = {f"errors.{name}": int(kept.bucket[name].sum()) for name in BUCKETS}
    # costs are gains in AP, which takes the most confident 100 of a case, as COCO's does
    all_scores = _Sorted(cases.where(cases.rank < MAX_DETECTIONS[-1]))
    truth = len(cases.truth_case)
    base = all_scores.average_precision(all_scores.matched.hit, np.ones(len(all_scores.scores), bool), truth)
    fixed = {name: all_scores.fixed(name) for name in BUCKETS}
    errors: dict[str, float | int | str | None] = {**counts, "errors.hits": int(kept.matched.hit.sum()), "errors.ap50": base}
    errors |= {f"errors.dap50.{name}": None if value is None or base is None else value - base for name, value in fixed.items()}
    if base is None:
        errors["errors.dap50.undefined"] = "No case has a ground-truth box."
    elif fixed["missed"] is None:
        errors["errors.dap50.undefined"] = "Every ground-truth box is missed: without them nothing is left to find."
    return errors


def worst_cases(cases: Cases, *, score_threshold: float | np.ndarray, count: int = WORST) -> list[dict]:
    """Return the cases of the highest loss, the worst first; of equal ones the first. Cases without an error are never among them.

    The loss of a case is the sum over its errors at the operating point. A false detection counts by its confidence and a missed ground-truth
    box by its area, each as the share of all kept detections, or of all ground-truth boxes, that are not above it: 1 for the most confident
    or the largest, near 0 for the least. Ranks, since scores of one model may all be below 0.04 and those of another above 0.9.

    Args:
      cases: with all detections.
      score_threshold: one, or (D,), of the operating point.
      count: most cases to return.

    Returns:
      A list of ``case`` (index), ``name``, ``loss``, ``false_positives``, ``missed``, ``hits`` (counts), ``highest_score`` (of a kept detection, or
      None) and ``reason``, a sentence.
    """
    kept = cases.above(score_threshold)
    matched = matching.match(kept)
    false, missed = ~matched.hit, ~matched.detected
    loss = np.zeros(len(cases))  # np.bincount of nothing is of whole numbers
    loss += np.bincount(kept.box_case[false], weights=_share_not_above(kept.scores)[false], minlength=len(cases))
    of_missed = _share_not_above(area_px(cases.truth_xyxy_px))
    loss += np.bincount(cases.truth_case[missed], weights=of_missed[missed], minlength=len(cases))
    sums = [
        np.bincount(case, minlength=len(cases)) for case in (kept.box_case[false], cases.truth_case[missed], kept.box_case[matched.hit])
    ]
    rows = [row for row in np.argsort(-loss, kind="stable")[:count].tolist() if loss[row] > 0]
    highest = kept.case_scores
    worst = []
    for row in rows:
        false_positives, unfound, hits = (int(one[row]) for one in sums)
        score = float(highest[row]) if false_positives + hits else None
        worst.append(
            {
                "case": row,
                "name": cases.names[row],
                "loss": float(loss[row]),
                "false_positives": false_positives,
                "missed": unfound,
                "hits": hits,
                "highest_score": score,
                "reason": _reason(false_positives, unfound, hits, score),
            }
        )
    return worst


def maps(cases: Cases, *, score_threshold: float | np.ndarray, sizes_hw: np.ndarray | None = None, bins: int = MAP_BINS) -> dict:
    """Return where boxes lie and how large they are.

    Args:
      cases: with all detections.
      score_threshold: one, or (D,), of the operating point.
      sizes_hw: (C, 2) height and width in px of each case. Without, or where they are NaN, an image is taken to reach to the rightmost and the
        lowest edge of any box of any case, which suits images of one size.
      bins: along each side.

    Returns:
      ``ground_truth``, ``missed`` (both of ground-truth boxes), ``hits``, ``false_positives`` (both of detections), each with ``position``: bins x bins
      counts of box centers, rows from the top, columns from the left of the picture, a center outside counted at the edge; and ``size``: counts
      by the square root of box area over image area, with edges in ``size_edges``. ``sizes``: ``given``, or ``guessed`` of some image.

    Raises:
      DataError: the sizes do not fit.
    """
    kept = cases.above(score_threshold)
    matched = matching.match(kept)
    sizes = image_sizes_hw(cases, sizes_hw)
    chosen = {
        "ground_truth": (cases.truth_xyxy_px, cases.truth_case),
        "missed": (cases.truth_xyxy_px[~matched.detected], cases.truth_case[~matched.detected]),
        "hits": (kept.boxes_xyxy_px[matched.hit], kept.box_case[matched.hit]),
        "false_positives": (kept.boxes_xyxy_px[~matched.hit], kept.box_case[~matched.hit]),
    }
    histograms: dict = {name: _histograms(boxes, sizes[case], bins) for name, (boxes, case) in chosen.items()}
    given = sizes_hw is not None and not np.isnan(sizes_hw).any()
    return {**histograms, "size_edges": list(SIZE_EDGES), "sizes": "given" if given else "guessed"}


def image_sizes_hw(cases: Cases, sizes_hw: np.ndarray | None) -> np.ndarray:
    """Return the (C, 2) float64 sizes_hw in px; for a case of unknown size (NaN, or no sizes at all) the extent of all boxes of all cases.

    Raises:
      DataError: there is not a positive height and width for each case.
    """
    ends = [boxes[:, 2:].max(axis=0) for boxes in (cases.truth_xyxy_px, cases.boxes_xyxy_px) if len(boxes)]
    reach = np.max([*ends, [1.0, 1.0]], axis=0)[::-1]
    if sizes_hw is None:
        return np.tile(reach, (len(cases), 1))
    sizes = np.asarray(sizes_hw, np.float64)
    if sizes.shape != (len(cases), 2) or (sizes <= 0).any():
        raise DataError(f"{len(cases)} cases need as many image sizes (height, width) above 0; got shape {sizes.shape}.")
    return np.where(np.isnan(sizes), reach, sizes)


class _Sorted:
    """The detections of C cases, the most confident first, with the error that each is."""

    def __init__(self, cases: Cases) -> None:
        self.matched = matching.match(cases)
        self.scores = cases.scores
        self._truth_count = len(cases.truth_case)
        self._order = ranked(cases).order
        false, iou = ~self.matched.hit, self.matched.iou
        # TIDE's t_b and t_f: between them a detection shows the box, and misses its edges
        near = false & (iou >= BACKGROUND_IOU) & (iou < matching.HIT_IOU)
        self._nearest = _nearest_truth(cases, near)
        # a box that is localized badly is no missed one, too: TIDE has one error for it
        reached = self.matched.detected.copy()
        reached[self._nearest[near]] = True
        self.bucket = {
            "missed": ~reached,
            "background": false & (iou < BACKGROUND_IOU),
            "duplicate": false & (iou >= matching.HIT_IOU),
            "localization": near,
        }

    def fixed(self, name: str) -> float | None:
        """Return AP50 with all errors of one bucket fixed; None without a ground-truth box to find."""
        hit, wrong = self.matched.hit, self.bucket[name]
        if name == "missed":
            return self.average_precision(hit, np.ones(len(hit), bool), self._truth_count - int(wrong.sum()))
        if name == "localization":
            candidates = np.flatnonzero(wrong)  # within a case the most confident comes first
            # at a box that is hit already, a better one would only be a duplicate
            candidates = candidates[~self.matched.detected[self._nearest[candidates]]]
            first = candidates[np.unique(self._nearest[candidates], return_index=True)[1]]
            hit = hit.copy()
            hit[first] = True
        # fixed errors are taken out of the list, but for those that became hits above
        return self.average_precision(hit, hit | ~wrong, self._truth_count)

    def average_precision(self, hit: np.ndarray, keep: np.ndarray, truth: int) -> float | None:
        """Return COCO's AP of (D,) bool hits among those to keep, with so many boxes to find; None without any."""
        if not truth:
            return None
        ordered = hit[self._order][keep[self._order]]
        places = np.flatnonzero(ordered)
        tp = np.arange(1, len(places) + 1)
        envelope = np.maximum.accumulate((tp / (places + 1))[::-1])[::-1]
        first = np.searchsorted(tp / truth, RECALLS, side="left")
        return float(envelope[first[first < len(envelope)]].sum()) / len(RECALLS)


def _nearest_truth(cases: Cases, wanted: np.ndarray) -> np.ndarray:
    """Return (D,) int64: the ground-truth box of highest IoU for the detections of a (D,) bool mask, -1 for all others; of equal ones the first."""
    nearest = np.full(len(cases.scores), -1)
    rows = np.flatnonzero(wanted)
    pairs = matching.overlaps(cases.truth_xyxy_px, cases.truth_case, cases.boxes_xyxy_px[rows], cases.box_case[rows], count=len(cases))
    order = np.lexsort((pairs.truth, -pairs.iou, pairs.box))
    first = order[np.diff(pairs.box[order], prepend=-1) > 0]
    nearest[rows[pairs.box[first]]] = pairs.truth[first]
    return nearest


def _share_not_above(values: np.ndarray) -> np.ndarray:
    """Return (N,) float64 in (0, 1]: the share of values that are at most each value."""
    return np.searchsorted(np.sort(values), values, side="right") / max(len(values), 1)


def _histograms(boxes_xyxy_px: np.ndarray, sizes_hw: np.ndarray, bins: int) -> dict[str, list]:
    center_yx = (boxes_xyxy_px[:, [1, 0]] + boxes_xyxy_px[:, [3, 2]]) / 2 / sizes_hw
    row, column = np.clip(np.floor(center_yx * bins).astype(np.int64), 0, bins - 1).T
    share = np.sqrt(area_px(boxes_xyxy_px) / sizes_hw.prod(axis=1))
    return {
        "position": np.bincount(row * bins + column, minlength=bins * bins).reshape(bins, bins).tolist(),
        "size": np.histogram(np.minimum(share, 1), SIZE_EDGES)[0].tolist(),
    }


def _reason(false_positives: int, missed: int, hits: int, score: float | None) -> str:
    def named(number: int, one: str, more: str) -> str:
        return f"{number} {one if number == 1 else more}"

    parts = []
    if missed:
        parts.append(f"{missed} of {named(missed + hits, 'box', 'boxes')} missed")
    if false_positives:
        parts.append(named(false_positives, "false detection", "false detections"))
    return ", ".join(parts) + (f"; highest score {score:.3f}." if score is not None else "; nothing detected.")
