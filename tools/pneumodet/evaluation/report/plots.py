"""The report's charts: which figures of metrics.json go into which chart, and what a reader must know beside it.

charts_html = curves(metrics)          # FROC, ROC, precision and recall, thresholds, scores: those that are there
maps(metrics), sizes(metrics), reliability(metrics)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pneumodet.evaluation.metrics import calibration
from pneumodet.evaluation.metrics.froc import RATES
from pneumodet.viz.charts import Line, Mark, bar_chart, heatmap, line_chart

FROC_RANGE = (1 / 16, 8.0)
"""Ends of the FROC's axis, false positives an image: about one step beyond the rates of the table on either side."""

FROC_TICKS = (*RATES, FROC_RANGE[1])
"""Marks on the axis: those rates, and its end."""

HERE = "operating point"

_HEADROOM = 1.1  # above the highest point, for a mark at the peak
_UNIT: dict[str, Any] = {"x_range": (0, 1), "y_range": (0, 1)}

METHODS = {
    "raw": "as it is",
    calibration.OWN: "by the model's own calibrator",
    "temperature": "temperature",
    "platt": "Platt",
    "isotonic": "isotonic",
}
"""Calibrators by the names that the report gives them."""

LEVELS = {"calibration.image": "images", "calibration.box": "boxes"}
"""Keys of calibration, and what each is about."""


def curves(metrics: Mapping[str, Any]) -> list[Markup]:
    """Return FROC, ROC, precision and recall, the RSNA metric at every threshold, and the histogram of scores; without what is not there."""
    points = metrics.get("curves") or {}
    charts = [
        _froc(metrics, points.get("froc") or {}),
        _roc(metrics, points.get("roc") or {}),
        _precision_recall(metrics, points.get("pr") or {}),
        _thresholds(metrics, points.get("thresholds") or {}),
        _scores(metrics, points.get("score_histogram") or {}),
    ]
    return [chart for chart in charts if chart]


def maps(metrics: Mapping[str, Any]) -> list[Markup]:
    """Return where ground truth, hits, missed boxes and false positives lie."""
    histograms = metrics.get("maps") or {}
    titles = {"ground_truth": "Ground truth", "hits": "Hits", "missed": "Missed boxes", "false_positives": "False positives"}
    charts = [heatmap(title, histograms[name]["position"]) for name, title in titles.items() if name in histograms]
    return [chart for chart in charts if chart]


def sizes(metrics: Mapping[str, Any]) -> Markup:
    """Return how many boxes of each size are found, missed and false; nothing where there are none."""
    histograms = metrics.get("maps") or {}
    if not {"ground_truth", "missed", "false_positives", "size_edges"} <= histograms.keys():
        return Markup()
    every, missed, false = (histograms[name]["size"] for name in ("ground_truth", "missed", "false_positives"))
    series = {"found": [one - other for one, other in zip(every, missed, strict=True)], "missed": missed, "false positives": false}
    # bins beyond the largest box would make the chart mostly empty
    used = max((index + 1 for values in series.values() for index, value in enumerate(values) if value), default=0)
    series = {name: values[:used] for name, values in series.items()}
    title = "Boxes by size at the operating point"
    return bar_chart(title, histograms["size_edges"][: used + 1], series, x="root of box area / image area", y="boxes")


def roc(title: str, lines: Sequence[Line], *, mark: Mark | None = None) -> Markup:
    """Return a chart of ROC curves of images, or nothing where no line has points."""
    return line_chart(title, lines, x="false positive rate (1 - specificity)", y="sensitivity", diagonal=True, mark=mark, **_UNIT)


def scores_against_shares(title: str, lines: Sequence[Line]) -> Markup:
    """Return a chart of reliability curves, or nothing where no line has points."""
    return line_chart(title, lines, x="score", y="observed share", diagonal=True, **_UNIT)


def reliability(metrics: Mapping[str, Any]) -> list[Markup]:
    """Return the reliability curves of images and boxes: as they are, and after the model's own calibrator, or where it has none after the method of that
    which is kept for new data.
    """
    charts = []
    kept = (metrics.get("calibrator") or {}).get("method")
    for level, name in LEVELS.items():
        methods = {key: one for key, one in ((metrics.get("calibration") or {}).get(level) or {}).items() if one.get("curve")}
        shown = ("raw", calibration.OWN if calibration.OWN in methods else kept)
        lines = [_reliability(METHODS.get(key, key), methods[key]["curve"]) for key in shown if key is not None and key in methods]
        title = f"Reliability of {name}: score against observed share, with 95% intervals"
        charts.append(scores_against_shares(title, lines))
    return [chart for chart in charts if chart]


