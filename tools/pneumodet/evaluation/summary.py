"""Cases -> every figure of the evaluation, with intervals, as one dict for metrics.json and the report.

    metrics = summarize(loaded, aim="rsna", resamples=1000)
    metrics["rsna_metric"], metrics["intervals"]["rsna_metric"]      # 0.21, [0.19, 0.23]

The threshold is never chosen on the patients on whom it is reported: without one of other data, each patient is evaluated at a threshold that was
chosen on the others (``operating_point.cross_fitted``). Nothing is NaN: what is undefined is None, and a sentence says why.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pneumodet.core import aims, selection
from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation import metrics_file
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.metrics import (
    calibration,
    calibrators,
    coco,
    error_analysis,
    froc,
    image_level,
    jackknife,
    operating_point,
    rsna,
    slices,
    uncertainty,
)
from pneumodet.evaluation.metrics.headline import Figures
from pneumodet.evaluation.metrics.interval import Moved
from pneumodet.inference.probability import Calibrator

GIVEN = "given"
"""Where a threshold is from that the caller chose, on other data."""

OF_VALIDATION = "chosen on validation"
"""Where a threshold is from that is used on test."""

SLICE_RESAMPLES = 200
"""Groups of patients that are left out in turn for a slice's intervals: there are some twenty slices."""

SWEEP_BINS = 200
"""Columns of the curve of the RSNA metric against the threshold, even in threshold; of each are kept the ends, the highest and the lowest point, which
is all that can be seen of it."""

HISTOGRAM_BINS = 20

