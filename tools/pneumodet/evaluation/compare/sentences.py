"""A comparison as sentences and as Markdown.

text = markdown(result)          # of what comparing.RESULT holds
lines = conclusions(result)      # what a reader should take from it, a sentence each
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pneumodet.core import formatting
from pneumodet.core.formatting import counted
from pneumodet.evaluation.compare.figures import BOX_FIGURES, FIGURES, IMAGE_FIGURES
from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.report import steps
from pneumodet.viz import markup
from pneumodet.viz.markdown import plain

FAMILIES = {
    "detection": "detector",
    "classification": "classifier",
    "segmentation": "segmenter",
    "boxes": "detections from a file",
    "scores": "scores from a file",
}
"""Family of a run -> what it is called."""

HEADLINES = ("rsna_metric", "image.roc_auc")
"""Figures of which the best run is named."""

MEANING = (
    "RSNA metric, AP50 and FROC are of boxes, the others of radiographs. The RSNA metric, sensitivity, specificity and F1 are at each run's own operating "
    "point (below): two runs that aim at different things differ in these already by that."
)
"""What the columns of the table are about."""

_MINUTE, _HOUR = 60, 3600


def duration(seconds: float | None) -> str:
    """Return "45 s", "12 min", "1 h 5 min", or a dash."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes} min" if seconds < _HOUR else f"{minutes // 60} h {minutes % 60} min"


def milliseconds(value: float | None) -> str:
    """Return "18.3", or a dash."""
    return "–" if value is None else f"{value:.1f}"


def data(result: Mapping[str, Any]) -> str:
    """Return a sentence that says on what the runs are compared."""
    truth = result["ground_truth"]
    of_split = f", split {truth['split']}" if truth["split"] else ""
    boxes = "1 box" if result["boxes"] == 1 else f"{result['boxes']:,} boxes"
    return (
        f"{counted(len(result['runs']), 'run')} on the same {counted(result['exams'], 'radiograph')} of "
        f"{counted(result['patients'], 'patient')} (ground truth {truth['name']}{of_split}); {result['positive_exams']:,} have pneumonia, with "
        f"{boxes}."
    )


def conclusions(result: Mapping[str, Any]) -> list[str]:
    """Return which run is best by each of ``HEADLINES``, and whether it is shown to be better than the baseline, a sentence each."""
    lines = []
    for key in HEADLINES:
        having = [run for run in result["runs"] if (run["figures"].get(key) or {}).get("value") is not None]
        # nothing is the best of one
        if len(having) < 2:
            continue
        best = max(having, key=lambda run: run["figures"][key]["value"])
        figure = best["figures"][key]
        lines.append(f"Highest {FIGURES[key]}: {best['name']}, {_with_interval(figure)}. {_against(result, best['name'], key)}".rstrip())
    if result["combination"]:
        lines += result["combination"]["sentences"]
    return lines


def _against(result: Mapping[str, Any], best: str, key: str) -> str:
    """Return how the best run stands against the baseline, or where it is that itself, against how many others it is shown to be better."""
    if best != result["baseline"]:
        one = result["differences"][best].get(key)
        return f"Against {result['baseline']}: {one['sentence']}" if one else f"{result['baseline']} has no such figure."
    others = [of_run[key] for of_run in result["differences"].values() if key in of_run]
    if len(others) == 1:
        return others[0]["sentence"]
    # differences are other - baseline: below 0 the baseline is better
    shown = sum(one["high"] is not None and one["high"] < 0 for one in others)
    if not shown:
        return f"It is not shown to be better than any of the {len(others)} others that have this figure."
    than = "all" if shown == len(others) else f"{shown} of the"
    return f"It is shown to be better than {than} {len(others)} others that have this figure."


