"""A detector with a gate and with other runs' boxes: what each step gains on patients that had no part in the choice.

    result = combine(detector, gate=scores, others=[segmenter], seed=0)
    result.table["rows"][-1]["step"], result.sentences          # "fusion", ["That the gate helps is not shown: …"]

The search is ``evaluation.postprocess_search``: each step is tuned with all before it, and each exam is evaluated by what other folds of patients gave.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import detections, formatting, paths, selection, split_use
from pneumodet.core.errors import ConfigError
from pneumodet.core.seen import Seen
from pneumodet.data.cases import Cases
from pneumodet.evaluation import postprocess_files as gates
from pneumodet.evaluation import postprocess_search
from pneumodet.evaluation.compare.matching import RULES, Side
from pneumodet.evaluation.metrics import operating_point, uncertainty
from pneumodet.evaluation.report import steps as names_of_steps
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess import steps
from pneumodet.inference.postprocess.recipe import Recipe

FOLDER = "combination"
"""In the comparison's folder: recipe, table and detections as tools/postprocess.py leaves them."""

GATE = "gate"
"""Step of the search."""

FUSION = "fusion of all"
"""Last row of the table: the same steps with the boxes of several runs."""

BEST_RECIPE = "best_recipe.json"
"""In ``FOLDER``, where an earlier step than the last one has the highest figure: the recipe up to that step, of the detector's boxes alone."""

SMALLEST_LOSS = 5e-4
"""Of the RSNA metric: less is 0 in the table."""


@dataclasses.dataclass(frozen=True, eq=False)
class Combination:
    """A combination and what it gains.

    Attributes:
      table: as ``search.search`` returns it for the detector, with ``detector``, ``gate`` and ``fused`` (names), and with a last row for the fusion.
      sentences: what a reader should conclude.
      recipe: chosen on all patients, with all of it.
      sources: names of the runs whose boxes the recipe takes, in its order.
      cross_fitted: each exam after the recipe that other patients gave.
      best: chosen on all patients, up to the step with the highest figure; None where that is the last one, or the detector alone.
    """

    table: dict[str, Any]
    sentences: tuple[str, ...]
    recipe: Recipe
    sources: tuple[str, ...]
    cross_fitted: Cases
    best: Recipe | None


def chosen(sides: Sequence[Side], detector: str, gate: str | None, fused: Sequence[str]) -> tuple[Side, Side | None, list[Side]]:
    """Return the sides of these names.

    Raises:
      ConfigError: one is not among the runs, has no boxes, or is named twice; there is neither gate nor fusion.
    """
    by_name = {side.entry.name: side for side in sides}
    named = {"--combine": [detector], "--gate": [gate] if gate else [], "--fuse": list(fused)}
    for flag, names in named.items():
        for name in names:
            if name not in by_name:
                raise ConfigError(f"{flag} {name}: it must be one of --runs ({', '.join(by_name)}), so that it is of the same exams.")
            if flag != "--gate" and by_name[name].boxes is None:
                raise ConfigError(f"{flag} {name}: it has scores and no boxes. Use it as --gate.")
    if gate == detector:
        raise ConfigError(f"--gate {gate} is the detector itself. Take the scores of another run, such as a classifier.")
    # a name that occurs twice makes the set smaller than the list
    if len({detector, *fused}) <= len(fused):
        raise ConfigError("--fuse names a run twice, or the detector itself. Name each once.")
    if not gate and not fused:
        raise ConfigError("--combine needs something to combine with: --gate RUN, --fuse RUN, or both.")
    return by_name[detector], by_name[gate] if gate else None, [by_name[name] for name in fused]


