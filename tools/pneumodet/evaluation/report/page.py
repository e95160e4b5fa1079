"""metrics.json and pictures -> report.html, one file that needs no network, and model_card.md.

    report = write_report(folder, metrics, pictures=[("0004cfab", picture, "misses 2 boxes")])

The page is ``templates/evaluation.html``; what it shows is put together here.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pneumodet.core import paths, split_use
from pneumodet.core.formatting import Footnotes, counted
from pneumodet.evaluation import leaks, main_figures
from pneumodet.evaluation.metrics.calibration import OWN
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.evaluation.report import gallery, glossary, model_card, plots, steps
from pneumodet.viz import markup, templating
from pneumodet.viz.markup import Table

TITLE = "evaluation of a pneumonia detector"

REPORT, MODEL_CARD = "report.html", "model_card.md"

NAMES = {
    "rsna_metric": "RSNA metric",
    "coco.{class}.AP": "AP (IoU 0.50 to 0.95)",
    "coco.{class}.AP50": "AP50",
    "coco.{class}.AP75": "AP75",
    "froc.mean_sensitivity": "FROC mean sensitivity",
    "froc.sensitivity_at_0.125": "FROC sensitivity at 1/8 false positives an image",
    "froc.sensitivity_at_0.25": "FROC sensitivity at 1/4",
    "froc.sensitivity_at_0.5": "FROC sensitivity at 1/2",
    "froc.sensitivity_at_1": "FROC sensitivity at 1",
    "froc.sensitivity_at_2": "FROC sensitivity at 2",
    "froc.sensitivity_at_4": "FROC sensitivity at 4",
    "image.roc_auc": "Image ROC AUC",
    "image.pr_auc": "Image PR AUC",
    "image.sensitivity": "Image sensitivity",
    "image.specificity": "Image specificity",
    "image.precision": "Image precision",
    "image.f1": "Image F1",
    "lesion.sensitivity": "Box sensitivity",
    "lesion.precision": "Box precision",
    "lesion.fp_per_image": "False positives an image",
    "lesion.fp_per_positive_image": "False positives an image with findings",
    "lesion.fp_per_negative_image": "False positives an image without findings",
    "lesion.mean_iou_of_hits": "Mean IoU of hits",
}
"""Headline figures, in the order of the table; ``{class}`` stands for the class that is evaluated."""

MASK_NAMES = {"mask.AP": "Mask AP (IoU 0.50 to 0.95)", "mask.AP50": "Mask AP50", "mask.AP75": "Mask AP75", "mask.dice": "Mask Dice"}
"""The same, of a model that gives masks."""

TILES = ("rsna_metric", "coco.{class}.AP50", "froc.mean_sensitivity", "image.roc_auc")
"""Those that stand out at the top."""

FITS_OF_TEST = (
    "The calibrator that the model has is not measured here: all of these are fits on the exams of the test. It is measured where the run was evaluated on val "
    "before, and without a recipe."
)
"""Of calibration on test, where the model's calibrator is not known or not of what is evaluated."""

OF_ALL_SCORES = (
    "Errors are counted among the detections of the operating point and above; AP50 is of the detections of all scores, so that a box that is missed at the "
    "operating point may have been found for AP50, and nothing is to be gained by it."
)
"""Of the kinds of errors."""

_COCO = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
_SLICE_COLUMNS = ("image.sensitivity", "image.specificity", "lesion.fp_per_image", "rsna_metric", "coco.{class}.AP50")
_BUCKETS = {
    "missed": "missed: a box that no detection overlaps (by an IoU of 0.1)",
    "background": "background: a detection that overlaps no box",
    "localization": "localization: a detection that overlaps a box too little (IoU 0.1 to 0.5)",
    "duplicate": "duplicate: another detection of a box that is hit",
}
_CALIBRATION = {"ece": "expected calibration error", "brier": "Brier score"}
_SLICES = {"view_position": "View position", "sex": "Sex", "age": "Age", "rsna_class": "Class", "box_size": "Size of the largest box"}


