"""Folders of radiographs, and output folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterator
from pathlib import Path

from pneumodet.data import dicom
from pneumodet.errors import DataError

_DICOM_SUFFIXES = {".dcm", ".dicom", ".dic", ""}
"""Suffixes of files that may be DICOM; archives often have none."""


def find_dicoms(folder: Path, *, known: Container[str] = ()) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """Find the DICOM files below a folder and the exam that each belongs to.

    A file whose name without suffix is in ``known`` belongs to that exam, without being opened; any other to its PatientID (0010,0020) if
    that is in ``known``, else to its name.

    Args:
      folder: searched with its subfolders; hidden files and folders are passed over.
      known: patientIds of the labels.

    Returns:
      (patientId -> path, [(name, reason)] for files that are no DICOM or belong to an exam that has a file already).

    Raises:
      DataError: there is no DICOM file.
    """
    found: dict[str, Path] = {}
    refused: list[tuple[str, str]] = []
    candidates = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        suffix = "" if path.suffix[1:].isdigit() else path.suffix  # a file named by its UID, 1.2.840.10008.77
        if any(part.startswith(".") for part in relative.parts) or suffix.lower() not in _DICOM_SUFFIXES:
            continue
        candidates.append((path, relative, path.name.removesuffix(suffix)))
    # by name first, so that a copy of another name does not take an exam's place
    for path, relative, exam in sorted(candidates, key=lambda candidate: candidate[2] not in known):
        if exam not in known:
            try:
                header = dicom.patient_id(path)
            except DataError:
                refused.append((str(relative), "not a DICOM file"))
                continue
            exam = header if header in known else exam
        if exam in found:
            refused.append((str(relative), f"a second file of exam {exam}"))
            continue
        found[exam] = path
    if not found:
        raise DataError(f"There is no DICOM file in {folder}." + (f" {len(refused)} files there are something else." if refused else ""))
    return found, refused


@contextlib.contextmanager
def new_folder(final: Path, *, marker: str, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``final`` that becomes ``final`` on success and is removed otherwise.

    Args:
      final: the output folder.
      marker: the file by which an earlier result is known; a folder with other things is never replaced.
      overwrite: replace an earlier result, which stays whole until the new one is.

    Raises:
      DataError: ``final`` is in use, cannot be written, or cannot be replaced as a whole.
    """
    final = final.resolve()  # a link stays, and what it points to is replaced; "." gets a name and a parent
    try:
        if final.parent.is_dir():
            _remove_leftovers(final)  # first, because it may bring an earlier result back
        _check_free(final, marker=marker, overwrite=overwrite)
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.new-", dir=final.parent))
    except OSError as error:
        raise DataError(f"Cannot write in {final.parent}: {error.strerror}. Choose another --output-dir.") from error
    with _lock(scratch):
        try:
            new = scratch / "new"
            new.mkdir()
            yield new
            _check_free(final, marker=marker, overwrite=overwrite)  # again: another process may have been faster
            if final.exists():
                final.rename(scratch / "old")
            new.rename(final)
        except OSError as error:
            raise DataError(
                f"Cannot write {final}: {error.strerror or error}. Free some disk space or choose another --output-dir; nothing was changed."
            ) from error
        finally:
            if (scratch / "old").exists() and not final.exists():
                (scratch / "old").rename(final)
            shutil.rmtree(scratch, ignore_errors=True)


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
        with _lock(path) as abandoned:
            if abandoned:
                if (path / "old").is_dir() and not final.exists():
                    (path / "old").rename(final)  # killed between the two renames
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, and yield whether it is ours; the system frees it however a process ends.

    A process id in the name would not do: containers share folders, and each has its own process 1.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except OSError:  # another process has it, or this file system has no locks
            ours = False
        yield ours
    finally:
        os.close(handle)
