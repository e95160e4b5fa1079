"""Any record of a list of TFRecord files by its number, without an index file: headers are read once, bodies when they are asked for.

reader = Reader(shards)
data = reader.read(17)                 # the bytes of record 17, checked against their CRC
reader.where(17)                       # "train-00000-of-00004.tfrecord, record 17"
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data import tfrecord
from pneumodet.data.tfrecord import FOOTER, HEADER


class Reader:
    """Random access to the records of several files; may be used by several threads at once."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Find every record of ``shards``, in their order.

        Raises:
          DataError: a file cannot be read, is cut off, or is no TFRecord file.
        """
        self._shards = [Path(shard) for shard in shards]
        self._files = []
        places = []
        for number, shard in enumerate(self._shards):
            try:
                self._files.append(open(shard, "rb", buffering=0))  # noqa: SIM115 - open as long as the reader lives
                places.append(_places(self._files[-1].fileno(), shard, number))
            except OSError as error:
                raise DataError(f"Cannot read {shard}: {error.strerror}. Make the records again.") from error
        self._places = np.concatenate([np.zeros((0, 4), np.int64), *places])

    def __len__(self) -> int:
        return len(self._places)

    def where(self, index: int) -> str:
        """Return the file and the number of a record in it, for messages."""
        shard, number = self._places[index, :2].tolist()
        return f"{self._shards[shard]}, record {number}"

    def size(self, index: int) -> int:
        """Return the length of a record in bytes."""
        return int(self._places[index, 3])

    def read(self, index: int) -> bytes:
        """Return the bytes of a record.

        Raises:
          DataError: it cannot be read, or its CRC is wrong.
        """
        shard, _, offset, length = self._places[index].tolist()
        try:
            # pread takes the place as an argument: threads share the file without a lock
            body = os.pread(self._files[shard].fileno(), length + FOOTER.size, offset)
        except OSError as error:
            raise DataError(f"Cannot read {self.where(index)}: {error.strerror}.") from error
        record = body[:length]
        if len(body) < length + FOOTER.size or tfrecord.masked_crc(record) != FOOTER.unpack(body[length:])[0]:
            raise DataError(
                f"{self.where(index)}: the record is damaged (CRC). Make the records again, or leave it out of training by --skip-corrupt."
            )
        return record


def _places(file: int, shard: Path, number: int) -> np.ndarray:
    """Return (N, 4) int64 of a file's records: shard, number in the shard, offset of the body, its length in bytes."""
    rows: list[tuple[int, int, int, int]] = []
    offset, size = 0, os.fstat(file).st_size
    while offset < size:
        head = os.pread(file, HEADER.size, offset)
        where = f"{shard}, record {len(rows)}"
        length = tfrecord.length_of(head, where)
        if offset + HEADER.size + length + FOOTER.size > size:
            raise DataError(f"{where}: the file is cut off. Make the records again.")
        rows.append((number, len(rows), offset + HEADER.size, length))
        offset += HEADER.size + length + FOOTER.size
    return np.array(rows, np.int64).reshape(-1, 4)
