"""ZIP archives from anywhere: what broken ones raise, which members are read, and names that no folder may have.

try: data = archive.read(member)
except archives.ERRORS as error: raise DataError(…) from error
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises for archives that are damaged, cut off, forged, encrypted, or compressed in an unusual way; OSError besides, which may as well be
the disk's."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions that are read where memory counts; the other ones may unpack gigabytes before the first byte comes."""

MAX_NAME_BYTES = 255
"""Of a file's or folder's name; no file system of ours takes a longer one."""

_ENCRYPTED = 1
"""Flag of a member that needs a password (APPNOTE 4.4.4)."""


def files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are no folders."""
    # not is_dir, which ends in an IndexError for a member without a name
    return [member for member in archive.infolist() if not member.filename.endswith("/")]


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
