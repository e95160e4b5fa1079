"""Trainings that are killed at random moments and resumed: do they end in the weights of one that was not?

    python benchmarks/train_kills.py --kills 20
    python benchmarks/train_kills.py --kills 20 --command tiny

Of synthetic radiographs and a small network. One training is left alone. Others, of the same settings, are killed (SIGKILL) and started again with
``--resume`` until they have come to their end: every second time at a moment of the whole life of a process, start included, else at one after its first
checkpoint. Each is a process of its own, forked from one that has imported TensorFlow, which would take most of the time. ``--command tiny`` trains a
classifier of one convolution by the engine of the classifiers and U-Nets, instead of a detector by tools/train.py. Then, on one more run:

- a second training is started beside the first one, with and without ``--resume``: it must be refused;
- the disk is full when a checkpoint is written (no file may be larger than half of it: RLIMIT_FSIZE): the training must end with a sentence, and be resumed
  from the checkpoint before.

Printed is a Markdown table; the exit code is 1 where weights differ or something else was not as it must be.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import shallow  # noqa: E402
import train_kills_imports  # noqa: E402

TINY = "tiny"
"""The value of --command that is none."""

SAVE_EVERY = 4

PATIENCE_S = 900.0
"""For one process, on a busy computer."""

EXAMS = 24


@dataclasses.dataclass
class Counts:
    """What was done, and what came of it."""

    kills: int = 0
    before_the_first_checkpoint: int = 0
    trainings: int = 0
    other_weights: int = 0
    refused: int = 0
    second_trainings: int = 0
    full_disk: str = ""
    leftovers: int = 0


def to_log(log: Path, file_bytes: int) -> None:
    """Write what is printed into a log, and no file beyond a size."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def run(argv: list[str], log: Path, file_bytes: int) -> None:
    """Be tools/train.py; what a process does that is forked."""
    from pneumodet.cli import train

    to_log(log, file_bytes)
    with shallow.backbone():
        code = train.main(argv)
    sys.stdout.flush()
    raise SystemExit(code)


def run_tiny(folder: Path, records: Path, steps: int, resume: bool, log: Path, file_bytes: int) -> None:
    """Train the smallest network that there is; what a process does that is forked."""
    sys.path.append(str(ROOT / "tests" / "training" / "keras"))
    import tiny

    from pneumodet.core.errors import PneumodetError
    from pneumodet.training.keras import experiment

    to_log(log, file_bytes)
    request = experiment.Request(run=str(folder), resume=True)
    if not resume:
        settings = (f"steps={steps}", f"checkpoint_every={SAVE_EVERY}", f"evaluate_every={steps // 3}")
        request = tiny.request(records, folder, *settings)
    try:
        experiment.train(tiny.Tiny(), request)
    except PneumodetError as error:
        print(error, flush=True)
        raise SystemExit(2) from None


def write_digest(prefix: Path, path: Path) -> None:
    """Write the SHA-256 of a checkpoint's variables of numbers with a fraction, their names included, to a file."""
    import tensorflow as tf

    reader, digest = tf.train.load_checkpoint(str(prefix)), hashlib.sha256()
    for name in sorted(name for name, kind in reader.get_variable_to_dtype_map().items() if kind.is_floating):
        digest.update(name.encode() + np.ascontiguousarray(reader.get_tensor(name)).tobytes())
    path.write_text(digest.hexdigest())


