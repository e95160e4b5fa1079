"""Where things lie, and files that are either whole or absent.

with atomic_path(run / "eval" / "metrics.json") as tmp:
    tmp.write_text(...)          # renamed at the end, removed on an error or Ctrl-C
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumodet.core import resources
from pneumodet.core.errors import ConfigError, DataError

PROJECT_ROOT = resources.ROOT
"""The checkout, or in an installed package the folder with what the wheel carries of it."""

CONFIG_DIR = PROJECT_ROOT / "configs"
DEFAULT_LABEL_MAP = PROJECT_ROOT / "label_maps" / "pneumonia.pbtxt"

PRETRAINED_DIR = PROJECT_ROOT / "pretrained"
"""Where the registry of checkpoints is; their files are in ``downloads_dir()``."""

_SPECIAL = {
    stat.S_ISFIFO: "a named pipe, which is not opened",
    stat.S_ISSOCK: "a socket, which is not opened",
    stat.S_ISCHR: "a device, which is not opened",
    stat.S_ISBLK: "a device, which is not opened",
}

RUN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
"""Run names become folder names, so that nothing else is allowed in them."""


def workspace_dir() -> Path:
    """Return the folder of all runs: $PNEUMODET_WORKSPACE, else workspace/ in the checkout, else, of an installed copy, in the current folder."""
    return Path(os.environ.get("PNEUMODET_WORKSPACE") or (resources.CHECKOUT or Path.cwd()) / "workspace")


def downloads_dir() -> Path:
    """Return where downloaded checkpoints lie: pretrained/ in a checkout that can be written, else the user's cache folder.

    The cache folder is the system's own: ~/.cache/pneumodet/pretrained on Linux, or below $XDG_CACHE_HOME.
    """
    if resources.CHECKOUT and os.access(PRETRAINED_DIR, os.W_OK | os.X_OK):
        return PRETRAINED_DIR
    import platformdirs

    return platformdirs.user_cache_path("pneumodet", appauthor=False) / "pretrained"


def run_dir(name: str) -> Path:
    """Return the folder of run ``name``: below the workspace, or the path itself where it holds a slash.

    Raises:
      ConfigError: the name has characters that do not belong in a folder name.
    """
    if os.sep in name:
        return Path(name)
    if not RUN_NAME.match(name):
        raise ConfigError(f"Run name {name!r} may hold only letters, digits, '.', '_' and '-', and starts with a letter or digit.")
    return workspace_dir() / name


def outside_workspace(folder: Path) -> str:
    """Return a sentence that says where a folder is, where that is not in the workspace; empty otherwise: a name with a slash in it is a path."""
    there, workspace = folder.resolve(), workspace_dir().resolve()
    return "" if there.is_relative_to(workspace) else f"Written to {there}, which is outside of the workspace {workspace}."


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; rename it to ``final`` on success, remove it otherwise.

    Raises:
      DataError: the disk is full or the folder cannot be written.
    """
    final = Path(final)
    # beside it, since renaming is atomic within a file system only; two processes that write the same file keep apart
    tmp = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield tmp
        # data before name: after a power cut the name could stand for an empty file
        with open(tmp, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(tmp, final)
    except OSError as error:
        if error.filename not in (None, str(tmp), str(final), str(final.parent)):
            raise  # about some other file than the one written here
        raise DataError(f"Cannot write {final}: {error.strerror or error}. Free some disk space or choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused because JSON has none."""
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def special(mode: int) -> str | None:
    """Return what a file of this mode (``os.stat``) is that must never be opened, as a phrase; None for files and folders.

    Opening a named pipe waits for a writer for ever, reading a device may have no end or change something.
    """
    return next((what for is_such, what in _SPECIAL.items() if is_such(mode)), None)


def special_file(path: Path) -> str | None:
    """Return ``special`` of the file at a path; None where there is none."""
    try:
        return special(path.stat().st_mode)
    except (OSError, ValueError):
        return None


def exists(path: Path) -> bool:
    """Return whether there is such a file or folder; False also where there can be none: pathlib raises OSError for a name of 300 letters."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def is_file(path: Path) -> bool:
    """Return whether this is a file, of any name; see ``exists``."""
    return size_of(path) is not None


def is_dir(path: Path) -> bool:
    """Return whether this is a folder, of any name; see ``exists``."""
    return exists(path) and path.is_dir()


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None where there is no such file, also where no file can have such a name."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a name of 300 letters, or with a byte 0
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
