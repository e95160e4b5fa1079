"""Runs of Keras 3 models: ``training.experiment`` with settings of TOML, any family's network, and an evaluation of the best checkpoint.

folder, outcome, metrics = train(Classifier(), Request(run="mine", config="mobilenetv2", data=Path("workspace/records/rsna")))
folder, outcome, metrics = train(Classifier(), Request(run="mine", resume=True))
model, settings = restored(Classifier(), folder)
"""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet.core import paths, runs
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.run_record import RunRecord
from pneumodet.data.record_sets import RecordSet
from pneumodet.models import settings
from pneumodet.models.options import Plan, check_batch
from pneumodet.training import engine, experiment
from pneumodet.training.engine import Hooks, Parts, Prepared
from pneumodet.training.keras.family import Family, Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(engine.Request):
    """What a user asks for.

    Attributes:
      overrides: ``KEY=VALUE`` of any setting.
    """

    overrides: tuple[str, ...] = ()


def train(
    family: Family,
    request: Request,
    *,
    on_start: Say = lambda text: None,
    on_progress: Callable[[Any], None] = lambda progress: None,
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None] = lambda step, figures: None,
) -> tuple[Path, Any, dict[str, Any] | None]:
    """Start or resume a run, and evaluate its best checkpoint at the end.

    Args:
      family: of the model.
      request: what is asked for.
      on_start, on_progress, on_evaluation: as ``training.engine.Hooks``.

    Returns:
      (the run's folder, ``training.progress.Outcome``, what evaluation/metrics.json holds; None where training was stopped before its end).

    Raises:
      PneumodetError: anything that the user can fix.
    """
    hooks = Hooks(on_start=on_start, on_progress=on_progress, on_evaluation=on_evaluation)
    trained = experiment.train(KerasEngine(family), request, hooks)
    return trained.folder, trained.outcome, trained.metrics


def restored(family: Family, folder: Path) -> tuple[Any, Any]:
    """Return (keras.Model with the weights of a run's best checkpoint, its settings).

    Raises:
      DataError, ConfigError: the folder is no run of the family.
      CheckpointError: there is no checkpoint, or it does not fit.
    """
    chosen = settings.load(family.settings, folder / runs.SETTINGS, folder=family.configs)
    from pneumodet.models.detection import checkpoints
    from pneumodet.models.keras_checkpoints import restore

    # no weights to begin with, which may be a download: all come from the checkpoint
    model = family.build(chosen, pretrained=False)
    restore(model, checkpoints.of_run(folder))
    return model, chosen


class KerasEngine(engine.Engine):
    """A family of Keras 3 models; see ``training.engine.Engine``. One device trains."""

    def __init__(self, family: Family) -> None:
        """Take the family."""
        self._family = family

    @property
    def family(self) -> str:
        """See ``Engine``."""
        return self._family.name

    def new(self, folder: Path, request: Request, hooks: Hooks) -> Prepared:
        """See ``Engine``."""
        family = self._family
        if not request.config:
            raise ConfigError(f"--config is missing. Configs: {', '.join(settings.names(family.configs))}, or the path of a .toml file.")
        if request.data is None:
            raise ConfigError("--data is missing: a folder made by make_tfrecords.")
        chosen = settings.load(family.settings, request.config, folder=family.configs, overrides=request.overrides)
        records = RecordSet.open(request.data).check_two_kinds()
        asked = "batch_size" in settings.parsed(family.settings, request.overrides)
        later: list[str] = []
        check_batch(chosen.batch_size, len(records.train), asked=asked, say=later.append)
        facts = family.check(chosen, records, say=later.append)
        seen = experiment.seen_by(records, before=family.seen(chosen), say=later.append)
        for sentence in (f"{folder.name} starts from {family.start(chosen)}", *later):
            hooks.on_start(sentence)
        record = RunRecord(
            family=family.name,
            config=request.config,
            settings=tuple(request.overrides),
            seed=chosen.seed,
            steps=chosen.steps,
            batch_size=chosen.batch_size,
            seen=seen,
            facts=facts,
            files_sha256={name: paths.sha256_file(path) for name, path in chosen.files.items()},
            data=experiment.data_record(records),
            provenance=_provenance(),
        )
        return Prepared(config=chosen, data=records, record=record, steps=chosen.steps, batch_size=chosen.batch_size)

    def resumed(self, folder: Path, request: Request, record: RunRecord) -> Prepared:
        """See ``Engine``."""
        family = self._family
        wanted = settings.parsed(family.settings, request.overrides)
        experiment.refuse_changes([name for name in ("config", "data") if getattr(request, name)])
        experiment.refuse_changes(wanted, flags=False)
        chosen = settings.load(family.settings, folder / runs.SETTINGS, folder=family.configs, overrides=request.overrides)
        records = experiment.same_records(record).check_two_kinds()
        # settings name files by path; the same path may hold other labels by now
        known = record.files_sha256 or {}  # a run of an earlier pneumodet does not say
        for name, path in chosen.files.items():
            if name in known and not (path.is_file() and paths.sha256_file(path) == known[name]):
                raise DataError(
                    f"{name} is {path}, which is gone or another file than the run was started with. Put it back, or start a new run."
                )
        experiment.check_steps(chosen.steps, folder)
        if wanted:
            record = dataclasses.replace(record, steps=chosen.steps)
            runs.write(folder, record)
            settings.save(chosen, folder / runs.SETTINGS)
        return Prepared(config=chosen, data=records, record=record, steps=chosen.steps, batch_size=chosen.batch_size)

    def save(self, folder: Path, prepared: Prepared) -> None:
        """See ``Engine``."""
        settings.save(prepared.config, folder / runs.SETTINGS)

    def assemble(self, prepared: Prepared, *, fresh: bool, cluster: Any, say: Say) -> Parts:
        """See ``Engine``."""
        import keras

        from pneumodet.evaluation.runner import Validation
        from pneumodet.training import reproducible

        chosen = prepared.config
        # before any layer is made: what has no seed of its own draws from this one
        keras.utils.set_random_seed(chosen.seed)
        reproducible.sum_in_order()
        model = self._family.build(chosen, pretrained=fresh, say=say)
        parts = self._family.assemble(chosen, prepared.data, model)
        plan = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(Plan)}
        return Parts(
            trainer=parts.trainer,
            feed=parts.feed,
            validation=Validation(parts.runner, parts.evaluate) if chosen.between_evaluations else None,
            plan=Plan(**plan | {"evaluate_every": chosen.between_evaluations}),
            parameters=int(parts.trainer.model.count_params()),
            about=dataclasses.asdict(chosen) | {"config": prepared.record.config},
            drawn=parts.drawn,
            notes=parts.notes,
            report=parts.report,
            milliseconds=parts.runner.milliseconds,
        )


def _provenance() -> dict[str, Any]:
    provenance = runs.provenance()
    provenance["versions"]["keras"] = importlib.metadata.version("keras")
    return provenance
