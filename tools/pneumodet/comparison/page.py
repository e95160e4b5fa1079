"""comparison.html: one file that needs no network, light or dark, on a desktop or a phone.

text = html(result)          # of what comparing.RESULT holds
"""

from collections.abc import Mapping
from typing import Any

from pneumodet.comparison import words
from pneumodet.comparison.figures import FIGURES
from pneumodet.reporting import forest, frame, glossary, markup, plots, steps
from pneumodet.reporting.charts import Line

LINES = 8
"""ROC curves in one chart; more go into a second one."""

PLOTTED = ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity", "image.roc_auc", "image.pr_auc")
"""Figures that get a forest plot: those that depend on no threshold, and the RSNA metric."""

TITLE = "Comparison of runs"

MORE_CSS = """
.wide th:first-child { position: sticky; left: 0; background: var(--paper); max-width: 12rem; overflow-wrap: break-word; padding-right: 12px; }
.legend li { min-width: 0; overflow-wrap: anywhere; } .forests { display: grid; gap: 20px; margin: 16px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); } .roc figure { max-width: 560px; }
.notes { max-width: 72ch; padding-left: 20px; } .notes li { margin: 6px 0; overflow-wrap: anywhere; }
.kind { display: block; color: var(--quiet); font-size: .82em; font-weight: 400; }
"""
"""Besides the reports' own: a grid of forest plots, and a first column that stays while a wide table is scrolled."""


_SIDES = (
    '<ul class="legend"><li><span class="swatch better"></span>the whole interval is above 0: the run is better</li>'
    '<li><span class="swatch worse"></span>the whole interval is below 0: the run is worse</li>'
    '<li><span class="swatch c0"></span>the interval holds 0: no difference shown</li></ul>'
)
"""What the colours of differences mean."""


def html(result: Mapping[str, Any]) -> str:
    """Return a comparison as a page."""
    sections = [
        ("summary", "Summary", _summary(result)),
        ("figures", "Figures", _figures(result)),
        ("plots", "Intervals", _plots(result)),
        ("differences", f"Differences from {result['baseline']}", _differences(result)),
        ("combination", "Combination", _combination(result["combination"])),
        ("roc", "ROC of radiographs", _roc(result)),
        ("cost", "Cost", _cost(result)),
        ("points", "Operating points", markup.listed(words.points(result), "notes")),
        ("notes", "Notes", markup.listed(result["notes"], "notes")),
        ("terms", "Terms", glossary.terms("pneumonia")),
    ]
    return frame.page(TITLE, sections, lead=words.data(result), css=MORE_CSS)


def _summary(result: Mapping[str, Any]) -> str:
    return markup.listed(words.conclusions(result), "notes") or markup.paragraph("One run alone: there is nothing to compare it with.")


def _figures(result: Mapping[str, Any]) -> str:
    keys = words.shown(result)
    rows = [(_name(run), *(_cell(run["figures"].get(key)) for key in keys)) for run in result["runs"]]
    content = markup.table("Figures with 95% intervals below", ("run", *(FIGURES[key] for key in keys)), rows)
    content += markup.paragraph(words.MEANING) + markup.paragraph(result["method"])
    return content + "<p>–: the run has no boxes, or the figure is undefined.</p>" * any("–" in row for row in rows)


def _name(run: Mapping[str, Any]) -> str:
    return f'{_broken(run["name"])}<span class="kind">{words.FAMILIES[run["family"]]}</span>'


def _broken(name: str) -> str:
    """Return a name that may be broken after its underscores and dashes."""
    return markup.text(name).replace("_", "_<wbr>").replace("-", "-<wbr>")


def _cell(figure: Mapping[str, Any] | None) -> str:
    return markup.with_interval(figure) if figure else "–"


def _plots(result: Mapping[str, Any]) -> str:
    forests = []
    for key in PLOTTED:
        rows = [(run["name"], *_numbers(run["figures"][key])) for run in result["runs"] if key in run["figures"]]
        forests.append(forest.forest(f"{FIGURES[key]}, with 95% intervals", rows))
    return f'<div class="forests">{"".join(forests)}</div>' if any(forests) else ""


def _numbers(figure: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    return figure["value"], figure["low"], figure["high"]


def _differences(result: Mapping[str, Any]) -> str:
    found = result["differences"]
    if not found:
        return ""
    forests = [
        forest.forest(
            f"{FIGURES[key]}: run - {result['baseline']}",
            [(name, *_numbers(one[key])) for name, one in found.items() if key in one],
            zero=True,
        )
        for key in PLOTTED
    ]
    keys = words.shown(result)
    rows = [(_broken(name), *(_signed(one.get(key)) for key in keys)) for name, one in found.items()]
    table = markup.table(f"Run - {result['baseline']}, with 95% intervals below", ("run", *(FIGURES[key] for key in keys)), rows)
    explained = (
        "Both runs are computed on the same resamples of patients, so that easy and hard ones cancel out. An interval that holds 0 shows no difference; "
        "two runs can differ although their own intervals overlap."
    )
    return markup.paragraph(explained) + _SIDES + f'<div class="forests">{"".join(forests)}</div>' + table


def _signed(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure["value"] is None:
        return "–"
    below = markup.between((figure["low"], figure["high"]))
    return f"{figure['value']:+.3f}" + (f"<small>{below}</small>" if below else "")


def _combination(table: Mapping[str, Any] | None) -> str:
    if not table:
        return ""
    gated = f", gated by the scores of {table['gate']}" if table["gate"] else ""
    fused = f", and at last fused with the boxes of {', '.join(table['fused'])}" if table["fused"] else ""
    lead = f"The boxes of {table['detector']}, post-processed step by step{gated}{fused}. Each step is added to all before it, which are tuned again with it."
    return markup.paragraph(lead) + markup.listed(table["sentences"], "notes") + steps.gains(table)


def _roc(result: Mapping[str, Any]) -> str:
    runs = [run for run in result["runs"] if run["roc"]["sensitivity"]]
    charts = []
    for first in range(0, len(runs), LINES):
        lines = [Line(_with_area(run), run["roc"]["false_positive_rate"], run["roc"]["sensitivity"]) for run in runs[first : first + LINES]]
        charts.append(plots.roc("ROC of radiographs; in brackets the area", lines))
    return f'<div class="roc">{"".join(charts)}</div>' if charts else ""


def _with_area(run: Mapping[str, Any]) -> str:
    return f"{run['name']} ({markup.number(run['figures']['image.roc_auc']['value'])})"


def _cost(result: Mapping[str, Any]) -> str:
    rows = [
        (
            _name(run),
            markup.number(run["parameters"]),
            words.duration(run["training_seconds"]),
            words.milliseconds(run["milliseconds_an_image"]),
        )
        for run in result["runs"]
    ]
    content = markup.table("What the runs take", ("run", "parameters", "training time", "ms an image"), rows)
    note = "–: not known. Times are of the machine and threads that each was measured with, one image at a time, and compare only where these are the same."
    return content + markup.paragraph(note)
