"""The baseline from input to output folder: baseline.json, baseline.html and the scores.

result = write(table, Path("workspace/metadata"), folds=5, seed=0, resamples=1000)
result["models"]["svc"]["roc_auc"]        # {"value": 0.72, "low": 0.71, "high": 0.73}
"""

import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import pneumodet
from pneumodet.core import detections, folders, paths
from pneumodet.core.errors import DataError
from pneumodet.core.split_use import TEST_SPLIT
from pneumodet.evaluation.metrics import interval, jackknife
from pneumodet.evaluation.metrics.image_level import roc_of_scores
from pneumodet.exploration.baseline import evaluating, leak, models, page
from pneumodet.exploration.baseline.table import Table

RESULT, PAGE, SCORES = "baseline.json", "baseline.html", "scores.csv"
"""Files of the output folder; a record set adds ``scores_<split>.csv`` for each of its splits; scores.csv has no test exams."""

ALONE = "boosting"
"""The model that evaluates each column alone: it takes whatever shape the relation has."""

RULE = "AP calls for pneumonia"
"""The rule that needs no model: an exam that was taken from front to back, of a patient who cannot stand, is positive."""

NO_BETTER = "The rule of one line ({rule}) reaches a ROC AUC of {rule_auc:.3f}, the best model {auc:.3f}: here the models have learned nothing beyond it."

BEST_OF = "The scores are those of the model with the highest ROC AUC on these very exams; the choice among {count} flatters it a little."


def steps(table: Table, *, folds: int, show_leak: bool) -> int:
    """Return how many folds are fitted in all, for a progress bar."""
    return folds * (len(models.NAMES) * (1 + show_leak * len(leak.WAYS)) + len(table.columns))


