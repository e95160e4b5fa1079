"""Scripts of benchmarks/, which are no package, as modules."""

import contextlib
import importlib.util
import sys
from unittest import mock

from pneumodet.core.paths import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "benchmarks"


@contextlib.contextmanager
def on_path():
    """Have the folder on the path, as a benchmark has that is started; what benchmarks put there themselves goes again, too."""
    with mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):
        yield


def load(name):
    """Import a benchmark."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses find themselves by it
    with on_path():
        spec.loader.exec_module(module)
    return module
