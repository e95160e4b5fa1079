"""Figures of parts of the data: view position, sex, age band, class, box size. Which part does worst, and which is too small to say.

    result = slices(cases, score_threshold=0.3, moves=uncertainty.fixed_moves)
    result["slices"][0]        # {"by": "view_position", "slice": "AP", "exams": 1200, "positives": 460, "small": False, "figures": {...}}
    result["worst"]            # {"by": "age", "slice": "80+", "figure": "image.sensitivity", "sentence": ...}

- Age bands in years: <18, 18-39, 40-59, 60-79, 80+. An age that is missing or not believed, as
  ``header_facts`` decides, is ``unknown``, like any other missing fact (headers of the RSNA set have ages of 148 to 155).
- Class: the RSNA set parts its negatives into normal and "No Lung Opacity / Not Normal". A class has either positives or negatives only, so that
  specificity and false positives an image show which negatives false positives come from.
- Box size: positive exams in three parts of equal count, by the square root of box area over image area of their largest box. There are no
  negatives in them. AP and the RSNA metric depend on the share of positives: compare those of such slices with one another only.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from pneumodet.core import formatting
from pneumodet.core.boxes import area_px
from pneumodet.core.formatting import counted
from pneumodet.data.cases import Cases
from pneumodet.dicom import header_facts
from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.metrics.error_analysis import image_sizes_hw
from pneumodet.evaluation.metrics.headline import Figures
from pneumodet.evaluation.metrics.interval import Interval, Moved
from pneumodet.evaluation.metrics.jackknife import Ratio, in_threads

AGE_STARTS = (18, 40, 60, 80)
"""Years at which the second and each further age band begins."""

AGE_BANDS = ("<18", "18-39", "40-59", "60-79", "80+")
"""Names of the age bands."""

UNKNOWN = "unknown"
"""Name of the slice of cases for which a fact is not known; never named as the worst."""

FEWEST_EXAMS = 30
"""A slice with fewer exams is small: its figures are too uncertain to be compared."""

FEWEST_POSITIVES = 10
"""A slice with fewer positive exams is small too, unless it is a class. A specificity is not compared on fewer negatives."""

FACTS = ("view_position", "sex", "age", "rsna_class")
"""What slices are made by, besides box size: keys of ``Cases.facts``."""

FIGURES = ("image.sensitivity", "image.specificity", "lesion.sensitivity", "lesion.fp_per_image", "rsna_metric", "froc.mean_sensitivity")
"""Keys of the figures of a slice, beside ``coco.<class>.AP50``."""

COMPARED = ("image.sensitivity", "image.specificity")
"""Figures by which the worst slice is chosen: they alone do not depend on how many of a slice's exams are positive."""

_BY = {"view_position": "view position", "rsna_class": "class", "box_size": "box size"}
_SIZES = ("smallest third", "middle third", "largest third")

IOU_THRESHOLDS = np.array([0.5, 0.75])
"""Of COCO's figures of a slice, which has AP50 alone: the other eight of AP would be computed in vain."""

Moves = Callable[[Figures, np.ndarray], Mapping[str, Moved]]
"""Called with figures and the patients of their cases, as ``uncertainty.fixed_moves``."""

COMPARED_SO_OFTEN = (
    "{count} figures of slices were compared with those of the other exams; p is corrected for comparing so often (Holm), the intervals are not. Confirm "
    "a bad slice on other data."
)
NONE_COMPARED = f"No slice was compared with the other exams: each has fewer than {FEWEST_EXAMS} exams or {FEWEST_POSITIVES} with findings."
"""Caveats."""


