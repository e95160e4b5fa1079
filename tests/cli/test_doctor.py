"""The doctor finds each error and names what fixes it; the real set-up has none."""

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pneumodet.cli import doctor as command
from pneumodet.core import paths, resources
from pneumodet.doctor import extras, machine, packages, probe, report, wholeness
from pneumodet.doctor.check import ERROR, INFO, OK, Check
from pneumodet.doctor.packages import TENSORFLOW

VERSIONS = {"tensorflow": "2.20.0", "tf-object-detection-api": "0.1+pneumodet.1"}
HOME = "/venv/site-packages"
ORIGIN = HOME + "/object_detection/__init__.py"
GOOD_PROBE = {"import": {"value": "2.20.0"}, "gpus": {"value": []}, "graph": {"value": "right"}, "api": {"value": "imports"}, "end": ""}


def states(checks):
    return [(check.name, check.state) for check in checks]


def only(checks):
    (check,) = checks
    return check


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 9), ERROR), ((3, 11, 0), OK), ((3, 12, 1), OK), ((3, 13, 0), OK), ((3, 14, 0), ERROR)],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else value,
)
def test_python(version, state):
    check = packages.check_python(version)
    assert check.state == state
    assert (check.fix != "") == (state == ERROR)


def test_pythons_are_those_of_the_metadata():
    text = (paths.PROJECT_ROOT / "setup.cfg").read_text()
    named = [tuple(map(int, minor.split("."))) for minor in re.findall(r"Programming Language :: Python :: (3\.\d+)", text)]
    assert named == [(3, minor) for minor in range(packages.PYTHONS[0][1], packages.PYTHONS[1][1])]
    assert f"python_requires = >={'.'.join(map(str, packages.PYTHONS[0]))},<{'.'.join(map(str, packages.PYTHONS[1]))}\n" in text


@pytest.mark.parametrize(
    ("line", "versions", "state", "result"),
    [
        pytest.param(TENSORFLOW, {"tensorflow": "2.20.1"}, OK, "2.20.1 (needed: <2.22,>=2.20)", id="fits"),
        pytest.param(TENSORFLOW, {"tensorflow": "2.21.0"}, OK, "2.21.0 (needed: <2.22,>=2.20)", id="the next release"),
        pytest.param(TENSORFLOW, {"tensorflow": "2.22.0"}, ERROR, f"2.22.0; needed: {TENSORFLOW}", id="too new"),
        pytest.param(TENSORFLOW, {}, ERROR, f"not installed; needed: {TENSORFLOW}", id="missing"),
        pytest.param("tf_keras>=2", {"tf-keras": "2.20.1"}, OK, "2.20.1 (needed: >=2)", id="underscore"),
        pytest.param("numpy", {"numpy": "3.0rc1"}, OK, "3.0rc1", id="any version"),
    ],
)
def test_requirements(line, versions, state, result):
    check = only(packages.check_requirements([line], versions))
    assert (check.state, check.result) == (state, result)
    assert check.fix == (f"pip install '{line}'" if state == ERROR else "")


def test_requirement_for_another_system_is_left_out():
    assert list(packages.check_requirements(["pywin32; sys_platform == 'win32'"], {})) == []


def test_no_requirements_at_all_is_an_error():
    assert only(packages.check_requirements([], VERSIONS)).state == ERROR


def test_requirements_are_those_of_setup_cfg():
    result = extras.requirements(extras.TRAIN)
    assert {TENSORFLOW, "hotcoco", "numpy"} <= set(result), "what [evaluate] brings is needed, too"
    assert not any(line.startswith("#") or not line or "pneumodet" in line for line in result)
    assert len(result) == len(set(result))
    light = extras.requirements(extras.PREDICT)
    assert {"onnxruntime", "numpy"} <= set(light)
    assert not any("tensorflow" in line for line in light)
    assert "onnxruntime" not in extras.requirements()


