"""Run a script of the TensorFlow Object Detection API, or one of your own that imports it, on today's TensorFlow.

    python -m pneumodet.odapi object_detection.model_main_tf2 --pipeline_config_path pipeline.config --model_dir out --num_train_steps 1000
    python -m pneumodet.odapi object_detection.exporter_main_v2 --pipeline_config_path pipeline.config --trained_checkpoint_dir out --output_directory export
    python -m pneumodet.odapi my_script.py ARGUMENTS

The API is imported with every bridge in place (``pneumodet.models.detection.odapi``); then the module or file runs as Python itself would run it, with
what is left of the arguments.
"""

import importlib.util
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from pneumodet.core import suggest
from pneumodet.core.errors import ConfigError, PneumodetError

USAGE = "usage: python -m pneumodet.odapi MODULE|FILE.py [ARGUMENTS]"


def run(target: str, arguments: Sequence[str]) -> None:
    """Run ``target`` as ``__main__``, under the bridges.

    Args:
      target: dotted name of a module, or path of a file that ends in ".py".
      arguments: its command line without the program's name.

    Raises:
      ConfigError: there is no such module or file.
      EnvironmentProblem: the API cannot be imported.
      SystemExit: as the script exits.
    """
    # importing the API takes seconds: a name that is wrong is reported before
    file = target.endswith(".py") or os.sep in target
    _check(target, file=file)
    from pneumodet.models.detection import odapi

    odapi.load()
    sys.argv = [target, *arguments]
    if file:
        sys.path[0] = str(Path(target).resolve().parent)
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def _check(target: str, *, file: bool) -> None:
    """Raise ConfigError unless there is such a file or module."""
    if file:
        if not Path(target).is_file():
            raise ConfigError(f"There is no file {target}.")
        return
    try:
        known = importlib.util.find_spec(target) is not None
    except ModuleNotFoundError:
        known = False
    if not known:
        raise ConfigError(
            f"There is no module {target}. {suggest.sentence(target, _scripts(), otherwise='The scripts of the API are, among others')}"
        )


def _scripts() -> list[str]:
    """Return the modules directly in the API's package, where its scripts are; none where it is not installed."""
    spec = importlib.util.find_spec("object_detection")
    folders = spec.submodule_search_locations if spec else None
    return [f"object_detection.{module.name}" for module in pkgutil.iter_modules(folders or []) if module.name.endswith(("_tf2", "_v2"))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the first argument names.

    Returns:
      0; 2 where the user can fix what is wrong. A script that exits by itself exits here.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(f"{USAGE}\n\n{__doc__}" if argv else f"{USAGE}\n")
        return 0 if argv else 2
    try:
        run(argv[0], argv[1:])
    except PneumodetError as error:
        sys.stderr.write(f"pneumodet.odapi: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
