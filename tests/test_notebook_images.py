"""Colab and Kaggle: an install changes none of the packages that their images have, since others there need them as they are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pneumodet.core.paths import PROJECT_ROOT
from pneumodet.doctor import extras
from pneumodet.models.detection import odapi_wheel

IMAGES = Path(__file__).parent / "images"
"""A list of name==version for each image; CONTRIBUTING.md says how to renew them."""

EXTRAS = ("train", "predict", "export", "dicom", "app", "pacs", "kaggle", "openvino")
"""What is installed in a notebook; [test] is for those who work on pneumodet."""


def normalized(name):
    return re.sub("[-_.]+", "-", name).lower()


def preinstalled(image):
    """Normalized name -> version."""
    lines = (IMAGES / f"{image}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalized(name): version for name, version in pairs}


@pytest.fixture(params=["colab", "kaggle"])
def image(request):
    return request.param


def test_ranges_allow_what_is_there(image):
    there = preinstalled(image)
    lines = {*extras.requirements(*EXTRAS), *odapi_wheel.REQUIRES}
    compared = [Requirement(line) for line in lines if normalized(Requirement(line).name) in there]
    assert {"tensorflow", "tf-keras", "tf-slim", "numpy", "kaggle"} <= {normalized(one.name) for one in compared}
    for one in compared:
        version = there[normalized(one.name)]
        assert one.specifier.contains(version), f"{one} would replace {one.name} {version} of the {image} image"


@pytest.mark.slow
def test_pip_changes_nothing_that_is_there(image, tmp_path):
    """Asks the package index: a new release of something that is not there may want a newer one of something that is. Skipped without network."""
    there = preinstalled(image)
    environment = tmp_path / "image"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    for name, version in there.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("")
    report = tmp_path / "report.json"
    # of the environment of make only: a notebook has no constraints
    variables = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        environment / "bin" / "python",
        "install",
        "--dry-run",
        "--quiet",
        "--report",
        report,
    ]
    done = subprocess.run(
        [*command, "--only-binary", ":all:", f"{PROJECT_ROOT}[{','.join(EXTRAS)}]"],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )
    if done.returncode and "connection broken by" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    installed = {normalized(one["metadata"]["name"]): one["metadata"]["version"] for one in json.loads(report.read_text())["install"]}
    assert {"pneumodet", "hotcoco"} <= installed.keys()
    assert {name: f"{there[name]} -> {version}" for name, version in installed.items() if name in there} == {}