METADATA = [
    "numpy",
    'tomli; python_version < "3.11"',
    'onnxruntime; extra == "predict"',
    'pneumodet[predict,dicom]; extra == "app"',
    'highdicom>=0.28; extra == "dicom"',
    'streamlit>=1.67; extra == "app"',
    'tensorflow-io==0.37.*; python_version < "3.13" and extra == "train"',
    'tensorflow==2.20.*; extra == "train"',
]


def test_requirements_of_an_installed_copy(monkeypatch):
    """As wheels have them: every line with its extra, and perhaps another condition."""

    class Metadata:
        def get_all(self, name):
            return ["predict", "dicom", "app", "train"]

    monkeypatch.setattr(resources, "CHECKOUT", None)
    monkeypatch.setattr(extras.importlib.metadata, "requires", lambda name: METADATA)
    monkeypatch.setattr(extras.importlib.metadata, "metadata", lambda name: Metadata())
    assert extras.requirements() == ["numpy", 'tomli; python_version < "3.11"']
    assert extras.requirements("app")[2:] == ["streamlit>=1.67", "onnxruntime", "highdicom>=0.28"]
    assert extras.requirements("train")[2:] == ['tensorflow-io==0.37.*; python_version < "3.13"', "tensorflow==2.20.*"]
    assert extras.names() == ["app", "dicom", "predict", "train"]


def test_extras_that_are_not_whole_are_no_error():
    versions = {packages.name_of(line): "1" for line in extras.requirements(extras.PREDICT, "dicom")}
    whole, partly = extras.check_others(versions)
    assert (whole.state, whole.result) == (INFO, "dicom, predict")
    assert partly.state == INFO
    assert "app (streamlit)" in partly.result
    assert "predict (" not in partly.result


def test_installed_versions_are_normalized():
    result = packages.installed_versions()
    assert result["tf-object-detection-api"].startswith("0.1")
    assert all(name == name.lower() and "_" not in name for name in result)


def test_no_conflicts():
    assert list(packages.check_conflicts(VERSIONS, api_origin=ORIGIN, api_home=HOME)) == []
    assert list(packages.check_conflicts({}, api_origin=None, api_home=None)) == []


@pytest.mark.parametrize(
    ("more", "origin", "name", "state", "text"),
    [
        pytest.param({"object-detection": "0.0.3"}, ORIGIN, "object-detection", ERROR, "pip uninstall object-detection", id="TF1 API"),
        pytest.param(
            {"tf-models-research-object-detection": "2.8"}, ORIGIN, "tf-models-research-object-detection", ERROR, "then pneumodet setup-api", id="other API"
        ),
        pytest.param({"tensorflow-cpu": "2.15.0"}, ORIGIN, "tensorflow-cpu", ERROR, "'tensorflow==2.20.0'", id="two TensorFlows"),
        pytest.param({"tensorflow-estimator": "2.15.0"}, ORIGIN, "tensorflow-estimator", INFO, "", id="estimator"),
        pytest.param({}, "/home/me/models/research/object_detection/__init__.py", "object_detection", ERROR, "PYTHONPATH", id="a checkout shadows it"),
    ],
)  # fmt: skip
def test_conflicts(more, origin, name, state, text):
    check = only(packages.check_conflicts({**VERSIONS, **more}, api_origin=origin, api_home=HOME))
    assert (check.name, check.state) == (name, state)
    assert text in check.fix


@pytest.mark.parametrize(
    ("version", "state"),
    [(None, ERROR), ("0.1", OK), ("0.1+pneumodet.1", OK), ("0.2", ERROR), ("0.1+pneumodet.0", ERROR)],
)
def test_the_api(version, state):
    """What ``pip install '.[train]'`` leaves to one command more."""
    check = packages.check_api({"tf-object-detection-api": version} if version else {})
    assert (check.state, check.fix) == (state, "pneumodet setup-api" if state == ERROR else "")


