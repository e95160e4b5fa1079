"""Python and the packages that are installed: against setup.cfg, and against each other.

list(check_requirements(extras.requirements("train"), installed_versions()))
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pneumodet.core import installation
from pneumodet.doctor.check import ERROR, INFO, OK, Check
from pneumodet.models.detection.odapi_wheel import BRIDGED, DISTRIBUTION

PYTHONS = ((3, 11), (3, 14))
"""First Python that works, and the first with which it was not tried."""

TENSORFLOW = "tensorflow>=2.20,<2.22"
"""As in setup.cfg: the releases of TensorFlow that the Object Detection API is bridged to."""

SETUP_API = "pneumodet setup-api"
"""The command that installs the Object Detection API."""

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


def installed_versions() -> dict[str, str]:
    """Return normalized distribution name -> version; where a name occurs twice on the path, the first, which is what Python imports."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            # the first on the path wins, as in an import
            versions.setdefault(normalized(name), distribution.version)
    return versions


def check_python(version: tuple[int, ...]) -> Check:
    """Check the Python version."""
    text = ".".join(map(str, version))
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    if PYTHONS[0] <= version[:2] < PYTHONS[1]:
        return Check("Python", OK, text)
    return Check(
        "Python", ERROR, f"{text}; {low} or newer, but below {high} is needed", f"python{low} -m venv .venv, then {installation.repair()}"
    )


def check_requirements(requirements: list[str], versions: Mapping[str, str]) -> Iterator[Check]:
    """Check that each requirement is installed in a version that it allows.

    Args:
      requirements: as in setup.cfg.
      versions: normalized name -> installed version.
    """
    if not requirements:
        yield Check("requirements", ERROR, "there is neither setup.cfg nor pneumodet's own metadata", installation.command())
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Check("packaging", ERROR, "not installed, so that versions cannot be compared", "pip install packaging")
        for line in requirements:
            # what has a marker may be for another system
            if ";" not in line and name_of(line) not in {*versions, "packaging"}:
                yield Check(name_of(line), ERROR, f"not installed; needed: {line}", f"pip install '{line}'")
        return
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = versions.get(normalized(requirement.name))
        fix = f"pip install '{line}'"
        if version is None:
            yield Check(requirement.name, ERROR, f"not installed; needed: {line}", fix)
        # a prerelease that somebody installed is meant, and PEP 440 would leave it out
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, ERROR, f"{version}; needed: {line}", fix)
        else:
            yield Check(requirement.name, OK, version + (f" (needed: {requirement.specifier})" if requirement.specifier else ""))


def check_api(versions: Mapping[str, str]) -> Check:
    """Check that the Object Detection API is installed, which no requirement of pneumodet's own brings, in a release that is bridged."""
    version = versions.get(DISTRIBUTION)
    if version is None:
        return Check(DISTRIBUTION, ERROR, "not installed; training, evaluation and export of detectors need it", SETUP_API)
    if version not in BRIDGED:
        return Check(DISTRIBUTION, ERROR, f"{version}; needed: {BRIDGED[0]}", SETUP_API)
    return Check(DISTRIBUTION, OK, version)


def check_conflicts(versions: Mapping[str, str], *, api_origin: str | None, api_home: str | None) -> Iterator[Check]:
    """Check for packages from PyPI that take the place of those pneumodet needs.

    Args:
      versions: normalized name -> installed version.
      api_origin: the file that ``import object_detection`` would run; None where there is none.
      api_home: the folder in which pip put the API's distribution; None where it did not.
    """
    tensorflow = versions.get("tensorflow", "")
    again = f"pip install --force-reinstall --no-deps '{f'tensorflow=={tensorflow}' if tensorflow else TENSORFLOW}'"
    for others, replaced, fix in (
        (OTHER_API_DISTRIBUTIONS, DISTRIBUTION, SETUP_API),
        (OTHER_TENSORFLOWS, "tensorflow", again),
    ):
        for name in others:
            if name in versions:
                sentence = f"{versions[name]} is installed over {replaced}, whose files it replaces"
                yield Check(name, ERROR, sentence, f"pip uninstall {name}, then {fix}")
    for name in ESTIMATOR_ERA:
        if name in versions:
            yield Check(name, INFO, f"{versions[name]} is left over from before TensorFlow 2.16; 'pip uninstall {name}' removes it")
    # a checkout of tensorflow/models on the path comes before the installed package
    if api_origin and not (api_home and Path(api_home).resolve() in Path(api_origin).resolve().parents):
        fix = "take that folder off PYTHONPATH and leave it as working directory, or uninstall what put it there"
        yield Check("object_detection", ERROR, f"comes from {api_origin}, not from {DISTRIBUTION}", fix)


def check_keras_switch(environment: Mapping[str, str]) -> Check:
    """Check TF_USE_LEGACY_KERAS, which pneumodet sets itself unless the environment says something else."""
    value = environment.get("TF_USE_LEGACY_KERAS")
    if value is None:
        return Check("TF_USE_LEGACY_KERAS", OK, "not set; pneumodet sets it to 1")
    if value.strip().lower() in ("1", "true"):
        return Check("TF_USE_LEGACY_KERAS", OK, value)
    return Check(
        "TF_USE_LEGACY_KERAS", ERROR, f"is {value!r}, so that TensorFlow uses Keras 3, which the API cannot", "unset TF_USE_LEGACY_KERAS"
    )


def origin(module: str) -> str | None:
    """Return the file that ``import module`` would run, without running it; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def home(distribution: str) -> str | None:
    """Return the folder in which pip put a distribution; None where it did not."""
    try:
        return str(importlib.metadata.distribution(distribution).locate_file(""))
    except importlib.metadata.PackageNotFoundError:
        return None


def name_of(requirement: str) -> str:
    """Return the normalized name of the distribution that a line such as "tensorflow==2.20.*" asks for."""
    match = re.match(r"[\w.-]+", requirement)
    return normalized(match[0]) if match else ""


def normalized(name: str) -> str:
    """Return a distribution's name as PEP 503 has it, but for runs of separators."""
    return name.lower().replace("_", "-").replace(".", "-")
