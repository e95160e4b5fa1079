"""What lies in a folder, its subfolders and the ZIP archives in them: files that may be radiographs, and why the others are not.

    listed, refused = candidates(Path("images"), known=labels.exams, images=True)
    listed[0].source.read_bytes(), listed[0].path         # the path below the input

Nothing vanishes: a file that is not read is in ``refused`` with its reason. Only hidden files, what lies beside radiographs
(``file_kinds.DOCUMENTS``), and the records of an earlier conversion are passed over.
"""

import contextlib
import dataclasses
import os
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.data import archives, file_kinds, remote, tfrecord_pairs

MAX_FILE_BYTES = 1 << 30
"""A larger file is refused: an uncompressed 16-bit radiograph of 5,000 x 5,000 px has 50 MB."""

EARLIER = "an earlier output of pneumodet, whose pictures are no radiographs"
"""Why a folder is passed over."""


@dataclasses.dataclass(frozen=True, slots=True)  # there are many
class Source:
    """A file, a member of a ZIP archive, or an image of ``tfrecord_pairs``.

    Attributes:
      path: the file's or the archive's.
      member: the name within the archive, or number/path of the pair; empty for a file.
      size: bytes, uncompressed.
      mtime_ns: the file's or archive's time of change.
    """

    path: str
    member: str = ""
    size: int = 0
    mtime_ns: int = 0

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path

    @property
    def name(self) -> str:
        """The file name, without folders."""
        return PurePosixPath(self.member).name if self.member else os.path.basename(self.path)

    def read_bytes(self) -> bytes:
        """Return the contents.

        Raises:
          DataError: the file is too large, cannot be read, or its archive is damaged or encrypted.
        """
        if self.size > MAX_FILE_BYTES:
            raise DataError(f"{self} has {self.size} bytes; {MAX_FILE_BYTES} are allowed.")
        if remote.is_url(self.path):
            return remote.read(self.path)
        try:
            if self.member and self.path.endswith(file_kinds.PAIR):
                return tfrecord_pairs.image(self.path, self.mtime_ns, int(self.member.partition("/")[0]))
            if self.member:
                return archives.read(self.path, self.mtime_ns, self.member)
            with open(self.path, "rb", buffering=0) as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{self} cannot be read: {error.strerror or error}.") from error
        except archives.ERRORS as error:
            raise DataError(f"{self} cannot be read: the archive is damaged, encrypted, or compressed in an unusual way.") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be a radiograph; what it really is, shows when it is read.

    Attributes:
      source: the file.
      path: below the input, with ``/`` between folders; an archive within the input is a folder of it, the input itself has no name here.
      stem: its name without suffix, which is the whole name where it is a UID.
      is_dicom: whether it may be DICOM; else it is an image file.
    """

    source: Source
    path: str
    stem: str
    is_dicom: bool

    @property
    def place(self) -> str:
        """The path below the input without suffix: of two files of one name, what they differ in."""
        folder = self.path.rpartition("/")[0]
        return f"{folder}/{self.stem}" if folder else self.stem


def candidates(root: Path | str, known: Container[str], *, images: bool) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Return what may be a radiograph below a folder, or in a ZIP archive.

    Args:
      root: as ``sources.find_radiographs``.
      known: patientIds of labels, which decide what is a suffix in an unusual name.
      images: whether image files count; otherwise they are passed over.

    Returns:
      (files by path, [(path, reason)] of those that are not read).

    Raises:
      DataError: ``root`` is neither a folder nor an archive.
    """
    listed: list[Candidate] = []
    refused: list[tuple[str, str]] = []
    for source, path in _files(root, refused):
        if not _is_utf8(path):
            refused.append((path.encode(errors="backslashreplace").decode(), "its name is not UTF-8"))
            continue
        stem, dotted = os.path.splitext(source.name)
        if dotted[1:].isdigit():  # a file named by its UID, 1.2.840.10008.77
            stem, dotted = source.name, ""
        suffix = dotted.lower()
        if suffix in ("", *file_kinds.DICOM):
            listed.append(Candidate(source, path, stem, True))
        elif suffix in file_kinds.IMAGES:
            if images:
                listed.append(Candidate(source, path, stem, False))
        elif suffix not in file_kinds.DOCUMENTS:
            # every other file is asked what it is
            head = _head(source)
            if file_kinds.is_dicom(head) or (images and file_kinds.is_image(head)):
                listed.append(Candidate(source, path, stem if stem in known else source.name, file_kinds.is_dicom(head)))
            elif not file_kinds.is_image(head):
                refused.append((path, file_kinds.unread(source.name) or file_kinds.unread_content(head) or file_kinds.NO_KIND))
    return sorted(listed, key=lambda one: one.path), refused


def source_of(path: Path) -> Source:
    """Return a single file as a source."""
    stat = path.stat()
    return Source(str(path), "", stat.st_size, stat.st_mtime_ns)