@pytest.mark.parametrize(
    ("environment", "state"),
    [({}, OK), ({"TF_USE_LEGACY_KERAS": "1"}, OK), ({"TF_USE_LEGACY_KERAS": "True"}, OK), ({"TF_USE_LEGACY_KERAS": "0"}, ERROR)],
    ids=["unset", "1", "True", "0"],
)
def test_keras_switch(environment, state):
    assert packages.check_keras_switch(environment).state == state


def test_files_of_the_project_are_good():
    assert states(machine.check_files()) == [("label map", OK), ("configs", OK)]


def test_broken_files(tmp_path):
    label_map = tmp_path / "map.pbtxt"
    label_map.write_text("item { id: 0 name: 'background' }")
    result = list(machine.check_files(label_map=label_map, config_dir=tmp_path))
    assert states(result) == [("label map", ERROR), ("configs", ERROR)]
    assert "ids start at 1" in result[0].result
    (tmp_path / "mine.config").write_text("model { no_such_model {} }")
    result = list(machine.check_files(config_dir=tmp_path))
    assert states(result) == [("label map", OK), ("configs", ERROR)]
    assert "mine.config" in result[1].result


LIGHT = {"onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0", "requests": "2.34"}
GOOD_RUNTIMES = {name: {"value": "1"} for name in extras.RUNTIMES} | {"end": ""}


@pytest.mark.parametrize(
    ("versions", "purpose"),
    [
        pytest.param(LIGHT, (extras.PREDICT,), id="predict"),
        pytest.param({"hotcoco": "1", "matplotlib": "3"}, (extras.EVALUATE,), id="evaluate"),
        pytest.param(LIGHT | {"hotcoco": "1"}, (extras.PREDICT, extras.EVALUATE), id="both"),
        pytest.param({"matplotlib": "3", "kaggle": "2"}, (), id="no extra, in a notebook"),
        pytest.param(LIGHT | VERSIONS, (extras.TRAIN,), id="all"),
        pytest.param(LIGHT | {"tensorflow-cpu": "2.15.0"}, (extras.TRAIN,), id="another TensorFlow"),
        pytest.param({"tf-object-detection-api": "0.1"}, (extras.TRAIN,), id="make setup that stopped"),
    ],
)
def test_what_an_environment_was_made_for(versions, purpose):
    assert extras.purpose(versions) == purpose


HEAVY = {"tensorflow", "tf-object-detection-api", "google-crc32c", "optuna"}


@pytest.mark.parametrize(
    ("missing", "more", "name"),
    [
        pytest.param({"hotcoco", *LIGHT}, {}, "radiographs only", id="no extra"),
        pytest.param(set(LIGHT), {"google-crc32c": "1"}, "evaluation only", id="evaluate"),
        pytest.param({"hotcoco"}, LIGHT, "prediction only", id="predict"),
    ],
)
def test_each_light_installation_is_right(tmp_path, monkeypatch, missing, more, name):
    versions = packages.installed_versions()
    monkeypatch.setattr(
        packages, "installed_versions", lambda: {key: one for key, one in versions.items() if key not in HEAVY | missing} | more
    )
    result = list(report.examine(workspace=tmp_path, attempt=lambda: GOOD_RUNTIMES))
    assert [check for check in result if check.state == ERROR] == []
    assert (name, INFO) in states(result)
    # who asks for training is told what is missing
    result = list(report.examine(wanted=["train"], workspace=tmp_path, attempt=lambda: {"end": "no"}))
    assert ("tensorflow", ERROR) in states(result)


def test_where_only_prediction_was_installed_nothing_else_is_asked_for(tmp_path, monkeypatch):
    versions = packages.installed_versions()
    monkeypatch.setattr(wholeness, "check_whole", lambda: [])
    heavy = HEAVY | {"matplotlib", "scipy", "hotcoco"}
    monkeypatch.setattr(packages, "installed_versions", lambda: {name: one for name, one in versions.items() if name not in heavy} | LIGHT)
    result = list(report.examine(workspace=tmp_path, attempt=lambda: GOOD_RUNTIMES))
    assert [check for check in result if check.state == ERROR] == []
    assert ("prediction only", INFO) in states(result)
    assert {"onnxruntime", "label map", "DICOM decoders", "onnxruntime works"} <= {check.name for check in result}
    assert not {"TensorFlow", "configs", *heavy} & {check.name for check in result}


