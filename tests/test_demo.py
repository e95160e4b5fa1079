"""The demo: every step is a command that its parser takes, at both sizes; Ctrl-C and failures end it. No command runs here."""

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys

import pytest

from pneumodet import demo
from pneumodet.cli import demo as command
from pneumodet.core import paths
from pneumodet.core.errors import DataError, PneumodetError

TINY = dataclasses.replace(demo.FAST, exams=6, side_px=64, compared=2)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture
def lines(workspace, monkeypatch):
    """Return the commands that ran, each parsed by its own parser instead; records list two validation exams."""
    ran = []

    def parse(name, arguments):
        args = importlib.import_module(f"pneumodet.cli.{name}").build_parser().parse_args(arguments)
        ran.append((name, args))
        if name == "make_tfrecords":
            exams = sorted(path.stem for path in args.dicom_dir.iterdir())[:2]
            args.output_dir.mkdir()
            (args.output_dir / "instances_val.json").write_text(json.dumps({"images": [{"file_name": exam} for exam in exams]}))
        if name == "export":
            (workspace / "demo" / "export").mkdir()

    monkeypatch.setattr(demo, "command", parse)
    monkeypatch.setattr(demo.processes, "cpus", lambda: 1)  # six small radiographs are made before a process for them has started
    return ran


@pytest.mark.parametrize("scale", [demo.FAST, demo.FULL], ids=["fast", "full"])
@pytest.mark.parametrize("tested", [False, True])
def test_the_steps(lines, workspace, monkeypatch, scale, tested):
    monkeypatch.setattr(demo, "TESTED_EXAMS", 6 if tested else 7)
    said = []
    scale = dataclasses.replace(scale, exams=6, side_px=64)
    made = demo.run(scale, say=said.append, progress=iter)
    folder, whole = workspace / "demo", scale.compared > 0
    expected = {"Report": folder / "eval" / "report.html"}
    expected |= {"Picture": folder / "predictions" / "overview.png"} if whole else {}
    assert made == expected | ({"Test": folder / "eval_test" / "report.html"} if tested else {})
    assert [name for name, _ in lines] == ["make_tfrecords", "train", "evaluate"] + ["export", "predict"] * whole + ["evaluate"] * tested
    assert [args.split for name, args in lines if name == "evaluate"] == ["val", "test"][: 1 + tested]
    of = dict(lines)
    assert bool(of["make_tfrecords"].test_fraction) == tested
    assert of["make_tfrecords"].max_side == 2 * scale.input_px
    assert (of["train"].pretrained, of["train"].fit_anchors, of["train"].steps) == ("none", True, scale.steps)
    assert of["train"].evaluate_every * scale.evaluations >= scale.steps
    assert not whole or len(list(of["predict"].input.iterdir())) == 2, "validation patients only"
    titles = [text.strip().partition(" ")[0] for text in said[1:]]
    assert titles == ["1.", "2.", "3.", "4.", "5.", "6.", "7."][: 4 + 2 * whole + tested], "each says what it is for"
    assert f"{len(titles)} steps, about {scale.minutes} minute" in said[0]


def test_the_fast_one_is_smaller(monkeypatch, capsys, workspace):
    scales = []
    made = {"Report": workspace / "demo" / "eval" / "report.html", "Picture": workspace / "demo" / "predictions" / "overview.png"}
    monkeypatch.setattr(demo, "run", lambda scale, **_: scales.append(scale) or made)
    assert command.main(["--fast"]) == command.main([]) == command.main(["--fast", "--exams", "9", "--steps", "8"]) == 0
    assert scales == [demo.FAST, demo.FULL, dataclasses.replace(demo.FAST, exams=9, steps=8)]
    assert demo.FAST.minutes < demo.FULL.minutes
    out = capsys.readouterr().out
    assert f"Report:  {made['Report']}\nPicture: {made['Picture']}\n" in out
    assert out.count("which exports, predicts and tests as well") == 2


def test_somebodys_run_of_that_name_stays(workspace, monkeypatch):
    paths.write_json(workspace / "demo" / "run.json", {})
    monkeypatch.setattr(demo, "command", lambda name, arguments: pytest.fail(name))
    with pytest.raises(DataError, match=r"is not an earlier demo's folder \(it has no demo.json\)"):
        demo.run(TINY)
    assert (workspace / "demo" / "run.json").is_file()


def test_commands_are_shown_as_one_would_type_them(lines, workspace, monkeypatch):
    monkeypatch.chdir(workspace.parent)
    monkeypatch.setenv("PNEUMODET_WORKSPACE", workspace.name)
    said = []
    assert not any(path.is_absolute() for path in demo.run(TINY, say=said.append, progress=iter).values())
    assert f" --data {workspace.name}/demo/records " in "".join(said)
    assert str(workspace) not in "".join(said)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param("sys.exit(130)", KeyboardInterrupt, id="Ctrl-C"),
        pytest.param(
            "signal.signal(signal.SIGINT, signal.SIG_DFL); signal.raise_signal(signal.SIGINT)", KeyboardInterrupt, id="Ctrl-C early"
        ),
        pytest.param("sys.exit(2)", PneumodetError, id="error"),
        pytest.param("pass", None, id="done"),
    ],
)
def test_how_a_command_ends(monkeypatch, code, error):
    monkeypatch.setattr(demo.invocation, "process", lambda name: [sys.executable, "-c", f"import signal, sys; {code}"])
    with pytest.raises(error) if error else contextlib.nullcontext():
        demo.command("train", ["--resume"])


def test_a_command_is_not_killed_when_ctrl_c_comes():
    """It was, a quarter of a second later, while it wrote its checkpoint."""
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), print('kept', flush=True), sys.exit(130)))\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    parent = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pneumodet import demo\n"
        f"demo.invocation.process = lambda name: [sys.executable, '-c', {child!r}]\n"
        "demo.command('train', [])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "kept\n"
