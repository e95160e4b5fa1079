"""The records of a list of TFRecord files by their number: a radiograph, its boxes, and where it stands. No TensorFlow.

examples = Examples(shards)
example = examples.read(17)              # reads and checks this record only
example.record.patient_id, example.pixels(), example.pixels(target_hw=(320, 320)), example.where
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pneumodet.core.boxes import xyxy_px_to_yxyx_norm
from pneumodet.core.errors import DataError
from pneumodet.data import random_access, record_images, tf_example
from pneumodet.data.tf_example import Record


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One record.

    Attributes:
      record: its image, still encoded, and its boxes.
      where: file, number and exam, for messages.
    """

    record: Record
    where: str

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.record.height, self.record.width

    @property
    def boxes_yxyx_norm(self) -> np.ndarray:
        """(N, 4) float64 boxes as shares of the image."""
        return xyxy_px_to_yxyx_norm(self.record.boxes_xyxy_px, height=self.record.height, width=self.record.width)

    def pixels(self, target_hw: tuple[int, int] | None = None) -> np.ndarray:
        """Return the image as (H, W) uint8, whole, or reduced by averaging to no less than ``target_hw``.

        Raises:
          DataError: it is damaged, or not of the record's size.
        """
        return record_images.decode(self.record.encoded, where=self.where, target_hw=target_hw, image_hw=self.image_hw)

    def masks(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Return (N, h, w) uint8, 0 or 1, the mask of each box.

        Raises:
          DataError: one cannot be decoded, or there are not as many masks as boxes.
        """
        encoded, boxes = self.record.masks, len(self.record.class_ids)
        if len(encoded) != boxes:
            raise DataError(f"{self.where}: {boxes} boxes, but {len(encoded)} masks. Make the records again with --masks.")
        masks = [record_images.decode_mask(one, size_hw, where=self.where) for one in encoded]
        return np.array(masks, np.uint8).reshape(-1, *size_hw)  # no boxes: (0, h, w), not (0,)


class Examples:
    """The records of several files, in their order; may be used by several threads at once."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Find every record; no more than their lengths is read.

        Raises:
          DataError: a file cannot be read, is cut off, or is no TFRecord file.
        """
        self._reader = random_access.Reader(shards)

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[Example]:
        return map(self.read, range(len(self)))

    def where(self, number: int) -> str:
        """Return the file and the number of a record in it, for messages."""
        return self._reader.where(number)

    def read(self, number: int) -> Example:
        """Return a record, its image still encoded; its checksum is compared, and no other record is read.

        Raises:
          DataError: it is damaged, or has not what records have; the message names file and number.
        """
        where = self.where(number)
        data = self._reader.read(number)
        try:
            record = tf_example.decode(data)  # its CRC is right: what is wrong was written so
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return Example(record, f"{where} (exam {record.patient_id})")
