"""What a user drops on the page -> files of one radiograph each, in memory, within limits; what is refused gets a sentence.

    files, refused = unpack([File("study.zip", data)], room=Room(files=MAX_FILES, bytes=MAX_TOTAL_BYTES))

What a file is, its content says. Nothing is written to disk, and no member of an archive is inflated beyond what there is room for.
"""

import dataclasses
import functools
import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence

from pneumodet.data import archives, file_kinds
from pneumodet.data.formats import exam_id

MAX_FILE_BYTES = 64 << 20
"""Of one file, and of one member of an archive: an uncompressed 16-bit radiograph of 5,000 x 5,000 px has 50 MB."""

MAX_TOTAL_BYTES = 512 << 20
"""Of all radiographs that one user has on the page."""

MAX_ARCHIVE_BYTES = MAX_TOTAL_BYTES
"""Of one ZIP archive: of compressed radiographs it is as large as they are together."""

MAX_FILES = 100
"""Radiographs that one user has on the page."""

MAX_MEMBERS = 2_000
"""Of an archive, folders and other files included; more are refused before their names are read."""

MAX_NAME_CHARACTERS = 80
"""A longer name is cut."""

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins: with a member, or with its end where it is empty (APPNOTE 4.3.7, 4.3.16)."""

_ZIP_ENTRY = b"PK\x01\x02"
"""How each entry of an archive's directory begins (APPNOTE 4.3.12)."""

_TOO_MUCH = f"All radiographs together may have {MAX_TOTAL_BYTES >> 20} MB, or less where others use the page. Remove some first."

_LABEL_SUFFIXES = (".csv", ".json", ".xml")


@dataclasses.dataclass(frozen=True)
class File:
    """A file in memory; a source of ``data.images`` and ``dicom.reading``.

    Attributes:
      name: as ``clean_name`` leaves it; it names the file in every message.
      data: the contents.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the contents."""
        return self.data

    @functools.cached_property
    def sha256(self) -> str:
        """Of the contents, 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_archive(self) -> bool:
        """Whether it is a ZIP archive."""
        return self.data.startswith(_ZIP_STARTS)

    @property
    def is_labels(self) -> bool:
        """Whether it is to be read as labels: by its suffix, where its content is no radiograph."""
        return self.name.lower().endswith(_LABEL_SUFFIXES) and not file_kinds.is_image(self.data)


@dataclasses.dataclass(frozen=True)
class Refused:
    """A file that is left out, and why, as a sentence."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Room:
    """How much one user may still add.

    Attributes:
      files: radiographs.
      bytes: of all of them together.
    """

    files: int = MAX_FILES
    bytes: int = MAX_TOTAL_BYTES

    def without(self, taken: Iterable[File]) -> "Room":
        """Return what is left when these files are there, too."""
        sizes = [len(file.data) for file in taken]
        return Room(self.files - len(sizes), self.bytes - sum(sizes))


def clean_name(name: str) -> str:
    """Return a file's name without folders, of letters, digits, blanks and ``-_.()`` only, so that no page, table or spreadsheet takes it for code."""
    # backslashes are from Windows: of browsers, and of archives that were made there
    name = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isalnum() or letter in "-_.() " else "_" for letter in name).strip()
    kept = kept.lstrip("-. ") or "unnamed"
    if len(kept) > MAX_NAME_CHARACTERS:
        stem, dot, suffix = kept.rpartition(".")
        # the suffix stays, by which labels are known
        tail = dot + suffix if stem and len(suffix) <= 5 else ""
        kept = kept[: MAX_NAME_CHARACTERS - len(tail) - 1] + "…" + tail
    return kept


def exam_of(name: str) -> str:
    """Return the exam that a file is of, by its name without folders and without a suffix of a radiograph."""
    return exam_id(clean_name(name)) or "unnamed"


