"""Folders and ZIP archives of radiographs: what lies in them, and which exam each file is of.

files, refused = find_radiographs(Path("images"), known=labels.exams)
files["0004cfab"].read_bytes()
"""

import contextlib
import dataclasses
import functools
import os
import zipfile
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.processes import Pool
from pneumodet.data import archives, remote
from pneumodet.dicom import reading

MATCH = ("auto", "file-name", "patient-id", "sop-instance-uid")
"""How a DICOM file's exam is identified; ``auto`` tries these in this order."""

MAX_FILE_BYTES = 1 << 30
"""A larger file is refused: an uncompressed 16-bit radiograph of 5,000 x 5,000 px has 50 MB."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", "")
"""Suffixes of files that may be DICOM; archives often have none."""

_OTHER_SUFFIXES = (".csv", ".json", ".txt", ".xml", ".md", ".html", ".pdf", ".xlsx")
"""Suffixes of what lies beside radiographs; every other file is asked whether it is DICOM."""

_RECORDS_SUFFIX = ".tfrecord"

_ARCHIVE_SUFFIX = ".zip"

_PAIR_SUFFIX = ".tfrec"
"""Of a file of images whose paths another one has; see ``tfrecord_pairs``."""

SECOND_FILE = "a second file of exam "
"""Why a file is refused whose exam has one; the exam follows."""

_HEADERS_A_TASK = 256

_PREAMBLE_BYTES, _MAGIC = 128, b"DICM"
"""Where a DICOM file says that it is one (PS3.10 7.1)."""


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
            if self.path.endswith(_PAIR_SUFFIX):
                from pneumodet.data import tfrecord_pairs  # here: it needs a package that predicting does without

                return tfrecord_pairs.image(self.path, self.mtime_ns, int(self.member.partition("/")[0]))
            if self.member:
                return _archive(self.path, self.mtime_ns).read(self.member)
            with open(self.path, "rb", buffering=0) as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{self} cannot be read: {error.strerror or error}.") from error
        except archives.ERRORS as error:
            raise DataError(f"{self} cannot be read: the archive is damaged, encrypted, or compressed in an unusual way.") from error


@functools.lru_cache(maxsize=64)
def _archive(path: str, mtime_ns: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def find_radiographs(
    root: Path | str,
    *,
    known: Container[str] = (),
    match: str = "auto",
    images: bool = False,
    by_path: Mapping[str, str] = MappingProxyType({}),
    pool: Pool | None = None,
    seconds: dict[str, list[tuple[Source, str]]] | None = None,
) -> tuple[dict[str, Source], list[tuple[str, str]]]:
    """Find the radiographs below a folder, or in a ZIP archive, and the exam that each belongs to.

    With ``auto`` a file whose name without suffix is in ``known`` belongs to that exam, without being opened; any other to its PatientID
    (0010,0020) or SOPInstanceUID (0008,0018) if one of them is in ``known``, else to its name.

    Args:
      root: a folder, searched with its subfolders and the ZIP archives in them, or one archive, or the URL of a folder, in which ZIP archives
        are not opened; hidden files and folders are passed over.
      known: patientIds of the labels.
      match: one of ``MATCH``; PNG and JPEG files always match by name.
      images: whether PNG and JPEG files count.
      by_path: the end of a file's path, from a folder on, with / and with or without suffix -> its exam: such a file is that exam's, and is not
        opened, unless ``match`` asks for an id.
      pool: reads headers; this process where there is none.
      seconds: gets the refused files of exams that have another one, as exam -> (file, name in the list of refused ones).

    Returns:
      (patientId -> Source, [(name, reason)] for files that are no DICOM or belong to an exam that has a file already).

    Raises:
      ConfigError: ``match`` is none of ``MATCH``.
      DataError: there is no radiograph, or ``root`` is neither a folder nor an archive.
    """
    if match not in MATCH:
        raise ConfigError(f"match is {match!r}, must be one of {', '.join(map(repr, MATCH))}.")
    candidates, refused = _candidates(root, known, images=images)
    if by_path and match in ("auto", "file-name"):
        candidates = [(source, name, _exam_by_path(name, by_path) or exam, is_dicom) for source, name, exam, is_dicom in candidates]
    to_open = [
        source for source, _, exam, is_dicom in candidates if is_dicom and match != "file-name" and (match != "auto" or exam not in known)
    ]
    headers = dict(zip(to_open, read_headers(to_open, pool or Pool()), strict=True))
    files: dict[str, Source] = {}
    # by name first, so that a copy of another name does not take an exam's place; DICOM before a picture of it
    for source, relative, exam, _ in sorted(candidates, key=lambda one: (one[2] not in known, not one[3])):
        if source in headers:
            header = headers[source]
            if header is None:
                refused.append((relative, "not a DICOM file"))
                continue
            wanted = {"patient-id": (header.patient_id,), "sop-instance-uid": (header.sop_instance_uid,)}
            ids = [one for one in wanted.get(match, (header.patient_id, header.sop_instance_uid)) if one]
            exam = next((one for one in ids if one in known), exam if match == "auto" else next(iter(ids), exam))
        if exam in files and not _is_better(source, files[exam], headers):
            refused.append((relative, SECOND_FILE + exam))
            if seconds is not None:
                seconds.setdefault(exam, []).append((source, relative))
            continue
        if exam in files:
            refused.append((files[exam].name, "not a DICOM file"))
        files[exam] = source
    if not files:
        what = "DICOM, PNG or JPEG file" if images else "DICOM file"
        raise DataError(f"There is no {what} in {root}." + (f" {len(refused)} files there are something else." if refused else ""))
    return files, refused


def _exam_by_path(name: str, by_path: Mapping[str, str]) -> str | None:
    """Return the exam of the longest end of a path that ``by_path`` has."""
    parts = name.replace("\\", "/").split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        if exam := by_path.get(end) or by_path.get(os.path.splitext(end)[0]):
            return exam
    return None


def _is_better(source: Source, first: Source, headers: dict[Source, reading.Header | None]) -> bool:
    """Whether an exam's second file is DICOM and the first one, which was taken by its name and never opened, is not."""
    if first in headers or first.name.lower().endswith(IMAGE_SUFFIXES):
        return False
    (_, of_first), (_, of_source) = (_read_headers((0, [one])) for one in (first, source))
    return of_first == [None] and of_source != [None]