def write_report(
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    pictures: Sequence[tuple[str, Image.Image | None, str]] = (),
    provenance: Mapping[str, Any] | None = None,
    config_text: str = "",
    gains: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` and ``model_card.md``.

    Args:
      folder: gets both.
      metrics: as ``evaluation.summary.summarize`` returns them; parts that are not there are left out.
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
      provenance: what made model and evaluation, shown as it is.
      config_text: the experiment's pipeline.config.
      gains: of each step of post-processing, as ``evaluation.postprocess_search.search`` returns them.

    Returns:
      The report's path.

    Raises:
      DataError: a file cannot be written.
    """
    metrics = Metrics(metrics)
    page = templating.render(
        "evaluation.html",
        title=_title(metrics),
        lead=_lead(metrics),
        summary=_summary(metrics),
        curves=plots.curves(metrics),
        figures=_figures(metrics),
        comparison=_comparison(metrics),
        slices=_slices(metrics),
        errors=_errors(metrics),
        calibration=_calibration(metrics),
        gains=steps.gains(gains),
        worst=gallery.figures(pictures),
        origin=_origin(metrics, provenance, config_text),
        # what else the card says stands in the sections above
        use=[model_card.INTENDED_USE, model_card.OF_THESE_ONLY],
    )
    # atomic: a run's own folder is not replaced as a whole, and must not hold half a page
    for name, content in ((MODEL_CARD, model_card.text(metrics)), (REPORT, page)):
        with paths.atomic_path(folder / name) as tmp:
            tmp.write_text(content, encoding="utf-8")
    return folder / REPORT


def _interval(metrics: Metrics, key: str) -> str:
    return markup.between(metrics.interval(key))


def _of_class(metrics: Metrics, key: str) -> str:
    return key.replace("{class}", metrics.class_name)


def _names(metrics: Metrics) -> dict[str, str]:
    """Return key -> name of the headline figures of the class that is evaluated."""
    return {_of_class(metrics, key): name for key, name in (NAMES | MASK_NAMES).items()}


def _title(metrics: Metrics) -> str:
    """Return the title, which begins with the run's name: a browser's tab shows no more of it."""
    name = metrics.get("model") or (metrics.get("detections_file") or {}).get("name")
    return f"{name}: {TITLE}" if name else TITLE[0].upper() + TITLE[1:]


def _lead(metrics: Metrics) -> str:
    """Return one line that parts this report from others."""
    named = {"model": "model", "checkpoint": "checkpoint", "split": "split"}
    parts = [f"{name} {metrics[key]}" for key, name in named.items() if metrics.get(key)]
    parts += [str(metrics[key]["name"]) for key in ("detections_file", "ground_truth") if (metrics.get(key) or {}).get("name")]
    return " · ".join(parts)


@dataclasses.dataclass(frozen=True)
class _Reached:
    """A sentence in which a value stands out."""

    before: str
    value: str
    after: str


def _summary(metrics: Metrics) -> dict[str, Any]:
    sentences: list[str | _Reached] = []
    value, interval = metrics.get("rsna_metric"), _interval(metrics, "rsna_metric")
    if metrics.get("images") is not None:
        patients = f" of {counted(metrics['patients'], 'patient')}" if metrics.get("patients") is not None else ""
        images = f"On {counted(metrics['images'], 'radiograph')}{patients}"
        rules = f" ({metrics['rsna_rules']} rules)" if metrics.get("rsna_rules") else ""
        if value is None:
            sentences.append(f"{images} the RSNA metric is undefined: {metrics.why_undefined('rsna_metric') or 'no image counts'}.")
        else:
            between = f", 95% interval {interval}" if interval else ""
            sentences.append(_Reached(f"{images} the detector reaches an RSNA metric{rules} of ", f"{value:.3f}", f"{between}."))
    if name := split_use.figures_on(metrics):
        sentences.append(f"These figures are of {name}.")
    # both or none: either alone can be made perfect by the threshold
    sensitivity, specificity = metrics.get("image.sensitivity"), metrics.get("image.specificity")
    if sensitivity is not None and specificity is not None:
        sentences.append(
            f"At its operating point it finds something in {sensitivity:.0%} of the radiographs with {metrics.class_name} (sensitivity) "
            f"and nothing in {specificity:.0%} of the others (specificity)."
        )
    sentences += _operating_point(metrics)
    comparison = metrics.get("comparison") or {}
    compared = (comparison.get("figures") or {}).get("rsna_metric")
    if compared:
        sentences.append(f"RSNA metric, {' against '.join(comparison['names'])}: {compared['sentence']}")
    worst = (metrics.get("slices") or {}).get("worst")
    if worst:
        sentences.append(worst["sentence"])
    names, keys = _names(metrics), [_of_class(metrics, key) for key in TILES]
    tiles = [(names[key], markup.number(metrics[key]), _interval(metrics, key)) for key in keys if metrics.get(key) is not None]
    sentences += [one] if (one := leaks.statement(metrics)) else []
    return {"sentences": sentences, "tiles": tiles, "warnings": metrics.get("warnings") or ()}


def _operating_point(metrics: Metrics) -> list[str]:
    """Return sentences on the threshold: how it was chosen, and the one for new data where that is another one."""
    point, source, threshold = metrics.operating_point, metrics.threshold_source, metrics.threshold
    if not source:
        return []
    if threshold is None:
        return [f"Operating point: {source}"]
    if point and point.threshold_is:
        return [f"Operating point: {source}", f"{threshold:.4g} is the {point.threshold_is}."]
    return [f"Operating point: score of at least {threshold:.4g}, {source}."]


def _figures(metrics: Metrics) -> dict[str, Any]:
    notes = Footnotes()
    rows = [
        (name, markup.number(metrics.get(key)), _interval(metrics, key) or notes.dash(metrics.why_undefined(key)))
        for key, name in _names(metrics).items()
        if key in metrics
    ]
    cells, lines = metrics.get("image.confusion"), []
    if cells:
        lines = [
            (f"with {metrics.class_name}", markup.number(cells["tp"]), markup.number(cells["fn"])),
            ("without", markup.number(cells["fp"]), markup.number(cells["tn"])),
        ]
    # by the keys, since the ground truth may have any classes
    classes = [key.removeprefix("coco.").removesuffix(".AP") for key in metrics if key.startswith("coco.") and key.endswith(".AP")]
    coco = [
        (name, *(markup.number(metrics.get(f"coco.{name}.{figure}")) for figure in _COCO))
        for name in classes
        if name != "AP" and metrics[f"coco.{name}.AP"] is not None
    ]
    return {
        "headline": Table("Headline figures with 95% intervals", ("figure", "value", "95% interval"), rows, notes=notes.lines),
        "method": (metrics.get("bootstrap") or {}).get("method"),
        "confusion": Table("Radiographs at the operating point", ("radiographs", "something found", "nothing found"), lines),
        "coco": Table("COCO's twelve numbers", ("class", *_COCO), coco),
        "coco_has_dash": any("–" in row for row in coco),
        "terms": glossary.terms(metrics.class_name) if rows else "",
    }


def _slices(metrics: Metrics) -> dict[str, Any]:
    slices, names = metrics.get("slices") or {}, _names(metrics)
    columns = [_of_class(metrics, key) for key in _SLICE_COLUMNS]
    rows, classes = [], []
    for one in slices.get("slices") or ():
        name = f"{_SLICES.get(one['by'], one['by'])}: {one['slice']}" + (" (few)" if one["small"] else "")
        negative = {"rsna_metric"} if one["positives"] == 0 else set()  # it is 0 by definition where no exam is positive
        cells = ["–" if key in negative else markup.with_interval(one["figures"].get(key) or {}, digits=2) for key in columns]
        rows.append((name, markup.number(one["exams"]), markup.number(one["positives"]), *cells))
        classes.append("few" if one["small"] else "")
    header = ("slice", "radiographs", "positive", *(names[key] for key in columns))
    return {
        "table": Table("Figures of parts of the data", header, rows, classes=classes),
        "without_interval": main_figures.without_interval(metrics, columns) if rows else [],
        "worst": [one["sentence"] for one in (slices.get("worst_by") or {}).values() if one] if rows else [],
        "caveat": slices.get("caveat") if rows else None,
        "left_out": [f"No slices by {_SLICES.get(by, by).lower()}: {reason}" for by, reason in (slices.get("left_out") or {}).items()],
    }


def _errors(metrics: Metrics) -> dict[str, Any]:
    errors = metrics.get("errors") or {}
    rows = [
        (text, markup.number(errors.get(f"errors.{name}")), markup.number(errors.get(f"errors.dap50.{name}")))
        for name, text in _BUCKETS.items()
    ]
    header = ("error", "count at the operating point", "AP50 to gain if fixed")
    return {
        "table": Table("Kinds of errors, after TIDE", header, rows if errors else []),
        "scores": OF_ALL_SCORES if rows and errors else None,
        "undefined": errors.get("errors.dap50.undefined"),
        "maps": plots.maps(metrics),
        "sizes": plots.sizes(metrics),
    }


def _calibration(metrics: Metrics) -> dict[str, Any]:
    calibration = metrics.get("calibration") or {}
    rows, notes = [], Footnotes()
    for level, name in plots.LEVELS.items():
        for method, one in (calibration.get(level) or {}).items():
            label = f"{name}, {plots.METHODS.get(method, method)}"
            figures = (
                markup.number(value) if (value := one.get(key)) is not None else notes.dash(one.get("undefined")) for key in _CALIBRATION
            )
            rows.append((label, *figures))
    return {
        "charts": plots.reliability(metrics),
        "table": Table("How far scores are from observed shares", ("score", *_CALIBRATION.values()), rows, notes=notes.lines),
        "notes": [*_calibrators(metrics), *filter(None, (calibration.get("note"), calibration.get("undefined")))],
    }


def _calibrators(metrics: Metrics) -> list[str]:
    """Return a sentence where the test is of other calibrators than the model's."""
    images = (metrics.get("calibration") or {}).get("calibration.image") or {}
    return [FITS_OF_TEST] if split_use.is_test(metrics) and images and OWN not in images else []


def _comparison(metrics: Metrics) -> dict[str, Any]:
    comparison = metrics.get("comparison") or {}
    first, second = comparison.get("names") or ("A", "B")
    figures, names, notes = comparison.get("figures") or {}, _names(metrics), Footnotes()
    rows = []
    for key, name in ((key, name) for key, name in names.items() if key in figures):
        one = figures[key]
        difference = notes.dash(one["undefined"]) if one.get("undefined") else one["sentence"]
        rows.append((name, markup.number(one["a"]), markup.number(one["b"]), difference))
    caption, header = f"{first} and {second} on the same radiographs", ("figure", first, second, "difference")
    return {"table": Table(caption, header, rows, text_columns=(3,), notes=notes.lines), "method": comparison.get("method")}


def _origin(metrics: Metrics, provenance: Mapping[str, Any] | None, config_text: str) -> dict[str, Any]:
    keys = ("model", "checkpoint", "step", "split", "figures_on", "manifest_sha256", "ground_truth", "detections_file")
    data = {key: metrics[key] for key in keys if metrics.get(key) is not None}
    made_with = json.dumps(provenance, indent=2, ensure_ascii=False) if provenance else ""
    return {
        "data": json.dumps(data, indent=2, ensure_ascii=False) if data else "",
        "folded": [("Versions and hardware", made_with), ("pipeline.config", config_text)],
    }
