"""Localization losses that compare boxes, such as ``weighted_giou``, for models of one stage.

    compare_boxes(model)        # after it is built; losses that compare encodings stay as they are

The API's losses of IoU and GIoU are for boxes, as their docstrings say, but its SSD hands them the encodings: offsets relative to anchors, of which
an IoU means nothing, and which it may not even have (a right edge left of the left one). Here they are given the boxes that the encodings stand for.

``normalize_loc_loss_by_codesize`` divides by 4 as it does with the four terms of smooth L1, so that a weight of 4 counts each box once.
"""

from typing import Any

import tensorflow as tf

from pneumodet.models.detection import odapi


def compare_boxes(model: Any) -> None:
    """Let the localization loss of a model compare boxes where it is one that must.

    Args:
      model: a DetectionModel of the API, whose anchors may not be there yet.
    """
    losses = odapi.load().losses
    loss = getattr(model, "_localization_loss", None)
    if isinstance(loss, losses.WeightedIOULocalizationLoss | losses.WeightedGIOULocalizationLoss):
        model._localization_loss = _of_boxes(model, loss)


def _of_boxes(model: Any, loss: Any) -> Any:
    class OfBoxes(odapi.load().losses.Loss):  # type: ignore[misc]  # the API is without types
        def _compute_loss(self, prediction_tensor: tf.Tensor, target_tensor: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            """Return (B, A) losses of (B, A, 4) encodings and (B, A) weights."""
            predicted, wanted = (model._batch_decode(encodings, model.anchors.get())[0] for encodings in (prediction_tensor, target_tensor))
            return tf.reshape(loss._compute_loss(predicted, wanted, weights=weights), tf.shape(weights))

    return OfBoxes()
