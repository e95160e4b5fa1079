"""The rebuilt Object Detection API: what is packed, that pip takes it, and that other bytes than the released ones are refused."""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

from pneumodet.cli import setup_api
from pneumodet.core.errors import DataError, EnvironmentProblem
from pneumodet.doctor import extras
from pneumodet.models.detection import odapi_wheel

SOURCES = {
    "api-0.1/LICENSE": "Apache",
    "api-0.1/setup.py": "raise SystemExit('never run')",
    "api-0.1/object_detection/__init__.py": "",
    "api-0.1/object_detection/protos/model_pb2.py": "name = 'model'",
    "api-0.1/slim/datasets/cifar10.py": "",
}
OFFICIAL = {
    "official/__init__.py": "",
    "official/modeling/tf_utils.py": "x = 1",
    "official/nlp/bert.py": "",
    "official-1.dist-info/LICENSE": "Apache, too",
}


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Return a folder with made-up releases, to which ``ARCHIVES`` is set."""
    with tarfile.open(tmp_path / "api-0.1.tar.gz", "w:gz") as tar:
        for name, text in SOURCES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    with zipfile.ZipFile(tmp_path / "official-1-py3-none-any.whl", "w") as file:
        for name, text in OFFICIAL.items():
            file.writestr(name, text)

    def digest(name):
        return hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    api, official = "api-0.1.tar.gz", "official-1-py3-none-any.whl"
    made_up = (
        odapi_wheel.Archive("api", "0.1", api, digest(api), "api-0.1", ("object_detection/*",), "", "api-0.1/LICENSE"),
        odapi_wheel.Archive(
            "official",
            "1",
            official,
            digest(official),
            "",
            ("official/__init__.py", "official/modeling/*"),
            odapi_wheel.PARTS,
            "official-1.dist-info/LICENSE",
        ),
    )
    monkeypatch.setattr(odapi_wheel, "ARCHIVES", made_up)
    return tmp_path


def test_what_is_packed(archives, tmp_path):
    wheel = odapi_wheel.build(archives, tmp_path / "out")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        info = "tf_object_detection_api-0.1+pneumodet.1.dist-info"
        assert {name for name in names if not name.startswith(info)} == {
            "object_detection/__init__.py",
            "object_detection/protos/model_pb2.py",
            "object_detection_parts/official/__init__.py",
            "object_detection_parts/official/modeling/tf_utils.py",
        }
        assert file.read("object_detection/protos/model_pb2.py") == b"name = 'model'"
        assert file.read(f"{info}/licenses/official/LICENSE") == b"Apache, too"
    again = odapi_wheel.build(archives, tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()


def test_pip_takes_it(archives, tmp_path):
    """Name, version, requirements and the hashes of RECORD, which pip and importlib.metadata read."""
    wheel = odapi_wheel.build(archives, tmp_path / "out")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = """
import base64, hashlib, importlib.metadata, sys
one = importlib.metadata.distribution("tf-object-detection-api")
files = [file for file in one.files if file.hash and not str(file).endswith(".pyc")]
assert len(files) >= 8
for file in files:
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_binary()).digest()).rstrip(b"=").decode()
    assert digest == file.hash.value, file
print(one.version, *sorted(one.requires))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(site)})
    assert done.stdout.split() == [odapi_wheel.VERSION, *sorted(odapi_wheel.REQUIRES)], done.stderr


def test_other_bytes_are_refused(archives, tmp_path):
    with open(archives / "api-0.1.tar.gz", "ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"api-0\.1\.tar\.gz is not api 0\.1 as released: SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        odapi_wheel.build(archives, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_is_missing(archives, tmp_path):
    (archives / "official-1-py3-none-any.whl").unlink()
    with pytest.raises(DataError, match="official-1-py3-none-any.whl: No such file"):
        odapi_wheel.build(archives, tmp_path / "out")


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        pytest.param("WARNING: slow\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nmore", "could not be fetched: THESE PACKAGES DO NOT MATCH", id="hash"),
        pytest.param("/usr/bin/python3: No module named pip", "this Python has no pip. Run '.* -m ensurepip'", id="no pip"),
        pytest.param("", "pip gave no reason", id="nothing"),
    ],
)  # fmt: skip
def test_what_pip_says_is_passed_on(tmp_path, monkeypatch, stderr, message):
    calls = []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(odapi_wheel.subprocess, "run", run)
    with pytest.raises(EnvironmentProblem, match=message):
        odapi_wheel.fetch(tmp_path)
    # every archive is asked for by its hash, and no dependency of one
    assert "--require-hashes" in calls[0] and "--no-deps" in calls[0]
    lines = (tmp_path / "requirements.txt").read_text().splitlines()
    assert lines == [f"{one.name}=={one.version} --hash=sha256:{one.sha256}" for one in odapi_wheel.ARCHIVES]


def test_the_command(archives, tmp_path, monkeypatch, capsys):
    installed = []
    monkeypatch.setattr(odapi_wheel, "fetch", lambda folder: archives)
    monkeypatch.setattr(odapi_wheel, "install", lambda wheel: installed.append(wheel.name))
    assert setup_api.main(["--wheel-dir", str(tmp_path / "wheels")]) == 0
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert f"pip install --no-deps {wheel}" in capsys.readouterr().out
    assert installed == []
    assert setup_api.main([]) == 0
    assert installed == [wheel.name]
    assert "Next:   pneumodet doctor" in capsys.readouterr().out


def test_its_requirements_are_those_of_the_extra():
    """pip installs it without dependencies, because pneumodet[train] brings them."""
    assert set(odapi_wheel.REQUIRES) <= set(extras.requirements(extras.TRAIN))


@pytest.mark.parametrize("archive", odapi_wheel.ARCHIVES, ids=lambda one: one.name)
def test_releases_are_named_exactly(archive):
    assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
    assert archive.file.startswith(f"{archive.name.replace('-', '_')}-{archive.version}")
