"""Run a model of the API on gray pixels: the one way in which training, evaluation and test-time augmentation get its outputs for records.

runner = DetectorRunner(model, config)
image, true_shape = runner.prepared(pixels)                        # (h, w, 1) uint8, (3,) int32
outputs = runner.detect(images, true_shapes)                       # as inference.outputs.from_outputs takes them
detections = of_checkpoint(config, prefix).detect_one(pixels)
"""

import contextlib
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet.core.detections import Detections
from pneumodet.core.logs import hidden_output
from pneumodet.inference import sizes
from pneumodet.inference.outputs import from_outputs
from pneumodet.models.detection import checkpoints, models, pipeline_config, resizing

_OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections", "detection_masks")
"""Of the API; the last one of models that have masks."""


class DetectorRunner:
    """A model, and its graph, which is traced once."""

    def __init__(self, model: Any, config: Any) -> None:
        """Take a DetectionModel with its weights, and its TrainEvalPipelineConfig."""
        self._model, self.size = model, resizing.of_config(config)
        # one signature for all images: a graph is traced once, where the config pads or fixes the size, and once for all sizes otherwise
        height, width = self.size.canvas_hw or (None, None)
        signature = [tf.TensorSpec([None, height, width, 1], tf.uint8), tf.TensorSpec([None, 3], tf.int32)]
        self._graph = tf.function(self._detect, input_signature=signature, autograph=False)
        self._used = False

    def prepared(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the model takes of a radiograph, (H, W) uint8: (h, w, 1) uint8, padded, and (3,) int32, its shape without padding."""
        image = sizes.prepared(pixels, self.size)
        return self.size.on_canvas(image)[:, :, np.newaxis], np.array([*image.shape, 3], np.int32)

    def detect(self, images: np.ndarray, true_shapes: np.ndarray) -> dict[str, np.ndarray]:
        """Detect on a batch.

        Args:
          images: (B, h, w, 1) uint8.
          true_shapes: (B, 3) int32.

        Returns:
          ``detection_boxes`` (B, N, 4) float32 yxyx_norm, ``detection_scores``, ``detection_classes`` (ids from 1), ``num_detections``;
          of a model with masks ``detection_masks`` (B, N, m, n), within the boxes.
        """
        # the first call traces and optimizes the graph, about which TensorFlow writes past all its settings
        first, self._used = not self._used, True
        with hidden_output() if first else contextlib.nullcontext():
            return {key: value.numpy() for key, value in self._graph(images, true_shapes).items()}

    def detect_one(self, pixels: np.ndarray) -> Detections:
        """Detect on one radiograph, (H, W) uint8, as ``inference.detectors.Detector.detect`` does."""
        image, true_shape = self.prepared(pixels)
        height, width = pixels.shape
        return from_outputs(self.detect(image[np.newaxis], true_shape[np.newaxis]), 0, height=height, width=width)

    def _detect(self, images: tf.Tensor, true_shapes: tf.Tensor) -> dict[str, tf.Tensor]:
        # each time it is traced: within training the same model was switched to training before
        models.set_training(self._model, False)
        prepared = models.normalized(self._model, images, true_shapes if self.size.padded else None)
        outputs = self._model.postprocess(self._model.predict(prepared, true_shapes), true_shapes)
        outputs["detection_classes"] += 1  # the API counts from 0 here, and from 1 in the label map
        return {key: tf.cast(outputs[key], tf.float32) for key in _OUTPUTS if key in outputs}


def of_checkpoint(config: Any, checkpoint: str) -> DetectorRunner:
    """Return the runner of a checkpoint.

    Args:
      config: the run's TrainEvalPipelineConfig.
      checkpoint: its prefix.

    Raises:
      CheckpointError: the checkpoint does not fit the config.
    """
    return DetectorRunner(model_of(config, checkpoint), config)


def model_of(config: Any, checkpoint: str) -> Any:
    """Return the DetectionModel of a checkpoint, with averages for weights where the config says that it is evaluated with them.

    Args and errors as ``of_checkpoint``.
    """
    model = models.build(config, is_training=False)
    hint = "Was it written by this run's pipeline.config?"
    checkpoints.restore({"model": model}, checkpoint, hint=hint, averaged=pipeline_config.averaged(config))
    return model
