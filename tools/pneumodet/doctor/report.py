"""The whole report, fast checks first, TensorFlow last.

for check in examine():
    print(check.row())
"""

import functools
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.doctor import machine, packages, probe
from pneumodet.doctor.check import INFO, Check
from pneumodet.models.detection.odapi_wheel import DISTRIBUTION


def examine(*, workspace: Path | None = None, attempt: Callable[[], dict[str, Any]] | None = None) -> Iterator[Check]:
    """Yield every check, fast ones first; the last ones import TensorFlow in another process, which takes about 10 seconds.

    In an environment that was made for prediction alone, only what that needs is checked.

    Args:
      workspace: the folder of runs; by default ``paths.workspace_dir()``.
      attempt: tries TensorFlow and the API, or the runtimes; by default ``run_probe``.
    """
    versions = packages.installed_versions()
    light = packages.only_predicts(versions)
    yield packages.check_python(sys.version_info[:3])
    yield Check("machine", INFO, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{machine.memory()}")
    if light:
        sentence = "no TensorFlow, so that exported models predict here, and nothing is trained or evaluated (for that: make setup)"
        yield Check("prediction only", INFO, sentence)
    yield from packages.check_requirements(packages.project_requirements(packages.PREDICT if light else packages.TRAIN), versions)
    if light:
        # the checks of the API and of TensorFlow would report errors about what was left out on purpose
        yield from machine.check_label_map()
        yield machine.check_disk(workspace or paths.workspace_dir())
        yield from machine.check_decoders(machine.decoders)
        yield from probe.check_runtimes((attempt or functools.partial(probe.run_probe, code=probe.TRY_RUNTIMES))())
        return
    yield packages.check_api(versions)
    api_origin, api_home = packages.origin("object_detection"), packages.home(DISTRIBUTION)
    # before TensorFlow is tried: a conflict named here explains the crash there
    yield from packages.check_conflicts(versions, api_origin=api_origin, api_home=api_home)
    yield packages.check_keras_switch(os.environ)
    yield from machine.check_files()
    yield machine.check_disk(workspace or paths.workspace_dir())
    yield from machine.check_decoders(machine.decoders)
    yield from probe.check_probe((attempt or probe.run_probe)(), nvidia=machine.has_nvidia_gpu())
