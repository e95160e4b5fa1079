"""How many of the exams that are evaluated a model has seen, as metrics.json, report and terminal say it.

exams = exams_of(loaded, patient_map)
counted = overlap.count({"my_first": runs.seen(folder)}, exams)
add(metrics, counted)
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import runs, split_use
from pneumodet.core.overlap import ROLES, Counted, count
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import annotations
from pneumodet.data import ground_truth as ground_truths
from pneumodet.evaluation.inputs import Loaded
from pneumodet.inference.card import ModelCard
from pneumodet.inference.postprocess import recipe as recipes

FILES = "the model of these detections"
"""Part of what is evaluated, of detections in a file."""

THE_RECIPE = "the models that the recipe was made for"
"""Name of a recipe among the parts of what is evaluated."""


def exams_of(loaded: Loaded, patient_map: Path | None = None) -> Exams:
    """Return the exams of an evaluation."""
    patients = ground_truths.with_exam_names(annotations.read_patient_map(patient_map)) if patient_map else None
    return Exams.of(loaded.instances["images"], patients=patients, groups=loaded.cases.patients.tolist())


def of_runs(folders: Sequence[Path]) -> dict[str, Seen]:
    """Return name -> what each run has seen."""
    return _by_name((folder.resolve().name, runs.seen(folder)) for folder in folders)


def of_cards(cards: Iterable[tuple[str, ModelCard]]) -> dict[str, Seen]:
    """Return name -> what each exported model has seen, without the recipe that goes with it, which has a file of its own."""
    known = ((name, card.seen or Seen(unrecorded=(f"the export of {name}",))) for name, card in cards)
    return _by_name((name, dataclasses.replace(one, tuned=Marks())) for name, one in known)


def _by_name(known: Iterable[tuple[str, Seen]]) -> dict[str, Seen]:
    parts: dict[str, Seen] = {}
    for name, one in known:  # two folders may have the same name
        parts[name] = parts.get(name, Seen()) | one
    return parts


def of_file(path: Path) -> dict[str, Seen]:
    """Return what the run has seen in whose folder a file of detections or scores lies, or ``FILES`` where it lies in none: frameworks record nothing."""
    folder = runs.run_around(path)
    return {FILES: Seen(unrecorded=(FILES,))} if folder is None else of_runs([folder])


def of_compared(path: Path | None, exams: Exams) -> list[str]:
    """Return what the run has seen whose detections are compared, a sentence each; nothing of a file that lies in no run's folder."""
    parts = of_file(path) if path else {}
    if path is None or FILES in parts:
        return []
    return [f"{path.stem} of {next(iter(parts))}: {one}" for one in count(parts, exams).sentences()]


def of_recipe(path: Path | None, parts: Mapping[str, Seen]) -> dict[str, Seen]:
    """Return what a recipe's file says that it has seen, as a part of what is evaluated; nothing where it says nothing, or there is none.

    Args:
      path: recipe.json, or None.
      parts: what the models have seen whose detections it is applied to; of detections in a file the recipe knows more.
    """
    known = recipes.seen_of(path) if path else None
    if known is None:
        return {}
    return {THE_RECIPE: known if FILES in parts else Seen(tuned=known.tuned)}


def add(metrics: dict[str, Any], counted: Counted, *, without: Sequence[str] = (), warn_unrecorded: bool = True) -> None:
    """Write into metrics what a model has seen of their exams: as ``seen``, and of what flatters a warning.

    Where the checkpoint was chosen on these exams, ``split_use.warning`` speaks of that, at the end. Test exams that were seen, as by the run that
    this one began from, are not called exams that nothing was chosen on.

    Args:
      metrics: as ``summary.summarize`` returns them, with the facts of ``split_use.Choice``.
      counted: what it has seen.
      without: roles of which another warning speaks.
      warn_unrecorded: False where nobody can know, as of detections in a file.
    """
    metrics["seen"] = counted.to_json()
    if split_use.is_test(metrics):
        metrics[split_use.KEY] = _name_of_test(counted, metrics[split_use.KEY])
    said = counted if warn_unrecorded else dataclasses.replace(counted, unrecorded=())
    chosen = split_use.warning(metrics)
    roles = [role for role in ROLES if role not in without and not (chosen and role == "chosen")]
    metrics["warnings"] = [*said.sentences(*roles), *metrics.get("warnings", ()), *([chosen] if chosen else [])]


def _name_of_test(counted: Counted, name: str) -> str:
    """Return what the exams of a test split are called, given what of them the model has seen, and what they are called without that."""
    if counted.trained or counted.chosen:
        return split_use.TEST_SEEN
    if counted.tuned:
        return split_use.TUNED
    unsure = counted.unrecorded or counted.trained.of_alike_patients
    return split_use.TEST_UNSURE if name == split_use.TEST and unsure else name


def statement(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence on what was in training, where it is no warning already; None for metrics of an earlier pneumodet."""
    text = (metrics.get("seen") or {}).get("statement")
    return None if text in (metrics.get("warnings") or ()) else text
