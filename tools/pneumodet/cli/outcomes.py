"""What every command says of a run that was trained, and of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.cli import console
from pneumodet.core import split_use
from pneumodet.core.formatting import counted, with_interval


def print_trained(outcome: Any, folder: Path, *, resume: str) -> bool:
    """Print what every training command says of its run, and return whether it came to an end.

    Args:
      outcome: a ``training.progress.Outcome``.
      folder: of the run.
      resume: the command that resumes it.
    """
    if outcome.images_per_second:
        console.out(f"First step after {outcome.seconds_to_first_step:.0f} s; {outcome.images_per_second:.1f} images/s after it.")
    if outcome.memory.best is not None:
        choice = split_use.Choice.of_run(folder, outcome.best_metric)
        console.out(f"Best:    {outcome.best_metric} {outcome.memory.best:.4f} at step {outcome.memory.best_step}: {choice.name}")
        if choice.last_step not in (None, outcome.memory.best_step):
            last = "undefined" if choice.last is None else f"{choice.last:.4f}"
            console.out(f"Last:    {outcome.best_metric} {last} at step {choice.last_step}")
        if choice.finds_no_luck:
            console.out(f"Luck:    {split_use.NO_LUCK}")
        elif choice.corrected is not None:
            console.out(
                f"Luck:    on patients without a part in the choice the best has about {outcome.best_metric} {choice.corrected:.4f}"
            )
    console.out(f"Run:     {folder} ({counted(outcome.step, 'step')}, checkpoint {outcome.checkpoint})\nCurves:  {folder / 'curves.png'}")
    if not outcome.completed:
        console.err(f"Stopped before the end; nothing is lost. Resume: {resume}")
    # early stopping is an end as planned, and needs no command to resume
    elif outcome.stopped_early:
        console.out(f"Stopped early: {outcome.stopped_early}.")
    return outcome.completed


def print_evaluation(metrics: Mapping[str, Any]) -> None:
    """Print the main figures of a classifier or segmenter, with their intervals."""
    from pneumodet.evaluation import main_figures

    console.out(f"{counted(metrics['images'], 'exam')}, {counted(metrics['patients'], 'patient')}; checkpoint of step {metrics['step']}")
    print_figures_on(metrics)
    for key, name in main_figures.of(metrics).items():
        console.out(f"  {name:<22}{with_interval(metrics[key], metrics['intervals'].get(key))}")
    for line in main_figures.without_interval(metrics):
        console.out(f"  {line}")
    for warning in metrics["warnings"]:
        console.err(f"warning: {warning}")


def test_commands(run: str, metrics: Mapping[str, Any], more: Sequence[str] = ()) -> list[str]:
    """Return the command that evaluates a run once on the test split of its records, for a line "Next:"; none where they have no such exams.

    Args:
      run: its name.
      metrics: of an evaluation on those records.
      more: flags.
    """
    if not metrics.get("figures_on") or not metrics.get("test_exams"):
        return []
    return [f"{' '.join([f'python tools/evaluate.py --run {run}', *more, '--split test'])}     (once, of the model that you choose)"]


def print_figures_on(metrics: Mapping[str, Any]) -> None:
    """Print what the exams of an evaluation are to the model, where that is known."""
    if name := split_use.figures_on(metrics):
        console.out(f"Figures: {name}")