def read_headers(sources: Sequence[Source], pool: Pool) -> list[reading.Header | None]:
    """Return each source's ``reading.header``, or None where it is no DICOM file."""
    parts = [(start, sources[start : start + _HEADERS_A_TASK]) for start in range(0, len(sources), _HEADERS_A_TASK)]
    by_start = dict(pool.run(_read_headers, parts))
    return [header for start, _ in parts for header in by_start[start]]


def _read_headers(part: tuple[int, Sequence[Source]]) -> tuple[int, list[reading.Header | None]]:
    def read(source: Source) -> reading.Header | None:
        try:
            return reading.header(source)
        except DataError:
            return None

    return part[0], [read(source) for source in part[1]]


def _candidates(
    root: Path | str, known: Container[str], *, images: bool
) -> tuple[list[tuple[Source, str, str, bool]], list[tuple[str, str]]]:
    """Return ([(source, name for messages, file name without suffix, whether it may be DICOM)], refused), by name."""
    candidates: list[tuple[Source, str, str, bool]] = []
    refused: list[tuple[str, str]] = []
    for source, relative in _files(root, refused):
        if not _is_utf8(relative):
            refused.append((relative.encode(errors="backslashreplace").decode(), "its name is not UTF-8"))
            continue
        stem, suffix = os.path.splitext(source.name)
        if suffix[1:].isdigit():  # a file named by its UID, 1.2.840.10008.77
            stem, suffix = source.name, ""
        if suffix.lower() not in (*_DICOM_SUFFIXES, *IMAGE_SUFFIXES, *_OTHER_SUFFIXES) and _has_magic(source):
            stem, suffix = stem if stem in known else source.name, ""
        if suffix.lower() in _DICOM_SUFFIXES:
            candidates.append((source, relative, stem, True))
        elif images and suffix.lower() in IMAGE_SUFFIXES:
            candidates.append((source, relative, stem, False))
    return sorted(candidates, key=lambda one: one[1]), refused


