"""comparison.html: one file that needs no network, light or dark, on a desktop or a phone.

text = html(result)          # of what comparing.RESULT holds
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pneumodet.evaluation.compare import sentences
from pneumodet.evaluation.compare.figures import FIGURES
from pneumodet.evaluation.report import glossary, plots, steps
from pneumodet.viz import forest, markup, templating
from pneumodet.viz.charts import Line
from pneumodet.viz.markup import Cell, Table

LINES = 8
"""ROC curves in one chart; more go into a second one."""

PLOTTED = ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity", "image.roc_auc", "image.pr_auc")
"""Figures that get a forest plot: those that depend on no threshold, and the RSNA metric."""

NAMED = 4
"""Runs that the title names."""


def html(result: Mapping[str, Any]) -> str:
    """Return a comparison as a page."""
    return templating.render(
        "comparison.html",
        title=title(result),
        lead=sentences.data(result),
        conclusions=sentences.conclusions(result),
        figures=_figures(result),
        plots=_plots(result),
        baseline=result["baseline"],
        differences=_differences(result),
        combination=_combination(result["combination"]),
        roc=_roc(result),
        cost=_cost(result),
        points=sentences.points(result),
        notes=result["notes"],
        terms=glossary.terms("pneumonia"),
    )


def title(result: Mapping[str, Any]) -> str:
    """Return the page's title, which names the runs, the first of them where they are many."""
    names = [run["name"] for run in result["runs"]]
    shown = names if len(names) <= NAMED else [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more runs"]
    return f"Comparison of {', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else f"Figures of {shown[0]}"


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    keys = sentences.shown(result)
    rows = [(_name(run), *(_cell(run["figures"].get(key)) for key in keys)) for run in result["runs"]]
    return {
        "table": Table("Figures with 95% intervals below", ("run", *(FIGURES[key] for key in keys)), rows),
        "meaning": sentences.MEANING,
        "method": result["method"],
        "without_interval": sentences.without_interval(result),
        "has_dash": any("–" in row for row in rows),
    }


def _name(run: Mapping[str, Any]) -> Cell:
    return Cell(run["name"], kind=sentences.FAMILIES[run["family"]], breakable=True)


def _cell(figure: Mapping[str, Any] | None) -> str | Cell:
    return markup.with_interval(figure) if figure else "–"


def _plots(result: Mapping[str, Any]) -> list[Markup]:
    forests = []
    for key in PLOTTED:
        # a run without boxes has no row among the figures of boxes
        rows = [(run["name"], *_numbers(run["figures"][key])) for run in result["runs"] if key in run["figures"]]
        forests.append(forest.forest(f"{FIGURES[key]}, with 95% intervals", rows))
    return forests


def _numbers(figure: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    return figure["value"], figure["low"], figure["high"]


def _differences(result: Mapping[str, Any]) -> dict[str, Any] | None:
    differences = result["differences"]
    if not differences:
        return None
    forests = [
        forest.forest(
            f"{FIGURES[key]}: run - {result['baseline']}",
            [(name, *_numbers(one[key])) for name, one in differences.items() if key in one],
            zero=True,
        )
        for key in PLOTTED
    ]
    keys = sentences.shown(result)
    rows = [(Cell(name, breakable=True), *(_signed(one.get(key)) for key in keys)) for name, one in differences.items()]
    table = Table(f"Run - {result['baseline']}, with 95% intervals below", ("run", *(FIGURES[key] for key in keys)), rows)
    return {"forests": forests, "table": table, "without_interval": sentences.differences_without_interval(result)}


def _signed(figure: Mapping[str, Any] | None) -> str | Cell:
    if not figure or figure["value"] is None:
        return "–"
    return Cell(f"{figure['value']:+.3f}", markup.between((figure["low"], figure["high"])))


def _combination(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not table:
        return None
    gated = f", gated by the scores of {table['gate']}" if table["gate"] else ""
    fused = f", and at last fused with the boxes of {', '.join(table['fused'])}" if table["fused"] else ""
    lead = f"The boxes of {table['detector']}, post-processed step by step{gated}{fused}. Each step is added to all before it, which are tuned again with it."
    return {"lead": lead, "sentences": table["sentences"], "gains": steps.gains(table)}


def _roc(result: Mapping[str, Any]) -> list[Markup]:
    runs = [run for run in result["runs"] if run["roc"]["sensitivity"]]
    charts = []
    # colours repeat beyond this number of lines
    for first in range(0, len(runs), LINES):
        shown = [(run, markup.number(run["figures"]["image.roc_auc"]["value"])) for run in runs[first : first + LINES]]
        lines = [Line(f"{run['name']} ({area})", run["roc"]["false_positive_rate"], run["roc"]["sensitivity"]) for run, area in shown]
        # one line alone has no legend in which its area could stand
        alone = f" of {shown[0][0]['name']}, area {shown[0][1]}"
        charts.append(plots.roc("ROC of radiographs" + (alone if len(lines) == 1 else "; in brackets the area"), lines))
    return charts


def _cost(result: Mapping[str, Any]) -> Table:
    rows = [
        (
            _name(run),
            markup.number(run["parameters"]),
            sentences.duration(run["training_seconds"]),
            sentences.milliseconds(run["milliseconds_an_image"]),
        )
        for run in result["runs"]
    ]
    return Table("What the runs take", ("run", "parameters", "training time", "ms an image"), rows)
