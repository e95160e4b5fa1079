"""One run of a Keras 3 model: settings, records and folder brought together, checked, trained, and the best checkpoint judged.

    folder, outcome, metrics = train(Classifier(), Request(run="mine", config="mobilenetv2", data=Path("workspace/records/rsna")))
    folder, outcome, metrics = train(Classifier(), Request(run="mine", resume=True))
    model, settings = restored(Classifier(), folder)

Everything that can be refused is refused before TensorFlow starts. Guards, resume, early stopping and curves are ``training.loop``'s.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet import paths, run_folder
from pneumodet.data import folders
from pneumodet.data.record_sets import RecordSet
from pneumodet.errors import ConfigError, DataError
from pneumodet.learning import runs, settings
from pneumodet.learning.family import Family, Parts, Say
from pneumodet.learning.settings import Settings
from pneumodet.training import metrics_table

OF_A_RESUMED_RUN = ("steps", "patience", "skip_corrupt")
"""Settings that may be asked of a run that is gone on with; all else it has from its start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for.

    Attributes:
      run: name of the run, or path of its folder.
      config: name in the family's configs, or path of a .toml file.
      data: record set.
      overrides: ``KEY=VALUE`` of any setting.
      resume: go on with the run.
    """

    run: str
    config: str | None = None
    data: Path | None = None
    overrides: tuple[str, ...] = ()
    resume: bool = False


def train(
    family: Family,
    request: Request,
    *,
    on_start: Say = lambda text: None,
    on_progress: Callable[[Any], None] = lambda progress: None,
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None] = lambda step, figures: None,
) -> tuple[Path, Any, dict[str, Any] | None]:
    """Start or resume a run, and judge its best checkpoint at the end.

    Args:
      family: of the model.
      request: what is asked for.
      on_start: is told in a sentence what happens.
      on_progress: is told where training stands, a ``training.loop.Progress``.
      on_evaluation: is told (step, figures by name); False stops the run.

    Returns:
      (the run's folder, ``training.loop.Outcome``, what evaluation/metrics.json holds; None where training was stopped before its end).

    Raises:
      PneumodetError: anything that the user can mend.
    """
    started = time.perf_counter()
    folder = paths.run_dir(request.run)
    if request.resume:
        folder = runs.find(request.run, family=family.name, command=family.command)
    else:
        run_folder.refuse_used(folder, request.run, command=family.command, config=run_folder.SETTINGS)
    with run_folder.locked(folder):
        chosen, records, record = _resumed(family, folder, request) if request.resume else _new(family, folder, request, on_start)
        on_start(f"{folder.name}: {chosen.steps} steps of {chosen.batch_size} images; TensorFlow starts")
        from pneumodet.training import saving

        newest = saving.newest(folder)
        parts = _parts(family, chosen, records, fresh=newest is None, say=on_start)
        record |= {"parameters": int(parts.trainer.model.count_params())}
        if not request.resume:
            _write(family, folder, chosen, record)
        outcome = _run(
            folder,
            chosen,
            parts,
            record["config"],
            newest=newest,
            started=started,
            on_start=on_start,
            on_progress=on_progress,
            on_evaluation=on_evaluation,
        )
        record |= {"training_seconds": metrics_table.seconds(folder), "steps_done": outcome.step}
        paths.write_json(folder / run_folder.RECORD, record)
        if not outcome.completed:
            return folder, outcome, None
        on_start(f"{folder.name}: judging the best checkpoint on {len(records.val)} validation exams")
        return folder, outcome, _evaluate(folder, parts, records, record)


def restored(family: Family, folder: Path) -> tuple[Any, Any]:
    """Return (keras.Model with the weights of a run's best checkpoint, its settings).

    Raises:
      DataError, ConfigError: the folder is no run of the family.
      CheckpointError: there is no checkpoint, or it does not fit.
    """
    chosen = settings.load(family.settings, folder / run_folder.SETTINGS, folder=family.configs)
    from pneumodet.detection import checkpoints
    from pneumodet.learning import trainer

    model = family.build(chosen, pretrained=False)
    trainer.restore(model, checkpoints.of_run(folder))
    return model, chosen


def _new(family: Family, folder: Path, request: Request, say: Say) -> tuple[Settings, RecordSet, dict[str, Any]]:
    if not request.config:
        raise ConfigError(f"--config is missing. Configs: {', '.join(settings.names(family.configs))}, or the path of a .toml file.")
    if request.data is None:
        raise ConfigError("--data is missing: a folder made by make_tfrecords.")
    chosen = settings.load(family.settings, request.config, folder=family.configs, overrides=request.overrides)
    records = RecordSet.open(request.data).check_two_kinds()
    facts = family.check(chosen, records, say=say)
    record = {
        "family": family.name,
        "config": request.config,
        "settings": list(request.overrides),
        "seed": chosen.seed,
        "steps": chosen.steps,
        "batch_size": chosen.batch_size,
        **facts,
        "files_sha256": {name: paths.sha256_file(path) for name, path in chosen.files.items()},
        "data": {
            "folder": str(records.folder.resolve()),
            "manifest_sha256": records.manifest_sha256,
            "train_exams": len(records.train),
            "val_exams": len(records.val),
            "split_by": records.split_by,
        },
        "provenance": _provenance(),
    }
    return chosen, records, record


def _resumed(family: Family, folder: Path, request: Request) -> tuple[Settings, RecordSet, dict[str, Any]]:
    if request.config or request.data:
        raise ConfigError(f"--{'config' if request.config else 'data'} does not go with --resume: the run goes on as it was started.")
    wanted = settings.parsed(family.settings, request.overrides)
    refused = [name for name in wanted if name not in OF_A_RESUMED_RUN]
    if refused:
        raise ConfigError(
            f"{refused[0]} does not go with --resume: the run goes on as it was started. Only {', '.join(OF_A_RESUMED_RUN)} may be given."
        )
    chosen = settings.load(family.settings, folder / run_folder.SETTINGS, folder=family.configs, overrides=request.overrides)
    record = runs.record_of(folder)
    records = RecordSet.open(Path(record["data"]["folder"])).check_two_kinds()
    if records.manifest_sha256 != record["data"]["manifest_sha256"]:
        raise DataError(f"The record set {records.folder} is another one than the run was started with. Start a new run.")
    known = record.get("files_sha256", {})  # a run of an earlier pneumodet does not tell
    for name, path in chosen.files.items():
        if name in known and not (path.is_file() and paths.sha256_file(path) == known[name]):
            raise DataError(
                f"{name} is {path}, which is gone or another file than the run was started with. Put it back, or start a new run."
            )
    done = run_folder.steps_done(folder) or 0
    if chosen.steps < done:
        raise ConfigError(f"steps={chosen.steps} is less than the {done} steps that the run {folder.name} has done.")
    if wanted:
        record["steps"] = chosen.steps
        paths.write_json(folder / run_folder.RECORD, record)
        settings.save(chosen, folder / run_folder.SETTINGS)
    return chosen, records, record


def _write(family: Family, folder: Path, chosen: Settings, record: dict[str, Any]) -> None:
    run_folder.refuse_used(folder, folder.name, command=family.command, config=run_folder.SETTINGS)  # again, now that the lock is held
    run_folder.check_space(folder)
    paths.write_json(folder / run_folder.RECORD, record)
    settings.save(chosen, folder / run_folder.SETTINGS)  # last: a folder that has it is a run


def _parts(family: Family, chosen: Settings, records: RecordSet, *, fresh: bool, say: Say) -> Parts:
    import keras

    from pneumodet.training import reproducible

    keras.utils.set_random_seed(chosen.seed)
    reproducible.sum_in_order()
    model = family.build(chosen, pretrained=fresh, say=say)
    parts = family.assemble(chosen, records, model)
    for note in parts.notes:
        say(note)
    return parts


def _run(
    folder: Path,
    chosen: Settings,
    parts: Parts,
    config: str,
    *,
    newest: str | None,
    started: float,
    on_start: Say,
    on_progress: Callable[[Any], None],
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None],
) -> Any:
    from pneumodet.detection import checkpoints
    from pneumodet.learning import watching
    from pneumodet.learning.validation import Validation
    from pneumodet.training import cluster, loop

    plan = loop.Plan(
        checkpoint_every=chosen.checkpoint_every,
        keep=chosen.keep,
        evaluate_every=chosen.between_evaluations,
        best_metric=chosen.best_metric,
        patience=chosen.patience,
    )
    watcher = watching.Watcher(
        folder,
        drawn=parts.drawn,
        step=checkpoints.step_of(newest) if newest else 0,
        about=dataclasses.asdict(chosen) | {"config": config},
        on_progress=on_progress,
        on_note=on_start,
        on_evaluation=on_evaluation,
    )
    run = loop.Run(
        parts.trainer,
        parts.feed,
        folder,
        plan=plan,
        total=chosen.steps,
        batch_size=chosen.batch_size,
        validation=Validation(parts.looker, parts.judge),
        cluster=cluster.alone(),
        observer=watcher,
        started=started,
    )
    run.resume()
    try:
        return run.train()
    finally:
        watcher.close()


def _evaluate(folder: Path, parts: Parts, records: RecordSet, record: dict[str, Any]) -> dict[str, Any]:
    from pneumodet.detection import checkpoints

    best = checkpoints.of_run(folder)
    parts.trainer.restore_model(best)
    with folders.new_folder(folder / runs.EVALUATION, marker=runs.METRICS, overwrite=True) as into:
        metrics = parts.report(into)
        chosen_of = metrics_table.evaluations(folder)
        if chosen_of > 1:
            metrics["warnings"] = [*metrics.get("warnings", []), run_folder.CHOSEN_HERE.format(count=chosen_of)]
        metrics |= {
            "family": record["family"],
            "checkpoint": Path(best).name,
            "step": checkpoints.step_of(best),
            "parameters": record["parameters"],
            "training_seconds": record["training_seconds"],
            "milliseconds_an_image": parts.looker.milliseconds(),
            "split": "val",
            "manifest_sha256": records.manifest_sha256,
        }
        paths.write_json(into / runs.METRICS, metrics)
    return metrics


def _provenance() -> dict[str, Any]:
    import importlib.metadata

    found = run_folder.provenance()
    found["versions"]["keras"] = importlib.metadata.version("keras")
    return found
