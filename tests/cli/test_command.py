"""The one command with subcommands."""

import subprocess
import sys
import types

import pytest

import pneumodet
from pneumodet.cli import __main__ as command


@pytest.fixture
def fake(monkeypatch):
    """Put a stand-in at pneumodet.cli.make_tfrecords and .train; returns what they were called with."""
    calls = []
    for name in ("make_tfrecords", "train"):
        module = types.ModuleType(name)
        module.main = lambda rest, name=name: calls.append((name, rest)) or 7
        monkeypatch.setitem(sys.modules, f"pneumodet.cli.{name}", module)
    return calls


@pytest.mark.parametrize("spelling", ["make-tfrecords", "make_tfrecords"])
def test_hands_the_rest_over_and_returns_the_exit_code(fake, spelling):
    assert command.main([spelling, "--seed", "3", "--help"]) == 7
    assert fake == [("make_tfrecords", ["--seed", "3", "--help"])]


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_lists_every_command(capsys, flag):
    assert command.main([flag]) == 0
    text = capsys.readouterr().out
    for name, purpose in command.COMMANDS.items():
        assert any(line.split() == [name, *purpose.split()] for line in text.splitlines()), name
        assert len(purpose) < 90
    assert set(command.COMMANDS) == {
        "download-rsna",
        "explore",
        "make-tfrecords",
        "train",
        "train-classifier",
        "grad-cam",
        "train-segmenter",
        "metadata-baseline",
        "compare",
        "tune",
        "evaluate",
        "export",
        "app",
        "pacs-worker",
        "export-labels",
        "postprocess",
        "predict",
        "demo",
        "setup-api",
        "doctor",
    }


def test_nothing_is_an_error_with_help(capsys):
    assert command.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: pneumodet COMMAND" in captured.err


def test_version_names_the_package_that_runs(capsys):
    assert command.main(["--version"]) == 0
    assert pneumodet.__version__ in (text := capsys.readouterr().out)
    assert text.strip().endswith("pneumodet)")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("trian", "Did you mean 'train'?", id="typing error"),
        pytest.param("make_tfrecord", "Did you mean 'make-tfrecords'?", id="underscore and missing letter"),
        pytest.param("xyzzy", "Commands: download-rsna, explore, make-tfrecords, train,", id="nothing near"),
        pytest.param("--run", "there is no command '--run'", id="a flag first"),
        pytest.param("__main__", "there is no command", id="module that is no command"),
    ],
)
def test_unknown_command(capsys, fake, name, hint):
    assert command.main([name]) == 2
    captured = capsys.readouterr()
    assert hint in captured.err
    assert captured.err.count("\n") == 1
    assert fake == []


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "pneumodet.cli", "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m pneumodet COMMAND" in done.stdout
    assert subprocess.run([sys.executable, "-m", "pneumodet.cli", "nope"], capture_output=True, timeout=60).returncode == 2


def test_only_the_chosen_module_is_imported():
    code = (
        "import sys; from pneumodet.cli.__main__ import main; code = main(['doctor', '--version']);"
        "print(code, sorted(name for name in sys.modules if name.startswith('pneumodet.cli.')), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 ['pneumodet.cli.__main__', 'pneumodet.cli.console', 'pneumodet.cli.doctor'] False", (
        done.stderr
    )