def slices(
    cases: Cases,
    *,
    score_threshold: float | np.ndarray,
    rules: str = "strict",
    class_name: str = "pneumonia",
    sizes_hw: np.ndarray | None = None,
    moves: Moves | None = None,
    overall: Mapping[str, Moved] | None = None,
) -> dict:
    """Return the figures of every slice.

    Args:
      cases: to report on, with what ``facts`` are known.
      score_threshold: one, or (D,), of the operating point.
      rules: of the RSNA metric.
      class_name: in the key of AP50.
      sizes_hw: (C, 2) height and width in px of each case; guessed as in ``error_analysis.maps`` where not given.
      moves: of each slice, for its intervals; none by default.
      overall: the same of all exams, where thresholds were chosen on them: what that adds to their variance is added to a slice's.

    Returns:
      ``slices``: a list of ``by``, ``slice``, ``exams``, ``positives``, ``small`` and ``figures``: key -> ``value`` (None where the slice has none) and,
      with ``moves``, ``low`` and ``high``. ``worst``: ``by``, ``slice``, ``figure``, ``shortfall`` and ``sentence`` of the slice that falls furthest
      below all exams, small ones left out, or None; ``worst_by``: the same for each way of slicing. ``left_out``: facts without slices -> reason.
      ``caveat``: a sentence.

    Raises:
      DataError: there are no cases, the rules are unknown, or sizes do not fit.
    """
    named, left_out = _masks(cases, image_sizes_hw(cases, sizes_hw))
    keys = (*FIGURES, f"coco.{class_name}.AP50")
    prepared = Figures(cases, score_threshold=score_threshold, rules=rules, class_name=class_name, iou_thresholds=IOU_THRESHOLDS)
    masks = [mask for _, _, mask in named]
    # a slice is a weighting by 0 and 1: sorted and matched once for all of them
    values = prepared(np.column_stack([np.ones(len(cases), bool), *masks]).astype(np.float64))
    of_all = {key: _or_none(values[key][0]) for key in keys}
    drawn_of: list[dict[str, Interval]] = []
    if moves is not None:
        of_slice = functools.partial(_of_slice, prepared, cases.patients, moves=moves, overall=overall or {})
        drawn_of = in_threads(of_slice, masks, number=len(cases))
    rows = []
    for column, (by, name, mask) in enumerate(named, start=1):
        exams, positives = int(mask.sum()), int(cases.positive[mask].sum())
        small = exams < FEWEST_EXAMS or (by != "rsna_class" and positives < FEWEST_POSITIVES)
        figures: dict = {key: {"value": _or_none(values[key][column])} for key in keys}
        if drawn_of:
            drawn = drawn_of[column - 1]
            figures = {key: {**figures[key], "low": drawn[key]["low"], "high": drawn[key]["high"]} for key in keys}
        rows.append({"by": by, "slice": name, "exams": exams, "positives": positives, "small": small, "figures": figures})
    ways = dict.fromkeys(row["by"] for row in rows)
    p = _p_values(rows, {key: prepared.ratios[key] for key in COMPARED}, masks, cases.patients)
    return {
        "slices": rows,
        "worst": _worst(rows, of_all, p),
        "worst_by": {by: _worst([row for row in rows if row["by"] == by], of_all, p) for by in ways},
        "left_out": left_out,
        "caveat": COMPARED_SO_OFTEN.format(count=len(p)) if p else NONE_COMPARED,
    }


def age_band(age: float | None) -> str:
    """Return the name of the age band of an age in years, or ``unknown``."""
    years = header_facts.age_years(age)
    return UNKNOWN if years is None else AGE_BANDS[int(np.searchsorted(AGE_STARTS, years, side="right"))]