NEW_DATA = "threshold for new data, chosen on all of these images and set a little below the score that it was chosen by; no figure of this evaluation is at it"


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    from threadpoolctl import threadpool_limits  # here, because only evaluation needs it

    # products of a few columns: threads would wait for one another for longer than they compute, on a busy machine by far; and one order of sums everywhere
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@_one_blas_thread()
def summarize(
    loaded: Loaded,
    *,
    threshold: float | None = None,
    threshold_source: str = GIVEN,
    aim: str = "rsna",
    rules: str = "strict",
    class_name: str = "pneumonia",
    resamples: int = uncertainty.RESAMPLES,
    seed: int = 0,
    other: Loaded | None = None,
    names: tuple[str, str] = ("A", "B"),
    calibrator: Calibrator | None = None,
) -> dict[str, Any]:
    """Return all figures of one model, and how it compares with another one on the same images.

    Args:
      loaded: ground truth and detections.
      threshold: of the operating point, chosen on other data; without it thresholds are cross-fitted for ``aim``.
      threshold_source: a sentence that says where ``threshold`` is from.
      aim: as ``aims.parse_aim`` takes it.
      rules: of the RSNA metric, ``strict`` or ``community``.
      class_name: in the keys of COCO's figures; the class that ``loaded.cases`` are of.
      resamples: as ``uncertainty.intervals``.
      seed: of folds and resamples.
      other: the second model's detections of the same images.
      names: of both models, for the sentences of the comparison.
      calibrator: the model's own, fitted on other data, whose calibration is reported beside that of fits on these.

    Returns:
      Flat keys -> figure or None (``rsna_metric``, ``coco.…``, ``froc.…``, ``image.…``, ``lesion.…``, counts), ``intervals`` (key -> [low, high]),
      ``intervals_undefined`` (key -> why there is none),
      ``bootstrap``, ``operating_point``, ``calibration``, ``calibrator`` (image-level, for new data), ``slices``, ``errors``, ``maps``, ``worst``,
      ``curves``, ``comparison``, ``warnings``.

    Raises:
      ConfigError: the aim is unknown.
      DataError: the rules are unknown, or the second model has other images.
    """
    # before any figure is computed: intervals take the most of the time
    aims.parse_aim(aim)
    cases = loaded.cases
    warnings = list(loaded.warnings)
    # COCO's figures take the most memory: apart from what else takes much
    point, of_coco = jackknife.both(
        lambda: _operating_point(cases, threshold, threshold_source, aim, rules, seed, warnings),
        lambda: coco.coco_metrics(loaded.instances, loaded.detected),
        number=len(cases),
    )
    at, choice = point.pop("at"), point.pop("choice", None)
    how: dict[str, Any] = {"rules": rules, "class_name": class_name, "resamples": resamples, "seed": seed}

    def with_intervals() -> tuple[dict[str, Moved], dict[str, Any]]:
        moved = uncertainty.moves(cases, score_threshold=at, choice=choice, **how)
        return moved, _slices(loaded, at, moved, how)

    def without() -> dict[str, Any]:
        return _details(loaded, at, point["threshold"], rules=rules, seed=seed)

    (moved, sliced), details = jackknife.both(with_intervals, without, number=len(cases))
    drawn = uncertainty.of_moves(moved, cases.patients, choice=choice, resamples=resamples, seed=seed)
    figures = drawn.pop("figures")
    metrics: dict[str, Any] = {
        "version": metrics_file.VERSION,
        **of_coco,
        **froc.froc(cases),
        **froc.at_threshold(cases, at),
        **image_level.image_level(cases, score_threshold=at),
        "rsna_metric": figures["rsna_metric"]["value"] if len(cases.truth_case) else None,
        "class_name": class_name,
        "rsna_rules": rules,
        "rsna_threshold": point["threshold"],
        "rsna_threshold_source": point["source"],
        "highest_score": float(cases.scores.max()) if len(cases.scores) else 0.0,
        **_counts(cases),
    }
    metrics |= _intervals({key: one for key, one in figures.items() if metrics.get(key) is not None})
    if not len(cases.truth_case):
        metrics |= dict.fromkeys(("rsna_metric.undefined", "coco.undefined"), froc.NO_TRUTH)
    if drawn["patients"] == 1:
        warnings.append("All images are of one patient: there are no intervals, since nothing shows how patients differ.")
    metrics |= {"bootstrap": drawn, "operating_point": point, "slices": sliced, **details}
    if calibrator is not None:
        metrics["calibration"] = calibration.with_own(metrics["calibration"], cases, calibrator)
    metrics["comparison"] = None
    if other is not None:
        # a threshold of its own, also where one is given for this model: scores of two models have different scales
        theirs = _operating_point(other.cases, None, GIVEN, aim, rules, seed, [])
        if threshold is not None:
            warnings.append(
                f"The score threshold {threshold:.4g} is {names[0]}'s; {names[1]}, whose scores have another scale, is compared at its own: {theirs['source']}"
            )
        choices = choice, theirs.get("choice")
        compared = uncertainty.compare(cases, other.cases, thresholds=(at, theirs["at"]), choices=choices, names=names, **how)
        metrics["comparison"] = compared | {"names": list(names), "operating_points": [point["source"], theirs["source"]]}
    metrics["warnings"] = warnings
    return metrics


