"""metrics.json and pictures -> report.html, one file that needs no network, and model_card.md.

    report = write_report(folder, metrics, pictures=[("0004cfab", picture, "misses 2 boxes")])

No script and no external file: it opens from disk, prints, follows the reader's light or dark mode, and fits a phone.
"""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pneumodet import paths
from pneumodet.reporting import gallery, model_card, plots
from pneumodet.reporting.style import CSS

REPORT, MODEL_CARD = "report.html", "model_card.md"

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy: the browser itself sees to it that nothing is loaded and nothing runs."""

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
        ("curves", "Curves", _charts(plots.curves(metrics))),
        ("figures", "Figures", _figures(metrics)),
        ("comparison", "Comparison", _comparison(metrics)),
        ("slices", "Slices", _slices(metrics)),
        ("errors", "Errors", _errors(metrics)),
        ("calibration", "Calibration", _calibration(metrics)),
        ("post-processing", "Post-processing", _gains(gains)),
        ("worst", "Worst radiographs", gallery.figures(pictures)),
        ("origin", "Data, model and versions", _origin(metrics, provenance, config_text)),
        ("model-card", "Model card", f"<pre>{_text(model_card.text(metrics))}</pre>"),
    ]
    sections = [section for section in sections if section[-1]]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{content}</section>' for name, title, content in sections]
    body = f'{_lead(metrics)}<nav aria-label="Contents"><ul>{links}</ul></nav>\n' + "\n".join(parts)
    title = "Evaluation of a pneumonia detector"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title><style>{CSS}</style></head>\n'
        f"<body><main><h1>{title}</h1>\n{body}\n"
        "<footer>For research, not a medical device. Made by pneumodet; nothing in this file comes from the network.</footer></main></body></html>\n"
    )
    for name, content in ((MODEL_CARD, model_card.text(metrics)), (REPORT, page)):
        with paths.atomic_path(folder / name) as tmp:
            tmp.write_text(content, encoding="utf-8")
    return folder / REPORT


def _text(value: Any) -> str:
    return html.escape(str(value))


def _number(value: Any) -> str:
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return _fixed(value) if isinstance(value, float) else _text(value)


def _fixed(value: float, digits: int = 3) -> str:
    """Return a number with so many decimals, and none that is -0.000."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _between(interval: Sequence[float | None] | None, *, digits: int = 3) -> str:
    """Return "0.118 to 0.139", or nothing where there is no interval."""
    low, high = interval or (None, None)
    return "" if low is None or high is None else f"{_fixed(low, digits)} to {_fixed(high, digits)}"


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    return _between((metrics.get("intervals") or {}).get(key))


def _with_interval(figure: Mapping[str, Any], *, digits: int = 3) -> str:
    """Return a cell: the value, and its interval below."""
    between = _between((figure.get("low"), figure.get("high")), digits=digits)
    return _number(figure.get("value")) + (f"<small>{between}</small>" if between else "")


def _of_class(metrics: Mapping[str, Any], key: str) -> str:
    return key.replace("{class}", str(metrics.get("class_name", "pneumonia")))