def _masks(cases: Cases, sizes_hw: np.ndarray) -> tuple[list[tuple[str, str, np.ndarray]], dict[str, str]]:
    """Return ((by, name, (C,) bool mask) of each slice, fact -> why there are no slices by it)."""
    named, left_out = [], {}
    for by in FACTS:
        given = cases.facts.get(by, ())
        labels = np.array([age_band(value) if by == "age" else str(value or UNKNOWN) for value in given])
        if not (labels != UNKNOWN).any():
            left_out[by] = "Not known of any exam."
            continue
        # bands in the order of years, all else by name
        order = AGE_BANDS if by == "age" else sorted(set(labels.tolist()) - {UNKNOWN})
        named += [(by, name, labels == name) for name in (*order, UNKNOWN) if (labels == name).any()]
    positive = cases.positive
    if positive.sum() < len(_SIZES):
        left_out["box_size"] = f"{int(positive.sum())} positive exams cannot be parted into three."
        return named, left_out
    side = np.zeros(len(cases))
    np.maximum.at(side, cases.truth_case, np.sqrt(area_px(cases.truth_xyxy_px) / sizes_hw.prod(axis=1)[cases.truth_case]))
    edges = np.quantile(side[positive], [1 / 3, 2 / 3])
    part = np.searchsorted(edges, side, side="left")
    spans = (f"up to {edges[0]:.0%}", f"{edges[0]:.0%} to {edges[1]:.0%}", f"above {edges[1]:.0%}")
    for index, (name, span) in enumerate(zip(_SIZES, spans, strict=True)):
        mask = positive & (part == index)
        if mask.any():  # a third is empty where many boxes are of one size
            named.append(("box_size", f"{name} (largest box {span} of the image's side)", mask))
    return named, left_out


def _of_slice(figures: Figures, patients: np.ndarray, mask: np.ndarray, moves: Moves, overall: Mapping[str, Moved]) -> dict[str, Interval]:
    """Return key -> interval of the cases of a (C,) bool mask."""
    made = {}
    for key, one in moves(figures.take(np.flatnonzero(mask)), patients[mask]).items():
        spread = one.spread
        if key in overall:
            # another choice of thresholds would move all slices alike
            added = overall[key].of_choice
            spread = dataclasses.replace(spread, variance=spread.variance + added, of_choice=added, refused=overall[key].refused)
        made[key] = interval.of(spread)
    return made


def _p_values(
    rows: list[dict], ratios: Mapping[str, Ratio], masks: list[np.ndarray], patients: np.ndarray
) -> dict[tuple[str, str, str], float]:
    """Return (by, slice, figure) -> p of the difference between a slice and all other exams, corrected for all of them; those that can be compared."""
    p = {}
    for row, mask in zip(rows, masks, strict=True):
        for key in COMPARED:
            if not _comparable(row, key):
                continue
            part, whole = ratios[key].part, ratios[key].whole
            inside, outside = (Ratio(part * where, whole * where).moved(patients) for where in (mask, ~mask))
            value = interval.difference(outside, inside)["p"]
            if value is not None:
                p[row["by"], row["slice"], key] = value
    return dict(zip(p, interval.holm(list(p.values())), strict=True))


def _comparable(row: dict, key: str) -> bool:
    # a specificity of three negatives would be the worst by chance alone
    negatives = row["exams"] - row["positives"]
    enough = not row["small"] and (key != "image.specificity" or negatives >= FEWEST_POSITIVES)
    return enough and row["slice"] != UNKNOWN and row["figures"][key]["value"] is not None


def _worst(rows: list[dict], of_all: dict[str, float | None], p: Mapping[tuple[str, str, str], float]) -> dict | None:
    """Return the slice whose sensitivity or specificity lies furthest below that of all exams; None where none does."""
    shortfalls = [
        (of_all[key] - row["figures"][key]["value"], row, key)
        for row in rows
        for key in COMPARED
        if _comparable(row, key) and of_all[key] is not None
    ]
    if not shortfalls:
        return None
    shortfall, row, key = max(shortfalls, key=lambda one: one[0])
    if shortfall <= 0:
        return None
    figure, name = row["figures"][key], key.removeprefix("image.")
    mine = p.get((row["by"], row["slice"], key))
    shown = "" if mine is None else f"; {'shown' if mine < 1 - interval.CONFIDENCE else 'not shown'} to differ from all other exams"
    corrected = "" if mine is None else f" ({formatting.p_value(mine)}, corrected for {counted(len(p), 'comparison')})"
    sentence = (
        f"Lowest {name}: {formatting.figure(figure)} for {_BY.get(row['by'], row['by'])} {row['slice']} ({row['exams']:,} exams, "
        f"{row['positives']:,} positive), against {of_all[key]:.3f} over all exams{shown}{corrected}."
    )
    return {"by": row["by"], "slice": row["slice"], "figure": key, "shortfall": float(shortfall), "p": mine, "sentence": sentence}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
