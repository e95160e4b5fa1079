"""One life of a run, whatever is trained: request -> checks -> locked folder -> record -> training -> record -> evaluation; and --resume of it.

    trained = train(engine, Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")))
    trained = train(engine, Request(run="my_first", resume=True))

An ``Engine`` knows one kind of models: that of the Object Detection API (``pneumodet.experiment``), and that of Keras 3 models
(``learning.experiment``). Everything that can be refused is refused before TensorFlow starts.
"""

import abc
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pneumodet import paths, runs
from pneumodet.data.record_sets import RecordSet
from pneumodet.errors import ConfigError, DataError
from pneumodet.run_record import DataRecord, RunRecord
from pneumodet.training import metrics_table, tf_config
from pneumodet.training.options import Plan

OF_A_RESUMED_RUN = ("steps", "patience", "skip_corrupt")
"""What may be asked of a run that is resumed; all else it has from its start."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; an engine adds its own fields.

    Attributes:
      run: name of the run, or path of its folder.
      config: name of a config, or its path.
      data: record set.
      resume: continue the run.
    """

    run: str
    config: str | None = None
    data: Path | None = None
    resume: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """Who is told what happens.

    Attributes:
      on_start: of a sentence.
      on_progress: of where training stands, a ``training.loop.Progress``.
      on_download: of (bytes there, bytes in all or None) of a pretrained checkpoint.
      on_evaluation: of (step, figures by name); False stops the run.
    """

    on_start: Say = lambda text: None
    on_progress: Callable[[Any], None] = lambda progress: None
    on_download: Callable[[int, int | None], None] = lambda done, total: None
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None] = lambda step, figures: None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that was checked and resolved; all that is known before TensorFlow starts.

    Attributes:
      config: the engine's: a TrainEvalPipelineConfig, or ``learning.settings.Settings``.
      data: the record set.
      record: what run.json will hold, or holds.
      steps: in all.
      batch_size: images a step.
    """

    config: Any
    data: RecordSet
    record: RunRecord
    steps: int
    batch_size: int


@dataclasses.dataclass(kw_only=True)
class Parts:
    """All that a run consists of, once TensorFlow has started.

    Attributes:
      trainer, feed, validation: as ``training.parts`` says; validation is None where nothing is evaluated on the way.
      plan: when it evaluates, saves and stops.
      parameters: numbers that the model holds, batch normalization's statistics included.
      about: settings for TensorBoard's table of runs.
      drawn: a sample of a batch -> PIL picture, for TensorBoard.
      notes: sentences for the user.
      anchors: how boxes and anchors match, of a new detector.
      report: folder -> metrics.json's content; evaluates the model with the weights that it then has. None where another command does that.
      milliseconds: time of the model for an image, after ``report``.
    """

    trainer: Any
    feed: Any
    validation: Any
    plan: Plan
    parameters: int
    about: Mapping[str, Any]
    drawn: Callable[[dict[str, Any]], Any]
    notes: Sequence[str] = ()
    anchors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    report: Callable[[Path], dict[str, Any]] | None = None
    milliseconds: Callable[[], float] | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a run.

    Attributes:
      folder: the run's.
      outcome: a ``training.loop.Outcome``.
      metrics: what evaluation/metrics.json holds; None where training was stopped before its end, and of a detector.
    """

    folder: Path
    outcome: Any
    metrics: dict[str, Any] | None = None


class Engine(abc.ABC):
    """One kind of models, at each station of a run's life. TensorFlow is imported by ``assemble`` only.

    Attributes:
      many_machines: whether the machines of TF_CONFIG train one run together.
    """

    many_machines: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def family(self) -> str:
        """Family of the models, a key of ``runs.TRAINED_BY``."""

    @abc.abstractmethod
    def new(self, folder: Path, request: Any, hooks: Hooks) -> Prepared:
        """Check and resolve the request for a new run.

        Raises:
          PneumodetError: anything that the user can fix.
        """

    @abc.abstractmethod
    def resumed(self, folder: Path, request: Any, record: RunRecord) -> Prepared:
        """Check and resolve the request to resume a run; what it changes is written.

        Raises:
          PneumodetError: anything that the user can fix.
        """

    @abc.abstractmethod
    def save(self, folder: Path, prepared: Prepared) -> None:
        """Write what a new run's folder has beside run.json: its config."""

    @abc.abstractmethod
    def assemble(self, prepared: Prepared, *, fresh: bool, cluster: Any, say: Say) -> Parts:
        """Return what trains the model.

        Args:
          prepared: the request.
          fresh: start from the weights that the config names; False where a checkpoint of the run itself will follow.
          cluster: the devices, a ``training.cluster.Cluster``.
          say: is told in a sentence what happens.

        Raises:
          PneumodetError: config, records, weights or devices do not fit.
        """


