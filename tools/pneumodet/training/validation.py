"""Evaluation within training: the model at hand on the validation records, with the figures of tools/evaluate.py but their intervals.

validation = Validation(model, config, records.val, class_name="pneumonia")
found = validation.run()
found.figures["rsna_metric"], found.cases
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from pneumodet import results
from pneumodet.assessment import inputs, summary
from pneumodet.data import label_map
from pneumodet.data.record_sets import Split
from pneumodet.detection import models
from pneumodet.detection.looking import Looker
from pneumodet.errors import DataError
from pneumodet.inference.outputs import from_outputs
from pneumodet.metrics.cases import Cases
from pneumodet.results import Detections

BATCH = 8
"""Images at once."""

MEMORY_BYTES = 1 << 29
"""Images at the model's scale are kept from one evaluation to the next where all of them take no more than this."""

LOOKS = 4
"""Exams with pneumonia whose pixels are handed on, to be drawn."""

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclasses.dataclass(frozen=True)
class Found:
    """What an evaluation found.

    Attributes:
      figures: as ``summary.headline``.
      cases: ground truth and detections of the class that is judged.
      detections: exam -> all detections, in px of the record's image.
      looks: exam -> (h, w) uint8 pixels at the model's scale, of a few exams with pneumonia.
      sizes_hw: exam -> height and width in px of the record's image, of the same exams.
    """

    figures: dict[str, float | None]
    cases: Cases
    detections: dict[str, Detections]
    looks: dict[str, np.ndarray]
    sizes_hw: dict[str, tuple[int, int]]


class Validation:
    """The validation records, and a graph of the model on them that is traced once."""

    def __init__(
        self,
        model: Any,
        config: Any,
        split: Split,
        *,
        class_name: str = label_map.PNEUMONIA,
        skip_corrupt: bool = False,
    ) -> None:
        """Find the records.

        Args:
          model: the DetectionModel that is trained.
          config: its TrainEvalPipelineConfig.
          split: the records.
          class_name: the class that is judged.
          skip_corrupt: judge a record that cannot be read as if nothing was found on it; otherwise it is an error.

        Raises:
          DataError: records and ground truth do not have the same number of images, or a file cannot be read.
        """
        self._examples, self._names, self._sizes_hw = split.examples, split.names, split.sizes_hw
        self._model, self._instances, self._class_name, self._skip = model, split.instances, class_name, skip_corrupt
        with_boxes = {one["image_id"] for one in split.instances["annotations"]}
        self._positive = {name for name, image in zip(self._names, split.instances["images"], strict=True) if image["id"] in with_boxes}
        self._looker = Looker(model, config)
        self._kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.skipped: dict[str, str] = {}
        """Where a record could not be read -> why."""

    def run(self) -> Found:
        """Detect on all records, and judge.

        Raises:
          DataError: a record cannot be read.
        """
        detections: dict[str, Detections] = {}
        looks: dict[str, np.ndarray] = {}
        sizes_hw: dict[str, tuple[int, int]] = {}
        for images, true_shapes, original_hw in self._batches():
            outputs = self._looker.detect(images, true_shapes)
            for index, (height, width) in enumerate(original_hw.tolist()):
                number = len(detections)
                name = self._names[number]
                unread = self._examples.where(number) in self.skipped  # the model finds something in black pixels, too
                detections[name] = _NOTHING if unread else from_outputs(outputs, index, height=height, width=width)
                if name in self._positive and len(looks) < LOOKS:
                    looks[name] = images[index, : true_shapes[index, 0], : true_shapes[index, 1], 0]
                    sizes_hw[name] = (height, width)
        models.set_training(self._model, True)
        loaded = inputs.assemble(self._instances, lambda _, __: results.to_coco(detections), class_name=self._class_name)
        return Found(summary.headline(loaded, class_name=self._class_name), loaded.cases, detections, looks, sizes_hw)

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (B, h, w, 1) uint8 images, (B, 3) int32 shapes without padding, (B, 2) int32 heights and widths of the records' images."""
        if self._kept:
            yield from self._kept
            return
        kept, used = [], 0
        count = len(self._examples)
        size = BATCH if self._looker.size.canvas_hw else 1
        for first in range(0, count, size):
            read = [self._read(number) for number in range(first, min(first + size, count))]
            batch = tuple(np.stack(column) for column in zip(*read, strict=True))
            used += batch[0].nbytes
            kept.append(batch) if used <= MEMORY_BYTES else kept.clear()
            yield batch
        self._kept = kept if used <= MEMORY_BYTES else []

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        where, image_hw = self._examples.where(number), self._sizes_hw[number]
        try:
            pixels = self._examples.read(number).pixels()  # whole, as detection.evaluation does
        except DataError as error:
            if not self._skip:
                raise
            self.skipped[where] = str(error)
            pixels = np.zeros(image_hw, np.uint8)
        return (*self._looker.prepared(pixels), np.array(image_hw, np.int32))
