"""What is installed, what works, and for each fault the command that mends it.

    checks = list(examine())                 # fast ones first, TensorFlow last
    print(render(checks)); faults = [check for check in checks if check.state == FAULT]

The standard library alone is imported here, since this is what runs where something else is missing. TensorFlow and the Object
Detection API are tried in another process (``pneumodet.probe``): a crash is reported instead of taking the report with it.
"""

import configparser
import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import EnvironmentProblem, PneumodetError
from pneumodet.probe import run_probe

OK, INFO, FAULT = "ok", "info", "FAULT"
"""States of a check: works; good to know, nothing depends on it; something that pneumodet needs does not work."""

TRAIN, PREDICT = "train", "predict"
"""The extra without which nothing is trained, and the one that is enough to predict with exported models."""

RUNTIMES = ("onnxruntime", "ai-edge-litert")
"""Distributions of ``PREDICT`` that run exported models."""

TRY_RUNTIMES = """
import importlib, importlib.metadata, json
for name, module in (("onnxruntime", "onnxruntime"), ("ai-edge-litert", "ai_edge_litert.interpreter")):
    try:
        importlib.import_module(module)
        found = {"found": importlib.metadata.version(name)}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print("@@" + json.dumps({"stage": name} | found), flush=True)
"""
"""Run by ``run_probe`` where TensorFlow is not: a line for each of ``RUNTIMES``."""

PYTHONS = ((3, 11), (3, 13))
"""First Python that works, and the first that is too new for what the Object Detection API asks for."""

NEEDED_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5")
"""Transfer syntaxes that numpy and Pillow decode, so that every set-up must: uncompressed, JPEG Baseline, JPEG 2000 lossless, RLE."""

RARE_SYNTAXES = (
    ("JPEG Lossless", ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), "pip install python-gdcm"),
    ("JPEG-LS", ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), "pip install pyjpegls"),
    ("HTJ2K", ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"), "pip install pylibjpeg pylibjpeg-openjpeg"),
)
"""Name, UIDs and what decodes them, of syntaxes that hospital archives use and the RSNA data do not."""

OTHER_API_DISTRIBUTIONS = (
    "object-detection",
    "object-detection-api",
    "tensorflow-object-detection-api",
    "tf-models-research-object-detection",
)
"""Distributions that install an ``object_detection`` of their own over the one that is bridged."""

OTHER_TENSORFLOWS = ("intel-tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly")
"""Distributions that install a ``tensorflow`` of their own over the pinned one."""

ESTIMATOR_ERA = ("keras-nightly", "tensorflow-addons", "tensorflow-estimator", "tf-estimator-nightly")
"""Distributions of the time before TensorFlow 2.16, left over in a venv that was upgraded."""

MEND_FILES = "git checkout -- label_maps configs; an installed pneumodet needs its checkout: pip install -e ."

LEAST_FREE_GB = 2.0
"""Disk space that a small run needs: records, a handful of checkpoints, an export."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
      name: what was looked at.
      state: ``OK``, ``INFO`` or ``FAULT``.
      found: what was found.
      mend: for a fault, the command or step that mends it.
    """

    name: str
    state: str
    found: str
    mend: str = ""


