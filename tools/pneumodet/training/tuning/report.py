"""What a study leaves: table.csv with every trial, best.json with the best one and how to repeat it, report.png.

outcome = write(folder, rows, ["learning_rate"], study=study, metric="rsna_metric", fields=request_of_a_longer_run)
outcome.command            # "python tools/train.py --config ssd_mobilenet …"
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumodet.core import csv_cells, invocation, paths, selection, split_use
from pneumodet.training.tuning import charts, trial

if TYPE_CHECKING:
    import optuna

TABLE, BEST, PICTURE = "table.csv", "best.json", "report.png"

CUT = "cut"
"""State of a trial that was stopped with the search; it is trained again under another number."""

LONGER = 4
"""How many times a trial's steps the suggested run of the best values has."""

ENOUGH_TRIALS = 10
"""Complete trials below which importances mean little."""

OPTIMISTIC = (
    "The best value is the highest of {count} on one validation split, and {optimistic}: "
    "train the best values again and evaluate them on patients that had no part in the choice."
)

FEW = "Importances from {count} complete trials mean little; {enough} are the least."

_FLAGS = {
    "config": "--config",
    "data": "--data",
    "run": "--run",
    "steps": "--steps",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "augmentation": "--augmentation",
    "positive_share": "--positive-share",
    "pretrained": "--pretrained",
    "best_metric": "--best-metric",
    "seed": "--seed",
}
"""Field of ``experiment.Request`` -> flag of tools/train.py."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A trial that has ended.

    Attributes:
      number: its number, as in its folder's name.
      state: one of ``trial``'s, or CUT.
      values: parameter's name -> value; of the first trial, without those of the config's own values that are not among a parameter's.
      baseline: whether it had the config's own values.
      value: the highest of the metric over its evaluations; None where there was none.
      best_step: the step of that.
      seconds: wall time.
      reason: why it failed or was cut, a sentence; else empty.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    baseline: bool = False
    value: float | None = None
    best_step: int | None = None
    seconds: float | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study as it stands.

    Attributes:
      folder: of the study.
      rows: all trials, by number.
      best: the best one.
      baseline: the complete trial with the config's own values, if there is one.
      importances: parameter's name -> share, the most important first; they sum to 1. Empty with fewer than two complete trials.
      notes: what a reader must know besides, a sentence each.
      command: trains the best values for longer.
    """

    folder: Path
    rows: Sequence[Row]
    best: Row
    baseline: Row | None
    importances: Mapping[str, float]
    notes: Sequence[str]
    command: str


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Return the complete trials, the best first; of equal ones the earlier."""
    valued = [(row.value, row) for row in rows if row.state == trial.COMPLETE and row.value is not None]  # a complete one has a value
    return [row for _, row in sorted(valued, key=lambda pair: (-pair[0], pair[1].number))]


def best_of(rows: Sequence[Row]) -> Row:
    """Return the best of the complete trials, of which there is at least one."""
    return ranked(rows)[0]


def write(
    folder: Path, rows: Sequence[Row], names: Sequence[str], *, study: "optuna.Study", metric: str, fields: Mapping[str, Any]
) -> Outcome:
    """Write table.csv, best.json and report.png.

    Args:
      folder: of the study.
      rows: all trials; at least one is complete.
      names: the parameters.
      study: the same trials, for the importances.
      metric: its name.
      fields: ``experiment.Request``'s of a longer run with the best values.

    Returns:
      The study as it stands.
    """
    best, complete = best_of(rows), ranked(rows)
    # of one trial nothing can be compared
    importances = _importances(study) if len(complete) > 1 else {}
    corrected = selection.of_runs([trial.folder_of(folder, row.number) for row in complete], metric) if len(complete) > 1 else None
    notes = [OPTIMISTIC.format(count=len(complete), optimistic=_optimistic(best.value, corrected))]
    if len(complete) < ENOUGH_TRIALS:
        notes.append(FEW.format(count=len(complete), enough=ENOUGH_TRIALS))
    outcome = Outcome(
        folder=folder,
        rows=rows,
        best=best,
        baseline=next((row for row in complete if row.baseline), None),
        importances=importances,
        notes=notes,
        command=command({**fields, "run": f"{folder.name}-best"}),
    )
    write_table(folder, rows, names)
    paths.write_json(
        folder / BEST,
        {
            "metric": metric,
            "value": best.value,
            "value_corrected": corrected,
            "trial": best.number,
            "best_step": best.best_step,
            "values": dict(best.values),
            "baseline_value": outcome.baseline.value if outcome.baseline else None,
            "importances": dict(importances),
            "notes": notes,
            "run": trial.folder_of(folder, best.number).name,
            "command": outcome.command,
        },
    )
    with paths.atomic_path(folder / PICTURE) as tmp:
        charts.draw(tmp, rows, names, metric=metric, importances=importances, notes=notes)
    return outcome


def write_table(folder: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Write table.csv: trial, state, value, best_step, seconds, a column for each parameter, reason."""
    with paths.atomic_path(folder / TABLE) as tmp, open(tmp, "w", encoding="utf-8", newline="") as handle:
        writer = csv_cells.Writer(handle)
        writer.writerow(["trial", "state", "value", "best_step", "seconds", *names, "reason"])
        for row in rows:
            seconds = None if row.seconds is None else round(row.seconds, 1)
            values = [row.values.get(name, "config's own") for name in names]
            writer.writerow([row.number, row.state, row.value, row.best_step, seconds, *values, row.reason])


def command(fields: Mapping[str, Any]) -> str:
    """Return the command line that trains a run with these fields of ``experiment.Request``."""
    arguments = ["python", "tools/train.py"]
    for name, flag in _FLAGS.items():
        if fields.get(name) is not None:
            arguments += [flag, str(fields[name])]
    # said either way: what is not said is what suits the set
    for pattern in fields.get("freeze") or ["none"]:
        arguments += ["--freeze", pattern]
    arguments.append("--fit-anchors" if fields.get("fit_anchors") else "--no-fit-anchors")
    for setting in fields["settings"]:
        arguments += ["--set", setting]
    return invocation.spelled(shlex.join(arguments))


def _optimistic(best: float | None, corrected: float | None) -> str:
    """Return how optimistic the best value is, as ``OPTIMISTIC`` takes it."""
    if split_use.finds_no_luck(best, corrected):
        return f"may be optimistic ({split_use.NO_LUCK})"
    without = (
        ""
        if corrected is None
        else f" (it is {corrected:.4f} where trial and step are chosen without the patients that they are measured on)"
    )
    return f"therefore optimistic{without}"


def _importances(study: "optuna.Study") -> dict[str, float]:
    """Return Optuna's importances by PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255), which needs no scikit-learn.

    They show which parameters set the best quarter of the complete trials apart from all of them.
    """
    import warnings

    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about few trials, of which the notes warn
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in sorted(importances.items(), key=lambda pair: -pair[1])}
