"""The search: Optuna proposes values, a process trains with them, the validation metric decides.

    outcome = search(Plan(folder=paths.run_dir("my_study"), config="ssd_mobilenet", data=records, steps=1000, trials=20))
    outcome.rows, outcome.best, outcome.command

- The first trial has the config's own values; what comes after is proposed by TPE (Bergstra et al., 2011), from ``seed`` and the trials before.
- A trial whose best value so far is below the median of the complete ones at the same step is pruned. The median rule, not Hyperband: a study has
  some 20 trials with some 5 evaluations, too few for Hyperband's brackets.
- Trials are kept in study.db (SQLite). The same call continues where it was cut; a trial that was cut is trained again, from its start.
- All trials have the same training seed, so that they differ by their values only; a combination is trained once.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumodet.core.errors import ConfigError, DataError, TrainingError
from pneumodet.data.record_sets import RecordSet
from pneumodet.training.tuning import report, study, trial
from pneumodet.training.tuning.report import Outcome, Row
from pneumodet.training.tuning.space import Parameter, Space
from pneumodet.training.tuning.study import Plan

if TYPE_CHECKING:
    import optuna

EVALUATIONS = 5
"""Of a trial, where no distance is given."""

FIRST_TRIALS = 3
"""Of a call: if these all fail in the same way, the search stops."""

RANDOM_TRIALS = 8
"""Trials before TPE has enough to learn from; they are drawn at random. Optuna's 10 are half of a study of 20."""

_ATTEMPTS = 1000  # at a combination that was not tried; only lists that are almost used up need more than one


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    plan: Plan
    space: Space
    study: "optuna.Study"
    trainer: trial.Trainer
    on_progress: Callable[[int, int, int], None]


def search(
    plan: Plan,
    *,
    trainer: trial.Trainer = trial.train,
    on_message: Callable[[str], None] = lambda text: None,
    on_trial: Callable[[Row], None] = lambda row: None,
    on_progress: Callable[[int, int, int], None] = lambda number, step, steps: None,
) -> Outcome:
    """Start a study, or resume it, until it has ``plan.trials`` trials.

    Args:
      plan: what to do.
      trainer: trains one trial, in a process of its own.
      on_message: takes a sentence that a user should know.
      on_trial: is given each trial when it has ended.
      on_progress: takes (trial, step, steps) while one trains.

    Returns:
      All trials of the study and the best of them; table.csv, best.json and report.png are written.

    Raises:
      ConfigError: a parameter does not fit the config, or the study was started with something else.
      DataError: the record set, the study's folder or the machine cannot be used; this has nothing to do with a trial, which will be trained again.
      TrainingError: the first trials all fail in the same way, or not one succeeded.
      KeyboardInterrupt: Ctrl-C, with the sentence that says how to resume; the trial that was cut will be trained again.
    """
    space = Space.of(plan.config, plan.parameters, steps=plan.steps, settings=plan.settings)
    if plan.augmentation and any(parameter.name == "augmentation" for parameter in space.parameters):
        raise ConfigError("--augmentation is the same in all trials, but --param varies it. Leave one of them out.")
    RecordSet.open(plan.data).check_has_train("Tune")
    with contextlib.ExitStack() as stack:
        stack.enter_context(study.locked(plan.folder))
        study.check_same(plan, space)
        database = stack.enter_context(study.storage(plan.folder))
        work = _Work(plan=plan, space=space, study=study.open_study(database, plan), trainer=trainer, on_progress=on_progress)
        _requeue_cut(work)
        for parameter in space.parameters:
            if parameter.name not in space.own:
                on_message(f"The config's own {parameter.name} is not among its values; the first trial has it all the same.")
        if done := len(_finished(work)):
            on_message(f"{done} trials were done before.")
        try:
            _continue(work, on_message, on_trial)
        except KeyboardInterrupt:
            _requeue_cut(work)
            rows = _rows(work)
            if any(row.state == trial.COMPLETE for row in rows):
                _write_all(work, rows)
            raise KeyboardInterrupt("Finished trials are kept; the same command continues.") from None
        except DataError as error:
            raise DataError(f"{error} Finished trials are kept; the same command continues.") from error
        rows = _rows(work)
        if not any(row.state == trial.COMPLETE for row in rows):
            raise TrainingError(f"None of the {len(rows)} trials was completed. {plan.folder / report.TABLE} says why of each.")
        return _write_all(work, rows)


