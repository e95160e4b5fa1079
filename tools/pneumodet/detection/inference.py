"""Detections from an exported model, without the API and without training code.

detector = SavedModelDetector(Path("workspace/my_first/export"))
found = detector.detect(pixels)          # Detections in px of the radiograph
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet import paths
from pneumodet.data import boxes, label_map
from pneumodet.detection import decoding, resizing
from pneumodet.errors import CheckpointError, DataError, first_line
from pneumodet.results import Detections

SAVED_MODEL = "saved_model"
"""Folder of the SavedModel in an export."""

LABEL_MAP = "label_map.pbtxt"
"""The label map in an export."""

MODEL_CARD = "model.json"
"""What the model is: config, data, versions, metrics, score threshold."""

SCORE_FLOOR = 0.001
"""Detections that score less are not kept; a COCO curve over so many boxes is not changed by them."""


def from_outputs(outputs: dict[str, Any], index: int, *, height: int, width: int) -> Detections:
    """Turn the API's output for one image into Detections.

    Args:
      outputs: ``detection_boxes`` (B, N, 4) float32 yxyx_norm, ``detection_scores`` (B, N), ``detection_classes`` (B, N), ids from 1,
        ``num_detections`` (B,), as numpy arrays.
      index: the image's place in the batch.
      height: of the radiograph, px.
      width: of the radiograph, px.

    Returns:
      Its detections that score at least ``SCORE_FLOOR``, best first, clipped to the image; boxes without area are left out.
    """
    count = int(outputs["num_detections"][index])
    scores = np.asarray(outputs["detection_scores"][index][:count], np.float32)
    xyxy_px = boxes.yxyx_norm_to_xyxy_px(np.asarray(outputs["detection_boxes"][index][:count], np.float32), height=height, width=width)
    xyxy_px = boxes.clip_xyxy_px(xyxy_px, height=height, width=width)
    classes = np.rint(outputs["detection_classes"][index][:count]).astype(np.int64)
    area = (xyxy_px[:, 2] > xyxy_px[:, 0]) & (xyxy_px[:, 3] > xyxy_px[:, 1])
    order = np.argsort(-scores, kind="stable")
    keep = order[(area & (scores >= SCORE_FLOOR))[order]]
    return Detections(xyxy_px[keep].astype(np.float32), scores[keep], classes[keep])


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What lies beside an exported model.

    Attributes:
      label_map: name -> id.
      score_threshold: the threshold of its evaluation, None where it was never evaluated.
      card: all of model.json.
    """

    label_map: dict[str, int]
    score_threshold: float | None
    card: dict[str, Any]


def read_info(model_dir: Path) -> ModelInfo:
    """Read label_map.pbtxt and model.json of an exported model.

    Raises:
      CheckpointError: this is no exported model.
    """
    for name in (SAVED_MODEL, LABEL_MAP, MODEL_CARD):
        if not (model_dir / name).exists():
            raise CheckpointError(f"{model_dir} is not an exported model (it has no {name}). Export a run by tools/export.py --run NAME.")
    card = paths.read_json(model_dir / MODEL_CARD, what="the model card", hint="Export the run again.")
    return ModelInfo(label_map.read_label_map(model_dir / LABEL_MAP), card.get("score_threshold"), card)


def read_infos(model_dirs: Sequence[Path]) -> list[ModelInfo]:
    """Read what lies beside each of one or more exported models that are to be fused.

    Raises:
      CheckpointError: one of them is no exported model.
      DataError: their label maps differ.
    """
    infos = [read_info(model_dir) for model_dir in model_dirs]
    for model_dir, info in zip(model_dirs, infos, strict=True):
        if info.label_map != infos[0].label_map:
            raise DataError(
                f"The models do not fit together: the label map of {model_dirs[0]} is {infos[0].label_map}, that of {model_dir} is "
                f"{info.label_map}. Only models with the same classes can be fused."
            )
    return infos


class SavedModelDetector:
    """An exported SavedModel with the API's standard signature."""

    def __init__(self, model_dir: Path) -> None:
        """Load the model.

        Raises:
          CheckpointError: TensorFlow cannot load it.
        """
        import tensorflow as tf

        try:
            model = tf.saved_model.load(str(model_dir / SAVED_MODEL))
            self._signature = model.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise CheckpointError(f"{model_dir / SAVED_MODEL} cannot be loaded: {first_line(error)}. Export the run again.") from error
        self._model = model  # a signature does not keep its variables alive
        self._constant = tf.constant
        size = read_info(model_dir).card.get("input")
        self._size = resizing.Size(**size | {"fixed_hw": size["fixed_hw"] and tuple(size["fixed_hw"])}) if size else None

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect on one radiograph.

        Args:
          pixels: (H, W) uint8, dark air and bright bone (MONOCHROME2).

        Returns:
          Detections in px of ``pixels``.
        """
        height, width = pixels.shape
        if self._size:
            target_hw = self._size.of((height, width))  # the model's own resizer, which is another one, then finds nothing to do
            pixels = decoding.resize(decoding.reduce(pixels, target_hw), target_hw)
        outputs = self._signature(input_tensor=self._constant(np.repeat(pixels[np.newaxis, :, :, np.newaxis], 3, axis=3)))
        return from_outputs({key: value.numpy() for key, value in outputs.items()}, 0, height=height, width=width)
