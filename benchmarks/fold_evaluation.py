"""Detections of several folds -> figures, paired differences, and the tables of benchmarks/accuracy.py. TensorFlow is not needed.

threshold = choose(inner_instances, inner_rows)                      # on inner validation
cases, thresholds = pool(instances_of_folds, rows_of_folds, thresholds_of_folds)
comparisons({"stock": (cases, thresholds), "ours": …}, ["stock"], seed=0)
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation import inputs, summary
from pneumodet.evaluation.metrics import headline, operating_point, uncertainty

FIGURES = {"rsna_metric": "RSNA metric", "coco.pneumonia.AP50": "AP50", "froc.mean_sensitivity": "FROC mean sensitivity"}
"""Figures of the tables; thresholds are chosen for the first."""

REACHED = ("rsna_metric", "coco.pneumonia.AP50")
"""Figures that show when a run was as good as another one at its end."""

Rows = list[dict[str, Any]]
"""COCO results."""

Pooled = tuple[Cases, np.ndarray]
"""Cases, and the score threshold of each of their detections."""


def choose(truth: dict[str, Any], rows: Rows) -> tuple[float, dict[str, float | None]]:
    """Return the score threshold of the highest RSNA metric, and the figures as training's own evaluation gives them.

    Args:
      truth: COCO ground truth of an inner validation.
      rows: the detections on it.
    """
    loaded = inputs.assemble(truth, lambda images, category: rows)
    return operating_point.choose(loaded.cases, "rsna")["threshold"], summary.headline(loaded).figures


def pool(truths: Sequence[Mapping[str, Any]], rows: Sequence[Rows], thresholds: Sequence[float]) -> Pooled:
    """Return the cases of several folds as one, and for each detection the threshold of its fold.

    Args:
      truths: COCO ground truth of each fold; no exam and no patient is in two.
      rows: COCO results of each fold.
      thresholds: of each fold.
    """
    annotations = [dict(row) for truth in truths for row in truth["annotations"]]
    for number, row in enumerate(annotations):
        row["id"] = number + 1
    images = [image for truth in truths for image in truth["images"]]
    patients = {image["file_name"]: f"{fold} {image['patient']}" for fold, truth in enumerate(truths) for image in truth["images"]}
    of_exam = {image["file_name"]: at for truth, at in zip(truths, thresholds, strict=True) for image in truth["images"]}
    whole = {"images": images, "annotations": annotations, "categories": truths[0]["categories"]}
    cases = inputs.assemble(whole, lambda images, category: [row for one in rows for row in one], patients=patients).cases
    return cases, np.array([of_exam[name] for name in cases.names])[cases.box_case]


def figures(pooled: Pooled) -> dict[str, float]:
    """Return the figures of the tables."""
    cases, thresholds = pooled
    values = headline.Figures(cases, score_threshold=thresholds)(np.ones((len(cases), 1)))
    return {key: float(values[key][0]) for key in FIGURES}


def intervals(pooled: Pooled, *, seed: int) -> dict[str, Any]:
    """Return the same with their intervals over patients."""
    of_figures = uncertainty.intervals(pooled[0], score_threshold=pooled[1], seed=seed)["figures"]
    return {key: of_figures[key] for key in FIGURES}


def comparisons(pooled: Mapping[str, Pooled], against: Sequence[str], *, seed: int) -> list[dict[str, Any]]:
    """Return the paired differences, by patients, of every variant from each of ``against``; each pair once."""
    pairs, seen = [], set()
    for a, b in itertools.product(against, pooled):
        if a != b and frozenset((a, b)) not in seen:
            seen.add(frozenset((a, b)))
            compared = uncertainty.compare(pooled[a][0], pooled[b][0], thresholds=(pooled[a][1], pooled[b][1]), names=(a, b), seed=seed)
            pairs.append({"a": a, "b": b} | {key: compared["figures"][key] for key in FIGURES})
    return pairs


def first_as_good(done: Mapping[str, Any], key: str, value: float | None) -> float | None:
    """Return seconds from a run's start to its first in-loop evaluation with a figure of at least ``value``; None where there is none."""
    for _, when, figures_then in done.get("evaluations", []):
        if figures_then[key] is not None and figures_then[key] >= (value or 0.0):
            return when - done["started"]
    return None


def markdown(outcome: Mapping[str, Any]) -> str:
    """Return the tables of what ``Study.evaluate`` returns."""
    names = list(FIGURES.values())
    rows = [f"| variant | steps | CPU min | images/s | {' | '.join(names)} |", "| --- | ---: | ---: | ---: |" + " --- |" * len(names)]
    for name, one in outcome["figures"].items():
        steps = ", ".join(f"{run['step']}{'' if run['finite'] else ' (not finite)'}" for run in one["runs"])
        minutes = [run["cpu_seconds"] / 60 for run in one["runs"] if run.get("cpu_seconds")]
        speeds = [run["images_per_second"] for run in one["runs"] if run["images_per_second"]]
        cells = []
        for key in FIGURES:
            folds = [fold[key] for fold in one["folds"]]
            cells.append(f"{statistics.mean(folds):.3f} ({' '.join(f'{value:.3f}' for value in folds)}); {_interval(one['pooled'][key])}")
        took = f"{statistics.mean(minutes):.1f}" if minutes else ""
        rows.append(f"| {name} | {steps} | {took} | {f'{statistics.mean(speeds):.1f}' if speeds else ''} | {' | '.join(cells)} |")
    rows += [
        "",
        "Mean (each fold); detections of all folds together [95 % interval over patients]. Steps are those of the checkpoints.",
        "",
    ]
    rows += [f"| difference | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    rows += [
        f"| {one['b']} - {one['a']} | {' | '.join(_interval(one[key], sign='+') for key in FIGURES)} |" for one in outcome["comparisons"]
    ]
    for one in outcome["reached"]:
        seconds = ", ".join("never" if value is None else f"{value:.0f} s" for value in one["seconds"])
        sentence = f"was as good on inner validation as {one['as']} at its end ({FIGURES[one['figure']]}) after {seconds} (each fold)."
        rows += ["", f"{one['variant']} {sentence}"]
    if outcome["unfinished"]:
        rows += ["", f"Not finished: {', '.join(outcome['unfinished'])}."]
    return "\n".join(rows) + "\n"


def _interval(figure: Mapping[str, Any], sign: str = "") -> str:
    if figure["value"] is None:
        return "undefined"
    ends = "" if figure["low"] is None else f" [{figure['low']:{sign}.3f}, {figure['high']:{sign}.3f}]"
    return f"{figure['value']:{sign}.3f}{ends}"
