"""One life of a run, whatever is trained: request -> checks -> locked folder -> record -> training -> record -> evaluation; and --resume of it.

    trained = train(engine, Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")))
    trained = train(engine, Request(run="my_first", resume=True))

An ``Engine`` knows one kind of models: that of the Object Detection API (``pneumodet.training.families.detection``), and that of Keras 3 models
(``training.keras.experiment``). Everything that can be refused is refused before TensorFlow starts.
"""

import contextlib
import dataclasses
import importlib.util
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pneumodet.core import metrics_table, overlap, paths, runs, split_use
from pneumodet.core.deadline import Deadline
from pneumodet.core.errors import ConfigError, DataError, EnvironmentProblem
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.core.split_use import Choice
from pneumodet.data.record_sets import RecordSet
from pneumodet.training import tf_config
from pneumodet.training.engine import Engine, Hooks, Parts, Prepared, Request, Say

OF_A_RESUMED_RUN = ("steps", "patience", "skip_corrupt")
"""What may be asked of a run that is resumed; all else it has from its start."""

CHOICE = 2
"""Evaluations from which on the best checkpoint is chosen: the best of one is not."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that has ended.

    Attributes:
      folder: the run's.
      outcome: a ``training.progress.Outcome``.
      metrics: what evaluation/metrics.json holds; None where training was stopped before its end, and of a detector.
    """

    folder: Path
    outcome: Any
    metrics: dict[str, Any] | None = None


def train(engine: Engine, request: Request, hooks: Hooks | None = None) -> Trained:
    """Start or resume a run.

    Args:
      engine: of the model.
      request: what is asked for, with the engine's own fields.
      hooks: what is called as it proceeds.

    Raises:
      PneumodetError: anything that the user can fix.
    """
    started, hooks = time.perf_counter(), hooks or Hooks()
    if request.log_to and importlib.util.find_spec(request.log_to) is None:
        raise EnvironmentProblem(f"--log-to {request.log_to} needs the package {request.log_to}: pip install {request.log_to}.")
    addresses, worker = tf_config.workers() if engine.many_machines else ((), 0)
    folder = runs.find(request.run, family=engine.family) if request.resume else paths.run_dir(request.run)
    with contextlib.ExitStack() as held:
        # one process locks and checks: the others would wait for its lock, and find the folder in use
        if worker == 0:
            prepared = _prepared(engine, folder, request, hooks, held)
            if len(addresses) > 1 and not request.resume:
                _write(engine, folder, prepared)  # now: the other workers read it
        # until the loop has its own
        with Deadline(lambda: f"Stopped before the first step of {folder.name}."):
            from pneumodet.training import cluster as clusters

            if len(addresses) > 1:
                hooks.on_start(f"worker {worker} of {len(addresses)}: waiting for the others")
            # all meet here: worker 0 has written the run by then
            cluster = held.enter_context(clusters.joined()) if engine.many_machines else clusters.alone()
            if worker:
                prepared = _of_chief(engine, folder, request)
            hooks.on_start(f"training on {clusters.device()}")
            newest = _newest(folder, cluster)
            parts = engine.assemble(prepared, fresh=newest is None, cluster=cluster, say=hooks.on_start)
            if len(addresses) < 2 and not request.resume:
                _write(engine, folder, prepared)  # after all that could be refused: a start that fails leaves nothing
        outcome = _run(folder, prepared, parts, cluster, hooks, newest=newest, started=started, log_to=request.log_to)
        if worker:
            return Trained(folder, outcome)
        # the seconds are of metrics.csv, which counts all starts of a run; this process knows of its own one only
        more: dict[str, Any] = {
            "parameters": parts.parameters,
            "training_seconds": metrics_table.seconds(folder),
            "steps_done": outcome.step,
        }
        record = dataclasses.replace(with_choice(folder, prepared), **more)
        runs.write(folder, record)
        with Deadline(lambda: f"Stopped while the best checkpoint was evaluated; --resume does that again: {folder.name} is trained."):
            return Trained(folder, outcome, _evaluated(folder, parts, record, prepared.data, hooks.on_start) if outcome.completed else None)


