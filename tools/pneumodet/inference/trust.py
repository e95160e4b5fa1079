"""Which exported models may be run: a SavedModel is a program, and whoever made it can read and write all that its user can.

    trust.remember(sha256, run="my_first")          # export: what this workspace has made
    trust.check(one, "savedmodel", given=False)     # CheckpointError where it is of elsewhere, and nobody said that it is to be trusted

TensorFlow's graphs have operations that read and write files (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md). ONNX and TFLite files
have none, and need no trust; they must be the files that their model.json names, by SHA-256.
"""

import datetime
import logging
from pathlib import Path

from pneumodet.core import json_fields, locks, paths
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.inference import exported
from pneumodet.inference.card import CARD

OWN = ".exports.json"
"""In the workspace: SHA-256 of each SavedModel that was exported there. Beside the runs and not in them: a run may be a gift, with a record of its own."""

_PROGRAM = "savedmodel"
"""The format that is one."""

_log = logging.getLogger(__name__)


def remember(sha256: str, *, run: str) -> None:
    """Write down that this workspace has exported a SavedModel; where it cannot be written, the model needs trust as any other.

    Args:
      sha256: as ``exported.sha256`` computes it.
      run: what it was made of.
    """
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locks.locked(path.with_name(f"{OWN}.lock"), wait=lambda: None):
            made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            paths.write_json(path, {**_own(), sha256: {"run": run, "time": made}})
    except (OSError, DataError) as error:
        _log.warning("%s cannot be written: %s. To run the SavedModel of %s, say --trust-model.", path, error, run)


def check(one: exported.Exported, name: str, *, given: bool) -> None:
    """Check that a format may be run.

    Args:
      one: the exported model.
      name: the format.
      given: whether the user said that its maker is trusted.

    Raises:
      CheckpointError: it is a program of elsewhere, or model.json does not say which file it is.
    """
    artefact, path = one.artefacts[name], one.path(name)
    if given:
        return
    if name == _PROGRAM:
        # of the files as they are: what model.json says of them, its maker could have written
        if exported.sha256(path) not in _own():
            others = [other.file for format_, other in one.artefacts.items() if format_ != _PROGRAM]
            instead = f"take {others[0]}, which is none" if others else "ask for an ONNX or TFLite file, which is none"
            raise CheckpointError(
                f"{path} is a program, as every SavedModel is: whoever made it can read and write your files. It is none that was exported in this workspace "
                f"({paths.workspace_dir()}; those of earlier versions are not known: export them again). Say --trust-model if you trust its maker, "
                f"or {instead}."
            )
    elif artefact.sha256 is None:
        raise CheckpointError(
            f"{one.model_dir / CARD}: the field artefacts.{name}.sha256 is missing, by which {artefact.file} is known. Export the run again, or say "
            "--trust-model."
        )


def _path() -> Path:
    return paths.workspace_dir() / OWN


def _own() -> dict[str, object]:
    """Return SHA-256 -> what is known of each SavedModel of this workspace."""
    path = _path()
    if not path.is_file():
        return {}
    return dict(json_fields.of_file(path, what="the list of exports", hint="Remove it, and export the runs again.").content)