def markdown(result: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown."""
    parts = ["# Comparison of runs", plain(data(result)), *(f"- {plain(one)}" for one in conclusions(result))]
    parts += [
        "## Figures",
        _figures(result),
        *map(plain, without_interval(result)),
        MEANING,
        plain(result["method"]),
        "## Cost",
        _cost(result),
    ]
    if result["differences"]:
        parts += [
            f"## Differences from {plain(result['baseline'])}",
            _differences(result),
            *map(plain, differences_without_interval(result)),
        ]
    if result["combination"]:
        reasons = map(plain, steps.without_interval(result["combination"]))
        parts += ["## Combination", _combination(result["combination"]), *reasons, plain(result["combination"]["note"])]
    parts += ["## Operating points", *(f"- {plain(line)}" for line in points(result))]
    if result["notes"]:
        parts += ["## Notes", *(f"- {plain(one)}" for one in result["notes"])]
    text = ""
    # Markdown: items of one list in adjacent lines, an empty line between all else
    for before, part in zip(["", *parts], parts, strict=False):
        text += "" if not text else "\n" if before.startswith("- ") and part.startswith("- ") else "\n\n"
        text += part
    return text + "\n"


def points(result: Mapping[str, Any]) -> list[str]:
    """Return the operating point of each run, a line each."""
    lines = []
    for run in result["runs"]:
        boxes, images = run["operating_point"]["boxes"], run["operating_point"]["images"]
        lines.append(f"{run['name']}: {images}" if boxes in (None, images) else f"{run['name']}, images: {images} Boxes: {boxes}")
    return lines


def without_interval(result: Mapping[str, Any], keys: Collection[str] = tuple(FIGURES)) -> list[str]:
    """Return why figures of the runs have a value and no interval, as ``interval.without``, a line for all runs of which it is the same."""
    return _without({run["name"]: run["figures"] for run in result["runs"]}, keys)


def differences_without_interval(result: Mapping[str, Any]) -> list[str]:
    """Return the same of the differences from the baseline."""
    return _without(result["differences"], tuple(FIGURES))


def _without(of_runs: Mapping[str, Mapping[str, Mapping[str, Any]]], keys: Collection[str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, of_run in of_runs.items():
        for line in interval.without((FIGURES[key], of_run[key]) for key in keys if key in of_run):
            names.setdefault(line, []).append(name)
    return [f"{', '.join(having)}: {line}" for line, having in names.items()]


def _figures(result: Mapping[str, Any]) -> str:
    keys = shown(result)
    rows = [[run["name"], FAMILIES[run["family"]], *(_with_interval(run["figures"].get(key)) for key in keys)] for run in result["runs"]]
    return _table(["run", "kind", *(FIGURES[key] for key in keys)], rows)


def shown(result: Mapping[str, Any]) -> list[str]:
    """Return the figures that at least one run has."""
    return [key for key in [*BOX_FIGURES, *IMAGE_FIGURES] if any(key in run["figures"] for run in result["runs"])]


def _cost(result: Mapping[str, Any]) -> str:
    rows = [
        [run["name"], markup.number(run["parameters"]), duration(run["training_seconds"]), milliseconds(run["milliseconds_an_image"])]
        for run in result["runs"]
    ]
    return _table(["run", "parameters", "training time", "ms an image"], rows)


def _differences(result: Mapping[str, Any]) -> str:
    keys = shown(result)
    rows = [[name, *(_with_interval(of_run.get(key), signed=True) for key in keys)] for name, of_run in result["differences"].items()]
    return _table(["run", *(FIGURES[key] for key in keys)], rows)


def _combination(table: Mapping[str, Any]) -> str:
    rows = []
    for row in table["rows"]:
        gain = "" if row["gain"] is None else _with_interval(row["gain"], signed=True)
        rows.append([steps.STEPS.get(row["step"], row["step"]), _with_interval(row["figure"]), gain])
    rows.append(["all steps", "", _with_interval(table["total"], signed=True)])
    return _table([f"steps on {table['detector']}", "RSNA metric", "gain"], rows)


def _with_interval(figure: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    return formatting.figure(figure or {}, form="+.3f" if signed else ".3f", undefined="–")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # escaped, since names of runs may hold Markdown
    lines = [[plain(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
