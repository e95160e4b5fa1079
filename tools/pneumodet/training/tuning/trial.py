"""One trial in a process of its own, so that its memory is free afterwards and its crash ends nothing else.

    ended = run(train, {"run": "workspace/study/trial-0003", "steps": 1000, …}, log=path, on_evaluation=lambda step, metrics: step < 500)
    ended.state, ended.reason              # "pruned", ""

The child says over a pipe where it stands, and asks after each evaluation whether to continue. It ends when its parent does, however that ends.
"""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import processes
from pneumodet.core.errors import DataError, EnvironmentProblem, PneumodetError, TrainingError, first_line

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
"""How a trial can end."""

SECONDS_TO_END = 10
"""What a child that was asked to end may take before it is killed."""

Trainer = Callable[..., None]
"""Called in the child as ``trainer(fields, on_progress=(step, total) -> None, on_evaluation=(step, metrics) -> bool)``; False stops it. A
function of a module, since the child imports it by its name."""


class TrialFailed(Exception):
    """Raised by ``on_evaluation`` where a trial is of no use; its text is the reason."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
      state: COMPLETE, PRUNED or FAILED.
      reason: why it failed, a sentence; else empty.
    """

    state: str
    reason: str = ""


def train(
    fields: Mapping[str, Any], *, on_progress: Callable[[int, int], None], on_evaluation: Callable[[int, dict[str, float | None]], bool]
) -> None:
    """Train one run: the trainer of all real studies.

    Args:
      fields: keyword arguments of ``experiment.Request``.
      on_progress: takes (step, steps in all).
      on_evaluation: takes (step, metrics by name) and returns whether to continue.

    Raises:
      PneumodetError: the run failed.
    """
    from pneumodet.training.families import detection

    stopped = []

    def evaluated(step: int, metrics: dict[str, float | None]) -> bool:
        if not on_evaluation(step, metrics):
            stopped.append(step)
        return not stopped

    _, outcome = detection.train(
        detection.Request(**fields), on_progress=lambda now: on_progress(now.step, now.total), on_evaluation=evaluated
    )
    if not outcome.completed and not stopped:
        raise TrainingError(f"It was stopped from outside at step {outcome.step}.")


def run(
    trainer: Trainer,
    fields: Mapping[str, Any],
    *,
    log: Path,
    on_progress: Callable[[int, int], None],
    on_evaluation: Callable[[int, dict[str, float | None]], bool],
) -> Ended:
    """Run ``trainer`` in a new process to its end.

    Args:
      trainer: see Trainer.
      fields: what it is given.
      log: file for all that the child writes to its standard output and error.
      on_progress: takes (step, steps in all), here.
      on_evaluation: takes (step, metrics), here, and returns whether to continue; may raise TrialFailed.

    Returns:
      How it ended.

    Raises:
      DataError: records, disk or machine cannot be used, which has nothing to do with the trial's values. This and whatever else is raised
        here, Ctrl-C too, ends the child first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads, or with TensorFlow in it, may hang
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, trainer, dict(fields), str(log)), name="trial")
    with processes.starting():
        child.start()
    # while this end is open here, a child that dies does not end the pipe, and ``recv`` would wait for ever
    theirs.close()
    try:
        ended = _attend(ours, on_progress, on_evaluation)
        ours.close()
        # one that has said how it ended gets a while to exit, before ``_end`` ends it; of one that has not, the exit code is wanted
        child.join(SECONDS_TO_END if ended else None)
        return ended or Ended(FAILED, _death(child.exitcode, log))
    except TrialFailed as failed:
        return Ended(FAILED, str(failed))
    finally:
        _end(child)


def _attend(pipe: Any, on_progress: Callable, on_evaluation: Callable) -> Ended | None:
    """Answer the child until it has ended; None where it never said how."""
    pruned = False
    while True:
        try:
            kind, *content = pipe.recv()
            if kind == "evaluation":
                pruned = not on_evaluation(*content)
                pipe.send(not pruned)
            elif kind == "progress":
                on_progress(*content)
            elif kind == "data":
                raise DataError(*content)
            else:
                return Ended(FAILED, content[0]) if kind == "failed" else Ended(PRUNED if pruned else COMPLETE)
        except (EOFError, ConnectionError):  # the child is gone
            return None


def _end(child: Any) -> None:
    if child.is_alive():
        child.terminate()
        child.join(SECONDS_TO_END)
    if child.is_alive():
        child.kill()
        child.join()
    child.close()


def _death(exit_code: int | None, log: Path) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        cause = "; the system does that to the largest process when memory runs out" if name == "SIGKILL" else ""
        return f"Its process was ended by {name}{cause}. See {log}."
    return f"Its process ended with exit code {exit_code} and without a message. See {log}."


def _child(pipe: Any, trainer: Trainer, fields: dict[str, Any], log: str) -> None:
    """Run in the child: train, and send how it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # by file descriptor: TensorFlow's C++ writes past Python's sys.stderr
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(handle, stream.fileno())

    def ask(step: int, metrics: dict[str, float | None]) -> bool:
        pipe.send(("evaluation", int(step), {name: _plain(value) for name, value in metrics.items()}))
        return pipe.recv()

    try:
        trainer(fields, on_progress=lambda step, total: pipe.send(("progress", int(step), int(total))), on_evaluation=ask)
        pipe.send(("done",))
    except (DataError, EnvironmentProblem) as error:
        pipe.send(("data", str(error)))
    except PneumodetError as error:
        pipe.send(("failed", str(error)))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {first_line(error)}. Its traceback is in {log}."))


def _plain(value: Any) -> float | None:
    """Return a metric without a class of TensorFlow or NumPy, which the parent would have to import; None for what is no number."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:  # None in the main process alone
        parent.join()
        os._exit(1)


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run, wherever in its folder they are; its curves, metrics and config stay."""
    for index in sorted(folder.rglob("*.index")):
        pieces = sorted(index.parent.glob(f"{index.stem}.data-?????-of-?????"))
        for path in [*pieces, index] if pieces else []:
            path.unlink(missing_ok=True)
        (index.parent / "checkpoint").unlink(missing_ok=True)  # TensorFlow's note of which is the newest


def folder_of(study: Path, number: int) -> Path:
    """Return the folder of a trial's run."""
    return study / f"trial-{number:04d}"


def log_of(study: Path, number: int) -> Path:
    """Return the file of what a trial's process wrote."""
    return study / "logs" / f"trial-{number:04d}.log"