class Training:
    """The command, on runs of one folder."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args, self.folder = args, folder
        self._processes: Any = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload([train_kills_imports.__name__])
        # of the process that is forked, which starts with the first one and passes over what it cannot import
        os.environ[train_kills_imports.COMMAND] = args.command
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)

    def start(self, name: str, *, resume: bool, file_bytes: int = 0) -> Any:
        """Start it in the background, with files no larger than that."""
        args, argv, log = self._args, ["--run", str(self.folder / name)], self.folder / f"{name}.log"
        if args.command == TINY:
            return self._forked(run_tiny, self.folder / name, args.records, args.steps, resume, log, file_bytes)
        if resume:
            argv.append("--resume")
        else:
            argv += ["--config", "ssd_mobilenet", "--data", str(args.records), "--steps", str(args.steps), "--batch-size", "2"]
            argv += ["--checkpoint-every", str(SAVE_EVERY), "--evaluate-every", str(args.steps // 3)]
            argv += ["--pretrained", "none", *shallow.FLAGS]
        return self._forked(run, argv, log, file_bytes)

    def _forked(self, target: Callable[..., None], *args: Any) -> Any:
        process = self._processes.Process(target=target, args=args)
        process.start()
        return process

    def whole(self, run: str, *, resume: bool) -> tuple[int, float]:
        """Run it to its end; return its exit code and seconds."""
        started = time.monotonic()
        return ended(self.start(run, resume=resume)), time.monotonic() - started

    def can_resume(self, run: str) -> bool:
        """Whether there is something to resume."""
        return self.newest(run) >= 0

    def newest(self, run: str) -> int:
        """Return the step of the newest checkpoint, -1 where there is none."""
        return max([-1, *(int(path.stem.partition("-")[2]) for path in (self.folder / run / "train").glob("ckpt-*.index"))])

    def wait(self, process: Any, run: str, step: int) -> None:
        """Wait until there is a checkpoint of that step or a later one, or the process has ended, or for ``PATIENCE_S``."""
        end = time.monotonic() + PATIENCE_S
        while self.newest(run) < step and process.exitcode is None and time.monotonic() < end:
            time.sleep(0.02)

    def weights(self, run: str) -> str:
        """Return the SHA-256 of all variables of the last checkpoint that are no counters."""
        step, path = self.newest(run), self.folder / f"{run}.sha256"
        if step != self._args.steps:
            return f"it ended at step {step}"
        # TensorFlow is there, in the process that is forked
        self._forked(write_digest, self.folder / run / "train" / f"ckpt-{step}", path).join()
        return path.read_text()

    def said(self, run: str) -> str:
        """Return the last line of the log."""
        return (self.folder / f"{run}.log").read_text().rstrip().rpartition("\n")[2]


def ended(process: Any, seconds: float = PATIENCE_S) -> int | None:
    """Wait for the end of a process, and return its exit code, None where it does not end."""
    process.join(seconds)
    code: int | None = process.exitcode
    return code


def kill_once(training: Training, run: str, chance: random.Random, *, seconds: float, after_steps: bool) -> tuple[bool, float]:
    """Start a training, and kill it at a random moment; return whether it was still there, and after how many seconds it was not."""
    before, started = training.newest(run), time.monotonic()
    process = training.start(run, resume=training.can_resume(run))
    if after_steps:
        training.wait(process, run, max(before, 0) + 1)
        seconds /= 4
    wait = chance.uniform(0, seconds)
    code = ended(process, wait)
    if code is None:
        process.kill()
        process.join()
        return True, seconds
    if code:
        raise SystemExit(f"A training ended with {code}: {training.said(run)}")
    return False, time.monotonic() - started


def leftovers(folder: Path) -> int:
    """Return how many files of a run were left half written."""
    return sum(path.suffix == ".tmp" or ".tempstate" in path.name or "_temp" in path.name for path in folder.rglob("*"))


def killed(training: Training, counts: Counts, wanted: str, chance: random.Random, *, kills: int, seconds: float) -> None:
    """Kill trainings so often, and compare the weights of each with those of the one that was left alone."""
    while counts.kills < kills:
        run = f"killed-{counts.trainings}"
        counts.trainings += 1
        over = False
        while not over and counts.kills < kills:
            was_there, lasted = kill_once(training, run, chance, seconds=seconds, after_steps=counts.kills % 2 == 1)
            over = not was_there
            seconds = seconds if was_there else min(seconds, lasted)  # a busy computer may have been busier before
            counts.kills += was_there
            counts.before_the_first_checkpoint += not over and training.newest(run) < 0
            if not over and training.newest(run) < 0:
                shutil.rmtree(training.folder / run, ignore_errors=True)  # there is nothing to resume; the command says so
        if not over:
            code, _ = training.whole(run, resume=training.can_resume(run))
            if code:
                raise SystemExit(f"A training ended with {code}: {training.said(run)}")
        weights = training.weights(run)
        same = weights == wanted
        counts.other_weights += not same
        counts.leftovers += leftovers(training.folder / run)
        print(f"{run}: {counts.kills} kills, {'the same weights' if same else weights}", file=sys.stderr, flush=True)
        if same:
            shutil.rmtree(training.folder / run)


def at_once(training: Training, counts: Counts, wanted: str) -> None:
    """Start second trainings beside one that is at work."""
    first = training.start("shared", resume=False)
    training.wait(first, "shared", 1)
    os.kill(first.pid, signal.SIGSTOP)  # it is at work for as long as the others take
    for resume in (False, True):
        counts.second_trainings += 1
        code, _ = training.whole("shared", resume=resume)
        print(f"a second training: {code}, {training.said('shared')}", file=sys.stderr, flush=True)
        counts.refused += code == 2
    os.kill(first.pid, signal.SIGCONT)
    if ended(first) or training.weights("shared") != wanted:
        counts.other_weights += 1


def full_disk(training: Training, counts: Counts, wanted: str) -> None:
    """Let a checkpoint be written on a full disk."""
    process = training.start("full", resume=False)
    training.wait(process, "full", 1)
    process.kill()
    process.join()
    before = training.newest("full")
    size = max(path.stat().st_size for path in (training.folder / "full" / "train").glob("ckpt-*.data*"))
    limited = training.start("full", resume=True, file_bytes=size // 2)
    code, said = ended(limited), training.said("full")
    text = f"ended with {code}, checkpoint {training.newest('full')} of {before} before; "
    print(f"a full disk: {code}, {said}", file=sys.stderr, flush=True)
    if code != 2 or training.newest("full") != before:
        counts.other_weights += 1
    after, _ = training.whole("full", resume=True)
    same = after == 0 and training.weights("full") == wanted
    counts.other_weights += not same
    counts.leftovers += leftovers(training.folder / "full")
    counts.full_disk = text + ("resumed to the same weights" if same else "other weights")


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--steps", type=int, default=60, help="of a training (default %(default)s)")
    made.add_argument("--command", default="train", choices=("train", TINY), help="default %(default)s")
    made.add_argument("--records", type=Path, help="record set (default: one of synthetic radiographs)")
    made.add_argument("--out", type=Path, help="new folder for runs and logs (default: a temporary one)")
    made.add_argument("--seed", type=int, default=0)
    return made


def main(argv: list[str] | None = None) -> int:
    """Kill and compare."""
    args = parser().parse_args(argv)
    counts, chance = Counts(), random.Random(args.seed)
    with contextlib.ExitStack() as stack:
        folder = Path(args.out or stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        folder.mkdir(parents=True, exist_ok=True)
        if args.records is None:
            import made  # each training imports this module: not at its top

            from pneumodet.data import synthetic

            args.records = folder / "records"
            source = synthetic.make_dataset(folder / "source", exams=EXAMS, seed=3, size=192)
            with contextlib.redirect_stdout(io.StringIO()):
                made.records_of(source, args.records, classes=True)
        training = Training(args, folder)
        code, seconds = training.whole("uncut", resume=False)
        if code:
            raise SystemExit(f"The training that is left alone ended with {code}: {training.said('uncut')}")
        wanted = training.weights("uncut")
        print(f"uncut: {seconds:.0f} s", file=sys.stderr, flush=True)
        killed(training, counts, wanted, chance, kills=args.kills, seconds=seconds)
        at_once(training, counts, wanted)
        full_disk(training, counts, wanted)
    rows = {
        "trainings": counts.trainings,
        "kills": counts.kills,
        "of these, before the first checkpoint": counts.before_the_first_checkpoint,
        "trainings that ended in other weights": counts.other_weights,
        "files left half written": counts.leftovers,
        "second trainings of one run, refused": f"{counts.refused} of {counts.second_trainings}",
        "full disk at a checkpoint": counts.full_disk,
    }
    print("\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows.items())]))
    return 1 if counts.other_weights or counts.refused < counts.second_trainings or counts.leftovers else 0


if __name__ == "__main__":
    raise SystemExit(main())
