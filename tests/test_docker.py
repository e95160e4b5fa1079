"""The Dockerfile against the checkout. No image is built here; that needs an engine and gigabytes."""

import configparser
import fnmatch
import os
import re
import subprocess

import pytest

from pneumodet.core.paths import PROJECT_ROOT


def instructions():
    """(keyword, arguments) of each instruction, continuation lines joined, comments left out."""
    lines = [line for line in (PROJECT_ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def arguments(keyword):
    return [rest for name, rest in instructions() if name == keyword]


def copied():
    """Every path of the checkout that is copied into the image."""
    return [source for rest in arguments("COPY") for source in rest.split()[:-1]]


def ignored(path):
    """Whether .dockerignore keeps ``path`` from the daemon: the last pattern that fits it or a parent decides."""
    decision = False
    for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        parts = path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
        else:
            fits = any(fnmatch.fnmatch(prefix, pattern) and prefix.count("/") == pattern.count("/") for prefix in prefixes)
        if fits:
            decision = not keep
    return decision


def test_what_is_copied_exists_and_reaches_the_daemon():
    assert "tools" in copied()
    for source in copied():
        assert (PROJECT_ROOT / source).exists(), source
        assert not ignored(source), source


def test_everything_that_the_installation_reads_is_copied_before_it():
    before = []
    for name, rest in instructions():
        if name == "COPY":
            before += rest.split()[:-1]
        if name == "RUN" and "pip install" in rest:
            break
    metadata = configparser.ConfigParser()
    metadata.read(PROJECT_ROOT / "setup.cfg")
    named = {
        "setup.cfg",
        "pyproject.toml",
        metadata["metadata"]["license_files"],
        metadata["metadata"]["long_description"].removeprefix("file: "),
    }
    named |= set(re.findall(r"-r (\S+)", rest)) | {"constraints.txt", "tools", "deploy/building.py"}
    assert named <= set(before)


@pytest.mark.parametrize(
    "path",
    [
        "workspace/first/train/ckpt-1.index",
        "pretrained/x/ckpt-1.index",
        "data/0004cfab.dcm",
        "tools/0004cfab.dcm",
        ".git/config",
        ".venv/bin/python",
        "tools/__pycache__/a.pyc",
    ],
)
def test_radiographs_checkpoints_and_caches_stay_out(path):
    assert ignored(path)


def test_it_does_not_run_as_root():
    """By number, which Kubernetes can tell from root's; the user is made before, and nothing is written after."""
    (user,) = arguments("USER")
    assert int(user) > 0
    place = instructions().index(("USER", user))
    assert any(name == "RUN" and f"useradd --create-home --uid {user} " in rest for name, rest in instructions()[:place])
    assert all(name not in ("RUN", "COPY", "ADD") for name, _ in instructions()[place:])


def test_extras_exist():
    metadata = configparser.ConfigParser()
    metadata.read(PROJECT_ROOT / "setup.cfg")
    (run,) = [rest for rest in arguments("RUN") if "pip install" in rest]
    extras = {one for names in re.findall(r'extra="([\w,]+)"', run) for one in names.split(",")}
    assert extras == {"all", "gpu"}
    assert extras <= set(metadata["options.extras_require"])


def test_the_base_image_is_pinned_to_a_python_that_works():
    (base,) = arguments("FROM")
    assert re.fullmatch(r"python:3\.(11|12)\.\d+-slim-bookworm", base)


def test_workspace_volumes_and_port():
    environment = dict(item.split("=", 1) for rest in arguments("ENV") for item in rest.split())
    assert environment["PIP_CONSTRAINT"] == "/app/constraints.txt"
    assert environment["PNEUMODET_WORKSPACE"] == "/workspace"
    (volumes,) = arguments("VOLUME")
    assert volumes == '["/workspace", "/data"]'
    assert arguments("EXPOSE") == ["6006"]


@pytest.mark.parametrize(("device", "expected"), [("cpu", ".[all]"), ("gpu", ".[all,gpu]"), ("tpu", None)])
def test_the_device_argument(tmp_path, device, expected):
    """Runs the RUN step with a stand-in for pip."""
    (step,) = [rest for rest in arguments("RUN") if "pip install" in rest]
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DEVICE": device}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", step], capture_output=True, text=True, env=environment, timeout=30)
    if expected is None:
        assert done.returncode == 1
        assert done.stdout == ""
        assert "DEVICE is 'tpu'; allowed: cpu, gpu" in done.stderr
    else:
        calls = done.stdout.splitlines()
        assert len(calls) == 3
        assert "--require-hashes" in calls[0]
        assert calls[1].split()[-1] == expected
        assert calls[2] == "check"