def _reliability(name: str, bins: list[Mapping[str, float]]) -> Line:
    xs, ys, lows, highs = ([one[key] for one in bins] for key in ("mean_score", "rate", "rate_low", "rate_high"))
    return Line(name, xs, ys, dots=True, spans=list(zip(lows, highs, strict=True)))


def _froc(metrics: Mapping[str, Any], froc: Mapping[str, list[Any]]) -> Markup:
    rates = froc.get("fp_per_image")
    if not rates:
        return Markup()
    lines = [
        # steps: between two points the sensitivity is that of the first, and a slope would promise more
        Line("boxes found", rates, froc["sensitivity"], steps=True),
        Line("images with a box found", rates, froc["image_sensitivity"], steps=True),
    ]
    mark = _mark(HERE, metrics.get("lesion.fp_per_image"), metrics.get("lesion.sensitivity"))
    title = "FROC: sensitivity against false positives"
    shape: dict[str, Any] = {"x_range": FROC_RANGE, "y_range": (0, 1), "log_ticks": FROC_TICKS}
    return line_chart(title, lines, x="false positives an image", y="sensitivity", mark=mark, **shape)


def _roc(metrics: Mapping[str, Any], curve: Mapping[str, list[Any]]) -> Markup:
    if not curve.get("sensitivity"):
        return Markup()
    specificity = metrics.get("image.specificity")
    mark = _mark(HERE, None if specificity is None else 1 - specificity, metrics.get("image.sensitivity"))
    title = "ROC of images" + _area(metrics, "image.roc_auc")
    return roc(title, [Line("", curve["false_positive_rate"], curve["sensitivity"])], mark=mark)


def _precision_recall(metrics: Mapping[str, Any], pr: Mapping[str, list[Any]]) -> Markup:
    if len(pr.get("sensitivity") or ()) < 2:  # a single point is no line
        return Markup()
    lines = [Line("detector", pr["sensitivity"], pr["precision"])]
    if metrics.get("images") and metrics.get("positive_images") is not None:
        share = metrics["positive_images"] / metrics["images"]
        # what chance reaches: precision depends on the share of positives, unlike ROC
        lines.append(Line(f"all called positive ({share:.0%} are)", (0, 1), (share, share)))
    mark = _mark(HERE, metrics.get("image.sensitivity"), metrics.get("image.precision"))
    title = "Precision and recall of images" + _area(metrics, "image.pr_auc")
    return line_chart(title, lines, x="sensitivity (recall)", y="precision", mark=mark, **_UNIT)


def _thresholds(metrics: Mapping[str, Any], sweep: Mapping[str, list[Any]]) -> Markup:
    if len(sweep.get("rsna") or ()) < 2:
        return Markup()
    # the file has falling thresholds, an axis rises
    pairs = sorted(zip(sweep["threshold"], sweep["rsna"], strict=True))
    point = metrics.get("operating_point") or {}
    reached = ((point.get("chosen") or {}).get("reached") or {}).get("rsna_metric", metrics.get("rsna_metric"))
    name = "threshold for new data" if point.get("threshold_is") else HERE
    mark = _mark(name, point.get("threshold"), reached)
    title = "RSNA metric at every threshold; its peak is of these very images, so that it is optimistic"
    line = Line("", [one for one, _ in pairs], [value for _, value in pairs])
    ends: dict[str, Any] = {"x_range": (0, pairs[-1][0] or 1), "y_range": (0, _HEADROOM * max(*line.ys, reached or 0) or 1)}
    return line_chart(title, [line], x="score threshold", y="RSNA metric", mark=mark, **ends)


def _scores(metrics: Mapping[str, Any], histogram: Mapping[str, list[Any]]) -> Markup:
    if not histogram:
        return Markup()
    class_name = metrics.get("class_name", "pneumonia")
    series: dict[str, list[float]] = {}
    for name, key in ((f"with {class_name}", "positive"), ("without", "negative")):
        counts = histogram[key]
        # shares of each, or the more frequent ones would hide the others
        series[name] = [count / (sum(counts) or 1) for count in counts]
    return bar_chart("Radiographs by their highest score", histogram["edges"], series, x="highest score", y="share of each of the two")


def _area(metrics: Mapping[str, Any], key: str) -> str:
    return "" if metrics.get(key) is None else f", area {metrics[key]:.3f}"


def _mark(name: str, x: float | None, y: float | None) -> Mark | None:
    return None if x is None or y is None else Mark(name, x, y)
