"""metrics.json and pictures -> report.html, one file that needs no network, and model_card.md.

    report = write_report(folder, metrics, pictures=[("0004cfab", picture, "misses 2 boxes")])

No script and no external file: it opens from disk, prints, follows the reader's light or dark mode, and fits a phone.
"""

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pneumodet import paths
from pneumodet.reporting import charts, model_card
from pneumodet.reporting.charts import Line
from pneumodet.reporting.style import CSS

REPORT, MODEL_CARD = "report.html", "model_card.md"

PICTURE_PX, PICTURE_QUALITY = 480, 80
"""Longer side and JPEG quality of the gallery's pictures: 24 of them have about 1 MB."""

NAMES = {
    "rsna_metric": "RSNA metric",
    "coco.pneumonia.AP": "AP (IoU 0.50 to 0.95)",
    "coco.pneumonia.AP50": "AP50",
    "coco.pneumonia.AP75": "AP75",
    "froc.mean_sensitivity": "FROC mean sensitivity",
    "froc.sensitivity_at_0.125": "FROC sensitivity at 1/8 false positives an image",
    "froc.sensitivity_at_0.25": "… at 1/4",
    "froc.sensitivity_at_0.5": "… at 1/2",
    "froc.sensitivity_at_1": "… at 1",
    "froc.sensitivity_at_2": "… at 2",
    "froc.sensitivity_at_4": "… at 4",
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
"""Headline figures, in the order of the table."""

_COCO = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
_SLICE_COLUMNS = ("image.sensitivity", "image.specificity", "lesion.fp_per_image", "rsna_metric", "coco.pneumonia.AP50")
_BUCKETS = {
    "missed": "missed: no detection reaches the box",
    "background": "background: a detection where nothing is",
    "localization": "localization: near a box, but not on it",
    "duplicate": "duplicate: a second detection of a box",
}
_SLICES = {"view_position": "View position", "sex": "Sex", "age": "Age", "rsna_class": "Class", "box_size": "Size of the largest box"}


def write_report(
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    pictures: Sequence[tuple[str, Image.Image | None, str]] = (),
    provenance: Mapping[str, Any] | None = None,
    config_text: str = "",
) -> Path:
    """Write ``report.html`` and ``model_card.md``.

    Args:
      folder: gets both.
      metrics: as ``assessment.summary.assess`` returns them; parts that are not there are left out.
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
      provenance: what made model and evaluation, shown as it is.
      config_text: the experiment's pipeline.config.

    Returns:
      The report's path.

    Raises:
      DataError: a file cannot be written.
    """
    parts = [
        _summary(metrics),
        _plots(metrics),
        _figures(metrics),
        _slices(metrics),
        _errors(metrics),
        _calibration(metrics),
        _comparison(metrics),
        _gallery(pictures),
        _origin(metrics, provenance, config_text),
        _section("model-card", "Model card", f"<pre>{_text(model_card.text(metrics))}</pre>"),
    ]
    body = "\n".join(part for part in parts if part)
    title = "Evaluation of a pneumonia detector"
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{CSS}</style></head>\n<body><main><h1>{title}</h1>\n{body}\n"
        "<footer>For research, not a medical device. Made by pneumodet; nothing in this file comes from the network.</footer></main></body></html>\n"
    )
    for name, content in ((MODEL_CARD, model_card.text(metrics)), (REPORT, page)):
        with paths.atomic_path(folder / name) as tmp:
            tmp.write_text(content, encoding="utf-8")
    return folder / REPORT


def _text(value: Any) -> str:
    return html.escape(str(value))


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else _text(value)


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    found = metrics.get("intervals", {}).get(key)
    return f"{found[0]:.3f} to {found[1]:.3f}" if found else ""


