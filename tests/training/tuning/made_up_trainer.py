"""Trainers that train nothing: a score that depends on the learning rate and the batch size. In a module, since a new process imports them."""

import json
import math
import os
import signal
import time
from pathlib import Path

from pneumodet.core.errors import DataError, TrainingError

BEST_RATE = 0.003


def score(fields, step):
    """Return a score in [0, 1] that rises with the steps, highest for BEST_RATE and a batch of 4."""
    rate = fields["learning_rate"] or 0.0125
    reached = math.exp(-(math.log10(rate / BEST_RATE) ** 2)) - (0.1 if fields["batch_size"] != 4 else 0)
    return max(0.0, reached) * (0.5 + 0.5 * step / fields["steps"])


def trains(fields, *, on_progress, on_evaluation):
    """Write checkpoints and evaluate as a run does."""
    folder = Path(fields["run"]) / "train"
    folder.mkdir(parents=True)
    (folder.parent / "request.json").write_text(json.dumps(fields, default=str))
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001", "checkpoint"):
        (folder / name).write_text("x")
    (folder.parent / "metrics.csv").write_text("step,kind,wall_seconds,best\n")
    print("a word on standard output")
    for step in range(fields["evaluate_every"], fields["steps"] + 1, fields["evaluate_every"]):
        on_progress(step, fields["steps"])
        if not on_evaluation(step, {"rsna_metric": score(fields, step), "coco.pneumonia.AP50": None}):
            (folder.parent / "stopped").write_text(str(step))
            return


def diverges_at_high_rates(fields, **callbacks):
    if (fields["learning_rate"] or 0) > 0.02:
        raise TrainingError("The loss is not finite at step 12.")
    trains(fields, **callbacks)


def always_diverges(fields, *, on_progress, on_evaluation):
    raise TrainingError(f"The loss is not finite at step {len(fields['run']) + fields['batch_size'] if fields['batch_size'] else 7}.")


def fails_in_many_ways(fields, **callbacks):
    number = int(fields["run"][-4:])
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        raise ValueError("shapes (3,) and (4,) do not fit\nmore about it")
    if number == 3:
        os._exit(7)
    trains(fields, **callbacks)


def has_no_metric(fields, *, on_progress, on_evaluation):
    on_evaluation(1, {"other": 0.5})
    time.sleep(60)


def undefined(fields, *, on_progress, on_evaluation):
    on_evaluation(fields["steps"], {"rsna_metric": float("nan")})


def hangs_in_third(fields, **callbacks):
    """Leave its process id and wait, once, in the third trial."""
    run = Path(fields["run"])
    if run.name == "trial-0002":
        (run.parent / "child").write_text(str(os.getpid()))
        time.sleep(60)
    trains(fields, **callbacks)


def has_no_disk_in_second(fields, **callbacks):
    if fields["run"].endswith("trial-0001"):
        raise DataError("Less than 1 GiB is free. Free some disk space.")
    trains(fields, **callbacks)