def _continue(work: _Work, on_message: Callable[[str], None], on_trial: Callable[[Row], None]) -> None:
    plan, failures = work.plan, []
    while (done := len(_finished(work))) < plan.trials:
        if not _waiting(work):
            values = _propose(work)
            if values is None:
                on_message(f"All {work.space.combinations} combinations have been tried; there is nothing left for the other trials.")
                return
            _enqueue(work, values, baseline=done == 0)
        row = _run_one(work)
        rows = _rows(work)
        # after each trial, not at the end: twenty runs would fill a disk
        _drop_checkpoints(plan, rows)
        report.write_table(plan.folder, rows, [parameter.name for parameter in work.space.parameters])
        on_trial(row)
        failures.append(_kind(row) if row.state == trial.FAILED else None)
        if len(failures) == FIRST_TRIALS and failures[0] and len(set(failures)) == 1:
            raise TrainingError(
                f"The first {FIRST_TRIALS} trials failed in the same way: {row.reason.rstrip('.')}. "
                f"Fix that, then start again with another --study, or remove {plan.folder}."
            )


def _run_one(work: _Work) -> Row:
    """Train the next trial and write down how it ended."""
    import optuna

    plan = work.plan
    one = work.study.ask()
    given, baseline = one.user_attrs["given"], one.user_attrs["baseline"]
    values = {parameter.name: _suggest(one, parameter) for parameter in work.space.parameters if parameter.name in given}
    folder, log = trial.folder_of(plan.folder, one.number), trial.log_of(plan.folder, one.number)
    fields = _request(work, {} if baseline else values, folder)
    best: list[tuple[float, int]] = []

    def evaluated(step: int, metrics: dict[str, float | None]) -> bool:
        if plan.metric not in metrics:
            raise trial.TrialFailed(f"The evaluation has no {plan.metric!r}; it has {', '.join(sorted(metrics))}.")
        value = metrics[plan.metric]
        if value is None or not np.isfinite(value):
            return True
        best.append((value, step))
        one.report(value, step)
        # at its last step a trial has cost all that it will cost, and counts as complete
        return step >= plan.steps or not one.should_prune()

    started = time.monotonic()
    ended = trial.run(
        work.trainer,
        fields,
        log=log,
        on_progress=lambda step, steps: work.on_progress(one.number, step, steps),
        on_evaluation=evaluated,
    )
    state, reason = ended.state, ended.reason
    if state == trial.COMPLETE and not best:
        state, reason = trial.FAILED, f"{plan.metric} was undefined at every evaluation."
    # of equal values the earliest, as the run's own best checkpoint is
    value, step = max(best, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    attributes = {"state": state, "reason": reason, "value": value, "best_step": step, "seconds": time.monotonic() - started}
    for name, content in attributes.items():
        one.set_user_attr(name, content)
    if state == trial.COMPLETE:
        work.study.tell(one, value)
    else:  # failed ones too: TPE learns from pruned trials to stay away, and overlooks those that Optuna has as failed
        work.study.tell(one, state=optuna.trial.TrialState.PRUNED)
    return next(row for row in _rows(work) if row.number == one.number)


def _request(work: _Work, values: Mapping[str, Any], folder: Path, *, steps: int | None = None) -> dict[str, Any]:
    plan = work.plan
    request = {
        "run": str(folder.resolve()),
        "config": plan.config,
        "data": plan.data,
        "steps": steps or plan.steps,
        "seed": plan.seed,
        "evaluate_every": plan.evaluate_every or max(1, plan.steps // EVALUATIONS),
        "best_metric": plan.metric,
        "pretrained": plan.pretrained,
        "freeze": plan.freeze,
        "fit_anchors": plan.fit_anchors,
        "positive_share": plan.positive_share or 0.0,  # what is not said is what suits the set
        **work.space.request(values, steps=steps),
    }
    # what --param varies is in ``values``; ``search`` has refused both
    return request | {"augmentation": request["augmentation"] or plan.augmentation}


def _propose(work: _Work) -> dict[str, Any] | None:
    """Return values that were not tried, or None where all were.

    The proposal is drawn in a copy of the study in memory, from a generator of its own for each, so that a study that was cut and resumed
    proposes what an uncut one does.
    """
    import optuna

    done = _finished(work)
    if not done:
        return dict(work.space.own)
    tried = [one.params for one in done if not (one.user_attrs["baseline"] and len(one.params) < len(work.space.parameters))]
    if work.space.combinations is not None and len(tried) >= work.space.combinations:
        return None
    for attempt in range(_ATTEMPTS):
        seed = int(np.random.SeedSequence([work.plan.seed, len(done), attempt]).generate_state(1)[0])
        # TPE's proposal is drawn once; where it was tried already, chance brings others sooner than TPE, which stays near the best
        tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
        copy = optuna.create_study(direction="maximize", sampler=tpe if attempt == 0 else optuna.samplers.RandomSampler(seed=seed))
        copy.add_trials(done)
        one = copy.ask()
        values = {parameter.name: parameter.plain(_suggest(one, parameter)) for parameter in work.space.parameters}
        if values not in tried:
            return values
    return None


def _suggest(one: "optuna.Trial", parameter: Parameter) -> Any:
    if parameter.choices:
        return one.suggest_categorical(parameter.name, parameter.choices)
    if parameter.whole:
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return one.suggest_int(parameter.name, low, high, step=step, log=parameter.log)
    return one.suggest_float(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)


def _finished(work: _Work) -> list["optuna.trial.FrozenTrial"]:
    """Return the trials that count: those that ended by themselves."""
    return [one for one in work.study.get_trials() if one.state.is_finished() and not _was_cut(one)]


def _waiting(work: _Work) -> bool:
    import optuna

    return bool(work.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))


def _enqueue(work: _Work, values: dict[str, Any], *, baseline: bool) -> None:
    work.study.enqueue_trial(values, user_attrs={"given": values, "baseline": baseline})


def _requeue_cut(work: _Work) -> None:
    """Put trials that never ended back in the queue; the study's lock says that none of them is running."""
    import optuna

    waiting = [one.user_attrs["given"] for one in work.study.get_trials(states=(optuna.trial.TrialState.WAITING,))]
    for one in work.study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        given = one.user_attrs["given"]
        if given not in waiting:  # else this was cut between the next two lines
            _enqueue(work, given, baseline=one.user_attrs["baseline"])
        work.study.tell(one.number, state=optuna.trial.TrialState.FAIL)
        trial.drop_checkpoints(trial.folder_of(work.plan.folder, one.number))


def _rows(work: _Work) -> list[Row]:
    return [_row(one) for one in work.study.get_trials() if one.state.is_finished()]


def _row(one: "optuna.trial.FrozenTrial") -> Row:
    kept = one.user_attrs
    row = Row(number=one.number, state=report.CUT, values=kept["given"], baseline=kept["baseline"])
    if _was_cut(one):
        return dataclasses.replace(row, reason="It was stopped with the search, and is trained again under a later number.")
    return dataclasses.replace(row, **{name: kept[name] for name in ("state", "value", "best_step", "seconds", "reason")})


def _was_cut(one: "optuna.trial.FrozenTrial") -> bool:
    """Return whether a trial was cut; those are all that Optuna has as failed: see _run_one."""
    import optuna

    return one.state == optuna.trial.TrialState.FAIL


def _write_all(work: _Work, rows: Sequence[Row]) -> Outcome:
    plan = work.plan
    best = report.best_of(rows)
    fields = _request(work, {} if best.baseline else best.values, plan.folder, steps=plan.steps * report.LONGER) | {"evaluate_every": None}
    names = [parameter.name for parameter in work.space.parameters]
    return report.write(plan.folder, rows, names, study=work.study, metric=plan.metric, fields=fields)


def _drop_checkpoints(plan: Plan, rows: Sequence[Row]) -> None:
    kept = {row.number for row in report.ranked(rows)[: plan.keep]}
    for row in rows:
        if row.number not in kept:
            trial.drop_checkpoints(trial.folder_of(plan.folder, row.number))


def _kind(row: Row) -> str:
    """Return a failure's sentence without its numbers, which differ from trial to trial."""
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", row.reason)
