"""Runs on disk: find one, lock one, refuse one that is in use, and the names of what lies in its folder. What run.json holds: ``run_record``.

folder = find("my_first", family=DETECTION)
with locked(folder):
    ...                                  # nobody else trains in it meanwhile

A run's folder is one with a run.json, which is written last when a run begins.
"""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import installation, locks, paths, resources, run_record, suggest
from pneumodet.core.errors import DataError
from pneumodet.core.run_record import RunRecord
from pneumodet.core.seen import Seen

DETECTION, CLASSIFICATION, SEGMENTATION = "detection", "classification", "segmentation"
"""Families of models."""

TRAINED_BY = {DETECTION: "train", CLASSIFICATION: "train_classifier", SEGMENTATION: "train_segmenter"}
"""Family -> command that trains it, without ``tools/`` and ``.py``."""

CONFIG = "pipeline.config"
"""The resolved config of the run; the stock API reads it unchanged."""

SETTINGS = "config.toml"
"""The resolved settings of a run of a classifier or segmenter, which has no ``CONFIG``."""

LABEL_MAP = "label_map.pbtxt"
"""The label map that the run's records were made with."""

RECORD = "run.json"
"""Arguments, versions, data and hardware of the run."""

TRAIN = "train"
"""Checkpoints and TensorBoard events of training."""

BEST = "best"
"""The checkpoint with the best figure on the validation records."""

EVAL = "eval"
"""metrics.json, detections.json and pictures of a detector's evaluation."""

EVALUATION = "evaluation"
"""Of a classifier or segmenter: metrics.json, scores.csv and pictures of the best checkpoint on the validation records."""

METRICS = "metrics.json"
"""What evaluation measured, in ``EVAL`` or ``EVALUATION``."""

CURVES = "curves.png"
"""Losses and validation figures over the steps."""

BACKBONE = "backbone"
"""Of a classifier: its backbone alone, as a detector takes it that starts from this run."""

EXPORT = "export"
"""The exported model."""

UNTRAINED = (
    "{checkpoint} is of step 0: this model was not trained on these records at all, and what it detects says nothing of what it could learn. Train it: "
    "python tools/{command}.py --run {run} --resume"
)
"""Warning."""

FREE_BYTES = 1 << 30
"""What must be free for a run's checkpoints."""

_LOCK = ".lock"

_VERSIONS_OF = ("tensorflow", "tf-keras", "tf-object-detection-api", "tf-slim", "numpy", "protobuf", "pydicom")


def command_of(family: str | None) -> str:
    """Return the command that trains a family."""
    return TRAINED_BY.get(family or DETECTION, TRAINED_BY[DETECTION])


def find(name: str, *, family: str | None = None) -> Path:
    """Return the folder of an existing run.

    Args:
      name: of the run, or its folder's path.
      family: one of ``TRAINED_BY``; None for any.

    Raises:
      DataError: there is no such run, or it is of another family; the message names a near one and lists those there are.
      ConfigError: the name cannot be one of a run.
    """
    folder = paths.run_dir(name)
    if not (folder / RECORD).is_file():
        where = f" (no {RECORD} in that folder)" if os.sep in name else f" in {paths.workspace_dir()}"
        raise DataError(f"There is no run {name!r}{where}. {_others(folder.name, family)}")
    own = read(folder).family
    if family not in (None, own):
        raise DataError(
            f"The run {name!r} is of the family {own}, not {family}: python tools/{command_of(own)}.py trained it. {_others(folder.name, family)}"
        )
    return folder


def untrained(run: str | None, checkpoint: str | None) -> str | None:
    """Return a sentence that says so where a detector's checkpoint, named or by its prefix, is of step 0; None for any other."""
    name = Path(checkpoint or "").name
    return UNTRAINED.format(checkpoint=name, run=run, command=command_of(DETECTION)) if name == "ckpt-0" else None


def names(family: str | None = None) -> list[str]:
    """Return the names of the runs in the workspace, of one family or of all; what cannot be read is of none."""
    there = sorted(path.parent.name for path in paths.workspace_dir().glob(f"*/{RECORD}"))
    return [name for name in there if family in (None, family_of(paths.workspace_dir() / name))]


def _others(name: str, family: str | None) -> str:
    there = names(family)
    if not there:
        return f"Train one with python tools/{command_of(family)}.py."
    near = suggest.nearest(name, there)
    return (f"Did you mean {near!r}? " if near else "") + f"Runs: {', '.join(there)}."


