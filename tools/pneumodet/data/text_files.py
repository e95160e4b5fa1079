"""Text, CSV and JSON files from anywhere: packed or not, in the encodings that programs write.

    text = read_text(Path("stage_2_train_labels.csv.zip"))     # the only file in it, decoded
    value = read_json(Path("instances.json.gz"))

gzip and ZIP are recognised by their first bytes, so that the name does not matter.
"""

import codecs
import gzip
import io
import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

from pneumodet.core import json_text
from pneumodet.core.errors import DataError
from pneumodet.data import archives

PACKED = ".gz"
"""Suffix of a file that must be gzip."""

MAX_UNPACKED_BYTES = 1 << 30
"""What a packed file may hold: a few kB can unpack to any size. RSNA's largest file has 10 MB; 1 GiB of COCO results are 10 million boxes."""

MAX_RATIO, SMALL_BYTES = 100, 64 << 20
"""What a packed file may hold beyond ``SMALL_BYTES``, by its own size: labels and detections are packed to a fifth or a twentieth."""

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LISTED = 3
"""Members of an archive that a message names."""

_log = logging.getLogger(__name__)


def read_bytes(path: Path, what: str = "") -> bytes:
    """Return the contents of a file, unpacked where it is gzip, or a ZIP archive with one file.

    Args:
      path: the file.
      what: put before its name in messages, with a blank ("the patient map ").

    Raises:
      DataError: it cannot be read, is damaged, or unpacks to more than ``MAX_UNPACKED_BYTES``; or an archive holds none or several files.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {what}{path}: {error.strerror}.") from error
    if data.startswith(_ZIP):
        return _from_zip(data, path, what)
    if data.startswith(_GZIP) or path.suffix.lower() == PACKED:
        return _from_gzip(data, path, what)
    return data


def _from_gzip(data: bytes, path: Path, what: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return _bounded(file.read(_most(data) + 1), data, path)  # one byte more shows that there are more
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot unpack {what}{path}: it is no gzip file, or cut off. Get the file again.") from error


def _from_zip(data: bytes, path: Path, what: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [one for one in archives.files(archive) if not archives.is_hidden(one.filename)]
            if any(one.filename == "[Content_Types].xml" for one in members):
                raise DataError(f"{path} is an Excel workbook or other Office document. Save it as CSV in UTF-8.")
            if len(members) != 1:
                names = ", ".join(one.filename for one in members[:_LISTED]) + (", …" if len(members) > _LISTED else "")
                raise DataError(f"{path} is a ZIP archive with {len(members)} files ({names or 'none'}). Unpack it and name one of them.")
            if members[0].compress_type not in archives.METHODS or archives.is_encrypted(members[0]):
                raise DataError(
                    f"Cannot unpack {what}{path}: it is encrypted or compressed in an unusual way. Pack it with gzip, or not at all."
                )
            with archive.open(members[0]) as file:
                return _bounded(file.read(_most(data) + 1), data, path)
    except (OSError, *archives.ERRORS) as error:
        raise DataError(f"Cannot unpack {what}{path}: the ZIP archive is damaged or cut off. Get the file again.") from error


def _most(packed: bytes) -> int:
    return min(MAX_UNPACKED_BYTES, max(SMALL_BYTES, MAX_RATIO * len(packed)))


def _bounded(data: bytes, packed: bytes, path: Path) -> bytes:
    if len(data) > MAX_UNPACKED_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES >> 20:,} MiB, which is no file of labels or detections.")
    if len(data) > _most(packed):
        raise DataError(
            f"{path} unpacks to more than {MAX_RATIO} times its size, which no file of labels or detections does. Unpack it, if it is right."
        )
    return data


def read_text(path: Path, what: str = "") -> str:
    """Return the text of a file; arguments and errors as ``read_bytes`` and ``decode``."""
    return decode(read_bytes(path, what), path, what)


def decode(data: bytes, path: Path, what: str = "") -> str:
    """Return bytes as text: UTF-8, UTF-16 and UTF-32 with or without byte order mark, else Windows-1252, with a warning in the log.

    Raises:
      DataError: they are binary data, or in none of these encodings.
    """
    encoding = _encoding_of(data)
    if encoding == "utf-8" and (place := data.find(0)) >= 0:
        raise DataError(f"{path} is no text: it has a byte 0 at place {place}. Is this the right file?")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = _windows_text(data, path, what, error)
    if "\0" in text:
        raise DataError(f"{path} is no text: it has a byte 0 at place {text.index(chr(0))}. Is this the right file?")
    return text


def _encoding_of(data: bytes) -> str:
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    if len(data) >= 4 and len(data) % 2 == 0:  # UTF-16 without a mark: every other byte of Latin letters is 0
        if data[1] == data[3] == 0 and data[0] and data[2]:
            return "utf-16-le"
        if data[0] == data[2] == 0 and data[1] and data[3]:
            return "utf-16-be"
    return "utf-8"


def _windows_text(data: bytes, path: Path, what: str, error: UnicodeDecodeError) -> str:
    """Return text of Windows' usual encoding in western Europe and America, which Excel writes; DataError where it cannot be that."""
    where = "line " + str(data.count(b"\n", 0, error.start) + 1)
    partly = {char for char in data.decode("utf-8", "replace") if char > "\x7f"} - {"\ufffd"}
    try:
        if error.encoding != "utf-8" or partly:  # a damaged file in UTF-8 has its other letters right
            raise error
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise DataError(f"{path} is neither UTF-8, UTF-16 nor Windows-1252: see {where}. Save it as UTF-8.") from error
    if any(char < " " and char not in "\t\n\v\f\r" for char in text):
        raise DataError(f"{path} is no text: see {where}. Is this the right file?") from error
    _log.warning("%s is not UTF-8 (%s): read as Windows-1252. If names are wrong, save it as UTF-8.", path, where)
    return text


def is_json(data: bytes) -> bool:
    """Whether contents begin as a JSON list or object does."""
    return head(data).startswith(("{", "["))


def head(data: bytes, size: int = 512) -> str:
    """Return the first characters without blanks, as far as they can be read."""
    start = data[: size * 4]
    return start.decode(_encoding_of(start[: len(start) & ~3]), "ignore").lstrip("\ufeff \t\r\n")[:size]


def read_json(path: Path, what: str = "") -> Any:
    """Return the value in a JSON file; arguments as ``read_bytes``.

    Raises:
      DataError: as ``read_text``, or the text is no JSON.
    """
    return parse_json(read_text(path, what), path, what)


def parse_json(text: str, path: Path, what: str = "") -> Any:
    """Return the value of a JSON text; errors as ``read_json``."""
    try:
        # not strict: the entries of a long table are checked one by one, and a message says which of them is wrong
        return json_text.loads(text, strict=False)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
