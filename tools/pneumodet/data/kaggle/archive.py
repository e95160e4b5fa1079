"""The archive of the competition's files: unpacked member by member, each proven by its size and CRC, none outside its folder.

members = open_archive(Path("rsna-pneumonia-detection-challenge.zip"))
unpack(Path("….zip"), members, folder)           # what is there already, and right, is not written again
"""

import contextlib
import errno
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pneumodet.core.errors import DataError
from pneumodet.data import archives

_CHUNK = 1 << 20

AGAIN = "Remove it, and run the same command again."


def open_archive(path: Path) -> list[zipfile.ZipInfo]:
    """Return the files of an archive.

    Raises:
      DataError: it is no whole ZIP archive, or a member's name is one that ``archives.bad_name`` refuses, or it is a link.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archives.files(archive)
    except archives.ERRORS as error:
        raise DataError(f"{path} is no whole ZIP archive ({error}). {AGAIN}") from error
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if bad := archives.bad_name(member.filename for member in members):
        raise DataError(f"{path} has a member whose name {bad[1]}: {bad[0]!r:.300}. This is not Kaggle's archive. {AGAIN}")
    for member in members:
        # the upper 16 bits are the mode of Unix, where the archive was made there
        if stat.S_ISLNK(member.external_attr >> 16) or archives.is_encrypted(member):
            what = "encrypted" if archives.is_encrypted(member) else "a link"
            raise DataError(f"{path}: {member.filename!r} is {what}. This is not Kaggle's archive. {AGAIN}")
    return members


def unpack(
    path: Path, members: Sequence[zipfile.ZipInfo], folder: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Unpack all members; those that lie there with the right size and CRC stay.

    Args:
      path: the archive.
      members: as ``open_archive`` returns them.
      folder: gets them, in their subfolders.
      on_progress: called with (bytes done, bytes in all).

    Raises:
      DataError: a member is damaged, or the disk has too little room; what is finished stays.
    """
    total, done = sum(member.file_size for member in members), 0
    left = []
    for member in members:
        if _is_there(folder / member.filename, member):
            done += member.file_size
            on_progress(done, total)
        else:
            left.append(member)
    check_room(folder, sum(member.file_size for member in left), what=f"unpack {path.name}")
    with zipfile.ZipFile(path) as archive:
        for member in left:
            _unpack_one(archive, member, folder / member.filename, path)
            done += member.file_size
            on_progress(done, total)


def check_room(folder: Path, needed_bytes: int, *, what: str) -> None:
    """Raise a DataError where the disk of a folder, which need not be there yet, has less room."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DataError(
            f"To {what}, {gigabytes(needed_bytes)} are needed, but the disk of {folder} has {gigabytes(free)} left. Free some, or choose another --output-dir."
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # of the disk, not of the archive: what is unpacked already is kept


def gigabytes(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _unpack_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, final: Path, path: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    tmp = final.with_name(f".{final.name}.part")
    try:
        with archive.open(member) as source, open(tmp, "wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)  # at the end of the member zipfile compares the CRC
            written = target.tell()
        # its CRC may fit and the member be shorter than the directory says, which is what later starts go by
        if written != member.file_size:
            raise zipfile.BadZipFile(f"{written} bytes instead of {member.file_size}")
        os.replace(tmp, final)
    except archives.ERRORS as error:
        raise DataError(f"{path}: {member.filename} is damaged ({error}). {AGAIN}") from error
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink()


def _is_there(final: Path, member: zipfile.ZipInfo) -> bool:
    try:
        # the size first: it costs nothing, while a CRC reads all of the file
        if final.stat().st_size != member.file_size:
            return False
        crc = 0
        with open(final, "rb") as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
    except OSError:
        return False
    return crc == member.CRC
