"""baseline.json -> baseline.html, one file that needs no network, in the style of the evaluation's report.

text = html(result)
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pneumodet.core.formatting import counted
from pneumodet.evaluation.report import plots
from pneumodet.exploration.baseline.table import NAMES
from pneumodet.viz import markup, templating
from pneumodet.viz.charts import Line, group_bars
from pneumodet.viz.markup import Cell, Table

TITLE = "What metadata alone say of pneumonia"

_WHY = (
    "The models here never see a pixel. What they reach is what age, sex, view position and pixel spacing say of who was ill; in the RSNA set mostly because "
    "ill patients are radiographed lying in bed (AP). A model of radiographs has to beat it by more than its interval, and one that does not "
    "may have learned no more than this."
)
_IMPORTANCE = (
    "By how much the ROC AUC of a held-out fold falls when the column's values are shuffled in it: the mean, and the range over folds. Columns that "
    "say the same, such as view position and the pixel spacing of the machine that is used for it, hide one another here; "
    "the last column says what each reaches alone."
)


def html(result: Mapping[str, Any]) -> str:
    """Return the page of what ``report.write`` returns."""
    return templating.render(
        "baseline.html",
        title=TITLE,
        lead=_lead(result),
        why=_WHY,
        notes=result["notes"],
        figures=_figures(result),
        columns=_columns(result),
        calibration=_calibration(result),
        leak=_leak(result),
        origin=_origin(result),
    )


def _lead(result: Mapping[str, Any]) -> str:
    exams, patients = counted(result["exams"], "exam"), counted(result["patients"], "patient")
    share = result["positive_exams"] / result["exams"]
    return f"{exams} of {patients}, {result['positive_exams']:,} with pneumonia ({share:.1%}); {result['folds']} folds by patient"


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        (
            one["name"],
            markup.with_interval(one["roc_auc"]),
            markup.with_interval(one["average_precision"]),
            # beside the interval, which is of patients: how much the figure varies from fold to fold
            f"{markup.fixed(min(one['fold_roc_auc']))} to {markup.fixed(max(one['fold_roc_auc']))}",
        )
        for one in result["models"].values()
    ]
    rule = result["rule"]
    if rule is not None:
        rows.append(
            (
                f"rule: {rule['name']}",
                markup.with_interval(rule["roc_auc"]),
                markup.with_interval(rule["average_precision"]),
                "nothing fitted",
            )
        )
    if test := result.get("test"):
        rows.append((test["name"], markup.with_interval(test["roc_auc"]), markup.with_interval(test["average_precision"]), _of_test(test)))
    caption = f"Scores of exams whose patient was not learned from; {result['confidence']:.0%} intervals over patients; exams are compared within folds"
    header = ("model", "ROC AUC (0.5 is chance)", "average precision", "ROC AUC of single folds")
    lines = [Line(one["name"], one["roc"]["false_positive_rate"], one["roc"]["sensitivity"]) for one in result["models"].values()]
    roc = plots.roc("ROC of metadata alone, scores ranked within folds", lines)
    share = result["positive_exams"] / result["exams"]
    chance = f"Average precision of chance is the share of exams with pneumonia, {share:.3f}."
    return {"table": Table(caption, header, rows), "chance": chance, "charts": [roc, _bars(result)]}


def _of_test(test: Mapping[str, Any]) -> str:
    return f"fitted on all others; {counted(test['exams'], 'exam')} of {counted(test['patients'], 'patient')}, {test['positive_exams']:,} with pneumonia"


def _columns(result: Mapping[str, Any]) -> dict[str, Any]:
    models = result["models"]
    rows = [
        (
            NAMES[column],
            *(markup.with_interval(one["importance"][column]) for one in models.values()),
            markup.number(result["alone"][column]),
        )
        for column in result["columns"]
    ]
    header = ("column", *(one["name"] for one in models.values()), "ROC AUC alone")
    return {"table": Table("Fall of ROC AUC when the column is shuffled", header, rows), "meaning": _IMPORTANCE}


def _calibration(result: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        (one["name"], markup.number(one["brier"]), markup.number(one["brier_of_base_rate"]), markup.number(one["ece"]))
        for one in result["models"].values()
    ]
    lines = [
        Line(one["name"], [bin_["mean_score"] for bin_ in one["curve"]], [bin_["rate"] for bin_ in one["curve"]], dots=True)
        for one in result["models"].values()
    ]
    chart = plots.scores_against_shares("Reliability: score against observed share", lines)
    header = ("model", "Brier score", "of the constant share", "expected calibration error")
    return {"table": Table("Do the scores mean what they say?", header, rows), "charts": [chart]}


def _leak(result: Mapping[str, Any]) -> dict[str, Any] | None:
    if "leak" not in result:
        return None
    models = result["models"]
    rows = []
    for way in result["leak"]["ways"]:
        cells = [Cell(f"{one['accuracy']:.1%}", f"ROC AUC {markup.fixed(one['roc_auc'])}") for one in way["models"].values()]
        rows.append((way["columns"], way["split"], *cells, f"{way['majority']:.1%}"))
    header = ("columns", "split", *(one["name"] for one in models.values()), "calling all negative")
    caption = f"Accuracy on the {result['leak']['ways'][0]['rows']:,} rows of the labels"
    return {"explanation": result["leak"]["explanation"], "table": Table(caption, header, rows, text_columns=(1,))}


def _origin(result: Mapping[str, Any]) -> Table:
    rows = list({"pneumodet": result["pneumodet"], **result["versions"]}.items())
    rows += [(name, f"{one['name']}, SHA-256 {one['sha256']}") for name, one in result["inputs"].items()]
    rows += [("seed", str(result["seed"])), ("patients", f"by {result['patients_by']}")]
    return Table("What made these figures", ("what", "value"), rows, text_columns=(1,))


def _bars(result: Mapping[str, Any]) -> Markup:
    """Return the importances as horizontal bars, a group a column and a bar a model."""
    models = result["models"].values()
    groups = {NAMES[column]: [one["importance"][column]["value"] for one in models] for column in result["columns"]}
    return group_bars("Fall of ROC AUC when a column is shuffled", groups, [one["name"] for one in models], shown=markup.fixed)
