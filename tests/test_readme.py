"""The commands of the README, the guide and the other documents: each parses with its own parser, and every flag, target and file that is named exists."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from pneumodet.cli import console
from pneumodet.cli.__main__ import COMMANDS
from pneumodet.core import paths

ROOT = paths.PROJECT_ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
GENERATED = ROOT / "docs" / "reference"
DOCUMENTS = [
    path
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("configs/*.md"), *ROOT.glob("pretrained/*.md"), *ROOT.glob("docs/**/*.md")])
    if GENERATED not in path.parents and path.name != "results.md"  # which keeps commands as they were on the day they were measured
]
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
FOREIGN_PROGRAMS = (
    "docker",
    "make",
    "pip",
    "pytest",
    "ruff",
    "tensorboard",
    "generate_tfrecord.py",
    "model_main_tf2.py",
    "exporter_main_v2.py",
)
FOREIGN_FLAGS = {"--build-arg"}
"""Of Docker, named without it."""


def lines_of(path):
    text = path.read_text(encoding="utf-8")
    indented = re.findall(r"^ {4}(python tools/.*)$", text, re.MULTILINE)
    return [*indented, *(line.strip() for block in SHELL.findall(text) for line in block.replace("\\\n", " ").splitlines())]


def name_of(path):
    return str(path.relative_to(ROOT))


def parser_of(command):
    return importlib.import_module(f"pneumodet.cli.{command.replace('-', '_')}").build_parser()


def flags_of(commands):
    return {flag.replace("_", "-") for command in commands for flag in parser_of(command)._option_string_actions}


COMMAND_LINES = [(path, line) for path in DOCUMENTS for line in lines_of(path) if re.match(r"(python tools/|pneumodet )", line)]


def test_every_step_is_shown():
    shown = {shlex.split(line)[1] for path, line in COMMAND_LINES if path.name == "README.md" and path.parent == ROOT}
    assert {f"tools/{name}.py" for name in ("explore", "make_tfrecords", "train", "evaluate", "export", "predict")} <= shown


def test_the_guide_shows_every_command():
    shown = {Path(shlex.split(line)[1]).stem.replace("_", "-") for path, line in COMMAND_LINES if line.startswith("python")}
    assert set(COMMANDS) - {"demo"} <= shown  # which the README starts by make


@pytest.mark.parametrize(("path", "line"), [pytest.param(path, line, id=f"{name_of(path)}: {line}") for path, line in COMMAND_LINES])
def test_command_parses(path, line, monkeypatch):
    for kind in ("existing_dir", "existing_file", "existing_path", "model"):  # the reader's data are not here
        monkeypatch.setattr(console, kind, Path)
    program, name, *flags = shlex.split(line, comments=True)
    if program == "python":
        assert (ROOT / name).is_file()
        name = Path(name).stem
    parser_of(name).parse_args(flags)


@pytest.mark.parametrize("line", [line for path in DOCUMENTS for line in lines_of(path) if line.startswith("make ")])
def test_make_target_exists(line):
    target = line.split("#")[0].split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def flags_named(code):
    """The flags in an inline code; none where it is another program's command."""
    if code.split()[:1] and code.split()[0] in FOREIGN_PROGRAMS:
        return set()
    return set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", code)) - FOREIGN_FLAGS


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_flags_in_the_text_exist(path):
    known = flags_of(COMMANDS)
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", text):
        named = {flag.replace("_", "-") for flag in flags_named(code)}
        script = re.match(r"(?:python )?(?:tools/)?(\w+)(?:\.py)? ", code)
        own = script and script[1].replace("_", "-") in COMMANDS
        assert named <= (flags_of([script[1]]) if own else known), code


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.parent.name == "guide"], ids=name_of)
def test_flags_in_a_guides_tables_are_those_of_its_commands(path):
    commands = {Path(shlex.split(line)[1]).stem for line in lines_of(path) if line.startswith("python tools/")}
    if not commands:
        return
    known = flags_of(commands)
    rows = [row for row in path.read_text(encoding="utf-8").splitlines() if row.startswith("| ") and ".py " not in row]
    named = {flag for row in rows for code in re.findall(r"`([^`]+)`", row) for flag in flags_named(code)}
    assert named <= known


def test_a_flag_that_does_not_exist_would_be_seen():
    assert flags_named("--val_fraction") == {"--val_fraction"}
    assert flags_named("make_tfrecords.py --no-such-flag 3") == {"--no-such-flag"}
    assert not {"--no-such-flag"} & flags_of(COMMANDS)
    assert "--quality" in flags_of(["make_tfrecords"])
    assert "--quality" not in flags_of(["train"])


def test_parsers_refuse_a_flag_that_does_not_exist():
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parser_of("evaluate").parse_args(["--run", "one", "--no-such-flag"])
