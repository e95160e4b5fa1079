"""A text for a model card: what the model is for, what it was measured on, what came out, and what is not known.

Names, facts and sentences on them come from files, so that they are escaped.
Its parts follow Mitchell et al., Model Cards for Model Reporting, FAccT 2019.
"""

from collections.abc import Mapping
from typing import Any

from pneumodet.core import formatting, runs, split_use
from pneumodet.core.formatting import Footnotes, counted
from pneumodet.evaluation import leaks
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.viz.markdown import plain

_FIGURES = {
    "rsna_metric": "RSNA metric",
    "coco.{class}.AP50": "AP50",
    "froc.mean_sensitivity": "FROC mean sensitivity (1/8 to 4 false positives an image)",
    "image.roc_auc": "image ROC AUC",
    "image.sensitivity": "image sensitivity at the operating point",
    "image.specificity": "image specificity at the operating point",
    "lesion.fp_per_image": "false positives an image at the operating point",
}

INTENDED_USE = (
    "Research on finding opacities that suggest pneumonia on frontal chest radiographs. Not a medical device: not for diagnosis, triage or "
    "treatment."
)
"""Of every model."""

OF_THESE_ONLY = "Measured on these radiographs only. Other hospitals, devices and patients will give other figures; measure before use."
"""Limit of every model, however good its figures are."""

_KINDS = {runs.DETECTION: "detector", runs.CLASSIFICATION: "classifier"}


def text(metrics: Mapping[str, Any]) -> str:
    """Return the model card in Markdown.

    Args:
      metrics: as ``evaluation.summary.summarize`` returns them; parts that are not there are left out.
    """
    metrics = Metrics(metrics)
    class_name = metrics.class_name
    lines = [
        f"# Model card: pneumonia {_KINDS.get(metrics.get('family') or runs.DETECTION, 'model')} for chest radiographs",
        *_part("Model", [f"- {key}: {plain(metrics[key])}" for key in ("model", "checkpoint", "step") if metrics.get(key) is not None]),
        *_part("Intended use", [INTENDED_USE]),
        *_part("Evaluation data", _data(metrics)),
        *_part("Results", _results(metrics, class_name)),
        *_part("Operating point", _operating_point(metrics)),
    ]
    slices = metrics.get("slices") or {}
    sentences = [f"- {plain(one['sentence'])}" for one in (slices.get("worst_by") or {}).values() if one]
    lines += _part("Where it is worse", [*sentences, "", plain(slices.get("caveat", ""))] if sentences else [])
    lines += _part("Limits", [*(f"- {plain(one)}" for one in metrics.get("warnings") or ()), f"- {OF_THESE_ONLY}"])
    return "\n".join(lines) + "\n"


def _part(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _data(metrics: Metrics) -> list[str]:
    if metrics.get("images") is None:
        return []
    patients, positive, boxes = (metrics.get(key) for key in ("patients", "positive_images", "boxes"))
    counts = counted(metrics["images"], "radiograph")
    counts += "" if patients is None else f" of {counted(patients, 'patient')}"
    counts += "" if positive is None else f", {positive:,} with findings"
    counts += "" if boxes is None else f", {boxes:,} {'box' if boxes == 1 else 'boxes'}"
    split = f" Split: {plain(metrics['split'])}." if metrics.get("split") else ""
    name = split_use.figures_on(metrics)
    whole = f"{counts}.{split}" + (f" Figures are of {plain(name)}." if name else "")
    return [whole, *(["", plain(one)] if (one := leaks.statement(metrics)) else [])]


def _results(metrics: Metrics, class_name: str) -> list[str]:
    rows, notes = [], Footnotes()
    for key, name in ((key.replace("{class}", class_name), name) for key, name in _FIGURES.items()):
        # a classifier has no figures of boxes
        if key not in metrics:
            continue
        rules = f", {plain(metrics['rsna_rules'])} rules" if key == "rsna_metric" and metrics.get("rsna_rules") else ""
        between = formatting.between(metrics.interval(key)) or notes.dash(metrics.why_undefined(key))
        rows.append(f"| {name}{rules} | {formatting.with_interval(metrics[key], None)} | {between} |")
    method = (metrics.get("bootstrap") or {}).get("method")
    below = [line for note in (*notes.lines, *([method] if method else ())) for line in ("", plain(note))]
    return ["| figure | value | 95% interval |", "| --- | --- | --- |", *rows, *below] if rows else []


def _operating_point(metrics: Metrics) -> list[str]:
    point, source, threshold = metrics.operating_point, metrics.threshold_source, metrics.threshold
    if not source:
        return []
    used = (point and point.threshold_is) or "score threshold"
    return [f"- How it was chosen: {plain(source)}", *([] if threshold is None else [f"- {threshold:.4g}: {plain(used)}"])]
