"""The use-case: runs of any family -> comparison.json, comparison.html and comparison.md.

outcome = compare(Request(runs=("ssd", "unet", "resnet"), output_dir=Path("workspace/comparison")))
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import folders, overlap, paths, runs, seen
from pneumodet.core.errors import ConfigError
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import label_map
from pneumodet.data.cases import Cases
from pneumodet.evaluation.compare import combining, entries, figures, matching, page, sentences
from pneumodet.evaluation.compare.matching import Side
from pneumodet.evaluation.compare.truths import Truth
from pneumodet.evaluation.metrics import image_level, interval, operating_point, uncertainty
from pneumodet.evaluation.metrics.interval import Moved

RESULT, PAGE, MARKDOWN = "comparison.json", "comparison.html", "comparison.md"

CHOSEN = (
    "These exams are validation, used to choose checkpoints: {counts}. The figures are too good for that, more so for a run of which more were "
    "compared. For figures to be published, compare on test (--split test)."
)
"""Note for runs whose best checkpoint was chosen on the exams compared."""

UNCORRECTED = (
    "Differences are corrected for the number of runs that are compared, not for that of figures: of {count} figures about {chance:.1f} would show a "
    "difference by chance if no run were better than another."
)
"""Note for many differences."""

MANY = 20
"""Differences from which on ``UNCORRECTED`` is said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is compared, and how.

    Attributes:
      runs: names of runs, their folders, or NAME=PATH.
      output_dir: new folder.
      truth: record set, instances.json or labels.csv; without, that of the first run that knows its own.
      split: of record sets.
      patient_map: which patient each exam is of; without, as the ground truth says.
      class_map: of ``truth``, as ``ground_truth.read``.
      baseline: name of the run that the others are compared with; the first without.
      common: compare on the exams that all have, where they have others too.
      detector: name of the run whose boxes are gated and fused.
      gate: name of the run whose scores gate them.
      fused: names of the runs whose boxes are fused with them.
      folds: groups of patients of the search.
      resamples: in which thresholds are chosen again.
      seed: of folds and resamples.
      overwrite: replace an earlier comparison.
    """

    runs: tuple[str, ...]
    output_dir: Path
    truth: Path | None = None
    split: str = "val"
    patient_map: Path | None = None
    class_map: Mapping[str, str] | None = None
    baseline: str | None = None
    common: bool = False
    detector: str | None = None
    gate: str | None = None
    fused: tuple[str, ...] = ()
    folds: int = operating_point.FOLDS
    resamples: int = uncertainty.RESAMPLES
    seed: int = 0
    overwrite: bool = False


Progress = Callable[[int], Callable[..., None]]
"""Takes the number of steps, and returns what to call after each."""


def compare(request: Request, *, progress: Progress = lambda total: lambda *_: None) -> dict[str, Any]:
    """Compare, and write ``RESULT``, ``PAGE``, ``MARKDOWN`` and, where something is combined, the folder ``combining.FOLDER``.

    Returns:
      What ``RESULT`` holds.

    Raises:
      ConfigError: names do not fit together.
      DataError: a run or file cannot be used, or the exams do not fit; the folder is in use.
    """
    if (request.gate or request.fused) and not request.detector:
        raise ConfigError("--gate and --fuse say what is combined with a detector. Name it by --combine.")
    # first: a folder in use should not cost an hour
    folders.check_free(request.output_dir, marker=RESULT, overwrite=request.overwrite)
    shelf = entries.Shelf(request.truth, split=request.split, patient_map=request.patient_map, class_map=request.class_map)
    read = entries.read_all(list(request.runs), shelf)
    # one ground truth for all; where that of a run has other boxes, a note says so
    truth = shelf.given or read[0].truth
    names = [entry.name for entry in read]
    if request.baseline is not None and request.baseline not in names:
        raise ConfigError(f"--baseline {request.baseline}: it must be one of --runs ({', '.join(names)}).")
    matched = matching.match(read, truth, common=request.common, seed=request.seed)
    baseline = matched.sides[names.index(request.baseline) if request.baseline else 0]
    chosen = combining.chosen(matched.sides, request.detector, request.gate, request.fused) if request.detector else None
    # each is compared with the baseline only: all pairs would make chance findings certain
    others = [side for side in matched.sides if side is not baseline]
    total = len(matched.sides) + len(others)
    step = progress(total + (combining.steps_of(bool(request.gate), len(request.fused)) if chosen else 0))
    how = {"resamples": request.resamples, "seed": request.seed}
    moved = {}
    for side in matched.sides:
        moved[side.entry.name] = figures.moves(side, **how)
        step()
    compared = [_run(side, moved[side.entry.name]) for side in matched.sides]
    differences = {}
    for side in others:
        both = baseline.entry.name, side.entry.name
        differences[both[1]] = uncertainty.differences(moved[both[0]], moved[both[1]], names=both, comparisons=len(others))
        step()
    combination = None
    if chosen:
        detector, gate, fused = chosen
        combination = combining.combine(detector, gate=gate, others=fused, folds=request.folds, on_step=step, **how)
    base = matched.base
    exams = _exams(truth, base)
    patients = len(set(base.patients.tolist()))
    result: dict[str, Any] = {
        "ground_truth": {"name": truth.name, "manifest_sha256": truth.manifest_sha256, "split": truth.split},
        "exams": len(base),
        "patients": patients,
        "positive_exams": int(base.positive.sum()),
        "boxes": len(base.truth_case),
        "left_out": matched.left_out,
        "rsna_rules": matching.RULES,
        "resamples": request.resamples,
        "seed": request.seed,
        "method": _method(patients, len(others), request),
        "baseline": baseline.entry.name,
        "runs": compared,
        "differences": differences,
        "combination": combination and combination.table | {"sentences": list(combination.sentences), "sources": list(combination.sources)},
        "notes": [*matched.notes, *_overlaps(matched.sides, exams), *_notes(matched.sides, differences)],
        "provenance": runs.provenance(),
    }
    with folders.new_folder(request.output_dir, marker=RESULT, overwrite=request.overwrite) as folder:
        if combination:
            used = {side.entry.name: side.entry.seen or Seen() for side in (detector, gate, *fused) if side}
            known = seen.united(used.values()) | Seen(tuned=Marks.of(exams))
            combining.write(folder / combining.FOLDER, combination, category_id=_category(truth.instances), seen=known)
        _write(folder / PAGE, page.html(result))
        _write(folder / MARKDOWN, sentences.markdown(result))
        # last: the marker says that the folder is whole
        paths.write_json(folder / RESULT, result)
    return result


def _method(patients: int, others: int, request: Request) -> str:
    """Return how intervals and differences come about."""
    text = (
        f"95 % intervals: by how much each of {patients:,} patients moves a figure, in at most {request.resamples:,} groups; where thresholds were chosen on "
        f"these exams, they are chosen again in each of as many resamples; seed {request.seed}."
    )
    text += " Differences are patient by patient." if others else ""
    if others < 2:
        return text
    return text + (
        f" Of each figure {others} runs are compared with the baseline: the {others} intervals hold together in 95 % of sets, and p is corrected for as many "
        "(Bonferroni)."
    )


def _run(side: Side, moved: Mapping[str, Moved]) -> dict[str, Any]:
    """Return what ``RESULT`` holds of a run."""
    entry = side.entry
    return {
        "name": entry.name,
        "family": entry.family,
        "manifest_sha256": entry.manifest_sha256,
        "figures": interval.as_intervals(moved),
        "operating_point": {"boxes": side.boxes_note or None, "images": side.image_note},
        "parameters": entry.parameters,
        "training_seconds": entry.training_seconds,
        "milliseconds_an_image": entry.milliseconds_an_image,
        "roc": image_level.roc_curve(side.image),
    }


def _exams(truth: Truth, base: Cases) -> Exams:
    """Return the exams that are compared."""
    images = {str(image["file_name"]): image for image in truth.instances["images"]}
    return Exams.of([images[name] for name in base.names], patients=truth.patients, groups=base.patients.tolist())


def _overlaps(sides: tuple[Side, ...], exams: Exams) -> list[str]:
    """Return what runs have seen of the exams that are compared, a sentence each; of files nothing is recorded."""
    notes = []
    for entry in (side.entry for side in sides):
        if entry.seen is None:
            continue
        # CHOSEN speaks of the checkpoint that was chosen on the exams of its own run
        roles = [role for role in overlap.ROLES if role != "chosen" or not entry.chosen_of]
        notes += [f"{entry.name}: {one}" for one in overlap.count({entry.name: entry.seen}, exams).sentences(*roles)]
    return notes


def _notes(sides: tuple[Side, ...], differences: dict[str, dict[str, Any]]) -> list[str]:
    counts = [f"{side.entry.name}, the best of {side.entry.chosen_of}" for side in sides if side.entry.chosen_of > 1]
    notes = [CHOSEN.format(counts="; ".join(counts))] if counts else []
    if sum(map(len, differences.values())) >= MANY:
        count = len({key for of_run in differences.values() for key in of_run})
        notes.append(UNCORRECTED.format(count=count, chance=count * (1 - interval.CONFIDENCE)))
    return notes


def _category(instances: dict[str, Any]) -> int:
    return next(one["id"] for one in instances["categories"] if one["name"] == label_map.PNEUMONIA)


def _write(path: Path, text: str) -> None:
    with paths.atomic_path(path) as tmp:
        tmp.write_text(text, encoding="utf-8")
