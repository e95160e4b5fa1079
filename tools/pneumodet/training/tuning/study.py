"""A study on disk: what it was started with, its lock, and Optuna's database.

with study.locked(plan.folder):
    study.check_same(plan, space)                # refuses another config, record set or parameter than it was started with
    with study.storage(plan.folder) as database:
        trials = study.open_study(database, plan)
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumodet.core import json_text, paths, runs
from pneumodet.core.errors import ConfigError, DataError, first_line
from pneumodet.data import record_sets

if TYPE_CHECKING:
    import optuna

    from pneumodet.training.tuning.space import Parameter, Space  # needs protobuf, and the command's flags need ``Plan`` alone

METRICS = ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity")
"""What a study can make highest."""

DATABASE = "study.db"
RECORD = "study.json"
"""What the study was started with; written first."""

TRIALS_BEFORE_PRUNING = 4
"""Complete trials that the median needs."""

NEVER_PRUNED = 0.25
"""Share of a trial's steps before which it is not pruned: the learning rate is still warming up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study does.

    Attributes:
      folder: of the study.
      config: a config of configs/, or a path.
      data: the record set.
      steps: of a trial.
      trials: how many there are to be in the end.
      parameters: texts of --param; the classic ones where there are none.
      metric: one of METRICS.
      settings: KEY=VALUE that hold in all trials.
      pretrained: what every trial starts from, as ``experiment.Request`` takes it.
      freeze, fit_anchors, augmentation, positive_share: of every trial, likewise; ``parameters`` may have the augmentation instead.
      evaluate_every: steps from one evaluation to the next; EVALUATIONS of them where it is None.
      seed: of the proposals and of every training.
      keep: how many of the best trials keep their checkpoints.
    """

    folder: Path
    config: str
    data: Path
    steps: int
    trials: int = 20
    parameters: tuple[str, ...] = ()
    metric: str = METRICS[0]
    settings: tuple[str, ...] = ()
    pretrained: str | None = None
    freeze: tuple[str, ...] = ()
    fit_anchors: bool = False
    augmentation: str | None = None
    positive_share: float | None = None
    evaluate_every: int | None = None
    seed: int = 0
    keep: int = 3


def _identity(plan: Plan, space: "Space") -> dict[str, Any]:
    return {
        "config": plan.config,
        "set": list(plan.settings),
        "config_sha256": space.sha256(),
        "data_sha256": paths.sha256_file(plan.data / record_sets.MANIFEST),
        "steps": plan.steps,
        "metric": plan.metric,
        "param": [f"{one.name}={','.join(one.choices) or ':'.join(one.ends)}" + _form(one) for one in space.parameters],
        "pretrained": plan.pretrained,
        "freeze": list(plan.freeze),
        "fit_anchors": plan.fit_anchors,
        "augmentation": plan.augmentation,
        "positive_share": plan.positive_share,
        "evaluate_every": plan.evaluate_every,
        "seed": plan.seed,
    }


_ADDED: dict[str, Any] = {"freeze": [], "fit_anchors": False, "augmentation": None, "positive_share": None}
"""What a record does not have that was written before studies had these."""


def _form(one: "Parameter") -> str:
    return (":log" if one.log else "") + (":int" if one.whole else "") + (f":step={one.step:g}" if one.step else "")


def check_same(plan: Plan, space: "Space") -> None:
    """Write study.json if the study is new; else compare with it.

    Raises:
      ConfigError: the study was started with something else; the message says with what.
      DataError: study.json cannot be read or written.
    """
    now = _identity(plan, space)
    path = plan.folder / RECORD
    if not path.exists():
        if (plan.folder / DATABASE).exists():
            raise DataError(f"{plan.folder / DATABASE} is there, but {RECORD} is not, which says what it is of. Start another --study.")
        paths.write_json(path, now)
        return
    before = json_text.read(path, what="the study's record", hint="Start another --study.")
    # a file that is no record counts as one that says nothing, and differs in the first field
    before = _ADDED | before if isinstance(before, dict) else {}
    for name, value in now.items():
        if before.get(name) == value:
            continue
        if name.endswith("_sha256"):
            what = f"the content of --{name.removesuffix('_sha256')}"
            raise ConfigError(f"The study {plan.folder} was started with another one: {what} has changed. Start another --study.")
        raise ConfigError(
            f"The study {plan.folder} was started with --{name.replace('_', '-')} {_shown(before.get(name))}, not {_shown(value)}. "
            "Give what it was started with, or start another --study; only --trials and --keep may change."
        )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value) or "(none)"
    return "(none)" if value is None or value is False else "(given)" if value is True else str(value)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's folder, which is made where there is none.

    Raises:
      DataError: the folder is a run's, is in use, or cannot be written.
    """
    if (folder / runs.CONFIG).exists():
        raise DataError(f"{folder} is a run, not a study. Choose another --study name.")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(runs.locked(folder))
        except DataError as error:
            raise DataError(str(error).replace("--run name", "--study name")) from error
        yield


@contextlib.contextmanager
def storage(folder: Path) -> Iterator[Any]:
    """Yield Optuna's storage in the study's database.

    Raises:
      DataError: the database is damaged, or the disk is full.
    """
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / DATABASE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
            try:
                yield storage
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = first_line(error.__cause__ or error)
        raise DataError(f"Cannot use {path}: {cause}. Free some disk space; if the file is damaged, start another --study.") from error


def open_study(storage: Any, plan: Plan) -> "optuna.Study":
    """Return the study in a database, made if it is new, with its pruner."""
    import optuna

    pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=int(NEVER_PRUNED * plan.steps))
    return optuna.create_study(storage=storage, study_name="study", direction="maximize", pruner=pruner, load_if_exists=True)