def _files(root: Path | str, refused: list[tuple[str, str]]) -> Iterable[tuple[Source, str]]:
    """Yield (file, its path below the input)."""
    if remote.is_url(root):
        for url, size, changed in remote.listing(str(root)):
            relative = url[len(str(root).rstrip("/")) + 1 :]
            if not any(part.startswith(".") for part in PurePosixPath(relative).parts):
                yield Source(url, "", size, changed), relative
        return
    root = Path(root)
    if root.exists() and (what := paths.special(os.stat(root).st_mode)):
        raise DataError(f"{root} is {what}. Name a folder, a ZIP archive or a file.")
    if root.is_file():
        try:
            archives.opened(str(root), root.stat().st_mtime_ns)
        except (OSError, *archives.ERRORS):
            raise DataError(f"{root} is neither a folder nor a ZIP archive.") from None
        yield from _members(str(root), root.stat().st_mtime_ns, "", refused)
        return
    seen: set[tuple[int, int]] = set()
    top = str(root)
    for folder, subfolders, names in os.walk(top, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:  # a link back into what was searched
            subfolders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        within = "" if folder == top else folder[len(top) :].lstrip(os.sep).replace(os.sep, "/") + "/"
        if any(name.endswith(file_kinds.RECORDS) for name in names):  # records, with pictures beside them
            subfolders.clear()
            continue
        if names and file_kinds.PREDICTIONS.issubset(names):
            subfolders.clear()
            refused.append((within.rstrip("/") or root.name, EARLIER))
            continue
        stats = _regular(folder, names, within, refused)
        if any(name.endswith(file_kinds.PAIR) for name in stats):
            yield from _pair(folder, stats, within)
        subfolders[:] = sorted(name for name in subfolders if not archives.is_hidden(name))
        for name, stat in stats.items():
            path, relative = f"{folder}/{name}", within + name
            if file_kinds.suffix_of(name) == file_kinds.ARCHIVE:
                yield from _members(path, stat.st_mtime_ns, relative, refused)
            else:
                yield Source(path, "", stat.st_size, stat.st_mtime_ns), relative


def _regular(folder: str, names: Iterable[str], within: str, refused: list[tuple[str, str]]) -> dict[str, os.stat_result]:
    """Return name -> stat of a folder's files, without hidden ones; broken links, and what is no file and must not be opened, are refused."""
    stats = {}
    for name in sorted(names):
        if name.startswith("."):
            continue
        try:
            stat = os.stat(f"{folder}/{name}")
        except OSError:
            refused.append((within + name, "a broken link"))
            continue
        if what := paths.special(stat.st_mode):
            refused.append((within + name, what))
        else:
            stats[name] = stat
    return stats


def _pair(folder: str, stats: dict[str, os.stat_result], within: str) -> Iterable[tuple[Source, str]]:
    """Yield the images of ``tfrecord_pairs`` in a folder, whose own path is ``within``, and take the two files out of ``stats``."""
    if not tfrecord_pairs.is_such(stats):
        return
    path = f"{folder}/{tfrecord_pairs.IMAGES}"
    changed = stats.pop(tfrecord_pairs.IMAGES).st_mtime_ns
    del stats[tfrecord_pairs.PATHS]
    names, sizes = tfrecord_pairs.paths(Path(folder)), tfrecord_pairs.sizes(path, changed)
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        yield Source(path, f"{number}/{name}", size, changed), within + tfrecord_pairs.short(name)


def _members(path: str, mtime_ns: int, relative: str, refused: list[tuple[str, str]]) -> Iterable[tuple[Source, str]]:
    """Yield the files of an archive; ``relative`` is its own path below the input, empty where it is the input."""
    try:
        members = archives.files(archives.opened(path, mtime_ns))
    except (OSError, *archives.ERRORS):
        refused.append((relative, "not a ZIP archive"))
        return
    if archives.overlap(members, os.path.getsize(path)):
        refused.append((relative, "its members overlap, as those of an archive do that is made to fill disks"))
        return
    names: set[str] = set()
    for member in members:
        if archives.is_hidden(member.filename):
            continue
        place = f"{relative}/{member.filename}" if relative else member.filename
        if member.filename in names:  # zipfile reads the last one of a name, whichever is asked for
            refused.append((place, "its archive has another file of this very name"))
            continue
        if ".." in PurePosixPath(member.filename).parts:
            refused.append((place, "its path leads out of the archive"))
            continue
        names.add(member.filename)
        yield Source(path, member.filename, member.file_size, mtime_ns), place


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are none as lone surrogates
        return False
    return True


def _head(source: Source) -> bytes:
    """Return the first bytes of a file, none where it cannot be read, or lies at a URL."""
    if remote.is_url(source.path):
        return b""
    if source.path.endswith(file_kinds.PAIR) and source.member:
        return source.read_bytes()[: file_kinds.HEAD_BYTES]
    with contextlib.suppress(OSError, DataError, *archives.ERRORS):
        if source.member:
            return archives.read(source.path, source.mtime_ns, source.member, file_kinds.HEAD_BYTES)
        with open(source.path, "rb") as file:
            return file.read(file_kinds.HEAD_BYTES)
    return b""