def _names(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> name of the headline figures of the class that is judged."""
    return {_of_class(metrics, key): name for key, name in NAMES.items()}


def _paragraph(text: Any) -> str:
    return f"<p>{_text(text)}</p>" if text else ""


def _charts(found: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(found)}</div>' if any(found) else ""


def _table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, classes: Sequence[str] = (), words: Sequence[int] = ()
) -> str:
    """Return a table, or nothing without rows.

    Args:
      caption: text.
      header: texts, one a column.
      rows: cells that are HTML already; the first of each row is its heading.
      classes: of the rows, from the first.
      words: columns of text, which is set flush left and may wrap.
    """
    kinds = [' class="words"' if column in words else "" for column in range(len(header))]
    lines = []
    for index, (first, *rest) in enumerate(rows):
        kind = f' class="{classes[index]}"' if index < len(classes) and classes[index] else ""
        cells = "".join(f"<td{kinds[column]}>{cell}</td>" for column, cell in enumerate(rest, start=1))
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{cells}</tr>')
    if not lines:
        return ""
    head = "".join(f'<th scope="col"{kind}>{_text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    return (
        f'<div class="wide" role="region" aria-label="{_text(caption)}" tabindex="0"><table><caption><span>{_text(caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _lead(metrics: Mapping[str, Any]) -> str:
    """Return one line that tells this report from others."""
    named = {"model": "model", "checkpoint": "checkpoint", "split": "split"}
    parts = [f"{name} {metrics[key]}" for key, name in named.items() if metrics.get(key)]
    parts += [str(metrics[key]["name"]) for key in ("detections_file", "ground_truth") if (metrics.get(key) or {}).get("name")]
    return f'<p class="lead">{_text(" · ".join(parts))}</p>' if parts else ""


def _summary(metrics: Mapping[str, Any]) -> str:
    sentences = []
    value, interval = metrics.get("rsna_metric"), _interval(metrics, "rsna_metric")
    if metrics.get("images") is not None:
        images = f"On {_number(metrics['images'])} radiographs of {_number(metrics.get('patients'))} patients"
        rules = f" ({_text(metrics['rsna_rules'])} rules)" if metrics.get("rsna_rules") else ""
        if value is None:
            sentences.append(f"{images} the RSNA metric is undefined: there is no positive image, or nothing was found.")
        else:
            between = f", 95&nbsp;% interval {interval}" if interval else ""
            sentences.append(f"{images} the detector reaches an RSNA metric{rules} of <strong>{value:.3f}</strong>{between}.")
    sensitivity, specificity = metrics.get("image.sensitivity"), metrics.get("image.specificity")
    if sensitivity is not None and specificity is not None:
        sentences.append(
            f"At its operating point it finds something in {sensitivity:.0%} of the radiographs with {_text(metrics.get('class_name', 'pneumonia'))} "
            f"and leaves {specificity:.0%} of the others alone."
        )
    sentences += [_text(one) for one in _operating_point(metrics)]
    compared = ((metrics.get("comparison") or {}).get("figures") or {}).get("rsna_metric")
    if compared:
        sentences.append(f"RSNA metric: {_text(compared['sentence'])}")
    worst = (metrics.get("slices") or {}).get("worst")
    if worst:
        sentences.append(_text(worst["sentence"]))
    tiles, names = [], _names(metrics)
    for key in (_of_class(metrics, key) for key in TILES):
        if metrics.get(key) is not None:
            small = f"<small>{_interval(metrics, key)}</small>" if _interval(metrics, key) else ""
            tiles.append(f'<li><span class="name">{names[key]}</span><strong>{_number(metrics[key])}</strong>{small}</li>')
    tiles = f'<ul class="tiles">{"".join(tiles)}</ul>' if tiles else ""
    warnings = "".join(f"<li>{_text(one)}</li>" for one in metrics.get("warnings") or ())
    warnings = f'<div class="warnings"><h3>Warnings</h3><ul>{warnings}</ul></div>' if warnings else ""
    return "".join(f"<p>{one}</p>" for one in sentences) + tiles + warnings


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
        (_text(name), _number(metrics.get(key)), _interval(metrics, key) or _text(_why_none(metrics, key)))
        for key, name in _names(metrics).items()
        if key in metrics
    ]
    content = _table("Headline figures with 95\u00a0% intervals", ("figure", "value", "95\u00a0% interval"), rows)
    content += _paragraph((metrics.get("bootstrap") or {}).get("method"))
    cells = metrics.get("image.confusion")
    if cells:
        lines = [
            (f"with {_text(metrics.get('class_name', 'pneumonia'))}", _number(cells["tp"]), _number(cells["fn"])),
            ("without", _number(cells["fp"]), _number(cells["tn"])),
        ]
        content += _table("Radiographs at the operating point", ("radiographs", "something found", "nothing found"), lines)
    classes = [key.removeprefix("coco.").removesuffix(".AP") for key in metrics if key.startswith("coco.") and key.endswith(".AP")]
    coco = [
        (_text(name), *(_number(metrics.get(f"coco.{name}.{figure}")) for figure in _COCO))
        for name in classes
        if name != "AP" and metrics[f"coco.{name}.AP"] is not None
    ]
    content += _table("COCO's twelve numbers", ("class", *_COCO), coco)
    return content + ("<p>–: there are no ground-truth boxes of that size.</p>" if any("–" in row for row in coco) else "")


def _why_none(metrics: Mapping[str, Any], key: str) -> str:
    reasons = (metrics.get(f"{one}.undefined") for one in (key, key.partition(".")[0]))
    return next((one for one in reasons if one), "") if metrics.get(key) is None else ""


def _slices(metrics: Mapping[str, Any]) -> str:
    found, names = metrics.get("slices") or {}, _names(metrics)
    columns = [_of_class(metrics, key) for key in _SLICE_COLUMNS]
    rows, classes = [], []
    for one in found.get("slices") or ():
        name = f"{_text(_SLICES.get(one['by'], one['by']))}: {_text(one['slice'])}" + (" (few)" if one["small"] else "")
        cells = [_with_interval(one["figures"].get(key) or {}, digits=2) for key in columns]
        rows.append((name, _number(one["exams"]), _number(one["positives"]), *cells))
        classes.append("few" if one["small"] else "")
    header = ("slice", "radiographs", "positive", *(names[key] for key in columns))
    content = _table("Figures of parts of the data", header, rows, classes=classes)
    if content:
        worst = "".join(f"<li>{_text(one['sentence'])}</li>" for one in (found.get("worst_by") or {}).values() if one)
        content += (f"<ul>{worst}</ul>" if worst else "") + _paragraph(found.get("caveat"))
    for by, reason in (found.get("left_out") or {}).items():
        content += _paragraph(f"No slices by {_SLICES.get(by, by).lower()}: {reason}")
    return content


def _errors(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("errors") or {}
    rows = [
        (_text(text), _number(found.get(f"errors.{name}")), _number(found.get(f"errors.dap50.{name}"))) for name, text in _BUCKETS.items()
    ]
    content = (
        _table("Kinds of errors, after TIDE", ("error", "count at the operating point", "AP50 to gain if mended"), rows) if found else ""
    )
    content += _paragraph(found.get("errors.dap50.undefined"))
    maps, sizes = plots.maps(metrics), plots.sizes(metrics)
    if maps:
        content += f'<h3>Where boxes lie</h3><p>Centres of boxes, as seen on the radiograph.</p><div class="maps">{"".join(maps)}</div>'
    return content + (f"<h3>How large they are</h3>{_charts([sizes])}" if sizes else "")


def _calibration(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("calibration") or {}
    rows = []
    for level, name in plots.LEVELS.items():
        for method, one in (found.get(level) or {}).items():
            label = f"{name}, {_text(plots.METHODS.get(method, method))}"
            rows.append((label, _number(one.get("ece")), _number(one.get("brier")), _text(one.get("undefined") or "")))
    header = ("score", "expected calibration error", "Brier score", "note")
    columns = 4 if any(row[3] for row in rows) else 3
    table = _table("Calibration", header[:columns], [row[:columns] for row in rows], words=(3,))
    return _charts(plots.reliability(metrics)) + table + _paragraph(found.get("note") or found.get("undefined"))


def _comparison(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("comparison") or {}
    first, second = found.get("names") or ("A", "B")
    figures, names = found.get("figures") or {}, _names(metrics)
    rows = [
        (_text(name), _number(figures[key]["a"]), _number(figures[key]["b"]), _text(figures[key]["sentence"]))
        for key, name in names.items()
        if key in figures
    ]
    caption = f"{first} and {second} on the same radiographs"
    return _table(caption, ("figure", first, second, "difference"), rows, words=(3,)) + _paragraph(found.get("method"))


def _gains(gains: Mapping[str, Any] | None) -> str:
    if not gains:
        return ""
    rows = []
    for one in gains["rows"]:
        chosen = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in one["chosen"].items()
        )
        gain = "" if one["gain"] is None else _with_interval(one["gain"])
        rows.append((_text(one["step"]), _with_interval(one["figure"]), gain, _text(chosen)))
    rows.append(("all steps", "", _with_interval(gains["total"]), ""))
    objective = {"rsna": "RSNA metric", "ap50": "AP50"}.get(gains["objective"], gains["objective"])
    caption = "What each step of post-processing gains"
    return _table(caption, ("step", objective, "gain", "chosen"), rows, words=(3,)) + _paragraph(gains.get("note"))


def _origin(metrics: Mapping[str, Any], provenance: Mapping[str, Any] | None, config_text: str) -> str:
    keys = ("model", "checkpoint", "step", "split", "manifest_sha256", "ground_truth", "detections_file")
    data = {key: metrics[key] for key in keys if metrics.get(key) is not None}
    content = f"<pre>{_text(json.dumps(data, indent=2, ensure_ascii=False))}</pre>" if data else ""
    if provenance:
        content += f"<details><summary>Versions and hardware</summary><pre>{_text(json.dumps(provenance, indent=2, ensure_ascii=False))}</pre></details>"
    if config_text:
        content += f"<details><summary>pipeline.config</summary><pre>{_text(config_text)}</pre></details>"
    return content
