"""``make setup`` with a stand-in for Python: what is installed again, and when it is ready."""

import os
import shutil
import subprocess

import pytest

from pneumodet.core import resources

PYTHON = """#!/bin/sh
echo "$@" >> calls.txt
case "$*" in
  "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"install --quiet -e"*) exit ${PIP_CODE:-0} ;;
  "tools/doctor.py"*) echo "ok     numpy"
    test ${DOCTOR_CODE:-0} = 0 || printf 'ERROR  tensorflow is incomplete\\n       to fix it  pip install it\\n'
    exit ${DOCTOR_CODE:-0} ;;
esac
"""
ALL = ["-m venv .venv", "install --quiet pip", "-e .[all,test]", "tools/setup_api.py", "tools/doctor.py --extra all --extra test"]


@pytest.fixture
def make(tmp_path):
    """Return a function that runs ``make setup``, and returns (exit code, output, what Python was called with)."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copy(resources.CHECKOUT / "Makefile", folder)
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)

    # where the tests are run by make itself, it would print its folders and take over its options
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def run(**codes):
        calls = folder / "calls.txt"
        calls.unlink(missing_ok=True)
        command = ["make", "setup", f"PYTHON={python}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**outside, **codes}, timeout=60)
        lines = calls.read_text().splitlines() if calls.exists() else []
        return done.returncode, done.stdout, [line for line in lines if not line.startswith("-c ")]

    return run


def test_a_whole_set_up(make):
    code, out, calls = make()
    assert code == 0
    assert [part in call for part, call in zip(ALL, calls, strict=True)] == [True] * len(ALL), calls
    lines = out.splitlines()
    assert "GB of disk" in lines[0], "what it takes is said before it begins"
    assert [line[:6] for line in lines[1:5]] == [f"{number} of 4" for number in range(1, 5)]
    assert lines[-1].startswith("Ready.")
    assert make() == (0, "make: Nothing to be done for 'setup'.\n", [])


def test_what_was_stopped_is_begun_anew(make):
    code, out, _ = make(PIP_CODE="1")
    assert code != 0
    assert "Ready" not in out
    code, out, calls = make()
    assert code == 0
    assert calls[0] == "-m venv --clear .venv"
    assert out.splitlines()[-1].startswith("Ready.")


def test_it_is_not_ready_where_doctor_has_an_error(make):
    code, out, _ = make(DOCTOR_CODE="2")
    assert code != 0
    assert "ERROR  tensorflow is incomplete\n       to fix it  pip install it\nNot ready." in out
    assert "ok     numpy" not in out
    code, out, calls = make()
    assert code == 0
    assert not any("venv" in call for call in calls), "what pip has finished is kept"