def train(engine: Engine, request: Request, hooks: Hooks | None = None) -> Trained:
    """Start or resume a run.

    Args:
      engine: of the model.
      request: what is asked for, with the engine's own fields.
      hooks: who is told what happens.

    Raises:
      PneumodetError: anything that the user can fix.
    """
    started, hooks = time.perf_counter(), hooks or Hooks()
    addresses, worker = tf_config.workers() if engine.many_machines else ((), 0)
    folder = runs.find(request.run, family=engine.family) if request.resume else paths.run_dir(request.run)
    with contextlib.ExitStack() as held:
        if worker == 0:
            prepared = _prepared(engine, folder, request, hooks, held)
            if len(addresses) > 1 and not request.resume:
                _write(engine, folder, prepared)  # now: the other workers read it
        from pneumodet.training import cluster as clusters

        if len(addresses) > 1:
            hooks.on_start(f"worker {worker} of {len(addresses)}: waiting for the others")
        cluster = held.enter_context(clusters.joined()) if engine.many_machines else clusters.alone()
        if worker:
            prepared = _of_chief(engine, folder, request)
        hooks.on_start(f"training on {clusters.device()}")
        newest = _newest(folder, cluster)
        parts = engine.assemble(prepared, fresh=newest is None, cluster=cluster, say=hooks.on_start)
        if len(addresses) < 2 and not request.resume:
            _write(engine, folder, prepared)  # after all that could be refused: a start that fails leaves nothing
        outcome = _run(folder, prepared, parts, cluster, hooks, newest=newest, started=started)
        if worker:
            return Trained(folder, outcome)
        more = {"parameters": parts.parameters, "training_seconds": metrics_table.seconds(folder), "steps_done": outcome.step}
        record = dataclasses.replace(prepared.record, **more)
        runs.write(folder, record)
        return Trained(folder, outcome, _evaluated(folder, parts, record, hooks.on_start) if outcome.completed else None)


def _prepared(engine: Engine, folder: Path, request: Request, hooks: Hooks, held: contextlib.ExitStack) -> Prepared:
    """Check the request, and hold the folder's lock."""
    if not request.resume:
        runs.refuse_used(folder, request.run, family=engine.family)
    held.enter_context(runs.locked(folder))
    if request.resume:
        prepared = engine.resumed(folder, request, runs.read(folder))
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
    from pneumodet.detection import checkpoints
    from pneumodet.training import saving

    newest = saving.newest(folder)
    step = checkpoints.step_of(newest) if newest else 0
    if step != cluster.of_chief(step):
        raise DataError(
            f"Worker {cluster.worker} sees another newest checkpoint than worker 0 in {folder}. All workers need one workspace."
        )
    return newest


def _run(folder: Path, prepared: Prepared, parts: Parts, cluster: Any, hooks: Hooks, *, newest: str | None, started: float) -> Any:
    """Train from the newest checkpoint, or from the start where there is none."""
    from pneumodet.detection import checkpoints
    from pneumodet.training import loop, watching

    watcher: loop.Observer = loop.Observer()
    if cluster.chief:
        watcher = watching.Watcher(
            folder,
            step=checkpoints.step_of(newest) if newest else 0,
            about=parts.about,
            drawn=parts.drawn,
            on_progress=hooks.on_progress,
            on_note=hooks.on_start,
            on_evaluation=hooks.on_evaluation,
        )
    for note in parts.notes:
        watcher.note(note)
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


def _evaluated(folder: Path, parts: Parts, record: RunRecord, say: Say) -> dict[str, Any] | None:
    """Evaluate the best checkpoint into ``EVALUATION``, where the engine does so at the end of training."""
    if parts.report is None:
        return None
    from pneumodet.data import folders
    from pneumodet.detection import checkpoints

    say(f"{folder.name}: evaluating the best checkpoint on {record.records().val_exams} validation exams")
    best = checkpoints.of_run(folder)
    parts.trainer.restore_model(best)
    with folders.new_folder(folder / runs.EVALUATION, marker=runs.METRICS, overwrite=True) as into:
        metrics = parts.report(into)
        chosen_of = metrics_table.evaluations(folder)
        if chosen_of > 1:
            metrics["warnings"] = [*metrics.get("warnings", []), runs.CHOSEN_HERE.format(count=chosen_of)]
        metrics |= {
            "family": record.family,
            "checkpoint": Path(best).name,
            "step": checkpoints.step_of(best),
            "parameters": record.parameters,
            "training_seconds": record.training_seconds,
            "milliseconds_an_image": parts.milliseconds() if parts.milliseconds else None,
            "split": "val",
            "manifest_sha256": record.records().manifest_sha256,
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
