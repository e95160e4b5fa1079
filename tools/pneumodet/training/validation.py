"""Evaluation within training: the model at hand on the validation records, with the figures of tools/evaluate.py but their intervals.

validation = Validation(model, config, records.val, class_name="pneumonia")
found = validation.run()
found.figures["rsna_metric"], found.cases
"""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core.detections import Detections, to_coco
from pneumodet.data import label_map
from pneumodet.data.cases import Cases
from pneumodet.data.examples import Example
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import inputs, summary
from pneumodet.inference.outputs import from_outputs
from pneumodet.models.detection import models
from pneumodet.models.detection.running import Looker
from pneumodet.models.inputs.split_images import Arrays, SplitImages
from pneumodet.viz.pictures import draw_boxes

BATCH = 8
"""Images at once."""

LOOKS = 4
"""Exams with pneumonia whose pixels are handed on, to be drawn."""

DRAWN = 3
"""Most confident detections on a validation picture: what a young detector is sure of is seen before it reaches any threshold."""

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

    @property
    def pictures(self) -> list[Image.Image]:
        """Ground truth and the most confident detections of ``looks``."""
        return [self._drawn(exam) for exam in self.looks]

    def _drawn(self, exam: str) -> Image.Image:
        cases, pixels = self.cases, self.looks[exam]
        case = cases.names.index(exam)
        height, width = self.sizes_hw[exam]
        scale = np.tile([pixels.shape[1] / width, pixels.shape[0] / height], 2)
        of_case = np.flatnonzero(cases.box_case == case)[:DRAWN]
        detections = Detections(cases.boxes_xyxy_px[of_case] * scale, cases.scores[of_case], np.ones(len(of_case), np.int64))
        return draw_boxes(pixels, truth_xyxy_px=cases.truth_xyxy_px[cases.truth_case == case] * scale, detections=detections, title=exam)


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
        self._names, self._sizes_hw = split.names, split.sizes_hw
        self._model, self._instances, self._class_name = model, split.instances, class_name
        with_boxes = {one["image_id"] for one in split.instances["annotations"]}
        self._positive = {name for name, image in zip(self._names, split.instances["images"], strict=True) if image["id"] in with_boxes}
        self._looker = Looker(model, config)
        self._images = SplitImages(
            split,
            batch=BATCH if self._looker.size.canvas_hw else 1,
            read=self._read,
            black=lambda number: self._prepared(np.zeros(self._sizes_hw[number], np.uint8)),
            skip_corrupt=skip_corrupt,
        )

    @property
    def skipped(self) -> dict[str, str]:
        """Where a record could not be read -> why."""
        return self._images.skipped

    def run(self) -> Found:
        """Detect on all records, and judge.

        Raises:
          DataError: a record cannot be read.
        """
        detections: dict[str, Detections] = {}
        looks: dict[str, np.ndarray] = {}
        sizes_hw: dict[str, tuple[int, int]] = {}
        for batch in self._images.batches():
            images, true_shapes, original_hw = batch.arrays
            outputs = self._looker.detect(images, true_shapes)
            for index, (height, width) in enumerate(original_hw.tolist()):
                name = self._names[batch.numbers[index]]  # the model finds something in black pixels, too
                detections[name] = from_outputs(outputs, index, height=height, width=width) if batch.read[index] else _NOTHING
                if name in self._positive and len(looks) < LOOKS:
                    looks[name] = images[index, : true_shapes[index, 0], : true_shapes[index, 1], 0]
                    sizes_hw[name] = (height, width)
        models.set_training(self._model, True)
        loaded = inputs.assemble(self._instances, lambda _, __: to_coco(detections), class_name=self._class_name)
        return Found(summary.headline(loaded, class_name=self._class_name), loaded.cases, detections, looks, sizes_hw)

    def _read(self, example: Example) -> Arrays:
        return self._prepared(example.pixels())  # whole, as detection.evaluation does

    def _prepared(self, pixels: np.ndarray) -> Arrays:
        """Return (h, w, 1) uint8 image, (3,) int32 shape without padding, (2,) int32 height and width of the record's image."""
        return (*self._looker.prepared(pixels), np.array(pixels.shape, np.int32))