def unpack(given: Sequence[File], *, room: Room) -> tuple[list[File], list[Refused]]:
    """Return the files that may be radiographs, members of archives among them, and those that are refused.

    Args:
      given: files as they were dropped, with the names that the browser says.
      room: what still fits.

    Returns:
      (files in the order given, with clean names, refused).
    """
    files: list[File] = []
    refused: list[Refused] = []
    for one in given:
        one = File(clean_name(one.name), one.data)
        left = room.without(files)
        if one.is_archive:
            members, others = _members(one, left)
            files += members
            refused += others
        elif reason := _reason(one.data, left):
            refused.append(Refused(one.name, reason))
        else:
            files.append(one)
    return files, refused


def _reason(data: bytes, room: Room) -> str | None:
    """Return why a file is refused, or None."""
    if not data:
        return "The file is empty."
    if len(data) > MAX_FILE_BYTES:
        return f"The file has {len(data) >> 20} MB; {MAX_FILE_BYTES >> 20} MB are allowed."
    if room.files < 1:
        return f"There are {MAX_FILES} radiographs already. Remove some first."
    if len(data) > room.bytes:
        return _TOO_MUCH
    return None


def _members(archive: File, room: Room) -> tuple[list[File], list[Refused]]:
    if len(archive.data) > MAX_ARCHIVE_BYTES:
        return [], [Refused(archive.name, f"The archive has {len(archive.data) >> 20} MB; {MAX_ARCHIVE_BYTES >> 20} MB are allowed.")]
    # counted in the raw bytes: zipfile would make an object of each before it could be asked
    if archive.data.count(_ZIP_ENTRY) > MAX_MEMBERS:
        return [], [Refused(archive.name, f"The archive has more than {MAX_MEMBERS:,} members. Take out what is no radiograph.")]
    files: list[File] = []
    refused: list[Refused] = []
    try:
        with zipfile.ZipFile(io.BytesIO(archive.data)) as opened:
            members = [one for one in archives.files(opened) if not archives.is_hidden(one.filename)]
            for member in members:
                left = room.without(files)
                name = clean_name(member.filename)
                where = f"{archive.name}, {name}"
                if reason := _unreadable(member):
                    refused.append(Refused(where, reason))
                    continue
                if left.files < 1 or left.bytes < 1:
                    what = f"{len(members) - len(files) - len(refused)} files of the archive"
                    refused.append(Refused(f"{archive.name}, {what}", _reason(b"?", left) or "There is no room for them."))
                    break
                if member.file_size > left.bytes:  # before it is unpacked: hundreds of these would keep everybody waiting
                    refused.append(Refused(where, _TOO_MUCH))
                    continue
                try:
                    with opened.open(member) as file:  # what the directory says of the size may be a lie
                        data = file.read(min(MAX_FILE_BYTES, left.bytes) + 1)
                except (OSError, *archives.ERRORS):
                    refused.append(Refused(where, "It cannot be unpacked: the archive is damaged."))
                    continue
                one = File(name, data)
                # a few KB of nested archives may unfold to any size
                if one.is_archive:
                    refused.append(Refused(where, "Archives within archives are not opened. Unpack it first."))
                elif reason := _reason(data, left):
                    refused.append(Refused(where, reason))
                else:
                    files.append(one)
    except (OSError, *archives.ERRORS):
        refused.append(Refused(archive.name, "The ZIP archive is damaged or cut off."))
    else:
        if not members:
            refused.append(Refused(archive.name, "The ZIP archive is empty."))
    return files, refused


def _unreadable(member: zipfile.ZipInfo) -> str | None:
    if archives.is_encrypted(member):
        return "It needs a password. Unpack the archive first."
    if member.compress_type not in archives.METHODS:
        return "It is compressed in an unusual way. Pack the archive again with plain ZIP."
    if member.file_size > MAX_FILE_BYTES:
        return f"It has {member.file_size >> 20} MB unpacked; {MAX_FILE_BYTES >> 20} MB are allowed."
    return None
