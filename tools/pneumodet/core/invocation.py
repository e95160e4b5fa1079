"""How the user calls pneumodet, so that what we say to type next is what worked just now.

invocation.spelled("Next: python tools/train.py --config ssd_mobilenet")   # "Next: pneumodet train --config ssd_mobilenet", for who types that

Messages in the code have the form of a checkout, ``python tools/train.py``. Where text leaves for the user (the parser's help, errors, what commands
print) it goes through ``spelled``.
"""

import contextlib
import contextvars
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from pneumodet.core import resources

PROGRAM = "pneumodet"
"""The command that pip installs."""

MODULE = f"python -m {PROGRAM}"

SCRIPTS = "python tools/"
"""How the scripts of a checkout are called in its own folder."""

_SCRIPT = re.compile(r"(?<![\w/.-])(python )?tools/([a-z_]+)\.py\b")


_COMMAND = contextvars.ContextVar("whether a command runs", default=False)


@contextlib.contextmanager
def command_runs() -> Iterator[None]:
    """Say that it is a command that calls the library: messages name flags and not keywords, and a ``Deadline`` may end the process."""
    before = _COMMAND.set(True)
    try:
        yield
    finally:
        _COMMAND.reset(before)


def from_python() -> bool:
    """Whether the library is called from Python, and not by a command."""
    return not _COMMAND.get()


def form() -> str:
    """Return how this process was started: ``PROGRAM``, ``MODULE``, or "python " with the folder of the scripts as it was typed.

    Who uses the library from Python has typed none of these: ``SCRIPTS`` in a checkout, else ``PROGRAM``.
    """
    # read anew each time: a notebook, a test or a spawned process sets it after this module was imported
    started = sys.argv[0] if sys.argv else ""
    path = Path(started)
    if path.stem.removesuffix("-script") == PROGRAM:
        return PROGRAM
    # python -m gives the whole path of the module that it runs
    if path.name == "__main__.py" and PROGRAM in (path.parent.name, path.parent.parent.name):
        return MODULE
    if resources.CHECKOUT is None:
        return PROGRAM
    if path.suffix == ".py" and path.absolute().parent.resolve() == resources.CHECKOUT / "tools":
        folder = os.path.dirname(started)
        # in tools/ itself there is nothing before the name
        return "python " + (shlex.quote(folder + os.sep) if folder else "")
    return SCRIPTS


def command(name: str) -> str:
    """Return what to type for a command, such as "pneumodet make-tfrecords" for "make_tfrecords"."""
    how = form()
    if how in (PROGRAM, MODULE):
        return f"{how} {name.replace('_', '-')}"
    return f"{how}{name.replace('-', '_')}.py"


def spelled(text: str) -> str:
    """Return a text with all commands, which it has in the form of a checkout, in the one in which the user calls pneumodet."""
    if "tools/" not in text or form() == SCRIPTS:
        return text
    return _SCRIPT.sub(lambda match: command(match[2]), text)


def process(name: str) -> list[str]:
    """Return the arguments that run a command in a process of its own, called as this one was."""
    how = form()
    if how == PROGRAM and Path(sys.argv[0]).stem == PROGRAM and os.access(sys.argv[0], os.X_OK):
        return [sys.argv[0], name.replace("_", "-")]
    if how in (PROGRAM, MODULE) or resources.CHECKOUT is None:
        return [sys.executable, "-m", PROGRAM, name.replace("_", "-")]
    script = resources.CHECKOUT / "tools" / f"{name.replace('-', '_')}.py"
    return [sys.executable, str(script.relative_to(Path.cwd()) if Path.cwd() == resources.CHECKOUT else script)]
