"""Source distributions hold what git has; wheels hold the package and the files that come with it; an installed copy works from any folder."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from pneumodet.core import resources
from pneumodet.data import synthetic

ROOT = resources.CHECKOUT

BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
"""What ``python -m build`` calls, without an environment of its own for it."""


def build(what, source, target):
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{what}", str(target)], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tracked():
    """Return the files that git has, as they are in this checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in listing.split("\0") if name and (ROOT / name).is_file())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, tracked):
    """Return a copy of this checkout, in a folder with a space in its name, where builds may leave what they make, with a file that git does not have."""
    folder = tmp_path_factory.mktemp("a checkout") / "pneumo det"
    for name in tracked:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all", "--force"], cwd=folder, check=True)
    (folder / "configs" / "classification" / "notes.txt").write_text("mine")
    (folder / "tools" / "pneumodet" / "scratch.py").write_text('"""Mine."""\n')
    (folder / "workspace" / "run.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    return build("sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    """Return a wheel, made of the source distribution as ``python -m build`` makes it."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def test_a_source_distribution_is_what_git_has(unpacked, tracked):
    files = {path.relative_to(unpacked).as_posix(): path for path in unpacked.rglob("*") if path.is_file()}
    extra = {name for name in files if name != "PKG-INFO" and not name.startswith("pneumodet.egg-info/")}
    assert extra == set(tracked)
    assert [name for name in tracked if files[name].read_bytes() != (ROOT / name).read_bytes()] == []


def test_a_wheel_carries_the_package_and_what_comes_with_it(wheel, tracked):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        package = {name.removeprefix("tools/") for name in tracked if name.startswith("tools/pneumodet/")}
        carried = {name for name in tracked if name.startswith(("configs/", "label_maps/", "pretrained/"))}
        assert names == package | {f"pneumodet/resources/{name}" for name in carried}
        assert archive.read("pneumodet/resources/label_maps/pneumonia.pbtxt") == (ROOT / "label_maps" / "pneumonia.pbtxt").read_bytes()
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert "Description-Content-Type: text/markdown" in metadata


def test_an_editable_installation_works_in_the_folder_that_holds_the_checkout(tmp_path):
    """There the checkout's folder has the name of the package, and Python takes it for one without ``__init__.py``."""
    checkout, site = tmp_path / "pneumodet", tmp_path / "site"
    shutil.copytree(ROOT / "tools" / "pneumodet", checkout / "tools" / "pneumodet", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "deploy").mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "deploy/building.py"):
        shutil.copyfile(ROOT / name, checkout / name)
    site.mkdir()
    with zipfile.ZipFile(build("editable", checkout, site)) as archive:
        archive.extractall(site)
    code = "import site, sys; site.addsitedir(sys.argv[1]); import pneumodet; print(pneumodet.__file__, pneumodet.__version__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # -S: without this environment, which has the checkout of the tests
    done = subprocess.run([sys.executable, "-S", "-c", code, str(site)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(checkout / "tools" / "pneumodet" / "__init__.py")


def test_the_version_is_that_of_the_changelog():
    import pneumodet

    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first.split()[1] == pneumodet.__version__


class Environment:
    """A virtual environment with pneumodet, called from an empty folder with a space in its name."""

    def __init__(self, folder, *, borrowed=False):
        venv.create(folder / "venv", with_pip=True, symlinks=True)
        self.bin, self.here = folder / "venv" / "bin", folder / "an empty folder"
        self.here.mkdir()
        if borrowed:
            # the packages of this environment, without installing gigabytes again, and without the checkout, which is there as an editable one
            (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
            for path in dict.fromkeys(one for one in sys.path if one.endswith(("site-packages", "dist-packages"))):
                for entry in Path(path).iterdir():
                    if "pneumodet" not in entry.name.partition("-")[0] and not (site / entry.name).exists():
                        (site / entry.name).symlink_to(entry)
        self.environment = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PNEUMODET_WORKSPACE", "PIP_CONSTRAINT")
        }
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")

    def install(self, *arguments):
        done = subprocess.run(
            [self.bin / "python", "-m", "pip", "install", "--quiet", *arguments], capture_output=True, text=True, env=self.environment
        )
        if done.returncode and any(
            word in done.stderr for word in ("Could not fetch URL", "NewConnectionError", "No matching distribution")
        ):
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr

    def run(self, *arguments, code=0):
        done = subprocess.run(list(map(str, arguments)), cwd=self.here, capture_output=True, text=True, env=self.environment, timeout=1500)
        assert done.returncode == code, done.stdout + done.stderr
        assert "tools/" not in done.stdout + done.stderr, "there are no scripts"
        return done.stdout + done.stderr

    def pneumodet(self, *arguments, code=0):
        return self.run(self.bin / "pneumodet", *arguments, code=code)


@pytest.fixture(scope="module")
def borrowed(wheel, tmp_path_factory):
    """Return an environment with the wheel, and all packages of this one."""
    environment = Environment(tmp_path_factory.mktemp("borrowed"), borrowed=True)
    environment.install("--no-deps", str(wheel))
    return environment


@pytest.mark.slow
def test_an_installed_copy_finds_its_files(borrowed, wheel):
    text = borrowed.run(borrowed.bin / "python", "-c", "from pneumodet.core import paths; print(paths.CONFIG_DIR, paths.workspace_dir())")
    assert "site-packages/pneumodet/resources/configs" in text
    assert str(borrowed.here / "workspace") in text
    code = "from pneumodet.models.detection import pipeline_config as configs; print(configs.names(), configs.load('ssd_mobilenet').model.ssd.num_classes)"
    assert "'ssd_mobilenet', 'ssd_mobilenet_fpnlite'" in borrowed.run(borrowed.bin / "python", "-c", code)
    assert "Make the records with pneumodet make-tfrecords." in borrowed.pneumodet("make-tfrecords", "--verify", ".", code=2)
    text = borrowed.run(borrowed.bin / "python", "-m", "pneumodet", "export", "--run", "nope", code=2)
    assert "Train one with python -m pneumodet train." in text
    text = borrowed.run(borrowed.bin / "python", "-c", "from pneumodet.core import installation; print(installation.command('dicom'))")
    assert text == f"pip install '{wheel}[dicom]'\n"
    assert list(borrowed.here.iterdir()) == []


@pytest.mark.slow
def test_the_steps_of_the_demo_in_an_empty_folder(borrowed):
    """In short: what they give is worth nothing, but everything is found, and written in ./workspace."""
    source = synthetic.make_dataset(borrowed.here / "my source", exams=12, size=256)
    labels = ("--labels", source.labels, "--class-info", source.class_info)
    text = borrowed.pneumodet(
        *("make-tfrecords", "--dicom-dir", source.dicom_dir, *labels),
        *("--patient-map", source.patient_map, "--output-dir", "my records", "--val-fraction", "0.4"),
    )
    assert "Next:    pneumodet train --config ssd_mobilenet --data 'my records' --run my_first" in text
    size = [f"model.ssd.image_resizer.fixed_shape_resizer.{name}=96" for name in ("height", "width")]
    settings = [part for one in size for part in ("--set", one)]
    borrowed.pneumodet(
        *("train", "--config", "ssd_mobilenet", "--data", "my records", "--run", "one", "--steps", "2", "--batch-size", "2"),
        *("--pretrained", "none", *settings),
    )
    assert json.loads((borrowed.here / "workspace" / "one" / "run.json").read_text())["steps"] == 2
    assert "pneumodet export --run one" in borrowed.pneumodet("evaluate", "--run", "one", "--resamples", "20")
    borrowed.pneumodet("export", "--run", "one", "--formats", "onnx")
    model = borrowed.here / "workspace" / "one" / "export"
    borrowed.run(
        borrowed.bin / "python", "-m", "pneumodet", "predict", "--model", model, "--input", source.dicom_dir, "--output-dir", "predictions"
    )
    assert (borrowed.here / "predictions" / "detections.json").is_file()


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory):
    """Return a function that makes a fresh environment with an extra, from the package index."""

    def make(extra):
        environment = Environment(tmp_path_factory.mktemp(extra))
        environment.install("-c", str(ROOT / "constraints.txt"), f"{wheel}[{extra}]")
        return environment

    return make


@pytest.mark.slow
def test_evaluation_alone_needs_no_tensorflow(light):
    environment = light("evaluate")
    rows = [f"p{number},{'10,20,30,40,1' if number % 2 else ',,,,0'}" for number in range(20)]
    (environment.here / "labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]) + "\n")
    rows = [f"p{number},{'0.9 11 21 29 39' if number % 2 else ''}" for number in range(20)]
    (environment.here / "detections.csv").write_text("\n".join(["patientId,PredictionString", *rows]) + "\n")
    environment.pneumodet(
        *("evaluate", "--ground-truth", "labels.csv", "--detections", "detections.csv", "--output-dir", "evaluated", "--resamples", "20")
    )
    assert (environment.here / "evaluated" / "report.html").is_file()
    text = environment.pneumodet("doctor")
    assert "evaluation only" in text
    assert "All works." in text
    text = environment.pneumodet("evaluate", "--run", "x", code=2)
    assert "There is no run 'x'" in text or "[train]" in text


@pytest.mark.slow
def test_prediction_alone_needs_no_tensorflow(light, tmp_path):
    environment = light("predict")
    assert "All works." in environment.pneumodet("doctor")
    environment.pneumodet("doctor", "--extra", "train", code=2)
    assert "[train]" in environment.pneumodet("train", "--config", "ssd_mobilenet", "--data", ".", "--run", "x", code=2)