def _prepared(engine: Engine, folder: Path, request: Request, hooks: Hooks, held: contextlib.ExitStack) -> Prepared:
    """Check the request, and hold the folder's lock."""
    if not request.resume:
        runs.refuse_used(folder, request.run, family=engine.family)
    held.enter_context(runs.locked(folder))
    if request.resume:
        prepared = engine.resumed(folder, request, runs.read(folder))
        done = runs.steps_done(folder)
        hooks.on_start(f"{folder.name} starts from its own checkpoint of step {done}" if done is not None else f"{folder.name} begins anew")
    else:
        runs.refuse_used(folder, request.run, family=engine.family)  # again, now that the lock is held
        prepared = engine.new(folder, request, hooks)
    hooks.on_start(f"{folder.name}: {prepared.steps} steps of {prepared.batch_size} images; TensorFlow starts")
    return prepared


def _write(engine: Engine, folder: Path, prepared: Prepared) -> None:
    runs.check_space(folder)
    engine.save(folder, prepared)
    runs.write(folder, prepared.record)  # last: a folder that has it is a run


def _of_chief(engine: Engine, folder: Path, request: Request) -> Prepared:
    """Return what worker 0 has prepared for all."""
    if not (folder / runs.RECORD).is_file():
        raise DataError(
            f"Worker 0 has prepared the run, but {folder / runs.RECORD} is not here. All workers need one workspace: set PNEUMODET_WORKSPACE "
            "to a folder that all of them share, and give the same --run."
        )
    return engine.resumed(folder, type(request)(run=str(folder), resume=True), runs.read(folder))


def _newest(folder: Path, cluster: Any) -> str | None:
    """Return the prefix of the run's newest checkpoint, of which all workers must know; None where there is none."""
    from pneumodet.models.detection import checkpoints
    from pneumodet.training import saving

    newest = saving.newest(folder)
    step = checkpoints.step_of(newest) if newest else 0
    if step != cluster.of_chief(step):
        raise DataError(
            f"Worker {cluster.worker} sees another newest checkpoint than worker 0 in {folder}. All workers need one workspace."
        )
    return newest


def _run(
    folder: Path,
    prepared: Prepared,
    parts: Parts,
    cluster: Any,
    hooks: Hooks,
    *,
    newest: str | None,
    started: float,
    log_to: str | None,
) -> Any:
    """Train from the newest checkpoint, or from the start where there is none."""
    from pneumodet.models.detection import checkpoints
    from pneumodet.training import loop, progress, trackers, watching

    def evaluated(step: int, figures: dict[str, float | None]) -> bool | None:
        # now, and not at the end, which a run that is killed does not reach
        if metrics_table.evaluations(folder) == CHOICE:
            runs.write(folder, with_choice(folder, prepared))
        return hooks.on_evaluation(step, figures)

    watcher = progress.Observer()
    if cluster.chief:
        watcher = watching.Watcher(
            folder,
            step=checkpoints.step_of(newest) if newest else 0,
            about=parts.about,
            drawn=parts.drawn,
            on_progress=hooks.on_progress,
            on_note=hooks.on_start,
            on_evaluation=evaluated,
            tracker=trackers.start(log_to, folder, parts.about) if log_to else None,
            best_metric=parts.plan.best_metric,
        )
    for note in parts.notes:
        watcher.note(note)
    # a resumed run has reported them when it was new
    if newest is None:
        watcher.anchors(dict(parts.anchors))
    run = loop.Run(
        parts.trainer,
        parts.feed,
        folder,
        plan=parts.plan,
        total=prepared.steps,
        batch_size=prepared.batch_size,
        validation=parts.validation,
        cluster=cluster,
        observer=watcher,
        started=started,
    )
    run.resume()
    try:
        return run.train()
    finally:
        watcher.close()


def with_choice(folder: Path, prepared: Prepared) -> RunRecord:
    """Return a run's record, which says that its validation exams were chosen on as soon as there are evaluations to choose among."""
    record = prepared.record
    if record.seen is None or metrics_table.evaluations(folder) < CHOICE:
        return record
    return dataclasses.replace(record, seen=record.seen | Seen(chosen=Marks.of(Exams.of(prepared.data.val.instances["images"]))))


