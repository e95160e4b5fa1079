"""Scripts of benchmarks/, which are no package, as modules."""

import importlib.util
import sys

from pneumodet.core.paths import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "benchmarks"


def load(name):
    """Import a benchmark; what it imports of its folder must be on the path."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses find themselves by it
    spec.loader.exec_module(module)
    return module