def test_a_runtime_that_is_broken():
    result = list(probe.check_runtimes({"onnxruntime": {"error": "ImportError: libgomp"}, "end": "crashed with signal SIGILL"}))
    assert [(check.state, check.result) for check in result] == [
        (ERROR, "ImportError: libgomp"),
        (ERROR, "the attempt crashed with signal SIGILL"),
    ]
    assert all(check.fix.startswith("pip install --force-reinstall ") and "[predict]" in check.fix for check in result)


def test_the_real_runtimes_work():
    assert {check.state for check in probe.check_runtimes(probe.run_probe(code=probe.TRY_RUNTIMES))} == {OK}


def test_configs_that_cannot_be_read_need_no_checkout(monkeypatch):
    from pneumodet.core.errors import EnvironmentProblem
    from pneumodet.models.detection import pipeline_config

    def without_the_api(path):
        raise EnvironmentProblem("The Object Detection API is not installed.")

    monkeypatch.setattr(pipeline_config, "load", without_the_api)
    assert list(machine.check_files())[-1].fix == "pneumodet setup-api"


Usage = collections.namedtuple("Usage", "free")


@pytest.mark.parametrize(("free", "state"), [(1.9e9, ERROR), (2.1e9, OK)], ids=["little", "enough"])
def test_disk(tmp_path, free, state):
    asked = []
    check = machine.check_disk(tmp_path / "not" / "yet" / "there", usage=lambda path: asked.append(path) or Usage(free))
    assert check.state == state
    assert asked == [tmp_path]
    assert ("PNEUMODET_WORKSPACE" in check.fix) == (state == ERROR)
    assert list(tmp_path.iterdir()) == []


def test_workspace_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert machine.check_disk(tmp_path / "file").state == ERROR


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_workspace_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    assert machine.check_disk(tmp_path / "here").state == ERROR


def test_decoders():
    result = machine.decoders()
    first, *rest = machine.check_decoders(lambda: result)
    assert first.state == OK
    assert [check.state for check in rest] in ([], [INFO])
    less = {**result, "1.2.840.10008.1.2.4.50": ("JPEG Baseline", False)}
    error = next(iter(machine.check_decoders(lambda: less)))
    assert (error.state, error.result) == (ERROR, "cannot decode JPEG Baseline")
    assert next(iter(machine.check_decoders(dict))).state == ERROR


def test_rare_syntaxes_are_named_with_what_decodes_them():
    every = {uid: (uid, True) for uid in machine.NEEDED_SYNTAXES} | {
        uid: (uid, True) for _, uids, _ in machine.RARE_SYNTAXES for uid in uids
    }
    assert states(machine.check_decoders(lambda: every)) == [("DICOM decoders", OK)]
    some = {**every, "1.2.840.10008.1.2.4.81": ("near", False)}
    assert list(machine.check_decoders(lambda: some))[1] == Check("DICOM decoders", INFO, "not decoded: JPEG-LS (pip install pyjpegls)")
    assert set(every) <= set(machine.decoders())  # no UID is misspelled


def test_decoders_without_pydicom():
    def query():
        raise ImportError("No module named 'pydicom'")

    assert only(machine.check_decoders(query)).fix == "pip install 'pydicom>=3.0'"


WORKS = [("TensorFlow", OK), ("GPU", INFO), ("TensorFlow computes", OK), ("Object Detection API", OK)]


