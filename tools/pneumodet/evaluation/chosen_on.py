"""What the exams of an evaluation are to the models that are evaluated: chosen on, or not; and threshold and calibrator that validation gave.

facts |= facts_of(split, facts, [trained_with(folder)])           # figures_on, checkpoint_chosen_of, …
at = threshold(folder, facts, aim="rsna", rules="strict")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import runs, split_use
from pneumodet.core.split_use import Choice
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import metrics_file
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.inference.card import ModelCard
from pneumodet.inference.probability import Calibrator

ON_OTHERS = "_on_"
"""In the name of a run's folder for an evaluation on records that it was not trained with."""

NO_THRESHOLD = (
    "The run has no threshold that validation chose for this aim and checkpoint, so that each exam has the one that other test patients gave. Evaluate "
    "on val first (the default split) to have one."
)
"""Warning on test."""


AGAIN = (
    "These test exams were evaluated before, with {checkpoint} of this run. Who chooses between the two by these figures has chosen on test, and has no "
    "figures to report."
)
"""Warning on test."""


def folder_name(name: str, split: str) -> str:
    """Return the name of a run's folder for an evaluation: another one for each split, since the export takes its threshold from that of val."""
    return name if split == split_use.VALIDATION_SPLIT else f"{name}_{split}"


def folder_on_others(run_dir: Path, name: str, split: str, *, data: str, manifest: str | None) -> Path:
    """Return the folder of a run's evaluation on records that it was not trained with: ``eval_on_NAME``, so that its own figures stay.

    Args:
      run_dir: the run.
      name: of its folder for evaluations, as ``folder_name`` takes it.
      split: of these records.
      data: name of their folder.
      manifest: SHA-256 of their manifest; where the folder has figures of other records of that name, it is a part of the new one's name.
    """
    folder = run_dir / folder_name(f"{name}{ON_OTHERS}{data}", split)
    path = folder / runs.METRICS
    taken = path.is_file() and metrics_file.read(path, hint="Remove it.").manifest_sha256 not in (None, manifest)
    return run_dir / folder_name(f"{name}{ON_OTHERS}{data}_{(manifest or '')[:8]}", split) if taken else folder


def facts_of(about: Split, facts: Mapping[str, Any], models: Sequence[tuple[str | None, Choice]]) -> dict[str, Any]:
    """Return what the exams are to the models, as ``Choice.facts``; nothing where a model was trained with another record set.

    Args:
      about: the exams.
      facts: split and record set, ``split`` and ``manifest_sha256``.
      models: (SHA-256 of the manifest that it was trained with, how its checkpoint was chosen on their split val) of each.
    """
    of_these = [choice for manifest, choice in models if manifest == facts["manifest_sha256"]]
    most = max(of_these, key=lambda choice: choice.compared, default=Choice())
    test = RecordSet.open(about.folder).manifest.splits.get(split_use.TEST_SPLIT)
    # of several models all have to be of these records: what one of them was trained with may hold any of the exams
    known = facts["split"] if len(of_these) == len(models) or facts["split"] == split_use.VALIDATION_SPLIT and of_these else None
    return most.facts(known, test_exams=test.exams if test else 0)


def trained_with(folder: Path) -> tuple[str, Choice]:
    """Return (SHA-256 of the manifest that a run was trained with, how its checkpoint was chosen)."""
    record = runs.read(folder)
    return record.records().manifest_sha256, Choice.of_run(folder, (record.training or {}).get("best_metric"))


def exported_of(card: ModelCard) -> tuple[str | None, Choice]:
    """Return the same of an export."""
    choice = Choice.of_facts({**(card.metrics or {}), "checkpoint_chosen_of": card.checkpoint_chosen_of})
    return card.data.manifest_sha256 if card.data else None, choice


def again(folder: Path, checkpoint: str) -> list[str]:
    """Return a warning where a folder has the evaluation of another checkpoint on test."""
    path = folder / runs.METRICS
    earlier = metrics_file.read(path, hint="Remove it.").checkpoint if path.is_file() else None
    return [AGAIN.format(checkpoint=earlier)] if earlier not in (None, checkpoint) else []


def on_validation(folder: Path, facts: Mapping[str, Any]) -> Metrics | None:
    """Return the run's evaluation on val, where it is of the checkpoint and record set of ``facts``."""
    path = folder / runs.EVAL / runs.METRICS
    if not path.is_file():
        return None
    metrics = metrics_file.read(path, hint="Evaluate the run on val again.")
    same = (metrics.checkpoint, metrics.manifest_sha256, metrics.split) == (
        facts["checkpoint"],
        facts["manifest_sha256"],
        split_use.VALIDATION_SPLIT,
    )
    return metrics if same else None


def threshold(metrics: Metrics | None, *, aim: str, rules: str) -> float | None:
    """Return the threshold that an evaluation ``on_validation`` chose for the same aim; None where there is none such."""
    chosen_for = metrics.operating_point.aim if metrics and metrics.operating_point else None
    return metrics.threshold if metrics and (chosen_for, metrics.get("rsna_rules")) == (aim, rules) else None


def calibrator(metrics: Metrics | None) -> Calibrator | None:
    """Return the calibrator that an evaluation ``on_validation`` fitted, as the export takes it; None where there is none such.

    Raises:
      ConfigError: it is damaged.
    """
    fitted = metrics.get("calibrator") if metrics else None
    return Calibrator.from_json(fitted) if fitted else None
