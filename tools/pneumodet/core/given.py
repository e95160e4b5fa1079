"""Paths as a user gives them: ``~`` is the home folder, a URL stays as it is, and what is not there is refused with one sentence.

data_dir = given.folder("~/records")                  # Path
labels = given.file("labels.csv", what="labels")      # ConfigError: labels: 'labels.csv' is not a file (it does not exist)
"""

import os
from pathlib import Path

from pneumodet.core import paths, suggest
from pneumodet.core.errors import ConfigError

Given = str | os.PathLike[str]
"""A path as it is given."""


def folder(text: Given, *, what: str = "") -> Path:
    """Return a folder that exists.

    Args:
      text: its path.
      what: name of the argument, for the message.

    Raises:
      ConfigError: it is no folder, or does not exist.
    """
    at = Path(text).expanduser()
    if not paths.is_dir(at):
        raise _refused(f"{str(text)!r} is not a folder", at, what)
    return at


def file(text: Given, *, what: str = "") -> Path | str:
    """Return a file that exists, or a URL as it is; arguments and errors as ``folder``."""
    at = path(text)
    if isinstance(at, Path) and not paths.is_file(at):
        raise _refused(f"{str(text)!r} is not a file", at, what)
    return at


def file_or_folder(text: Given, *, what: str = "") -> Path | str:
    """Return a file or folder that exists, or a URL as it is; arguments and errors as ``folder``."""
    at = path(text)
    if isinstance(at, Path) and not paths.exists(at):
        raise ConfigError(f"{_named(what)}{str(text)!r} does not exist{near(at)}")
    return at


def path(text: Given) -> Path | str:
    """Return a path that need not exist, or a URL as it is."""
    if isinstance(text, str) and "://" in text:
        return text
    return Path(text).expanduser()


def near(at: Path) -> str:
    """Return the end of a sentence with the name in the same folder that is most like a path's; nothing where none is."""
    try:
        name = suggest.nearest(at.name, os.listdir(at.parent))
    except OSError:  # there is no such folder either, or it is closed to us
        return ""
    return f"; did you mean {str(at.parent / name)!r}?" if name else ""


def _refused(message: str, at: Path, what: str) -> ConfigError:
    return ConfigError(_named(what) + message + ("" if paths.exists(at) else f" (it does not exist){near(at)}"))


def _named(what: str) -> str:
    return f"{what}: " if what else ""