def _files(root: Path | str, refused: list[tuple[str, str]]) -> Iterable[tuple[Source, str]]:
    if remote.is_url(root):
        for url, size, changed in remote.listing(str(root)):
            relative = url[len(str(root).rstrip("/")) + 1 :]
            if not any(part.startswith(".") for part in PurePosixPath(relative).parts):
                yield Source(url, "", size, changed), relative
        return
    root = Path(root)
    if root.is_file():
        yield from _members(str(root), root.stat().st_mtime_ns, root.name, refused)
        if refused:
            raise DataError(f"{root} is neither a folder nor a ZIP archive.")
        return
    seen: set[tuple[int, int]] = set()
    top = str(root)
    for folder, subfolders, names in os.walk(top, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:  # a link back into what was searched
            subfolders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        if any(name.endswith(_RECORDS_SUFFIX) for name in names):  # an earlier output, with pictures in it
            subfolders.clear()
            continue
        if any(name.endswith(_PAIR_SUFFIX) for name in names):
            yield from _pair(folder, names, f"{folder[len(top) + 1 :]}/".lstrip("/"))
            names = [name for name in names if not name.endswith(_PAIR_SUFFIX)]
        subfolders[:] = sorted(name for name in subfolders if not archives.is_hidden(name))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = f"{folder}/{name}"
            relative = path[len(top) + 1 :]
            try:
                stat = os.stat(path)
            except OSError:
                refused.append((relative, "a broken link"))
                continue
            if name.lower().endswith(_ARCHIVE_SUFFIX):
                yield from _members(path, stat.st_mtime_ns, relative, refused)
            else:
                yield Source(path, "", stat.st_size, stat.st_mtime_ns), relative


def _pair(folder: str, names: Sequence[str], relative: str) -> Iterable[tuple[Source, str]]:
    """Yield the images of ``tfrecord_pairs`` in a folder, whose own path is ``relative``."""
    from pneumodet.data import tfrecord_pairs

    if tfrecord_pairs.is_such(names):
        path = f"{folder}/{tfrecord_pairs.IMAGES}"
        changed = os.stat(path).st_mtime_ns
        paths, sizes = tfrecord_pairs.paths(Path(folder)), tfrecord_pairs.sizes(path, changed)
        for number, (name, size) in enumerate(zip(paths, sizes, strict=True)):
            yield Source(path, f"{number}/{name}", size, changed), f"{relative}{tfrecord_pairs.short(name)}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are none as lone surrogates
        return False
    return True


def _has_magic(source: Source) -> bool:
    if remote.is_url(source.path):
        return False
    with contextlib.suppress(OSError, *archives.ERRORS):
        archive = _archive(source.path, source.mtime_ns) if source.member else None
        with archive.open(source.member) if archive else open(source.path, "rb") as file:
            head = file.read(_PREAMBLE_BYTES + len(_MAGIC))
            return len(head) > _PREAMBLE_BYTES and head.endswith(_MAGIC)
    return False


def _members(path: str, mtime_ns: int, relative: str, refused: list[tuple[str, str]]) -> Iterable[tuple[Source, str]]:
    try:
        members = archives.files(_archive(path, mtime_ns))
    except (OSError, *archives.ERRORS):
        refused.append((relative, "not a ZIP archive"))
        return
    for member in members:
        if not archives.is_hidden(member.filename):
            yield Source(path, member.filename, member.file_size, mtime_ns), f"{relative}/{member.filename}"
