"""Evaluation within training: the model at hand on the validation records, with the figures of tools/evaluate.py but their intervals.

validation = Validation(model, config, records.val, class_name="pneumonia")
evaluation = validation.run()
evaluation.figures["rsna_metric"], evaluation.cases
"""

import dataclasses
from collections.abc import Callable
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
from pneumodet.models.detection.running import DetectorRunner
from pneumodet.models.inputs.split_images import Arrays, SplitImages
from pneumodet.viz.pictures import draw_boxes

BATCH = 8
"""Images at once."""

PICTURES = 4
"""Exams with pneumonia whose pixels are handed on, to be drawn."""

DRAWN = 3
"""Most confident detections on a validation picture: what a young detector is sure of shows before it reaches any threshold."""

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation of the model at hand.

    Attributes:
      figures: as of ``summary.headline``.
      cases: ground truth and detections of the class that is evaluated.
      detections: exam -> all detections, in px of the record's image.
      pixels: exam -> (h, w) uint8 pixels at the model's scale, of a few exams with pneumonia.
      sizes_hw: exam -> height and width in px of the record's image, of the same exams.
      moves: as ``parts.Evaluation``.
    """

    figures: dict[str, float | None]
    cases: Cases
    detections: dict[str, Detections]
    pixels: dict[str, np.ndarray]
    sizes_hw: dict[str, tuple[int, int]]
    moves: Callable[[str], np.ndarray | None] = lambda _: None

    @property
    def pictures(self) -> list[Image.Image]:
        """Ground truth and the most confident detections on ``pixels``."""
        return [self._drawn(exam) for exam in self.pixels]

    def _drawn(self, exam: str) -> Image.Image:
        cases, pixels = self.cases, self.pixels[exam]
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
          class_name: the class that is evaluated.
          skip_corrupt: evaluate a record that cannot be read as if nothing was detected on it; otherwise it is an error.

        Raises:
          DataError: records and ground truth do not have the same number of images, or a file cannot be read.
        """
        self._names, self._sizes_hw = split.names, split.sizes_hw
        self._model, self._instances, self._class_name = model, split.instances, class_name
        with_boxes = {one["image_id"] for one in split.instances["annotations"]}
        self._positive = {name for name, image in zip(self._names, split.instances["images"], strict=True) if image["id"] in with_boxes}
        self._runner = DetectorRunner(model, config)
        self._images = SplitImages(
            split,
            # images of several sizes do not go into one batch
            batch=BATCH if self._runner.size.canvas_hw else 1,
            read=self._read,
            black=lambda number: self._prepared(np.zeros(self._sizes_hw[number], np.uint8)),
            skip_corrupt=skip_corrupt,
        )

    @property
    def skipped(self) -> dict[str, str]:
        """Where a record could not be read -> why."""
        return self._images.skipped

    def run(self) -> Evaluation:
        """Detect on all records, and evaluate.

        Raises:
          DataError: a record cannot be read.
        """
        detections: dict[str, Detections] = {}
        shown: dict[str, np.ndarray] = {}
        sizes_hw: dict[str, tuple[int, int]] = {}
        for batch in self._images.batches():
            images, true_shapes, original_hw = batch.arrays
            outputs = self._runner.detect(images, true_shapes)
            for index, (height, width) in enumerate(original_hw.tolist()):
                name = self._names[batch.numbers[index]]  # the model finds something in black pixels, too
                detections[name] = from_outputs(outputs, index, height=height, width=width) if batch.read[index] else _NOTHING
                if name in self._positive and len(shown) < PICTURES:
                    shown[name] = images[index, : true_shapes[index, 0], : true_shapes[index, 1], 0]
                    sizes_hw[name] = (height, width)
        # the next training step would otherwise run with the statistics and without dropout
        models.set_training(self._model, True)
        loaded = inputs.assemble(self._instances, lambda _, __: to_coco(detections), class_name=self._class_name)
        headline = summary.headline(loaded, class_name=self._class_name)
        return Evaluation(headline.figures, loaded.cases, detections, shown, sizes_hw, headline.moves)

    def _read(self, example: Example) -> Arrays:
        return self._prepared(example.pixels())  # whole, as evaluation.checkpoint_detections does

    def _prepared(self, pixels: np.ndarray) -> Arrays:
        """Return (h, w, 1) uint8 image, (3,) int32 shape without padding, (2,) int32 height and width of the record's image."""
        return (*self._runner.prepared(pixels), np.array(pixels.shape, np.int32))
