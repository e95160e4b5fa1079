"""ZIP archives from anywhere: what broken ones raise, which members are read, and names that no folder may have.

try: data = archive.read(member)
except archives.ERRORS as error: raise DataError(…) from error
"""

import functools
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pneumodet.core import guarded
from pneumodet.core.errors import DataError
from pneumodet.core.guarded import Limits

ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises for archives that are damaged, cut off, forged, encrypted, or compressed in an unusual way; OSError besides, which may as well be
the disk's."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The usual compressions; the other ones may unpack gigabytes before the first byte comes."""

MAX_NAME_BYTES = 255
"""Of a file's or folder's name; no file system of ours takes a longer one."""

MAX_MEMBER_BYTES = 512 << 20
"""Of a member, unpacked: a radiograph of 80 MP in colour and 16 bits has 480 MB."""

_UNUSUAL_LIMITS = Limits(memory_bytes=256 << 20, cpu_seconds=20)
"""Of unpacking a member whose compression is none of METHODS, besides what its size says."""

_ENCRYPTED = 1
"""Flag of a member that needs a password (APPNOTE 4.4.4)."""


def files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are no folders."""
    # not is_dir, which ends in an IndexError for a member without a name
    return [member for member in archive.infolist() if not member.filename.endswith("/")]


@functools.lru_cache(maxsize=64)
def opened(path: str, mtime_ns: int) -> zipfile.ZipFile:
    """Return an archive, which stays open; ``mtime_ns`` is the file's time of change."""
    return zipfile.ZipFile(path)


def read(path: str, mtime_ns: int, name: str, size: int | None = None) -> bytes:
    """Return a member's contents, or their beginning.

    What zipfile unpacks of the usual compressions is bounded by the size in the directory, and by ``size``. The others may unpack to any size at once: they
    do so in a process with limits.

    Args:
      path: of the archive.
      mtime_ns: its time of change.
      name: of the member.
      size: so many bytes at the most.

    Raises:
      DataError: it has more than ``MAX_MEMBER_BYTES``, or unpacking it takes too much.
      OSError, ERRORS: it cannot be unpacked.
    """
    member = opened(path, mtime_ns).getinfo(name)
    if member.file_size > MAX_MEMBER_BYTES:
        raise DataError(f"{path}/{name} has {member.file_size:,} bytes unpacked; {MAX_MEMBER_BYTES:,} are allowed.")
    if member.compress_type in METHODS:
        return _member(path, mtime_ns, name, size)
    limits = Limits(_UNUSUAL_LIMITS.memory_bytes + 3 * member.file_size, _UNUSUAL_LIMITS.cpu_seconds + (member.file_size >> 22))
    try:
        return guarded.call(_member, path, mtime_ns, name, size, limits=limits)
    except guarded.Overrun as error:
        raise DataError(f"{path}/{name} cannot be unpacked: {error}. The archive is damaged, or made to do harm.") from None


def _member(path: str, mtime_ns: int, name: str, size: int | None) -> bytes:
    archive = opened(path, mtime_ns)
    if size is None:
        return archive.read(name)
    with archive.open(name) as file:
        return file.read(size)


def overlap(members: Iterable[zipfile.ZipInfo], archive_bytes: int) -> bool:
    """Whether members share their data: such an archive of some kB unpacks to any size (Fifield, A better zip bomb, WOOT 2019)."""
    return sum(member.compress_size for member in members) > archive_bytes


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether a member needs a password."""
    return bool(member.flag_bits & _ENCRYPTED)


def is_hidden(name: str) -> bool:
    """Whether a member is what macOS and others put beside the files, as __MACOSX/._a.dcm, or is in a hidden folder."""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)


def bad_name(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first of the members' names that cannot be unpacked into a folder, and why; None where all can.

    zipfile's own ``extract`` changes such names in silence, or ends in an OSError.
    """
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for name in names:
        path = PurePosixPath(name)
        # a colon is a drive or a stream on Windows
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
            return name, "leads out of its folder"
        if any(len(part.encode(errors="surrogateescape")) > MAX_NAME_BYTES for part in path.parts):
            return name, f"is longer than {MAX_NAME_BYTES} bytes"
        if path in files:
            return name, "occurs twice"
        if path in folders or not files.isdisjoint(path.parents):
            return name, "is one of a file and of a folder"
        files.add(path)
        folders.update(path.parents)
    return None
