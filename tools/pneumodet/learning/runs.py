"""A run's folder of a Keras 3 model: config.toml, run.json, train/, best/, evaluation/. No TensorFlow.

folder = find("my_classifier", family="classification")
record = record_of(folder)
"""

from pathlib import Path
from typing import Any

from pneumodet import paths, run_folder
from pneumodet.errors import DataError

EVALUATION = "evaluation"
"""metrics.json, scores.csv and pictures of the best checkpoint on the validation records."""

METRICS = run_folder.METRICS
"""In ``EVALUATION``."""


def find(name: str, *, family: str, command: str) -> Path:
    """Return the folder of an existing run of a family.

    Args:
      name: of the run, or its folder's path.
      family: classification or segmentation.
      command: that trains such runs, for the message.

    Raises:
      DataError: there is no such run, or it is of another family; the message lists those there are.
    """
    folder = paths.run_dir(name)
    if (folder / run_folder.SETTINGS).is_file():
        found = record_of(folder).get("family")
        if found != family:
            raise DataError(f"The run {name!r} is of the family {found}, not {family}. Name another one.")
        return folder
    root = paths.workspace_dir()
    there = sorted(path.parent.name for path in root.glob(f"*/{run_folder.SETTINGS}") if _family(path.parent) == family)
    what = "is a detector's" if (folder / run_folder.CONFIG).is_file() else f"does not exist in {root}"
    hint = f"Runs of {family}: {', '.join(there)}." if there else f"Train one with tools/{command}.py."
    raise DataError(f"The run {name!r} {what}. {hint}")


def _family(folder: Path) -> str | None:
    """Return the family of a run; None where it has no record that can be read, or is none of this engine."""
    try:
        return record_of(folder).get("family")
    except DataError:
        return None


def record_of(folder: Path) -> dict[str, Any]:
    """Return what run.json holds.

    Raises:
      DataError: it cannot be read.
    """
    return paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Start a new run.")
