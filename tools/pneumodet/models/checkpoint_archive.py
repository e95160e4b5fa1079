"""The archive of a checkpoint -> its files in a folder of their own, whole or not at all.

files = unpack(Path("pretrained/mobilenet_v2.tar.gz"), Path("pretrained/mobilenet_v2"), "ckpt-0")       # name -> SHA-256
"""

import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from pneumodet.core import paths, runs
from pneumodet.core.errors import DataError, first_line

_CHUNK = 1 << 20


def unpack(archive: Path, home: Path, file: str) -> dict[str, str]:
    """Unpack the checkpoint of an archive into the new folder ``home``, whole or not at all.

    Of an archive, only the checkpoint's files and its pipeline.config are taken, each by its last name; the model zoo's archives hold a
    SavedModel besides, twice as large. An archive with a member that would be written elsewhere, a link or a device is refused as a whole.

    Args:
      archive: a tar file, compressed or not.
      home: is made.
      file: name of the checkpoint, ``ckpt-0``; where it is not there, the only checkpoint is taken.

    Returns:
      Name of each file -> its SHA-256.

    Raises:
      DataError: the archive is broken, dangerous or holds no checkpoint, or the disk is full.
    """
    scratch = home.with_name(f".{home.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed; the lock is held
    try:
        with tarfile.open(archive) as tar:
            # all members are checked before the first one is written
            chosen = _chosen(tar, archive, file)
            needed = sum(member.size for member in chosen)
            if shutil.disk_usage(home.parent).free < needed:
                raise DataError(
                    f"{archive.name} needs {needed >> 20} MiB in {home.parent}, more than the disk has left. Free some disk space."
                )
            scratch.mkdir()
            for member in chosen:
                with _content(tar, member) as source, open(scratch / PurePosixPath(member.name).name, "wb") as target:
                    shutil.copyfileobj(source, target)
                    target.flush()
                    # before the folder gets its name: after a power cut it could have its name and empty files
                    os.fsync(target.fileno())
            while tar.fileobj and tar.fileobj.read(_CHUNK):  # to the end, where gzip has its checksum, which tarfile does not check
                pass
        files = {path.name: paths.sha256_file(path) for path in sorted(scratch.iterdir())}
        # last, and atomic: the folder is there with all of its files, or not at all
        scratch.rename(home)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is no whole archive: {first_line(error)}. Remove it and get it again.") from error
    except OSError as error:
        if error.errno is None:  # gzip's own, of a broken file
            raise DataError(f"{archive} is no whole archive: {first_line(error)}. Remove it and get it again.") from error
        raise DataError(f"Cannot unpack {archive.name} in {home.parent}: {error.strerror}. Free some disk space.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return files


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:  # of a link or a device, which ``_chosen`` has refused
        raise tarfile.TarError(f"{member.name} is no file")
    return content


def _chosen(tar: tarfile.TarFile, archive: Path, file: str) -> list[tarfile.TarInfo]:
    members = tar.getmembers()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise DataError(f"{archive} has the member {member.name!r}, a link, a device or a path out of its folder. It is not unpacked.")
    # a SavedModel has an index of its own variables, which is not the checkpoint that is wanted
    usable = [member for member in members if member.isfile() and "saved_model" not in PurePosixPath(member.name).parts]
    there = {PurePosixPath(member.name).name.removesuffix(".index") for member in usable if member.name.endswith(".index")}
    if file not in there and len(there) != 1:
        raise DataError(f"{archive} holds no checkpoint {file} (there: {', '.join(sorted(there)) or 'none'}). Get it again.")
    name = file if file in there else there.pop()
    wanted = (f"{name}.index", f"{name}.data-")
    return [
        member for member in usable if PurePosixPath(member.name).name.startswith(wanted) or PurePosixPath(member.name).name == runs.CONFIG
    ]