def read(folder: Path) -> RunRecord:
    """Return what a run's run.json holds.

    Raises:
      DataError: it cannot be read, or a field of it is wrong.
    """
    return run_record.read(folder / RECORD)


def write(folder: Path, record: RunRecord) -> None:
    """Write a run's run.json, atomically."""
    run_record.write(folder / RECORD, record)


def seen(folder: Path) -> Seen:
    """Return what a run has seen, with all that it began from; of a run of an earlier pneumodet, that nothing is recorded.

    Raises:
      DataError: its record cannot be read.
    """
    return read(folder).seen or Seen(unrecorded=(f"the run {folder.resolve().name}",))


def seen_by_weights(path: Path) -> Seen:
    """Return what weights in a file have seen: what their run has where they lie in the folder of one, else that nothing is recorded.

    Args:
      path: of the file, or a checkpoint's prefix.

    Raises:
      DataError: the run's record cannot be read.
    """
    folder = run_around(path)
    return Seen(unrecorded=(f"the weights {path.name}",)) if folder is None else seen(folder)


def run_around(path: Path) -> Path | None:
    """Return the folder of the run that a file lies in, up to three folders below it (run/train/ckpt-N, run/eval/detections.json); None for no run."""
    return next((one for one in path.absolute().parents[:3] if (one / RECORD).is_file()), None)


def family_of(folder: Path) -> str | None:
    """Return the family of a folder's run; None where there is none, or its record cannot be read."""
    try:
        return read(folder).family if (folder / RECORD).is_file() else None
    except DataError:
        return None


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, of whatever family or stage."""
    return any(paths.is_file(folder / file) for file in (RECORD, CONFIG, SETTINGS))


def refuse_used(folder: Path, name: str, *, family: str) -> None:
    """Refuse a folder with checkpoints, or with a run of another family; what a start left that did not come as far as a checkpoint may be replaced.

    Args:
      folder: that a run wants to begin in.
      name: of the run.
      family: of the run.

    Raises:
      DataError: the folder is in use.
    """
    command, other = command_of(family), SETTINGS if family == DETECTION else CONFIG
    if (folder / other).is_file() or family_of(folder) not in (None, family):
        raise DataError(f"The run folder {folder} holds a run that python tools/{command}.py did not start. Choose another --run name.")
    if any(path.suffix == ".index" for place in (TRAIN, BEST) for path in (folder / place).glob("*")):
        raise DataError(
            f"The run folder {folder} holds a run already. Resume it: python tools/{command}.py --run {name} --resume; or choose another --run name."
        )


def check_space(folder: Path) -> None:
    """Check that there is room for checkpoints.

    Raises:
      DataError: less than ``FREE_BYTES`` are free.
    """
    if shutil.disk_usage(folder).free < FREE_BYTES:
        raise DataError(f"Less than {FREE_BYTES >> 30} GiB is free for {folder}; checkpoints need it. Free some disk space.")


def steps_done(folder: Path) -> int | None:
    """Return the step of a run's newest training checkpoint; None where there is none."""
    return max((int(path.stem.rpartition("-")[2]) for path in (folder / TRAIN).glob("ckpt-*.index")), default=None)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's lock, which the system lets go when the process ends, however it ends.

    Args:
      folder: the run's.

    Raises:
      DataError: another process trains in this folder now, or the folder cannot be written.
    """
    made = not folder.exists()
    stack = contextlib.ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(locks.locked(folder / _LOCK))
    except OSError as error:
        raise DataError(f"Cannot write in {folder}: {error.strerror}. Choose another workspace by PNEUMODET_WORKSPACE.") from error
    # locked above, used here: an OSError of the caller's own work must not read as one of the lock
    with stack:
        if lock is locks.TAKEN:
            raise DataError(f"Another process is training in {folder}. Wait for it, stop it, or choose another --run name.")
        try:
            yield
        except BaseException:
            if made and [path.name for path in folder.iterdir()] == [_LOCK]:  # refused before anything was done
                shutil.rmtree(folder)
            raise


def provenance() -> dict[str, Any]:
    """Return what a reader of run.json needs to repeat the run: time, versions, commit, hardware. Nothing that names a person or machine."""
    versions = {}
    for name in _VERSIONS_OF:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "pneumodet": pneumodet.__version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
    }


def _git_commit() -> str | None:
    if resources.CHECKOUT is None:
        return installation.commit()
    # of the checkout that this code is from, not of the folder that the user is in
    command = ["git", "-C", str(resources.CHECKOUT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout, or no git