def combine(
    detector: Side,
    *,
    gate: Side | None,
    others: Sequence[Side] = (),
    folds: int = operating_point.FOLDS,
    resamples: int = uncertainty.RESAMPLES,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
) -> Combination:
    """Search for the best combination, and say what each step of it gains.

    Args:
      detector: has boxes.
      gate: whose image-level scores gate them.
      others: whose boxes are fused with them.
      folds: number of groups of patients.
      resamples: most groups of patients that are left out in turn for intervals.
      seed: of folds and groups.
      on_step: called with the name of each step once it is tuned, as often as ``steps_of`` says.

    Raises:
      ConfigError: folds are out of range.
      DataError: there are too few patients.
    """
    # the folds of the detector for both searches, so that their exams are processed by the same patients' choices
    boxes = detector.detections
    of_case = operating_point.patient_folds(boxes, folds, seed=seed)
    scores = None if gate is None else gate.image.case_scores
    how: dict[str, Any] = {"folds": of_case, "gate": scores, "rules": RULES, "resamples": resamples, "seed": seed, "on_step": on_step}
    # the detector by itself first: what the gate gains does not depend on the boxes of other runs
    searched = postprocess_search.search([boxes], **how)
    sources = [detector, *others]
    names = tuple(side.entry.name for side in sources)
    table = {**searched.table, "detector": names[0], "gate": gate and gate.entry.name, "fused": list(names[1:])}
    moves = list(searched.moves)
    sentences = []
    if gate is not None:
        row = next(row for row in table["rows"] if row["step"] == GATE)
        sentences.append(_of_gate(row, gate.entry.name, names[0]))
    if others:
        fused = postprocess_search.search([side.detections for side in sources], names=names, **how)
        gain = _gain(searched.cross_fitted, 0.0, fused.cross_fitted, resamples, seed)
        alone, _ = operating_point.cross_fitted(boxes, "rsna", folds=of_case, rules=RULES)  # as the table's first row
        # of the search over all sources only its last row: the table shows the steps of the detector
        table["rows"] = [*table["rows"], {**fused.table["rows"][-1], "step": FUSION, "gain": gain}]
        moves.append(fused.moves[-1])
        table["total"] = _gain(boxes, alone[boxes.box_case], fused.cross_fitted, resamples, seed)
        sentences.append(_of_fusion(gain, names))
        searched = fused
    table["best_step"] = place = _best(table["rows"])
    values = np.array([row["figure"]["value"] for row in table["rows"]], np.float64)
    table["best_step_corrected"] = selection.cross_fitted(values, np.stack(moves), seed=seed)
    # the first row is the detector alone, and the last one is the recipe itself
    best = Recipe(**table["rows"][place]["chosen"]) if 0 < place < len(table["rows"]) - 1 else None
    return Combination(table, (*sentences, *_of_losses(table, names[0])), searched.recipe, names, searched.cross_fitted, best)


def steps_of(gate: bool, others: int) -> int:
    """Return how often ``combine`` calls ``on_step``."""
    scores = np.zeros(1) if gate else None
    return len(postprocess_search.grids(1, scores)) + (len(postprocess_search.grids(1 + others, scores)) if others else 0)


def write(folder: Path, combination: Combination, *, category_id: int, seen: Seen) -> None:
    """Write recipe.json, table.json and detections.json, which tools/evaluate.py and tools/postprocess.py take.

    Args:
      folder: new.
      combination: what was chosen.
      category_id: of its boxes.
      seen: the exams that it was tuned on, and what the runs have seen that are combined.
    """
    # in the recipe, so that an evaluation on the exams that it was tuned on can warn
    exams = recipes.fingerprint(combination.cross_fitted.names)
    folder.mkdir()
    recipes.save(folder / recipes.RECIPE, dataclasses.replace(combination.recipe, exams_sha256=exams), seen=seen)
    if combination.best:
        recipes.save(folder / BEST_RECIPE, dataclasses.replace(combination.best, exams_sha256=exams), seen=seen)
    paths.write_json(folder / gates.TABLE, combination.table)
    detections.write_coco_results(folder / gates.DETECTIONS, steps.from_cases(combination.cross_fitted, category_id=category_id))


