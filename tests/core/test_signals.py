"""Ctrl-C outside of what catches it: while modules are imported, in destructors, and in worker processes. A process each, as a terminal has it."""

import os
import signal
import subprocess
import sys

import pytest

HEEDED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""First, since a shell's background jobs are started with SIGINT ignored."""

IMPORTING = "import pneumodet.cli\nsignal.raise_signal(signal.SIGINT)"
"""As if it came while a command's module is imported."""

IN_A_DESTRUCTOR = """
import pneumodet.cli, time
class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
Closing()
time.sleep(60)
"""

WORKERS = """
import os, time
import pneumodet.cli
from pneumodet.core import processes
with processes.Pool(2) as pool:
    print(sorted(pool.run(abs, [-1, -2])), flush=True)
    time.sleep({parent_too} * 60)
"""

SITE = """
import os, signal, sys
if "--multiprocessing-fork" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getppid(), signal.SIGINT) if {parent_too} else None
"""
"""``sitecustomize``, which a spawned process imports before anything else: there Ctrl-C reaches it."""


def ended(tmp_path, code, *, site=""):
    """Return (exit code, output, errors) of a script."""
    script = tmp_path / "explore.py"
    script.write_text(HEEDED + code)
    (tmp_path / "sitecustomize.py").write_text(site)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("code", [IMPORTING, IN_A_DESTRUCTOR], ids=["import", "destructor"])
def test_one_line_and_the_end(tmp_path, code):
    """The status is that of a process which SIGINT ended: a script that runs it ends as well."""
    assert ended(tmp_path, code) == (-signal.SIGINT, "", "\nexplore: stopped by Ctrl-C.\n")


def test_other_errors_keep_their_traceback(tmp_path):
    code, _, errors = ended(tmp_path, "import pneumodet.cli\n1 // 0")
    assert code == 1 and errors.startswith("Traceback") and errors.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_worker_processes_do_not_get_it(tmp_path):
    """Each printed a traceback, and the work was lost."""
    assert ended(tmp_path, WORKERS.format(parent_too=False), site=SITE.format(parent_too=False)) == (0, "[1, 2]\n", "")


def test_this_process_gets_it(tmp_path):
    """Held back only while the processes start."""
    code, _, errors = ended(tmp_path, WORKERS.format(parent_too=True), site=SITE.format(parent_too=True))
    assert (code, errors) == (-signal.SIGINT, "\nexplore: stopped by Ctrl-C.\n")
