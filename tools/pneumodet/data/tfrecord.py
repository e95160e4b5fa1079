"""TFRecord files without TensorFlow: framing here, CRC32C by google-crc32c (Apache-2.0, kept by Google, hardware CRC).

A record is: length (uint64, little endian), masked CRC of those 8 bytes (uint32), the bytes, their masked CRC (uint32).
Source: tensorflow/core/lib/io/record_writer.h.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from pneumodet.core.errors import DataError

MAX_RECORD_BYTES = 1 << 30
"""A longer record is taken for damage: no radiograph is 1 GiB."""

HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")
"""Before a record: its length and that length's CRC; after it: its CRC."""


def masked_crc(data: bytes) -> int:
    """Return the CRC32C of ``data``, rotated and offset as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    # TensorFlow masks CRCs, since a CRC over data that hold CRCs is a weak one (core/lib/hash/crc32c.h)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class Writer:
    """Writes records to a file and knows its SHA-256 at the end."""

    def __init__(self, file: BinaryIO) -> None:
        """Take a file that is open for writing and stays the caller's to close."""
        self._file = file
        self._sha256 = hashlib.sha256()
        self.bytes = 0
        self.records = 0

    def write(self, record: bytes) -> None:
        """Append one record."""
        length = struct.pack("<Q", len(record))
        for part in (length + FOOTER.pack(masked_crc(length)), record, FOOTER.pack(masked_crc(record))):
            self._file.write(part)
            self._sha256.update(part)
            self.bytes += len(part)
        self.records += 1

    @property
    def sha256(self) -> str:
        """SHA-256 of all that was written, 64 hex digits."""
        return self._sha256.hexdigest()


def read_records(path: Path, *, damaged: list[str] | None = None) -> Iterator[bytes]:
    """Yield the records of one file, each checked against its CRC.

    Args:
      path: the file.
      damaged: takes what would be raised of damaged records, which are left out then; after a damaged length, and in a file that is cut off,
        nothing more can be read.

    Raises:
      DataError: the file cannot be read, ends in the middle of a record, or a CRC is wrong; the message has the record's index.
    """
    try:
        with open(path, "rb") as file:
            index = 0
            while head := file.read(HEADER.size):
                where = f"{path}, record {index}"
                try:
                    body = _body(file, head, where)
                except DataError as error:
                    if damaged is None:
                        raise
                    damaged.append(f"{error} Nothing behind it can be read.")
                    return
                record = body[: -FOOTER.size]
                if masked_crc(record) == FOOTER.unpack(body[-FOOTER.size :])[0]:
                    yield record
                elif damaged is None:
                    raise DataError(f"{where}: the record is damaged (CRC). Make the records again.")
                else:
                    damaged.append(f"{where}: the record is damaged (CRC).")
                index += 1
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def _body(file: BinaryIO, head: bytes, where: str) -> bytes:
    """Return a record and its CRC, which follow on a header."""
    length = length_of(head, where)
    body = file.read(length + FOOTER.size)
    if len(body) < length + FOOTER.size:
        raise DataError(f"{where}: the file is cut off. Make the records again.")
    return body


def length_of(head: bytes, where: str) -> int:
    """Return the length in bytes of the record that begins with a header; ``where`` names it in messages.

    Raises:
      DataError: the header is cut off, or its CRC is wrong.
    """
    if len(head) < HEADER.size:
        raise DataError(f"{where}: the file is cut off. Make the records again.")
    length, crc = HEADER.unpack(head)
    # a length can be right by its CRC and absurd, where a file of another kind happens to fit
    if masked_crc(head[:8]) != crc or length > MAX_RECORD_BYTES:
        raise DataError(f"{where}: the record's length is damaged (CRC), or this is no TFRecord file. Make the records again.")
    return int(length)