def _gain(before: Cases, at: float | np.ndarray, after: Cases, resamples: int, seed: int) -> dict[str, float | None]:
    """Return by how much the RSNA metric of cross-fitted cases betters that of others at a threshold, with its interval."""
    figure = uncertainty.compare(before, after, thresholds=(at, 0.0), rules=RULES, resamples=resamples, seed=seed)["figures"]["rsna_metric"]
    return {key: figure[key] for key in ("value", "low", "high")}


def _of_gate(row: dict[str, Any], gate: str, detector: str) -> str:
    gain = row["gain"]
    between = _between(gain)
    if row["chosen"].get("gate", "none") == "none":
        return f"The gate does not help: on all patients the search has no use for the scores of {gate} that betters {detector}'s boxes ({between})."
    if gain["low"] is not None and gain["low"] > 0:
        return f"The gate helps: the scores of {gate} raise the RSNA metric of {detector} by {between}."
    if gain["high"] is not None and gain["high"] < 0:
        return f"The gate harms: the scores of {gate} change the RSNA metric of {detector} by {between} on patients that had no part in the choice."
    return f"That the gate helps is not shown: the scores of {gate} change the RSNA metric of {detector} by {between}."


def _of_fusion(gain: dict[str, Any], names: Sequence[str]) -> str:
    what, between = f"Fusing the boxes of {', '.join(names)}", _between(gain)
    if gain["low"] is not None and gain["low"] > 0:
        return f"{what} helps: the RSNA metric rises by {between}."
    if gain["high"] is not None and gain["high"] < 0:
        return f"{what} harms: the RSNA metric changes by {between}."
    return f"{what} is not shown to help: the RSNA metric changes by {between}."


def _best(rows: Sequence[dict[str, Any]]) -> int:
    """Return the place of the row with the highest figure; of rows that are alike the first one, where nothing is done, else the last one."""
    values = [row["figure"]["value"] for row in rows]
    alike = [place for place, value in enumerate(values) if value > max(values) - SMALLEST_LOSS]
    return alike[-1] if alike[0] else 0


def _of_losses(table: dict[str, Any], detector: str) -> list[str]:
    """Return which steps the figures fall with although the recipe has them, and what is better than all steps, a sentence each."""
    rows, best, corrected = table["rows"], table["best_step"], table["best_step_corrected"]
    sentences = []
    losses = [f"{_named(row)} ({row['gain']['value']:+.3f})" for row in rows if row["gain"] and row["gain"]["value"] <= -SMALLEST_LOSS]
    if losses:
        sentences.append(
            f"The RSNA metric falls with {', '.join(losses)}; {recipes.RECIPE} has these steps all the same, since they were asked for."
        )
    if best < len(rows) - 1:
        figure = f"an RSNA metric of {rows[best]['figure']['value']:.3f} against {rows[-1]['figure']['value']:.3f} with all steps"
        if split_use.finds_no_luck(rows[best]["figure"]["value"], corrected, digits=3):
            figure += f"; {split_use.NO_LUCK}"
        elif corrected is not None:
            # the steps' own values are cross-fitted, the choice among the rows is not
            figure += f"; {corrected:.3f} where the step is chosen without the patients that it is measured on"
        up_to = f"{detector} alone" if not best else f"{detector} up to the step {_named(rows[best])!r}"
        sentences.append(f"Best is {up_to}: {figure}" + (f". {BEST_RECIPE} has these steps." if best else "; no step pays."))
    return sentences


def _named(row: dict[str, Any]) -> str:
    return names_of_steps.STEPS.get(row["step"], row["step"])


def _between(gain: dict[str, Any]) -> str:
    interval = formatting.between((gain["low"], gain["high"]), form="+.3f")
    return formatting.fixed(gain["value"], "+.3f") + (f", 95 % interval {interval}" if interval else "")
