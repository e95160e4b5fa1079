"""metrics.json and pictures -> report.html, one file that needs no network, and model_card.md.

    report = write_report(folder, metrics, pictures=[("0004cfab", picture, "misses 2 boxes")])

The page is framed by ``frame.page``, as those of other commands are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pneumodet import paths
from pneumodet.reporting import frame, gallery, glossary, markup, model_card, plots, steps
from pneumodet.wording import counted

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
    "lesion.mean_iou_of_hits": "Mean IoU of hits",
}
"""Headline figures, in the order of the table; ``{class}`` stands for the class that is judged."""

TILES = ("rsna_metric", "coco.{class}.AP50", "froc.mean_sensitivity", "image.roc_auc")
"""Those that stand out at the top."""

_COCO = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
_SLICE_COLUMNS = ("image.sensitivity", "image.specificity", "lesion.fp_per_image", "rsna_metric", "coco.{class}.AP50")
_BUCKETS = {
    "missed": "missed: a box that no detection overlaps (by an IoU of 0.1)",
    "background": "background: a detection that overlaps no box",
    "localization": "localization: a detection that overlaps a box too little (IoU 0.1 to 0.5)",
    "duplicate": "duplicate: another detection of a box that is found",
}
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
      metrics: as ``assessment.summary.assess`` returns them; parts that are not there are left out.
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
      provenance: what made model and evaluation, shown as it is.
      config_text: the experiment's pipeline.config.
      gains: of each step of post-processing, as ``postprocessing.search.search`` returns them.

    Returns:
      The report's path.

    Raises:
      DataError: a file cannot be written.
    """
    sections = [
        ("summary", "Summary", _summary(metrics)),
        ("curves", "Curves", markup.charts(plots.curves(metrics))),
        ("figures", "Figures", _figures(metrics)),
        ("comparison", "Comparison", _comparison(metrics)),
        ("slices", "Slices", _slices(metrics)),
        ("errors", "Errors", _errors(metrics)),
        ("calibration", "Calibration", _calibration(metrics)),
        ("post-processing", "Post-processing", steps.gains(gains)),
        ("worst", "Worst radiographs", gallery.figures(pictures)),
        ("origin", "Data, model and versions", _origin(metrics, provenance, config_text)),
        ("model-card", "Model card", f"<pre>{markup.text(model_card.text(metrics))}</pre>"),
    ]
    page = frame.page("Evaluation of a pneumonia detector", sections, lead=_lead(metrics))
    for name, content in ((MODEL_CARD, model_card.text(metrics)), (REPORT, page)):
        with paths.atomic_path(folder / name) as tmp:
            tmp.write_text(content, encoding="utf-8")
    return folder / REPORT


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    return markup.between((metrics.get("intervals") or {}).get(key))


def _of_class(metrics: Mapping[str, Any], key: str) -> str:
    return key.replace("{class}", _class_name(metrics))


def _class_name(metrics: Mapping[str, Any]) -> str:
    return str(metrics.get("class_name", "pneumonia"))