def _evaluated(folder: Path, parts: Parts, record: RunRecord, records: RecordSet, say: Say) -> dict[str, Any] | None:
    """Evaluate the best checkpoint into ``EVALUATION``, where the engine does so at the end of training."""
    if parts.report is None:
        return None
    from pneumodet.core import folders
    from pneumodet.evaluation import leaks, metrics_file
    from pneumodet.models.detection import checkpoints

    which = "best" if parts.validation is not None else "last"
    say(f"{folder.name}: evaluating the {which} checkpoint on {record.records().val_exams} validation exams")
    best = checkpoints.of_run(folder)
    # the best, not the last: metrics.json is of the checkpoint that export and prediction will take
    parts.trainer.restore_model(best)
    with folders.new_folder(folder / runs.EVALUATION, marker=runs.METRICS, overwrite=True) as into:
        metrics = parts.report(into)
        test = records.manifest.splits.get(split_use.TEST_SPLIT)
        metrics |= Choice.of_run(folder, parts.plan.best_metric).facts(split_use.VALIDATION_SPLIT, test_exams=test.exams if test else 0)
        exams = Exams.of(records.val.instances["images"])
        leaks.add(metrics, overlap.count(leaks.of_runs([folder]), exams))
        metrics |= {
            "family": record.family,
            "checkpoint": Path(best).name,
            "step": checkpoints.step_of(best),
            "parameters": record.parameters,
            "training_seconds": record.training_seconds,
            "milliseconds_an_image": parts.milliseconds() if parts.milliseconds else None,
            "split": "val",
            "manifest_sha256": record.records().manifest_sha256,
            metrics_file.SCORED: dataclasses.asdict(Marks.of(exams)),
        }
        paths.write_json(into / runs.METRICS, metrics)
    return metrics


def refuse_changes(given: Iterable[str], *, flags: bool = True) -> None:
    """Refuse what only a new run can be given.

    Args:
      given: fields that were asked for beside ``run`` and ``resume``.
      flags: whether each is known to be a flag; otherwise it may come of --set, too.

    Raises:
      ConfigError: one of them is not in ``OF_A_RESUMED_RUN``.
    """

    def shown(name: str) -> str:
        return ("--set" if name == "settings" else "--" + name.replace("_", "-")) if flags else name

    refused = [name for name in given if name not in OF_A_RESUMED_RUN]
    if refused:
        allowed = [shown(name) for name in OF_A_RESUMED_RUN]
        raise ConfigError(
            f"{shown(refused[0])} does not go with --resume: the run continues as it was started. Only {', '.join(allowed[:-1])} and "
            f"{allowed[-1]} may be given."
        )


def check_steps(steps: int, folder: Path) -> None:
    """Check that a resumed run is not asked for fewer steps than it has done.

    Raises:
      ConfigError: it is.
    """
    done = runs.steps_done(folder) or 0
    if steps < done:
        raise ConfigError(f"--steps {steps} is less than the {done} steps that the run {folder.name} has done.")


def same_records(record: RunRecord) -> RecordSet:
    """Return the record set that a run was started with.

    Raises:
      DataError: it is gone, or another one now.
    """
    data = record.records()
    records = RecordSet.open(Path(data.folder))  # says what is wrong where it is gone
    if records.manifest_sha256 != data.manifest_sha256:
        raise DataError(f"The record set {data.folder} is another one than the run was started with. Start a new run.")
    return records


def seen_by(records: RecordSet, *, before: Seen, say: Say) -> Seen:
    """Return what a new run will have seen before it chooses, and warn where what it starts from has seen exams that it is validated on, or that are kept
    for a test.

    Args:
      records: to train on.
      before: what the weights have seen that it starts from.
      say: takes the warnings.
    """
    there = [name for name, split in records.manifest.splits.items() if split.exams]
    exams = {name: Exams.of(records.split(name).instances["images"]) for name in there}
    for name, held_out in exams.items():
        if name != "train":
            # that an earlier checkpoint was chosen on these very validation exams is as this one will be; on test exams nothing may be
            roles, what = (("trained",), "validation exam") if name == "val" else (("trained", "chosen"), f"{name} exam")
            for sentence in overlap.count({"": before}, held_out).sentences(*roles, what=what, lead="In what this run starts from, "):
                say(f"warning: {sentence}")
    return Seen(trained=Marks.of(exams["train"]) if "train" in exams else Marks()) | before


def data_record(records: RecordSet, *, audit: dict[str, Any] | None = None) -> DataRecord:
    """Return what run.json keeps of a record set."""
    return DataRecord(
        folder=str(records.folder.resolve()),
        manifest_sha256=records.manifest_sha256,
        train_exams=records.manifest.splits["train"].exams,
        val_exams=records.manifest.splits["val"].exams,
        split_by=records.split_by,
        audit=audit,
    )