def _intervals(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return ``intervals`` and ``intervals_undefined`` of figures that have a value, as ``uncertainty.intervals`` gives them."""
    return {
        "intervals": {key: [one["low"], one["high"]] for key, one in figures.items() if one["low"] is not None},
        "intervals_undefined": {key: one["undefined"] for key, one in figures.items() if one["low"] is None},
    }


def _counts(cases: Cases) -> dict[str, int]:
    return {
        "images": len(cases),
        "patients": len(np.unique(cases.patients)),
        "positive_images": int(cases.positive.sum()),
        "boxes": len(cases.truth_case),
        "detections": len(cases.scores),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Headline:
    """The figures of ``summarize`` that have intervals, without these, in a fraction of the time: for evaluation within training.

    Attributes:
      figures: key -> value, None where it is undefined.
      patients: (C,) int64, of each case.
      prepared: what gives the figures for any weights of the cases.
    """

    figures: dict[str, float | None]
    patients: np.ndarray
    prepared: Figures

    def moves(self, key: str) -> np.ndarray | None:
        """Return by how much each of at most ``selection.GROUPS`` groups of patients moves a figure, (G,) float64; None where there is none such.

        Groups are the same for every evaluation of the same cases. Thresholds are held fixed.
        """
        if self.figures.get(key) is None:
            return None
        ratio = self.prepared.ratios.get(key)
        figures = self.prepared.curves if ratio is None else lambda weights: {key: ratio(weights)}
        return jackknife.jackknifed(figures, self.patients, groups=selection.GROUPS)[1].get(key)


def headline(loaded: Loaded, *, aim: str = "rsna", rules: str = "strict", class_name: str = "pneumonia", seed: int = 0) -> Headline:
    """Return figures for evaluation within training; arguments as ``summarize``."""
    cases = loaded.cases
    at = _operating_point(cases, None, GIVEN, aim, rules, seed, [])["at"]
    given = Figures(cases, score_threshold=at, rules=rules, class_name=class_name)
    figures = given(np.ones((len(cases), 1)))
    if not len(cases.truth_case):
        figures["rsna_metric"] = np.array([np.nan])
    return Headline({key: None if np.isnan(value[0]) else float(value[0]) for key, value in figures.items()}, cases.patients, given)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures as a flat dict of floats, as TensorBoard, MLflow and W&B take it; undefined ones are left out."""
    flat = {
        key: float(value)
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key != "version"
    }
    for key, (low, high) in metrics.get("intervals", {}).items():
        flat |= {f"{key}.low": low, f"{key}.high": high}
    return flat


def _operating_point(
    cases: Cases, threshold: float | None, source: str, aim: str, rules: str, seed: int, warnings: list[str]
) -> dict[str, Any]:
    """Return ``at``, a threshold or the (D,) thresholds to report at, ``choice``, where these were cross-fitted, and what the report says of them."""
    if threshold is not None:
        return {"at": threshold, "threshold": threshold, "source": source, "aim": None}
    if not cases.positive.any():
        reason = "none, since no image has a finding to choose a threshold by; all detections count."
        return {"at": 0.0, "threshold": None, "source": reason, "aim": aim}
    chosen = operating_point.choose(cases, aim, rules=rules)
    below = operating_point.just_below(chosen["threshold"], cases.scores)
    try:
        folds = operating_point.patient_folds(cases, seed=seed)
    except DataError as error:
        reason = "chosen on these same images, so that figures at it are optimistic: too few patients for folds"
        warnings.append(f"The threshold was {reason}. {error}")
        return {"at": below, "threshold": below, "source": reason, "aim": aim, "chosen": chosen}
    by_case, fitted = operating_point.cross_fitted(cases, aim, folds=folds, rules=rules)
    point = {"threshold": below, "threshold_is": NEW_DATA, "source": fitted["note"], "aim": aim}
    if not (chosen["met"] and fitted["met"]):
        warnings.append(chosen.get("note") or f"The aim {aim} was not met in every fold.")
    elif missed := _missed(aim, fitted["reached"]):
        warnings.append(missed)
    choice = uncertainty.Choice(aim, folds, rules=rules)
    return point | {"at": by_case[cases.box_case], "choice": choice, "chosen": chosen, "cross_fitted": fitted}


def _missed(aim: str, reached: Mapping[str, float | None]) -> str | None:
    """Return a warning where thresholds that reach an aim on some patients miss it on others; None where they do not, or where nothing can be missed."""
    name, level = aims.parse_aim(aim)
    key = aims.FIGURES.get(name)
    value = reached.get(key) if key else None
    if value is None or level is None or (value >= level if name == "sensitivity" else value <= level):
        return None
    surer = f" sensitivity>={level:g}@95% chooses a threshold whose lower bound reaches it." if name == "sensitivity" and level < 1 else ""
    return f"The aim {aim} is missed on patients that had no part in the choice: there it is {value:.3f}.{surer}"


def _slices(loaded: Loaded, at: float | np.ndarray, moved: Mapping[str, Moved], how: Mapping[str, Any]) -> dict[str, Any]:
    # fewer groups than for all exams: slices are compared with one another, and there are some twenty of them
    of_slice = functools.partial(uncertainty.fixed_moves, resamples=min(how["resamples"], SLICE_RESAMPLES), seed=how["seed"])
    alike = {"rules": how["rules"], "class_name": how["class_name"], "sizes_hw": loaded.sizes_hw}
    return slices.slices(loaded.cases, score_threshold=at, moves=of_slice, overall=moved, **alike)


def _details(loaded: Loaded, at: float | np.ndarray, chosen: float | None, *, rules: str, seed: int) -> dict[str, Any]:
    cases = loaded.cases
    try:
        calibrated = calibration.evaluate(cases, folds=operating_point.patient_folds(cases, seed=seed))
    except DataError as error:
        calibrated = {"undefined": str(error)}
    try:
        # fitted on all exams, for new data; ``calibrated`` above shows what it is worth on exams that it has not seen
        calibrator = calibrators.fit(cases.case_scores, cases.positive, method=calibrators.method_for(len(cases))).to_json()
    except DataError:  # calibration says why
        calibrator = None
    return {
        "calibration": calibrated,
        "calibrator": calibrator,
        "errors": error_analysis.buckets(cases, score_threshold=at),
        "maps": error_analysis.maps(cases, score_threshold=at, sizes_hw=loaded.sizes_hw),
        "worst": _worst(cases, at),
        "curves": {
            "froc": froc.curve(cases),
            "roc": image_level.roc_curve(cases),
            "pr": image_level.pr_curve(cases),
            "thresholds": _sweep(cases, rules, chosen),
            "score_histogram": _histogram(cases),
        },
    }


def _worst(cases: Cases, at: float | np.ndarray) -> list[dict[str, Any]]:
    """Return the worst cases, each with the threshold that it is evaluated at; None where it has no detection, so that none is needed."""
    of_boxes = np.broadcast_to(at, cases.scores.shape)
    worst = []
    for one in error_analysis.worst_cases(cases, score_threshold=at):
        mine = of_boxes[cases.box_case == one["case"]]
        worst.append(one | {"score_threshold": float(mine[0]) if len(mine) else None})
    return worst


def _sweep(cases: Cases, rules: str, chosen: float | None) -> dict[str, list[float]]:
    """Return the curve, thinned so that nothing is lost to the eye, and with the threshold that was chosen in it."""
    if not len(cases.truth_case):  # none, or positive exams without boxes
        return {"threshold": [], "rsna": []}
    thresholds, values = rsna.threshold_curve(cases, rules=rules)
    keep = {0, len(thresholds) - 1, int(np.argmax(values))}
    # thresholds fall: the first is the highest, and those of a bin lie together
    bins = np.minimum(thresholds / (thresholds[0] or 1) * SWEEP_BINS, SWEEP_BINS - 1).astype(int)
    starts = np.flatnonzero(np.diff(bins, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(bins)], strict=True):
        inside = values[start:end]
        keep |= {start, end - 1, start + int(np.argmax(inside)), start + int(np.argmin(inside))}
    points = {float(thresholds[index]): float(values[index]) for index in keep}
    if chosen is not None:
        above = np.flatnonzero(thresholds >= chosen)  # up to the next score nothing changes
        points[chosen] = float(values[above[-1] if len(above) else 0])
    falling = sorted(points, reverse=True)
    return {"threshold": falling, "rsna": [points[one] for one in falling]}


def _histogram(cases: Cases) -> dict[str, list]:
    """Return counts of images by their highest score, up to the highest of all, since some detectors never go above 0.05."""
    highest = float(cases.scores.max()) if len(cases.scores) else 1.0
    edges = np.linspace(0, highest or 1.0, HISTOGRAM_BINS + 1)
    counts = {name: np.histogram(cases.case_scores[mask], edges)[0].tolist() for name, mask in _by_truth(cases)}
    return {"edges": edges.tolist(), **counts}


def _by_truth(cases: Cases) -> list[tuple[str, np.ndarray]]:
    return [("positive", cases.positive), ("negative", ~cases.positive)]