def write(
    table: Table,
    output_dir: Path,
    *,
    folds: int = 5,
    seed: int = 0,
    resamples: int = jackknife.GROUPS,
    show_leak: bool = False,
    inputs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_fold: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Cross-validate all models and write what comes out.

    Test exams are in no fold: where the table has some, the best model is fitted on all others and evaluated on them.

    Args:
      table: the exams.
      output_dir: new folder.
      folds: of patients.
      seed: of folds, models, permutations and groups.
      resamples: most groups of patients that are left out in turn for the intervals.
      show_leak: add the comparison of ``leak``.
      inputs: names and checksums of the input files, written as they are.
      overwrite: replace an earlier result.
      on_fold: called after each fold that was fitted.

    Returns:
      What baseline.json holds.

    Raises:
      ConfigError, DataError: as ``evaluating.check``; or the folder cannot be written or holds something.
    """
    # before anything is fitted, which takes minutes
    folders.check_free(output_dir, marker=RESULT, overwrite=overwrite)
    table, test = table.take(~table.tested), table.take(table.tested)
    evaluating.check(table.positive, table.patients, folds=folds)
    if test.exams and len(np.unique(test.positive)) < 2:
        kind = "positive" if test.positive[0] else "negative"
        raise DataError(
            f"The {len(test.exams):,} test exams are all {kind}, so that there is nothing to distinguish. Leave --evaluate-test out."
        )
    # the same folds for all models, so that they are compared on the same exams
    fold_of = evaluating.patient_folds(table.patients, table.positive, number=folds, seed=seed)
    validated = {
        name: evaluating.cross_validate(
            name,
            table.values,
            table.positive,
            table.patients,
            fold_of,
            categorical=table.categorical,
            importance=True,
            seed=seed,
            on_fold=on_fold,
        )
        for name in models.NAMES
    }
    entries = {name: _entry(name, one, table, fold_of, resamples=resamples, seed=seed) for name, one in validated.items()}
    rule = _rule(table, resamples=resamples, seed=seed)
    # one model's scores are written, for the gate; that the choice flatters is said in the notes
    best = max(entries, key=lambda name: entries[name]["roc_auc"]["value"])
    result: dict[str, Any] = {
        "pneumodet": pneumodet.__version__,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in ("numpy", "scikit-learn")},
        "inputs": dict(inputs or {}),
        "exams": len(table.exams),
        "positive_exams": int(table.positive.sum()),
        "patients": len(np.unique(table.patients)),
        "patients_by": table.patients_by,
        "columns": list(table.columns),
        "notes": [*table.notes, BEST_OF.format(count=len(entries)), *_no_better(rule, entries[best])],
        "folds": folds,
        "seed": seed,
        "resamples": resamples,
        "confidence": interval.CONFIDENCE,
        "models": entries,
        "rule": rule,
        "alone": _alone(table, fold_of, seed=seed, on_fold=on_fold),
        "scores_of": best,
    }
    tested = _tested(best, table, test, resamples=resamples, seed=seed) if test.exams else None
    if tested:
        result["test"], test_scores = tested
    if show_leak:
        rows = leak.compare(table, number_of_folds=folds, seed=seed, on_fold=on_fold)
        result["leak"] = {"explanation": leak.EXPLANATION, "ways": rows}
    with folders.new_folder(output_dir, marker=RESULT, overwrite=overwrite) as folder:
        _write_scores(folder, table, validated[best].scores)
        if tested:
            detections.write_scores(folder / f"scores_{TEST_SPLIT}.csv", zip(test.exams, test_scores.tolist(), strict=True))
        (folder / PAGE).write_text(page.html(result), encoding="utf-8")
        paths.write_json(folder / RESULT, result)
    return result


def _tested(name: str, table: Table, test: Table, *, resamples: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return the figures on test exams of a model that is fitted on all others, and their scores."""
    scores = evaluating.scores_of(name, table.values, table.positive, table.patients, test.values, categorical=table.categorical, seed=seed)
    whole = np.zeros(len(scores), np.int64)  # one model scored them all
    figures = evaluating.figures(scores, test.positive, test.patients, folds=whole, resamples=resamples, seed=seed)
    counts = {"exams": len(test.exams), "patients": len(np.unique(test.patients)), "positive_exams": int(test.positive.sum())}
    areas = {key: figures[key] for key in ("roc_auc", "average_precision")}
    return {"name": f"{models.NAMES[name]}, on test", **counts, **areas}, scores


def _write_scores(folder: Path, table: Table, scores: np.ndarray) -> None:
    """Write scores.csv, and a file for each split: a gate takes scores of exactly the exams that are evaluated."""
    rows = list(zip(table.exams, scores.tolist(), strict=True))
    detections.write_scores(folder / SCORES, rows)
    for split in dict.fromkeys(table.splits):
        detections.write_scores(folder / f"scores_{split}.csv", (one for one, of in zip(rows, table.splits, strict=True) if of == split))


def _rule(table: Table, *, resamples: int, seed: int) -> dict[str, Any] | None:
    """Return name, ROC AUC and average precision of ``RULE``; None where no view position is known, or none is AP."""
    if "view" not in table.columns or "AP" not in table.categories["view"]:
        return None
    view = table.values[:, table.columns.index("view")]
    # an exam of unknown view lies between the two
    scores = np.where(np.isnan(view), 0.5, view == table.categories["view"].index("AP"))
    whole = np.zeros(len(scores), np.int64)  # nothing is fitted, so that all exams can be compared
    figures = evaluating.figures(scores, table.positive, table.patients, folds=whole, resamples=resamples, seed=seed)
    roc = roc_of_scores(table.positive, scores)
    return {"name": RULE, "roc_auc": figures["roc_auc"], "average_precision": figures["average_precision"], "roc": roc}


def _no_better(rule: Mapping[str, Any] | None, best: Mapping[str, Any]) -> list[str]:
    if rule is None or rule["roc_auc"]["value"] < best["roc_auc"]["value"]:
        return []
    return [NO_BETTER.format(rule=rule["name"], rule_auc=rule["roc_auc"]["value"], auc=best["roc_auc"]["value"])]


def _entry(
    name: str, validated: evaluating.CrossValidation, table: Table, folds: np.ndarray, *, resamples: int, seed: int
) -> dict[str, Any]:
    figures = evaluating.figures(validated.scores, table.positive, table.patients, folds=folds, resamples=resamples, seed=seed)
    drops_of_columns = np.zeros((0, 0)) if validated.importance is None else validated.importance
    # low and high are the range over folds, not an interval: folds share most of their training sets
    importance = {
        column: {"value": float(drops.mean()), "low": float(drops.min()), "high": float(drops.max())}
        for column, drops in zip(table.columns, drops_of_columns, strict=True)
    }
    return {
        "name": models.NAMES[name],
        **figures,
        "fold_roc_auc": validated.fold_auc,
        "importance": importance,
        "roc": roc_of_scores(table.positive, evaluating.ranked_within_folds(validated.scores, folds)),
    }


def _alone(table: Table, folds: np.ndarray, *, seed: int, on_fold: Callable[[], object]) -> dict[str, float]:
    """Return column -> ROC AUC of a model that sees no other column."""
    areas = {}
    for index, column in enumerate(table.columns):
        one = evaluating.cross_validate(
            ALONE,
            table.values[:, [index]],
            table.positive,
            table.patients,
            folds,
            categorical=[table.categorical[index]],
            seed=seed,
            on_fold=on_fold,
        )
        areas[column] = evaluating.roc_auc(one.scores, table.positive, folds)
    return areas
