"""A run's folder: pipeline.config, label_map.pbtxt, run.json, train/, eval/, export/.

with run_folder.locked(folder):
    ...                                  # nobody else trains in it meanwhile
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
from pneumodet import locks, paths
from pneumodet.errors import DataError

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
"""metrics.json, detections.json and pictures of evaluation."""

METRICS = "metrics.json"
"""What evaluation measured, in eval/."""

CURVES = "curves.png"
"""Losses and validation figures over the steps."""

EXPORT = "export"
"""The exported model."""

CHOSEN_HERE = (
    "This checkpoint was the best of {count} on these very exams, so that its figures are somewhat optimistic. For figures to be published, evaluate "
    "once (--evaluate-every as many as --steps), or on other exams."
)
"""Warning."""

FREE_BYTES = 1 << 30
"""What must be free for a run's checkpoints."""

_LOCK = ".lock"

_VERSIONS_OF = ("tensorflow", "tf-keras", "tf-models-official", "tf-object-detection-api", "tf-slim", "numpy", "protobuf", "pydicom")


def find(name: str) -> Path:
    """Return the folder of an existing run.

    Raises:
      DataError: there is no such run; the message lists those there are.
    """
    folder = paths.run_dir(name)
    if (folder / CONFIG).is_file():
        return folder
    root = paths.workspace_dir()
    there = sorted(path.parent.name for path in root.glob(f"*/{CONFIG}"))
    raise DataError(f"There is no run {name!r} in {root}. " + (f"Runs: {', '.join(there)}." if there else "Train one with tools/train.py."))


def refuse_used(folder: Path, name: str, *, command: str, config: str = CONFIG) -> None:
    """Refuse a folder with checkpoints, or with a run of another kind; what a start left that did not come as far as a checkpoint may be replaced.

    Args:
      folder: that a run wants to begin in.
      name: of the run.
      command: that trains it, without ``tools/`` and ``.py``.
      config: the file that makes a folder a run of this kind, ``CONFIG`` or ``SETTINGS``.

    Raises:
      DataError: the folder is in use.
    """
    if any((folder / other).is_file() for other in {CONFIG, SETTINGS} - {config}):
        raise DataError(f"The run folder {folder} holds a run that tools/{command}.py did not start. Choose another --run name.")
    if any(path.suffix == ".index" for place in (TRAIN, BEST) for path in (folder / place).glob("*")):
        raise DataError(
            f"The run folder {folder} holds a run already. Go on with it: python tools/{command}.py --run {name} --resume; or choose another --run name."
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
    command = ["git", "-C", str(paths.PROJECT_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout, or no git