@pytest.mark.parametrize(
    ("change", "nvidia", "expected"),
    [
        pytest.param({}, False, WORKS, id="CPU"),
        pytest.param({}, True, [WORKS[0], ("GPU", ERROR), *WORKS[2:]], id="GPU not seen"),
        pytest.param({"gpus": {"value": ["A100"]}}, True, [WORKS[0], ("GPU", OK), *WORKS[2:]], id="GPU"),
        pytest.param({"import": {"error": "ImportError: libfoo"}}, False, [("TensorFlow", ERROR)], id="import fails"),
        pytest.param({"import": None, "end": "crashed with signal SIGILL"}, False, [("TensorFlow", ERROR)], id="crash at import"),
        pytest.param({"graph": None, "end": "crashed"}, False, [*WORKS[:2], ("TensorFlow computes", ERROR)], id="crash in a graph"),
        pytest.param({"api": {"error": "EnvironmentProblem: x"}}, False, [*WORKS[:3], ("Object Detection API", ERROR)], id="API"),
    ],
)
def test_probe_results(change, nvidia, expected):
    result = list(probe.check_probe({**GOOD_PROBE, **change}, nvidia=nvidia))
    assert states(result) == expected
    for check in result:
        assert bool(check.fix) == (check.state == ERROR)


SAY = 'print(\'@@\' + \'{"stage": "import", "value": "2.20.0"}\', flush=True)\n'


@pytest.mark.parametrize(
    ("code", "end"),
    [
        pytest.param(SAY, "", id="ends by itself"),
        pytest.param(SAY + "import os; os.abort()", "crashed with signal SIGABRT", id="abort"),
        pytest.param(
            SAY + "import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed with signal SIGILL (this TensorFlow", id="no AVX"
        ),
        pytest.param(SAY + "raise RuntimeError('no')", "ended with code 1: RuntimeError: no", id="exception"),
        pytest.param(SAY + "import time; time.sleep(60)", "did not end within 2 s", id="hang"),
    ],
)
def test_run_probe_survives(code, end):
    result = probe.run_probe(code=code, seconds=2)
    assert result["import"] == {"value": "2.20.0"}
    assert result["end"].startswith(end)
    assert bool(result["end"]) == bool(end)


def test_probe_ignores_files_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    code = "import importlib.util; print('@@{\"stage\": \"x\", \"value\": %d}' % ('shadow' in str(importlib.util.find_spec('tensorflow'))))"
    code = code.replace("'shadow'", repr(str(tmp_path)))
    assert probe.run_probe(code=code, seconds=60)["x"] == {"value": 0}


@pytest.mark.parametrize(
    "attempt", [pytest.param(None, id="tried", marks=pytest.mark.slow), pytest.param(lambda: GOOD_PROBE, id="untried")]
)
def test_the_real_set_up_has_no_error(tmp_path, attempt):
    """What every user runs first; slow where TensorFlow starts in a process of its own."""
    result = list(report.examine(workspace=tmp_path, attempt=attempt))
    assert [check for check in result if check.state == ERROR] == []
    names = [check.name for check in result]
    assert names[0] == "Python"
    assert names[-4:] == ["TensorFlow", "GPU", "TensorFlow computes", "Object Detection API"]


@pytest.mark.slow
def test_a_broken_api_is_found():
    """The probe of a process in which the API cannot be imported."""
    code = "import sys; sys.modules['tf_slim'] = None\n" + probe.PROBE
    result = probe.run_probe(code=code)
    check = list(probe.check_probe(result, nvidia=False))[-1]
    assert (check.name, check.state) == ("Object Detection API", ERROR)
    assert "tf_slim" in check.result


class Distribution:
    """A package as a kill has left it."""

    version = "2.20.0"

    def __init__(self, folder, **files):
        self.folder, self.files, self.metadata = folder, files, {"Name": "tensorflow"}

    def read_text(self, name):
        return self.files.get(name)

    def locate_file(self, path):
        return self.folder / path


PARTLY = "1 of its 3 files are missing or empty (first: tensorflow/{})"
RECORD = "tensorflow/a.py,sha256=x,3\ntensorflow/__pycache__/a.pyc,,\ntensorflow/b.so,sha256=y,9\ntensorflow/empty.py,sha256=z,0\n"
WHEEL = {"WHEEL": "Wheel-Version: 1.0"}


