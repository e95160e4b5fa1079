"""Commands are named in the form in which the user calls pneumodet."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumodet.api import calls
from pneumodet.cli import console
from pneumodet.cli.__main__ import COMMANDS
from pneumodet.core import invocation, logs, progress, resources, runs
from pneumodet.core.errors import DataError, PneumodetWarning
from pneumodet.evaluation import recipe_origin
from pneumodet.evaluation.report import model_card
from pneumodet.viz import templating
from pneumodet.viz.markup import Cell, Table

TOOLS = resources.CHECKOUT / "tools"
TEXT = "Next: python tools/make_tfrecords.py --data x, then tools/train.py; 'python tools/doctor.py' helps."


@pytest.mark.parametrize(
    ("started", "spelled"),
    [
        pytest.param("/venv/bin/pneumodet", "Next: pneumodet make-tfrecords --data x, then pneumodet train; 'pneumodet doctor' helps.", id="command"),
        pytest.param(r"pneumodet.exe", "Next: pneumodet make-tfrecords --data x, then pneumodet train; 'pneumodet doctor' helps.", id="Windows"),
        pytest.param(
            "/venv/lib/pneumodet/__main__.py",
            "Next: python -m pneumodet make-tfrecords --data x, then python -m pneumodet train; 'python -m pneumodet doctor' helps.",
            id="module",
        ),
        pytest.param(
            f"{TOOLS}/train.py",
            f"Next: python {TOOLS}/make_tfrecords.py --data x, then python {TOOLS}/train.py; 'python {TOOLS}/doctor.py' helps.",
            id="script, from elsewhere",
        ),
        pytest.param("/usr/lib/pytest/__main__.py", TEXT, id="another program"),
        pytest.param("", TEXT, id="Python itself"),
    ],
)  # fmt: skip
def test_forms(monkeypatch, started, spelled):
    monkeypatch.setattr(sys, "argv", [started])
    assert invocation.spelled(TEXT) == spelled
    assert str(DataError(TEXT)) == spelled


def warned(text):
    with pytest.warns(PneumodetWarning) as seen:
        calls.warn([text], calls.warn)
    print(seen[0].message)


SAYS = {
    "printed": console.out,
    "warned": console.err,
    "while it trains": lambda text: progress.TrainingBar().message(text),
    "logged": lambda text: logging.getLogger("pneumodet.somewhere").warning("%s", text),
    "from Python": warned,
}
"""How -> what lets a sentence of the library out that way."""


@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS.keys())
def test_every_way_out_spells_them(monkeypatch, capsys, says):
    monkeypatch.setattr(sys, "argv", ["pneumodet"])
    own = logging.getLogger("pneumodet")
    monkeypatch.setattr(own, "handlers", [])
    monkeypatch.setattr(own, "propagate", True)
    logs.set_up(verbose=False)
    says("Train it: python tools/train.py --run fourth --resume")
    captured = capsys.readouterr()
    assert captured.out + captured.err == "Train it: pneumodet train --run fourth --resume\n"


def test_pages_and_cards_spell_them(monkeypatch):
    """metrics.json, which is read by whoever has it, keeps the form of a checkout; what is made of it for the user does not."""
    monkeypatch.setattr(sys, "argv", ["pneumodet"])
    untrained = runs.untrained("first", "ckpt-0")
    assert untrained.endswith("python tools/train.py --run first --resume")
    reports = {
        "page": str(templating.part("warnings", "<Warnings>", [untrained])),
        "table": str(templating.part("table", Table("", ("figure",), [(Cell("1", untrained),)], notes=[untrained]))),
        "model card": model_card.text({"warnings": [untrained, f"{recipe_origin.OF_UNKNOWN_ORIGIN} <b>"]}),
    }
    for name, text in reports.items():
        assert "Train it: pneumodet train --run first --resume" in text and "tools/" not in text, name
    assert "&lt;Warnings&gt;" in reports["page"], "escaped all the same"
    assert "pneumodet postprocess writes it down. &lt;b>" in reports["model card"]


@pytest.mark.parametrize(
    ("folder", "started", "command"),
    [
        pytest.param(".", "tools/train.py", "python tools/train.py", id="in the checkout"),
        pytest.param("tools", "train.py", "python train.py", id="in tools"),
        pytest.param("tests", "../tools/train.py", "python ../tools/train.py", id="beside it"),
    ],
)
def test_scripts_are_named_as_they_were_typed(monkeypatch, folder, started, command):
    monkeypatch.chdir(resources.CHECKOUT / folder)
    monkeypatch.setattr(sys, "argv", [started])
    assert invocation.command("train") == command
    assert invocation.spelled("python tools/train.py --run x") == f"{command} --run x"


def test_an_installed_copy_has_no_scripts(monkeypatch):
    monkeypatch.setattr(resources, "CHECKOUT", None)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py"])
    assert invocation.command("make_tfrecords") == "pneumodet make-tfrecords"
    assert invocation.process("make_tfrecords") == [sys.executable, "-m", "pneumodet", "make-tfrecords"]


def test_paths_of_the_user_stay(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pneumodet"])
    for text in ("/home/me/tools/train.py", "other/tools/train.py is here", "my-tools/train.py", "tools/", "tools/train.pyc"):
        assert invocation.spelled(text) == text


def test_process_runs_a_script_of_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert invocation.process("train-classifier") == [sys.executable, str(TOOLS / "train_classifier.py")]
    monkeypatch.chdir(resources.CHECKOUT)
    assert invocation.process("train_classifier") == [sys.executable, os.path.join("tools", "train_classifier.py")]


def test_process_runs_the_command_that_was_typed(monkeypatch, tmp_path):
    started = tmp_path / "pneumodet"
    started.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(started)])
    assert invocation.process("make_tfrecords") == [str(started), "make-tfrecords"]


ALL_HELP = """
import contextlib, importlib, io, sys
sys.argv = [{started!r}]
for name in {names}:
    parser = importlib.import_module("pneumodet.cli." + name).build_parser()
    print(parser.format_help())
"""


@pytest.mark.parametrize(("started", "form"), [("/bin/pneumodet", "pneumodet "), ("/lib/pneumodet/__main__.py", "python -m pneumodet ")])
def test_help_of_every_command_names_the_form(started, form):
    names = [name.replace("-", "_") for name in COMMANDS]
    code = ALL_HELP.format(started=started, names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=Path.home())
    assert done.stderr == ""
    assert "tools/" not in done.stdout
    for name in COMMANDS:
        assert f"usage: {form}{name} " in done.stdout


def test_python_m_pneumodet():
    done = subprocess.run([sys.executable, "-m", "pneumodet", "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m pneumodet COMMAND" in done.stdout
    assert subprocess.run([sys.executable, "-m", "pneumodet", "nope"], capture_output=True, timeout=60).returncode == 2