def _section(name: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{_text(title)}</h2>\n{content}</section>' if content else ""


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, classes: Sequence[str] = ()) -> str:
    """Return a table; the first cell of each row is its heading, and cells are HTML already."""
    lines = []
    for index, (first, *rest) in enumerate(rows):
        kind = f' class="{classes[index]}"' if index < len(classes) and classes[index] else ""
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>')
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in header)
    return (
        f'<div class="wide" role="region" aria-label="{_text(caption)}" tabindex="0"><table><caption>{_text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _summary(metrics: Mapping[str, Any]) -> str:
    sentences = []
    value = metrics.get("rsna_metric")
    images = f"{_number(metrics.get('images', 0))} radiographs of {_number(metrics.get('patients', 0))} patients"
    interval = _interval(metrics, "rsna_metric")
    if value is None:
        sentences.append(f"On {images} the RSNA metric is undefined: there is no positive image, or nothing was found.")
    else:
        between = f" (95 % interval {interval})" if interval else ""
        sentences.append(f"On {images} the detector reaches an RSNA metric of <strong>{value:.3f}</strong>{between}.")
    sensitivity, specificity = metrics.get("image.sensitivity"), metrics.get("image.specificity")
    if sensitivity is not None and specificity is not None:
        sentences.append(
            f"At its operating point it finds something in {sensitivity:.0%} of the radiographs with pneumonia and leaves {specificity:.0%} of the "
            "others alone."
        )
    if metrics.get("rsna_threshold_source"):
        sentences.append(f"Operating point: {_text(metrics['rsna_threshold_source'])}")
    worst = (metrics.get("slices") or {}).get("worst")
    if worst:
        sentences.append(_text(worst["sentence"]))
    tiles = []
    for key in ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity", "image.roc_auc"):
        if metrics.get(key) is not None:
            small = f"<small>{_interval(metrics, key)}</small>" if _interval(metrics, key) else ""
            tiles.append(f'<li><span class="name">{NAMES[key]}</span><strong>{_number(metrics[key])}</strong>{small}</li>')
    warnings = "".join(f"<li>{_text(one)}</li>" for one in metrics.get("warnings", ()))
    warnings = f'<div class="warnings"><h3>Mind</h3><ul>{warnings}</ul></div>' if warnings else ""
    text = "".join(f"<p>{one}</p>" for one in sentences)
    return _section("summary", "Summary", f'{text}<ul class="tiles">{"".join(tiles)}</ul>{warnings}')


def _plots(metrics: Mapping[str, Any]) -> str:
    curves = metrics.get("curves", {})
    froc, roc, pr = (curves.get(name, {}) for name in ("froc", "roc", "pr"))
    found = []
    if froc.get("fp_per_image"):
        lines = [
            Line("boxes", froc["fp_per_image"], froc["sensitivity"], steps=True),
            Line("images", froc["fp_per_image"], froc["image_sensitivity"], steps=True),
        ]
        ends = (0.05, max(8.0, 1.01 * froc["fp_per_image"][0]))
        title = "FROC: sensitivity against false positives"
        found.append(
            charts.line_chart(title, lines, x="false positives an image", y="sensitivity", x_range=ends, y_range=(0, 1), log_x=True)
        )
    if roc.get("sensitivity"):
        line = Line("", roc["false_positive_rate"], roc["sensitivity"])
        title = f"ROC of images, area {_number(metrics.get('image.roc_auc'))}"
        found.append(
            charts.line_chart(title, [line], x="false positive rate", y="sensitivity", x_range=(0, 1), y_range=(0, 1), diagonal=True)
        )
    if pr.get("sensitivity"):
        line = Line("", pr["sensitivity"], pr["precision"])
        title = f"Precision and recall of images, area {_number(metrics.get('image.pr_auc'))}"
        found.append(charts.line_chart(title, [line], x="sensitivity (recall)", y="precision", x_range=(0, 1), y_range=(0, 1)))
    sweep = curves.get("thresholds", {})
    if sweep.get("rsna"):
        pairs = sorted(zip(sweep["threshold"], sweep["rsna"], strict=True))
        line = Line("", [one for one, _ in pairs], [value for _, value in pairs])
        found.append(charts.line_chart("RSNA metric at every threshold", [line], x="score threshold", y="RSNA metric"))
    histogram = curves.get("score_histogram")
    if histogram:
        series = {"with pneumonia": histogram["positive"], "without": histogram["negative"]}
        found.append(
            charts.bar_chart("Radiographs by their highest score", histogram["edges"], series, x="highest score", y="share of radiographs")
        )
    return _section("curves", "Curves", f'<div class="charts">{"".join(found)}</div>' if any(found) else "")


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = [(_text(name), _number(metrics.get(key)), _interval(metrics, key)) for key, name in NAMES.items() if key in metrics]
    method = (metrics.get("bootstrap") or {}).get("method", "")
    content = _table("Headline figures with 95 % intervals", ("figure", "value", "95 % interval"), rows)
    cells = metrics.get("image.confusion")
    if cells:
        lines = [
            ("with pneumonia", _number(cells["tp"]), _number(cells["fn"])),
            ("without", _number(cells["fp"]), _number(cells["tn"])),
        ]
        content += _table("Radiographs at the operating point", ("", "something found", "nothing found"), lines)
    coco = [("pneumonia", *(_number(metrics.get(f"coco.pneumonia.{name}")) for name in _COCO))]
    if "coco.pneumonia.AP" in metrics:
        content += _table("COCO's twelve numbers", ("class", *_COCO), coco)
    return _section("figures", "Figures", content + (f"<p>{_text(method)}</p>" if method else ""))


def _slices(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("slices") or {}
    rows, classes = [], []
    for one in found.get("slices", ()):
        cells = []
        for key in _SLICE_COLUMNS:
            figure = one["figures"].get(key, {})
            low, high = figure.get("low"), figure.get("high")
            cells.append(
                _number(figure.get("value")) + (f"<small>{low:.2f} to {high:.2f}</small>" if low is not None and high is not None else "")
            )
        name = f"{_text(_SLICES.get(one['by'], one['by']))}: {_text(one['slice'])}" + (" (few)" if one["small"] else "")
        rows.append((name, _number(one["exams"]), _number(one["positives"]), *cells))
        classes.append("few" if one["small"] else "")
    header = ("slice", "radiographs", "positive", *(NAMES[key] for key in _SLICE_COLUMNS))
    content = _table("Figures of parts of the data", header, rows, classes=classes)
    if not content:
        return ""
    worst = "".join(f"<li>{_text(one['sentence'])}</li>" for one in (found.get("worst_by") or {}).values() if one)
    return _section("slices", "Slices", content + (f"<ul>{worst}</ul>" if worst else "") + f"<p>{_text(found.get('caveat', ''))}</p>")


def _errors(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("errors") or {}
    rows = [
        (_text(text), _number(found.get(f"errors.{name}")), _number(found.get(f"errors.dap50.{name}"))) for name, text in _BUCKETS.items()
    ]
    content = (
        _table("Kinds of errors, after TIDE", ("error", "count at the operating point", "AP50 to gain if mended"), rows) if found else ""
    )
    maps = metrics.get("maps") or {}
    titles = {"ground_truth": "Ground truth", "hits": "Hits", "missed": "Missed boxes", "false_positives": "False positives"}
    drawn = [charts.heat_map(title, maps[name]["position"]) for name, title in titles.items() if name in maps]
    if any(drawn):
        content += f'<h3>Where boxes lie</h3><p>Centres of boxes, as seen on the radiograph.</p><div class="maps">{"".join(drawn)}</div>'
    return _section("errors", "Errors", content)


def _calibration(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("calibration") or {}
    rows, drawn = [], []
    for level, name in (("calibration.image", "images"), ("calibration.box", "boxes")):
        methods = found.get(level) or {}
        lines = []
        for method, one in methods.items():
            if one.get("ece") is None:
                continue
            rows.append((f"{name}, {_text(method)}", _number(one["ece"]), _number(one["brier"])))
            if method in ("raw", "platt") and one["curve"]:
                xs, ys = ([point[key] for point in one["curve"]] for key in ("mean_score", "rate"))
                lines.append(Line({"raw": "as it is", "platt": "calibrated"}[method], xs, ys, dots=True))
        title = f"Reliability of {name}: predicted against observed"
        drawn.append(charts.line_chart(title, lines, x="score", y="observed share", x_range=(0, 1), y_range=(0, 1), diagonal=True))
    table = _table("Calibration", ("score", "expected calibration error", "Brier score"), rows)
    note = found.get("note") or found.get("undefined") or ""
    if not table and not note:
        return ""
    return _section("calibration", "Calibration", f'<div class="charts">{"".join(drawn)}</div>{table}<p>{_text(note)}</p>')


def _comparison(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("comparison")
    if not found:
        return ""
    first, second = found.get("names", ["A", "B"])
    rows = []
    for key, one in found["figures"].items():
        if key in NAMES:
            rows.append((_text(NAMES[key]), _number(one["a"]), _number(one["b"]), _text(one["sentence"])))
    return _section(
        "comparison", f"{first} and {second} on the same radiographs", _table("Comparison", ("figure", first, second, ""), rows)
    )


def _gallery(pictures: Sequence[tuple[str, Image.Image | None, str]]) -> str:
    if not pictures:
        return ""
    parts = []
    for exam, picture, reason in pictures:
        image = '<div class="no-image">image not given</div>'
        if picture is not None:
            image = f'<img src="{_data_uri(picture)}" alt="Radiograph {_text(exam)}" loading="lazy">'
        parts.append(f"<figure>{image}<figcaption><strong>{_text(exam)}</strong> {_text(reason)}</figcaption></figure>")
    intro = "<p>The radiographs with the largest errors. Ground truth is dashed and green, detections are solid and orange.</p>"
    return _section("worst", "Worst radiographs", f'{intro}<div class="gallery">{"".join(parts)}</div>')


def _data_uri(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _origin(metrics: Mapping[str, Any], provenance: Mapping[str, Any] | None, config_text: str) -> str:
    keys = ("model", "checkpoint", "step", "split", "manifest_sha256", "ground_truth", "detections_file")
    data = {key: metrics[key] for key in keys if metrics.get(key) is not None}
    content = f"<pre>{_text(json.dumps(data, indent=2))}</pre>" if data else ""
    if provenance:
        content += f"<details><summary>Versions and hardware</summary><pre>{_text(json.dumps(provenance, indent=2))}</pre></details>"
    if config_text:
        content += f"<details><summary>pipeline.config</summary><pre>{_text(config_text)}</pre></details>"
    return _section("origin", "Data, model and versions", content)
