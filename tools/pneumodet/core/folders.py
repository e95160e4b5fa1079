"""Output folders that appear whole or not at all, and that a killed run can resume."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pneumodet.core import locks
from pneumodet.core.errors import DataError


def check_free(final: Path, *, marker: str, overwrite: bool) -> None:
    """Check at once what ``new_folder`` would find out, before work that takes long.

    Raises:
      DataError: as ``new_folder``.
    """
    try:
        _check_free(final.resolve(), marker=marker, overwrite=overwrite)
    except OSError as error:  # a name of 300 letters, a folder that nobody may enter
        raise DataError(f"Cannot write in {final.parent}: {error.strerror}. Choose another --output-dir.") from error


_unfinished: set[Path] = set()
"""Scratch folders of this process that hold nothing for a later call."""


def discard() -> None:
    """Remove what this process has unfinished and nobody could resume, before it ends without leaving ``new_folder``."""
    for scratch in list(_unfinished):
        shutil.rmtree(scratch, ignore_errors=True)


_KEY, _NEW, _OLD = "key", "new", "old"
"""In a scratch folder: what the work in it is, the work, and the earlier result while the new one takes its place."""


@contextlib.contextmanager
def new_folder(final: Path, *, marker: str, overwrite: bool, resume_key: str | None = None) -> Iterator[Path]:
    """Yield a folder beside ``final`` that becomes ``final`` on success.

    Without ``resume_key`` the folder is empty, and is removed on failure. With it, the folder outlives a kill, Ctrl-C and a full disk, and
    the next call with the same key gets it back with what was finished; a call with another key starts with an empty one.

    Args:
      final: the output folder.
      marker: the file by which an earlier result is known; a folder with other things is never replaced.
      overwrite: replace an earlier result, which stays whole until the new one is.
      resume_key: names the work: same key, same result.

    Raises:
      DataError: ``final`` is in use, cannot be written, or cannot be replaced as a whole; the disk is full.
    """
    final = final.resolve()  # a link stays, and what it points to is replaced; "." gets a name and a parent
    try:
        if final.parent.is_dir():
            _remove_leftovers(final)  # first, because it may bring an earlier result back
        _check_free(final, marker=marker, overwrite=overwrite)
        final.parent.mkdir(parents=True, exist_ok=True)
        if resume_key is None:
            # beside the result: a folder cannot be renamed from one file system to another
            scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.new-", dir=final.parent))
        else:
            scratch = _kept(final)
            scratch.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot write in {final.parent}: {error.strerror}. Choose another --output-dir.") from error
    with locks.locked(scratch) as lock:
        if resume_key is not None and lock is locks.TAKEN:
            raise DataError(f"Another process is making {final} at the moment. Wait for it, or choose another --output-dir.")
        keep = resume_key is not None
        new = scratch / _NEW
        if not keep:
            _unfinished.add(scratch)
        try:
            _bring_back(scratch, final)
            _prepare(scratch, resume_key)
            yield new
            _check_free(final, marker=marker, overwrite=overwrite)  # again: another process may have been faster
            # two renames, as no folder can be renamed over one that has files; _bring_back repairs what a kill between them leaves
            if final.exists():
                final.rename(scratch / _OLD)
            new.rename(final)
        except OSError as error:
            hint = "what is finished is kept, and the same command resumes from there" if keep else "nothing was changed"
            raise DataError(
                f"Cannot write {final}: {error.strerror or error}. Free some disk space or choose another --output-dir; {hint}."
            ) from error
        except DataError as error:
            keep = keep and isinstance(error.__cause__, OSError)  # the disk, not the data, which would be the same the next time
            raise
        finally:
            _bring_back(scratch, final)
            # second case: the work has its final name, and only the key and the earlier result are left here
            if not keep or final.exists() and not new.exists():
                shutil.rmtree(scratch, ignore_errors=True)
            _unfinished.discard(scratch)


def unfinished(final: Path) -> Path | None:
    """Return the folder in which ``new_folder`` with a ``resume_key`` left unfinished work for ``final``, or None."""
    new = _kept(final.resolve()) / _NEW
    return new if new.is_dir() else None


def _kept(final: Path) -> Path:
    return final.parent / f".{final.name}.partial"


def _prepare(scratch: Path, resume_key: str | None) -> None:
    """Make the folder of the work; work of another key is removed, and so is work whose key was never written."""
    key = scratch / _KEY
    if resume_key is not None and key.is_file() and key.read_text(encoding="utf-8") == resume_key:
        for path in (scratch / _NEW).rglob(".*.tmp"):  # what a killed process was writing
            path.unlink()
        return
    for path in scratch.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (scratch / _NEW).mkdir()
    # the key last: an unfinished removal of other work must not pass for work of this key
    if resume_key is not None:
        key.write_text(resume_key, encoding="utf-8")


def _bring_back(scratch: Path, final: Path) -> None:
    """Put an earlier result back that was moved away, but not replaced."""
    if (scratch / _OLD).is_dir() and not final.exists():
        (scratch / _OLD).rename(final)


def _check_free(final: Path, *, marker: str, overwrite: bool) -> None:
    if final.is_file():
        raise DataError(f"{final} is a file. Choose another --output-dir.")
    if final.is_dir() and (final.is_mount() or final == Path.cwd()):
        what = "a mount point" if final.is_mount() else "the current folder"
        raise DataError(f"{final} is {what}, which cannot be replaced as a whole. Choose a folder below it.")
    if final.is_dir() and any(final.iterdir()):
        if not (final / marker).is_file():
            raise DataError(f"{final} holds other things (no {marker}). Choose an empty or new --output-dir.")
        if not overwrite:
            raise DataError(f"{final} holds an earlier result ({marker}). Give --overwrite to replace it, or choose another --output-dir.")


def _remove_leftovers(final: Path) -> None:
    """Remove what killed runs left beside ``final``: the scratch folders that no living process has locked."""
    own = re.compile(rf"\.{re.escape(final.name)}\.new-[a-z0-9_]{{8}}")  # as tempfile names it
    for path in list(final.parent.iterdir()):
        if not own.fullmatch(path.name) or not path.is_dir():
            continue
        with locks.locked(path) as lock:
            if lock is locks.HELD:
                _bring_back(path, final)
                shutil.rmtree(path, ignore_errors=True)
