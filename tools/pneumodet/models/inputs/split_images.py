"""The images of a split as a model takes them, batch by batch in the records' order: what every evaluation within training reads.

images = SplitImages(split, batch=8, read=read, black=black)
for batch in images.batches(): batch.numbers, batch.arrays, batch.read

Images are kept in memory from one evaluation to the next where all of them take no more than ``MEMORY_BYTES``.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from pneumodet.core.errors import DataError
from pneumodet.data.examples import Example
from pneumodet.data.record_sets import Split

MEMORY_BYTES = 1 << 29
"""Most that the images of a split may take in memory."""

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Records one after the other.

    Attributes:
      numbers: (B,) int64, which records.
      arrays: what ``read`` returns, stacked along a new first axis.
      read: (B,) bool, False where a record is corrupt and black stands in its place.
    """

    numbers: np.ndarray
    arrays: Arrays
    read: np.ndarray


class SplitImages:
    """See the module.

    Attributes:
      skipped: where a record could not be read -> why.
      kept: the batches in memory; empty where they are too large, or nothing was read yet.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch: int,
        read: Callable[[Example], Arrays],
        black: Callable[[int], Arrays],
        skip_corrupt: bool = False,
    ) -> None:
        """Open the records.

        Args:
          split: the records.
          batch: images at once.
          read: record -> arrays of its image; a DataError where the record is corrupt.
          black: number -> arrays of the same shapes, in place of a corrupt record.
          skip_corrupt: take black for a corrupt record, and note it in ``skipped``; otherwise it is an error.

        Raises:
          DataError: records and ground truth do not have the same number of images, or a file cannot be read.
        """
        self._examples = split.examples
        self._batch, self._read_one, self._black = batch, read, black
        self._skip = skip_corrupt
        self.skipped: dict[str, str] = {}
        self.kept: list[Batch] = []

    def first(self) -> Arrays:
        """Return the arrays of the first image, each with a first axis of 1."""
        if self.kept:
            return tuple(one[:1] for one in self.kept[0].arrays)
        return tuple(one[np.newaxis] for one in self._read(0))

    def batches(self) -> Iterator[Batch]:
        """Yield all images.

        Raises:
          DataError: a record cannot be read.
        """
        if self.kept:
            yield from self.kept
            return
        kept: list[Batch] = []
        used, count = 0, len(self._examples)
        for first in range(0, count, self._batch):
            numbers = np.arange(first, min(first + self._batch, count))
            arrays = tuple(np.stack(column) for column in zip(*map(self._read, numbers.tolist()), strict=True))
            batch = Batch(numbers, arrays, np.array([self._examples.where(number) not in self.skipped for number in numbers.tolist()]))
            used += sum(one.nbytes for one in arrays)
            # what was kept is let go at once where all will not fit: half of a split in memory saves no reading of the rest
            if used <= MEMORY_BYTES:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if used <= MEMORY_BYTES:
            self.kept = kept

    def _read(self, number: int) -> Arrays:
        try:
            return self._read_one(self._examples.read(number))
        except DataError as error:
            if not self._skip:
                raise
            self.skipped[self._examples.where(number)] = str(error)
            return self._black(number)