def _names(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> name of the headline figures of the class that is judged."""
    return {_of_class(metrics, key): name for key, name in NAMES.items()}


def _lead(metrics: Mapping[str, Any]) -> str:
    """Return one line that tells this report from others."""
    named = {"model": "model", "checkpoint": "checkpoint", "split": "split"}
    parts = [f"{name} {metrics[key]}" for key, name in named.items() if metrics.get(key)]
    parts += [str(metrics[key]["name"]) for key in ("detections_file", "ground_truth") if (metrics.get(key) or {}).get("name")]
    return " · ".join(parts)


def _summary(metrics: Mapping[str, Any]) -> str:
    sentences = []
    value, interval = metrics.get("rsna_metric"), _interval(metrics, "rsna_metric")
    if metrics.get("images") is not None:
        patients = f" of {counted(metrics['patients'], 'patient')}" if metrics.get("patients") is not None else ""
        images = f"On {counted(metrics['images'], 'radiograph')}{patients}"
        rules = f" ({markup.text(metrics['rsna_rules'])} rules)" if metrics.get("rsna_rules") else ""
        if value is None:
            sentences.append(f"{images} the RSNA metric is undefined: {_why_none(metrics, 'rsna_metric') or 'no image counts'}.")
        else:
            between = f", 95% interval {interval}" if interval else ""
            sentences.append(f"{images} the detector reaches an RSNA metric{rules} of <strong>{value:.3f}</strong>{between}.")
    sensitivity, specificity = metrics.get("image.sensitivity"), metrics.get("image.specificity")
    if sensitivity is not None and specificity is not None:
        sentences.append(
            f"At its operating point it finds something in {sensitivity:.0%} of the radiographs with {markup.text(_class_name(metrics))} (sensitivity) "
            f"and nothing in {specificity:.0%} of the others (specificity)."
        )
    sentences += [markup.text(one) for one in _operating_point(metrics)]
    comparison = metrics.get("comparison") or {}
    compared = (comparison.get("figures") or {}).get("rsna_metric")
    if compared:
        sentences.append(f"RSNA metric, {markup.text(' against '.join(comparison['names']))}: {markup.text(compared['sentence'])}")
    worst = (metrics.get("slices") or {}).get("worst")
    if worst:
        sentences.append(markup.text(worst["sentence"]))
    names, keys = _names(metrics), [_of_class(metrics, key) for key in TILES]
    tiles = markup.tiles((names[key], markup.number(metrics[key]), _interval(metrics, key)) for key in keys if metrics.get(key) is not None)
    return "".join(f"<p>{one}</p>" for one in sentences) + tiles + markup.warnings("Warnings", metrics.get("warnings") or ())


def _operating_point(metrics: Mapping[str, Any]) -> list[str]:
    """Return sentences on the threshold: how it was chosen, and the one for new data where that is another one."""
    point = metrics.get("operating_point") or {}
    source, threshold = metrics.get("rsna_threshold_source"), metrics.get("rsna_threshold")
    if not source:
        return []
    if threshold is None:
        return [f"Operating point: {source}"]
    if point.get("threshold_is"):
        return [f"Operating point: {source}", f"{threshold:.4g} is the {point['threshold_is']}."]
    return [f"Operating point: score of at least {threshold:.4g}, {source}."]


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = [
        (markup.text(name), markup.number(metrics.get(key)), _interval(metrics, key) or markup.text(_why_none(metrics, key)))
        for key, name in _names(metrics).items()
        if key in metrics
    ]
    content = markup.table("Headline figures with 95% intervals", ("figure", "value", "95% interval"), rows)
    content += markup.paragraph((metrics.get("bootstrap") or {}).get("method"))
    cells = metrics.get("image.confusion")
    if cells:
        lines = [
            (f"with {markup.text(_class_name(metrics))}", markup.number(cells["tp"]), markup.number(cells["fn"])),
            ("without", markup.number(cells["fp"]), markup.number(cells["tn"])),
        ]
        content += markup.table("Radiographs at the operating point", ("radiographs", "something found", "nothing found"), lines)
    classes = [key.removeprefix("coco.").removesuffix(".AP") for key in metrics if key.startswith("coco.") and key.endswith(".AP")]
    coco = [
        (markup.text(name), *(markup.number(metrics.get(f"coco.{name}.{figure}")) for figure in _COCO))
        for name in classes
        if name != "AP" and metrics[f"coco.{name}.AP"] is not None
    ]
    content += markup.table("COCO's twelve numbers", ("class", *_COCO), coco)
    content += "<p>–: there are no ground-truth boxes of that size.</p>" if any("–" in row for row in coco) else ""
    return content + (glossary.terms(_class_name(metrics)) if rows else "")


def _why_none(metrics: Mapping[str, Any], key: str) -> str:
    if metrics.get(key) is not None:
        return (metrics.get("intervals_undefined") or {}).get(key, "")
    reasons = (metrics.get(f"{one}.undefined") for one in (key, key.partition(".")[0]))
    return next((one for one in reasons if one), "")


def _slices(metrics: Mapping[str, Any]) -> str:
    found, names = metrics.get("slices") or {}, _names(metrics)
    columns = [_of_class(metrics, key) for key in _SLICE_COLUMNS]
    rows, classes = [], []
    for one in found.get("slices") or ():
        name = f"{markup.text(_SLICES.get(one['by'], one['by']))}: {markup.text(one['slice'])}" + (" (few)" if one["small"] else "")
        negative = {"rsna_metric"} if one["positives"] == 0 else set()  # it is 0 by definition where no exam is positive
        cells = ["–" if key in negative else markup.with_interval(one["figures"].get(key) or {}, digits=2) for key in columns]
        rows.append((name, markup.number(one["exams"]), markup.number(one["positives"]), *cells))
        classes.append("few" if one["small"] else "")
    header = ("slice", "radiographs", "positive", *(names[key] for key in columns))
    content = markup.table("Figures of parts of the data", header, rows, classes=classes)
    if content:
        worst = markup.listed(one["sentence"] for one in (found.get("worst_by") or {}).values() if one)
        content += worst + markup.paragraph(found.get("caveat"))
    for by, reason in (found.get("left_out") or {}).items():
        content += markup.paragraph(f"No slices by {_SLICES.get(by, by).lower()}: {reason}")
    return content


def _errors(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("errors") or {}
    rows = [
        (markup.text(text), markup.number(found.get(f"errors.{name}")), markup.number(found.get(f"errors.dap50.{name}")))
        for name, text in _BUCKETS.items()
    ]
    content = (
        markup.table("Kinds of errors, after TIDE", ("error", "count at the operating point", "AP50 to gain if mended"), rows)
        if found
        else ""
    )
    content += markup.paragraph(found.get("errors.dap50.undefined"))
    maps, sizes = plots.maps(metrics), plots.sizes(metrics)
    if maps:
        content += f'<h3>Where boxes lie</h3><p class="before">Centres of boxes, as seen on the radiograph.</p><div class="maps">{"".join(maps)}</div>'
    return content + (f"<h3>How large they are</h3>{markup.charts([sizes])}" if sizes else "")


def _calibration(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("calibration") or {}
    rows = []
    for level, name in plots.LEVELS.items():
        for method, one in (found.get(level) or {}).items():
            label = f"{name}, {markup.text(plots.METHODS.get(method, method))}"
            rows.append((label, markup.number(one.get("ece")), markup.number(one.get("brier")), markup.text(one.get("undefined") or "")))
    header = ("score", "expected calibration error", "Brier score", "note")
    columns = 4 if any(row[3] for row in rows) else 3
    content = markup.table("Calibration", header[:columns], [row[:columns] for row in rows], words=(3,))
    return markup.charts(plots.reliability(metrics)) + content + markup.paragraph(found.get("note") or found.get("undefined"))


def _comparison(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("comparison") or {}
    first, second = found.get("names") or ("A", "B")
    figures, names = found.get("figures") or {}, _names(metrics)
    rows = [
        (markup.text(name), markup.number(figures[key]["a"]), markup.number(figures[key]["b"]), markup.text(figures[key]["sentence"]))
        for key, name in names.items()
        if key in figures
    ]
    caption = f"{first} and {second} on the same radiographs"
    return markup.table(caption, ("figure", first, second, "difference"), rows, words=(3,)) + markup.paragraph(found.get("method"))


def _origin(metrics: Mapping[str, Any], provenance: Mapping[str, Any] | None, config_text: str) -> str:
    keys = ("model", "checkpoint", "step", "split", "manifest_sha256", "ground_truth", "detections_file")
    data = {key: metrics[key] for key in keys if metrics.get(key) is not None}
    content = f"<pre>{markup.text(json.dumps(data, indent=2, ensure_ascii=False))}</pre>" if data else ""
    if provenance:
        content += f"<details><summary>Versions and hardware</summary><pre>{markup.text(json.dumps(provenance, indent=2, ensure_ascii=False))}</pre></details>"
    if config_text:
        content += f"<details><summary>pipeline.config</summary><pre>{markup.text(config_text)}</pre></details>"
    return content
