"""The README's commands: each parses with the command's own parser, and each target and file that it names exists."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pneumodet.cli import console
from pneumodet.core import paths

README = (paths.PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python tools/")]


def test_every_step_is_shown():
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert {f"tools/{name}.py" for name in ("make_tfrecords", "train", "evaluate", "export", "predict")} <= shown


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command, monkeypatch):
    for kind in ("existing_dir", "existing_file", "existing_path"):  # the reader's data are not here
        monkeypatch.setattr(console, kind, Path)
    _, script, *flags = shlex.split(command)
    assert (paths.PROJECT_ROOT / script).is_file()
    module = importlib.import_module(f"pneumodet.cli.{Path(script).stem}")
    module.build_parser().parse_args(flags)


@pytest.mark.parametrize("command", [line for line in LINES if line.startswith("make ")])
def test_make_target_exists(command):
    target = command.split("#")[0].split()[1]
    assert re.search(rf"^{target}:", (paths.PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)


def test_flags_in_the_tables_exist():
    known = set()
    for name in ("make_tfrecords", "train", "evaluate", "export", "predict"):
        known |= set(importlib.import_module(f"pneumodet.cli.{name}").build_parser()._option_string_actions)
    here = [row.split("|")[2] for row in README.splitlines() if row.startswith("| ") and row.count("|") == 3]
    named = {flag for cell in here for flag in re.findall(r"--[a-z][a-z-]+", cell)}
    assert named
    assert named <= known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_link_leads_somewhere(target):
    assert (paths.PROJECT_ROOT / target).exists()