@pytest.mark.parametrize(
    ("texts", "sizes", "sentence"),
    [
        pytest.param({"RECORD": RECORD, **WHEEL}, {"a.py": 3, "b.so": 9, "empty.py": 0}, "", id="whole"),
        pytest.param({"RECORD": RECORD, **WHEEL}, {"a.py": 3, "empty.py": 0}, PARTLY.format("b.so"), id="missing"),
        pytest.param({"RECORD": RECORD, **WHEEL}, {"a.py": 0, "b.so": 9, "empty.py": 0}, PARTLY.format("a.py"), id="empty"),
        pytest.param({"RECORD": RECORD, **WHEEL}, {"a.py": 7, "b.so": 9, "empty.py": 0}, "", id="changed by somebody"),
        pytest.param(WHEEL, {}, "its installation was not finished", id="no list yet"),
        pytest.param({**WHEEL, "INSTALLER": "conda"}, {}, "", id="another installer"),
        pytest.param({}, {}, "", id="no wheel"),
    ],
)  # fmt: skip
def test_packages_that_a_kill_left_in_part(tmp_path, texts, sizes, sentence):
    (tmp_path / "tensorflow").mkdir()
    for name, size in sizes.items():
        (tmp_path / "tensorflow" / name).write_bytes(b"x" * size)
    check = only(wholeness.check_whole([Distribution(tmp_path, **texts)]))
    if sentence:
        fix = "pip install --force-reinstall --no-deps 'tensorflow==2.20.0'"
        assert check == Check("tensorflow is incomplete", ERROR, sentence, fix)
    else:
        assert check == Check("packages", OK, "1, all whole")


def test_an_extra_that_does_not_exist(capsys):
    assert command.main(["--extra", "trian"]) == 2
    assert "There is no extra 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def test_row():
    assert Check("numpy", OK, "2.4").row() == "ok     numpy                       2.4"
    lines = Check("numpy", ERROR, "not installed", "pip install numpy").row().splitlines()
    assert lines == ["ERROR  numpy                       not installed", "       to fix it                   pip install numpy"]


@pytest.mark.parametrize(("state", "code"), [(OK, 0), (INFO, 0), (ERROR, 2)])
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["table", "json"])
def test_command(monkeypatch, capsys, state, code, flags):
    monkeypatch.setattr(report, "examine", lambda wanted: iter([Check("numpy", state, "2.4", "pip" if state == ERROR else "")]))
    assert command.main(flags) == code
    text = capsys.readouterr().out
    if flags:
        entry = {"name": "numpy", "state": "FAULT" if code else state, "found": "2.4", "mend": "pip" if code else ""}
        assert json.loads(text) == {"faults": code // 2, "checks": [entry]}, "the names that scripts read since the first release"
    else:
        assert text.splitlines()[0].startswith(f"{state:<5}  numpy")
        assert text.splitlines()[-1] == ("1 error." if code else "All works.")


def test_runs_where_even_absl_is_missing():
    """What a newcomer meets who types the command before the set-up."""
    code = (
        "import sys; sys.modules['absl'] = None; from pneumodet.doctor import check, report\n"
        "report.examine = lambda wanted: iter([check.Check('absl-py', check.ERROR, 'not installed', 'pip install absl-py')])\n"
        "from pneumodet.cli.doctor import main; sys.exit(main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "")
    assert "pip install absl-py" in done.stdout


def test_needs_nothing_but_the_standard_library():
    """-S: without site-packages. The report is all errors, but it is a report."""
    code = "from pneumodet.doctor import report; print(sum(c.state == 'ERROR' for c in report.examine(attempt=lambda: {'end': 'x'})))"
    package_parent = str(Path(report.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": package_parent}
    )
    assert done.stderr == ""
    assert int(done.stdout) >= 3