def examine(*, workspace: Path | None = None, probe: Callable[[], dict[str, Any]] | None = None) -> Iterator[Check]:
    """Yield every check, fast ones first; the last ones import TensorFlow in another process, which takes about 10 seconds.

    In an environment that was made for prediction alone, only what that needs is checked.

    Args:
      workspace: the folder of runs; by default ``paths.workspace_dir()``.
      probe: tries TensorFlow and the API, or the runtimes; by default ``run_probe``.
    """
    versions = installed_versions()
    light = only_predicts(versions)
    yield check_python(sys.version_info[:3])
    yield Check("machine", INFO, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{_memory()}")
    if light:
        found = "no TensorFlow, so that exported models predict here, and nothing is trained or evaluated (for that: make setup)"
        yield Check("prediction only", INFO, found)
    yield from check_requirements(project_requirements(PREDICT if light else TRAIN), versions)
    if light:
        yield from check_label_map()
        yield check_disk(workspace or paths.workspace_dir())
        yield from check_decoders(decoders)
        yield from check_runtimes((probe or functools.partial(run_probe, code=TRY_RUNTIMES))())
        return
    yield from check_conflicts(versions, api_origin=_origin("object_detection"), api_home=_home("tf-object-detection-api"))
    yield check_keras_switch(os.environ)
    yield from check_files()
    yield check_disk(workspace or paths.workspace_dir())
    yield from check_decoders(decoders)
    yield from check_probe((probe or run_probe)(), nvidia=_has_nvidia_gpu())


def render_row(check: Check) -> str:
    """Return one line: state, name, what was found; a fault has a second line with what mends it."""
    row = f"{check.state:<5}  {check.name:<26}  {check.found}"
    return row + (f"\n{'':<5}  {'to mend it':<26}  {check.mend}" if check.mend else "")


def only_predicts(versions: Mapping[str, str]) -> bool:
    """Return whether this is what ``pip install '.[predict]'`` makes: a runtime of exported models, neither TensorFlow nor the API."""
    heavy = ("tensorflow", "tf-object-detection-api", *OTHER_TENSORFLOWS, *OTHER_API_DISTRIBUTIONS)
    return any(name in versions for name in RUNTIMES) and not any(name in versions for name in heavy)


def project_requirements(extra: str = TRAIN) -> list[str]:
    """Return what pneumodet and an extra of it need, such as "tensorflow==2.20.*": of the checkout's setup.cfg, else of the installed copy."""
    parser = configparser.ConfigParser(interpolation=None)
    if parser.read(paths.PROJECT_ROOT / "setup.cfg", encoding="utf-8"):
        lines = parser.get("options", "install_requires", fallback="").splitlines()
        lines += parser.get("options.extras_require", extra, fallback="").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    try:
        lines = importlib.metadata.requires("pneumodet") or []
        return [line.partition(";")[0].strip() for line in lines if "extra ==" not in line or re.search(rf"extra == .{extra}\b", line)]
    except importlib.metadata.PackageNotFoundError:
        return []


def installed_versions() -> dict[str, str]:
    """Return normalized distribution name -> version; where a name occurs twice on the path, the first, which is what Python imports."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(_normalized(name), distribution.version)
    return found


def check_python(version: tuple[int, ...]) -> Check:
    """Check the Python version."""
    text = ".".join(map(str, version))
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    if PYTHONS[0] <= version[:2] < PYTHONS[1]:
        return Check("Python", OK, text)
    return Check("Python", FAULT, f"{text}; {low} or newer, but below {high} is needed", f"python{low} -m venv .venv, then make setup")


def check_requirements(requirements: list[str], versions: Mapping[str, str]) -> Iterator[Check]:
    """Check that each requirement is installed in a version that it allows.

    Args:
      requirements: as in setup.cfg.
      versions: normalized name -> installed version.
    """
    if not requirements:
        yield Check("requirements", FAULT, "neither setup.cfg nor pneumodet's own metadata was found", "pip install -e . in the checkout")
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Check("packaging", FAULT, "not installed, so that versions cannot be compared", "pip install packaging")
        return
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = versions.get(_normalized(requirement.name))
        mend = f"pip install '{line}'"
        if version is None:
            yield Check(requirement.name, FAULT, f"not installed; needed: {line}", mend)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, FAULT, f"{version}; needed: {line}", mend)
        else:
            yield Check(requirement.name, OK, version + (f" (needed: {requirement.specifier})" if requirement.specifier else ""))


def check_conflicts(versions: Mapping[str, str], *, api_origin: str | None, api_home: str | None) -> Iterator[Check]:
    """Check for packages from PyPI that take the place of those pneumodet needs.

    Args:
      versions: normalized name -> installed version.
      api_origin: the file that ``import object_detection`` would run; None where there is none.
      api_home: the folder in which pip put the API's distribution; None where it did not.
    """
    tensorflow = versions.get("tensorflow", "")
    for others, needed in (
        (OTHER_API_DISTRIBUTIONS, "tf-object-detection-api==0.1"),
        (OTHER_TENSORFLOWS, f"tensorflow=={tensorflow or '2.20.*'}"),
    ):
        for name in others:
            if name in versions:
                mend = f"pip uninstall {name}, then pip install --force-reinstall --no-deps '{needed}'"
                yield Check(name, FAULT, f"{versions[name]} is installed over {needed.partition('==')[0]}, whose files it replaces", mend)
    for name in ESTIMATOR_ERA:
        if name in versions:
            yield Check(name, INFO, f"{versions[name]} is left over from before TensorFlow 2.16; 'pip uninstall {name}' removes it")
    text = versions.get("tensorflow-text")
    if text and tensorflow and text.split(".")[:2] != tensorflow.split(".")[:2]:
        pin = ".".join(tensorflow.split(".")[:2]) + ".*"
        yield Check("tensorflow-text", FAULT, f"{text} does not fit TensorFlow {tensorflow}", f"pip install 'tensorflow-text=={pin}'")
    if api_origin and not (api_home and Path(api_home).resolve() in Path(api_origin).resolve().parents):
        mend = "take that folder off PYTHONPATH and leave it as working directory, or uninstall what put it there"
        yield Check("object_detection", FAULT, f"comes from {api_origin}, not from tf-object-detection-api", mend)


def check_keras_switch(environment: Mapping[str, str]) -> Check:
    """Check TF_USE_LEGACY_KERAS, which pneumodet sets itself unless the environment says something else."""
    value = environment.get("TF_USE_LEGACY_KERAS")
    if value is None:
        return Check("TF_USE_LEGACY_KERAS", OK, "not set; pneumodet sets it to 1")
    if value.strip().lower() in ("1", "true"):
        return Check("TF_USE_LEGACY_KERAS", OK, value)
    return Check(
        "TF_USE_LEGACY_KERAS", FAULT, f"is {value!r}, so that TensorFlow uses Keras 3, which the API cannot", "unset TF_USE_LEGACY_KERAS"
    )


def check_files(*, label_map: Path | None = None, config_dir: Path | None = None) -> Iterator[Check]:
    """Check that the label map and every config that comes with the project can be read."""
    yield from check_label_map(label_map)
    config_dir = config_dir or paths.CONFIG_DIR
    configs = sorted(config_dir.glob("*.config"))
    if not configs:
        yield Check("configs", FAULT, f"there is none in {config_dir}", MEND_FILES)
        return
    try:
        from pneumodet.models.detection import pipeline_config

        for path in configs:
            pipeline_config.load(str(path))
        yield Check("configs", OK, ", ".join(path.stem for path in configs))
    except (PneumodetError, ImportError) as error:
        yield Check("configs", FAULT, str(error), "make setup" if isinstance(error, ImportError | EnvironmentProblem) else MEND_FILES)


def check_label_map(label_map: Path | None = None) -> Iterator[Check]:
    """Check that the label map can be read."""
    label_map = label_map or paths.DEFAULT_LABEL_MAP
    try:
        from pneumodet.data.label_map import read_label_map

        classes = ", ".join(f"{number} {name}" for name, number in read_label_map(label_map).items())
        yield Check("label map", OK, f"{label_map.name}: {classes}")
    except (PneumodetError, ImportError) as error:
        yield Check("label map", FAULT, str(error), MEND_FILES)


def check_disk(workspace: Path, *, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    """Check that the workspace, or the folder it would be made in, can be written and has room."""
    folder = next(path for path in (workspace.absolute(), *workspace.absolute().parents) if path.exists())
    mend = "export PNEUMODET_WORKSPACE=/a/folder/with/room"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Check("workspace", FAULT, f"{workspace} cannot be written", mend)
    free = usage(folder).free / 1e9
    if free < LEAST_FREE_GB:
        return Check("workspace", FAULT, f"{workspace}: {free:.1f} GB free, {LEAST_FREE_GB:.0f} GB are needed", mend)
    return Check("workspace", OK, f"{workspace}: {free:.1f} GB free")


def decoders() -> dict[str, tuple[str, bool]]:
    """Return UID -> (name, whether pydicom decodes it here) of every transfer syntax that pydicom knows a decoder for."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    found = {}
    for uid in AllTransferSyntaxes:
        try:
            found[str(uid)] = (uid.name, get_decoder(uid).is_available)
        except NotImplementedError:
            continue  # a video, or another syntax without pixels that pydicom decodes
    return found


def check_decoders(look: Callable[[], dict[str, tuple[str, bool]]]) -> Iterator[Check]:
    """Check which DICOM transfer syntaxes can be decoded; ``look`` returns what ``decoders`` does."""
    try:
        found = look()
    except ImportError as error:
        yield Check("DICOM decoders", FAULT, f"pydicom cannot be imported ({error})", "pip install 'pydicom>=3.0'")
        return
    missing = [found.get(uid, (uid, False))[0] for uid in NEEDED_SYNTAXES if not found.get(uid, ("", False))[1]]
    if missing:
        yield Check("DICOM decoders", FAULT, f"cannot decode {', '.join(missing)}", "pip install --force-reinstall numpy pillow pydicom")
    else:
        yield Check("DICOM decoders", OK, f"{sum(works for _, works in found.values())} of {len(found)} transfer syntaxes, all usual ones")
    rare = [f"{name} ({mend})" for name, uids, mend in RARE_SYNTAXES if not all(found.get(uid, ("", False))[1] for uid in uids)]
    if rare:
        yield Check("DICOM decoders", INFO, f"not decoded: {', '.join(rare)}")


def check_probe(probe: Mapping[str, Any], *, nvidia: bool) -> Iterator[Check]:
    """Check what ``run_probe`` returned.

    Args:
      probe: its result.
      nvidia: whether the machine has an NVIDIA GPU.
    """
    reinstall = "pip install --force-reinstall 'tensorflow==2.20.*', or make setup in a new folder"
    names = {
        "import": ("TensorFlow", reinstall),
        "gpus": ("GPU", reinstall),
        "graph": ("TensorFlow computes", reinstall),
        "api": ("Object Detection API", "make setup, or pip install 'tf-object-detection-api==0.1' and what is a FAULT above"),
    }
    for stage, (name, mend) in names.items():
        result = probe.get(stage)
        if result is None or "error" in result:
            yield Check(name, FAULT, result["error"] if result else f"the attempt {probe.get('end') or 'ended without an answer'}", mend)
            return  # what follows needs it
        if stage != "gpus":
            yield Check(name, OK, result["found"])
        elif result["found"]:
            yield Check(name, OK, ", ".join(result["found"]))
        elif nvidia:
            found = "this machine has an NVIDIA GPU, but TensorFlow does not see it"
            yield Check(name, FAULT, found, "pip install 'tensorflow[and-cuda]==2.20.*'; nvidia-smi must show a driver of at least 525")
        else:
            yield Check(name, INFO, "none; training on the CPU works, but slowly")


def check_runtimes(probe: Mapping[str, Any]) -> Iterator[Check]:
    """Check what ``run_probe`` returned of ``TRY_RUNTIMES``."""
    for name in RUNTIMES:
        result = probe.get(name)
        if result is None or "error" in result:
            found = result["error"] if result else f"the attempt {probe.get('end') or 'ended without an answer'}"
            yield Check(f"{name} works", FAULT, found, "pip install --force-reinstall -c constraints.txt '.[predict]'")
        else:
            yield Check(f"{name} works", OK, result["found"])


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _origin(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def _home(distribution: str) -> str | None:
    try:
        return str(importlib.metadata.distribution(distribution).locate_file(""))
    except importlib.metadata.PackageNotFoundError:
        return None


def _has_nvidia_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()  # dxg: Windows' GPU seen from WSL 2


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory"
    except (AttributeError, OSError, ValueError):
        return ""  # no such numbers on this system
