"""Build the API's models with all their variables, for training or for inference.

model = build(config, is_training=False)
"""

from typing import Any

import tensorflow as tf

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import odapi
from pneumodet.models.detection.choices import PRECISIONS

_DEFAULT_SIDE_PX = 320
"""Side in px of the input that creates the variables where the config leaves the image size open; it does not change them."""


def build(config: Any, *, is_training: bool, precision: str = PRECISIONS[0]) -> Any:
    """Build the model of a config and create every variable by one forward pass on zeros.

    Args:
      config: a TrainEvalPipelineConfig.
      is_training: as the API means it (dropout, batch normalization, sampling in two-stage models).
      precision: one of ``PRECISIONS``; of convolutions, batch normalizations and activations. Boxes, scores and losses are float32 in any case.

    Returns:
      A DetectionModel of the API.

    Raises:
      ConfigError: the API cannot build this model, or not at this precision, or it cannot take images of the config's size.
    """
    if precision != PRECISIONS[0] and config.model.WhichOneof("model") != "ssd":
        raise ConfigError(f"--precision {precision} is for single-stage models; this config's model is {config.model.WhichOneof('model')}.")
    # the API has no argument for it: its layers take the policy that is global while they are made
    before = tf.keras.mixed_precision.global_policy()
    if precision != PRECISIONS[0]:
        tf.keras.mixed_precision.set_global_policy(f"mixed_{precision}")
    try:
        return _built(config, is_training=is_training)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def _built(config: Any, *, is_training: bool) -> Any:
    api = odapi.load()
    try:
        model = api.model_builder.build(config.model, is_training=is_training, add_summaries=False)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"The API cannot build the model of this config: {error}. Compare it with configs/ssd_mobilenet.config."
        ) from error
    if tf.keras.mixed_precision.global_policy().compute_dtype != "float32":
        _answer_in_float32(model)
    height, width = input_size(config) or (_DEFAULT_SIDE_PX, _DEFAULT_SIDE_PX)
    set_training(model, False)  # as the API does to build: no ground truth is needed then
    try:
        images, true_shapes = model.preprocess(tf.zeros([1, height, width, 3]))
        model.postprocess(model.predict(images, true_shapes), true_shapes)
    except ValueError as error:
        raise ConfigError(
            f"The model of this config cannot take images of {height} x {width} px: {_reason(error)}. Set another size in its image_resizer."
        ) from error
    set_training(model, is_training)
    return model


def _reason(error: Exception) -> str:
    """Return what an error says, without the heading that Keras puts before it."""
    first, *more = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (more[0] if more and first.startswith("Exception encountered") else first).rstrip(".")


def _answer_in_float32(model: Any) -> None:
    """Let what ``predict`` returns be float32: decoding boxes and the losses are written for it, and need it."""
    predict = model.predict

    def in_float32(*args: Any, **kwargs: Any) -> Any:
        def cast(value: Any) -> Any:
            return tf.cast(value, tf.float32) if tf.is_tensor(value) and value.dtype in (tf.bfloat16, tf.float16) else value

        return tf.nest.map_structure(cast, predict(*args, **kwargs))

    model.predict = in_float32


def set_training(model: Any, is_training: bool) -> None:
    """Switch a model between training and inference; the API keeps this in two places."""
    model._is_training = is_training
    tf.keras.backend.set_learning_phase(is_training)


def input_size(config: Any) -> tuple[int, int] | None:
    """Return the (height, width) in px that a config resizes every image to, or None where the size varies."""
    size = odapi.load().config_util.get_spatial_image_size(odapi.load().config_util.get_image_resizer_config(config.model))
    return tuple(size) if all(side and side > 0 for side in size) else None


def normalized(model: Any, images: tf.Tensor, true_shapes: tf.Tensor | None) -> tf.Tensor:
    """Return what a model's ``predict`` takes, of gray images that have the size of its input.

    It is what ``model.preprocess`` makes of them, but for the resizing, which would do nothing.

    Args:
      model: a DetectionModel of the API.
      images: (B, h, w, 1) uint8 or float32 in [0, 255], padded at the right and below; or (B, h, w, 3), three equal channels.
      true_shapes: (B, 3) int32 height, width and channels of each image without padding; None where none is padded.

    Returns:
      (B, h, w, 3) float32 in the range that the model's backbone was trained with. Padding is 0 there in models of one stage, and what black
      becomes in models of two, as the API has it.
    """
    images = tf.cast(images, tf.float32)
    # made threefold here, on the device that trains: the feed carries one channel
    ranged = model._feature_extractor.preprocess(images if images.shape[-1] == 3 else tf.tile(images, [1, 1, 1, 3]))
    pads_first = hasattr(model, "second_stage_feature_extractor_scope")  # Faster and Mask R-CNN, whose images come padded with black
    if true_shapes is None or pads_first:
        return ranged
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    # the API resizes and pads after it has ranged the gray values, so that its padding is 0, whatever black becomes
    inside = tf.sequence_mask(true_shapes[:, 0], height)[:, :, tf.newaxis] & tf.sequence_mask(true_shapes[:, 1], width)[:, tf.newaxis, :]
    return tf.where(inside[..., tf.newaxis], ranged, tf.zeros_like(ranged))
