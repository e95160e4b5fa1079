"""A run of a Keras 3 model on a split of the records that it was trained with, most often once on test, at the thresholds that validation chose.

metrics, folder = evaluate(Classifier(), Path("workspace/my_classifier"), split="test")
"""

from pathlib import Path
from typing import Any

from pneumodet.core import folders, overlap, paths, runs, split_use
from pneumodet.core.errors import DataError
from pneumodet.core.seen import Exams
from pneumodet.core.split_use import Choice
from pneumodet.evaluation import chosen_on, leaks, metrics_file
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.training import experiment
from pneumodet.training.keras import experiment as runs_of_keras
from pneumodet.training.keras.family import Family, Say


def evaluate(
    family: Family,
    folder: Path,
    *,
    split: str,
    output_dir: Path | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate the best checkpoint of a run.

    Args:
      family: of the run.
      folder: of the run.
      split: of its record set, not that of validation, which the end of training evaluates.
      output_dir: new folder; by default ``evaluation_test/`` in the run's, and so on, which is replaced.
      overwrite: replace earlier results in ``output_dir``.
      say: takes a sentence.

    Returns:
      (what metrics.json holds, its folder).

    Raises:
      DataError: the run's records are gone or changed, have no such split, or the run's own evaluation is missing.
      CheckpointError: the run has no checkpoint, or it does not fit.
    """
    record = runs.read(folder)
    command = f"python tools/{runs.command_of(family.name)}.py --run {folder.name} --resume"
    path = folder / runs.EVALUATION / runs.METRICS
    if split == split_use.VALIDATION_SPLIT or not path.is_file():
        raise DataError(
            f"{folder.name} is evaluated on validation at the end of its training, into {path.parent}. To do that again: {command}"
        )
    chosen = metrics_file.read(path, hint=f"Evaluate the run again: {command}")
    records = experiment.same_records(record)
    about = records.split(split)
    into = output_dir or folder / chosen_on.folder_name(runs.EVALUATION, split)
    if output_dir:
        folders.check_free(output_dir, marker=runs.METRICS, overwrite=overwrite)
    say(f"{folder.name}: evaluating checkpoint {chosen.checkpoint} on {len(about)} {about.use} exams")
    model, settings = runs_of_keras.restored(family, folder)
    with folders.new_folder(into, marker=runs.METRICS, overwrite=overwrite or output_dir is None) as new:
        metrics = family.reporter(settings, records, about, model, chosen=chosen)(new)
        metrics |= _origin(folder, chosen, split, test_exams=len(about) if split == split_use.TEST_SPLIT else 0)
        leaks.add(metrics, overlap.count(leaks.of_runs([folder]), Exams.of(about.instances["images"])), without=["tuned"])
        paths.write_json(new / runs.METRICS, metrics)
    return metrics, into


def _origin(folder: Path, chosen: Metrics, split: str, *, test_exams: int) -> dict[str, Any]:
    """Return what metrics.json says of model and exams."""
    kept = ("family", "checkpoint", "step", "parameters", "training_seconds", "milliseconds_an_image", "manifest_sha256")
    same = {key: chosen[key] for key in kept if key in chosen}
    return same | {"split": split} | Choice.of_run(folder, None).facts(split, test_exams=test_exams)
