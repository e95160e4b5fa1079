"""The whole report, fast checks first, TensorFlow last.

for check in examine():
    print(check.row())
"""

import functools
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pneumodet
from pneumodet.core import installation, paths
from pneumodet.doctor import extras, machine, packages, probe, wholeness
from pneumodet.doctor.check import INFO, Check
from pneumodet.models.detection.odapi_wheel import DISTRIBUTION


def examine(
    *, wanted: Sequence[str] = (), workspace: Path | None = None, attempt: Callable[[], dict[str, Any]] | None = None
) -> Iterator[Check]:
    """Yield every check, fast ones first; the last ones import TensorFlow in another process, which takes about 10 seconds.

    In an environment that was made for prediction, or evaluation of files, alone, only what that needs is checked.

    Args:
      wanted: extras that must be there as a whole; by default those that the environment was made for.
      workspace: the folder of runs; by default ``paths.workspace_dir()``.
      attempt: tries TensorFlow and the API, or the runtimes; by default ``run_probe``.
    """
    versions = packages.installed_versions()
    purpose = extras.purpose(versions)
    needed = extras.requirements(*(wanted or purpose))
    heavy = purpose == (extras.TRAIN,) or any(packages.name_of(line) == "tensorflow" for line in needed)
    yield packages.check_python(sys.version_info[:3])
    yield Check("pneumodet", INFO, f"{pneumodet.__version__}, {installation.described()}")
    yield Check("machine", INFO, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{machine.memory()}")
    if not heavy:
        yield extras.check_purpose(purpose)
    yield from packages.check_requirements(needed, versions)
    yield from wholeness.check_whole()
    yield from extras.check_others(versions)
    if heavy:
        yield packages.check_api(versions)
        api_origin, api_home = packages.origin("object_detection"), packages.home(DISTRIBUTION)
        # before TensorFlow is tried: a conflict named here explains the crash there
        yield from packages.check_conflicts(versions, api_origin=api_origin, api_home=api_home)
        yield packages.check_keras_switch(os.environ)
        yield from machine.check_files()
    else:
        # the checks of the API and of TensorFlow would report errors about what was left out on purpose
        yield from machine.check_label_map()
    yield machine.check_registry()
    yield machine.check_disk(workspace or paths.workspace_dir())
    yield from machine.check_decoders(machine.decoders)
    if heavy:
        yield from probe.check_probe((attempt or probe.run_probe)(), nvidia=machine.has_nvidia_gpu())
    elif extras.PREDICT in (wanted or purpose):
        yield from probe.check_runtimes((attempt or functools.partial(probe.run_probe, code=probe.TRY_RUNTIMES))())
