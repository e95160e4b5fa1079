"""The Dockerfile against the checkout. No image is built here; benchmarks/docker_steps.py carries out its steps, which takes root and gigabytes."""

import configparser
import os
import re
import subprocess

import benchmark_modules
import pytest

from pneumodet.core.paths import PROJECT_ROOT

with benchmark_modules.on_path():
    import docker_steps
    import dockerfile


def instructions():
    """(keyword, arguments) of each instruction, continuation lines joined, comments left out."""
    return [(one.keyword, one.arguments) for one in dockerfile.instructions((PROJECT_ROOT / "Dockerfile").read_text())]


def arguments(keyword):
    return [rest for name, rest in instructions() if name == keyword]


def copied():
    """Every path of the checkout that is copied into the image."""
    return [source for rest in arguments("COPY") for source in rest.split()[:-1]]


def ignored(path):
    """Whether .dockerignore keeps ``path`` from the daemon: the last pattern that fits it or a parent decides."""
    return dockerfile.ignored(path, (PROJECT_ROOT / ".dockerignore").read_text())


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
    assert re.fullmatch(r"python:3\.(11|12|13)\.\d+-slim-bookworm", base)


def test_workspace_volumes_and_port():
    environment = dict(item.split("=", 1) for rest in arguments("ENV") for item in rest.split())
    assert environment["PIP_CONSTRAINT"] == "/app/constraints.txt"
    assert environment["PNEUMODET_WORKSPACE"] == "/workspace"
    (volumes,) = arguments("VOLUME")
    assert volumes == '["/workspace", "/data"]'
    assert arguments("EXPOSE") == ["6006"]


@pytest.mark.parametrize(("device", "expected"), [("cpu", ".[all]"), ("gpu", ".[all,gpu]"), ("tpu", None)])
def test_the_device_argument(tmp_path, device, expected):
    """Runs the RUN step with stand-ins for pip and for the command that it installs."""
    (step,) = [rest for rest in arguments("RUN") if "pip install" in rest]
    for name in ("pip", "pneumodet"):
        stand_in = tmp_path / name
        stand_in.write_text('#!/bin/sh\necho "$@"\n')
        stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DEVICE": device}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", step], capture_output=True, text=True, env=environment, timeout=30)
    if expected is None:
        assert done.returncode == 1
        assert done.stdout == ""
        assert "DEVICE is 'tpu'; allowed: cpu, gpu" in done.stderr
    else:
        calls = done.stdout.splitlines()
        assert len(calls) == 3
        assert calls[0].split()[-1] == expected
        assert calls[1:] == ["setup-api", "check"]


def image(tmp_path):
    return docker_steps.Image(tmp_path / "root")


def carried_out(tmp_path, monkeypatch, text, **given):
    """Return the image after the instructions of a Dockerfile, and the commands that its RUN lines became."""
    made, commands = image(tmp_path), []
    monkeypatch.setattr(docker_steps.Report, "command", lambda self, name, arguments, **_: commands.append(arguments) or "")
    monkeypatch.setattr(docker_steps.os, "chown", lambda *_: None)
    docker_steps.carry_out(made, docker_steps.Report(), dockerfile.instructions(text), given=given, network={"https_proxy": "http://p"})
    return made, [command[-1] for command in commands]


def test_the_steps_of_a_dockerfile(tmp_path, monkeypatch):
    text = """
    # a comment
    ARG DEVICE=cpu
    ARG OTHER=as it is
    SHELL ["/bin/bash", "-c"]
    WORKDIR /app
    ENV A=1 \\
        B=${A}:$PATH
    RUN echo 'it is' "${DEVICE}" \\
        && true
    COPY setup.cfg LICENSE ./
    COPY label_maps ./maps
    COPY deploy/building.py ./deploy/building.py
    USER 1000
    VOLUME ["/x", "/y"]
    CMD ["pneumodet", "--help"]
    """
    made, (step,) = carried_out(tmp_path, monkeypatch, text, DEVICE="gpu")
    assert made.environment["B"] == f":{docker_steps.BASE_PATH}", "an ENV line does not see its own values, as with an engine"
    assert (made.user, made.folder, made.volumes, made.command) == (1000, "/app", ("/x", "/y"), ("pneumodet", "--help"))
    assert made.arguments == {"DEVICE": "gpu", "OTHER": "as it is"}
    assert (made.root / "app/setup.cfg").read_bytes() == (PROJECT_ROOT / "setup.cfg").read_bytes()
    assert (made.root / "app/maps/pneumonia.pbtxt").is_file() and (made.root / "app/deploy/building.py").is_file()
    assert "DEVICE=gpu" in step
    assert "https_proxy=http://p" in step
    assert "https_proxy" not in made.environment, "a machine's network is not kept in the image"
    # what the shell gets is the very line, whatever quotes are in it
    inner = step.splitlines()[-1].replace('chroot "$ROOT"', "").replace("/usr/bin/env --chdir=/app", "env")
    done = subprocess.run(["sh", "-c", inner], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "it is gpu\n"


def test_what_the_dockerignore_leaves_out_is_not_copied(tmp_path, monkeypatch):
    made, _ = carried_out(tmp_path, monkeypatch, "COPY tools ./tools")
    there = {path.relative_to(made.root).as_posix() for path in made.root.rglob("*") if path.is_file()}
    assert "tools/train.py" in there
    assert not [name for name in there if name.endswith(".pyc")]


def test_an_instruction_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="the instruction ADD; known are FROM, ARG"):
        dockerfile.instructions("ADD a b")


def test_a_container_has_no_more_than_compose_gives_it(tmp_path):
    made = docker_steps.Image(tmp_path, user=1000)
    script = docker_steps.container(made, ["true"], binds={"/workspace": tmp_path / "w"})[-1]
    for part in ("--reuid=1000", "--no-new-privs", "--bounding-set=-all", "remount,bind,ro", 'tmpfs "$ROOT/tmp"', '"$ROOT/workspace"'):
        assert part in script
    assert subprocess.run(["sh", "-n", "-c", script], timeout=30, check=False).returncode == 0
    assert "--reuid=4321" in docker_steps.container(made, ["true"], user=4321)[-1]


def test_the_worker_of_the_compose_file_is_run_as_it_says():
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((PROJECT_ROOT / "deploy" / "compose.yml").read_text())
    worker = docker_steps.worker_of(compose)
    assert worker["command"][:2] == ["pneumodet", "pacs-worker"]
    assert worker["environment"]["TZ"] == "Etc/UTC"
    assert worker["health"][0] == "python"
    compose["services"]["worker"]["read_only"] = False
    with pytest.raises(ValueError, match="the worker's read_only is not as it is tried here"):
        docker_steps.worker_of(compose)
