"""What of a model goes into a file of another format, as TensorFlow functions.

part = of_model(model, config, kind=card.BOXES)
part.function, part.signature, part.names
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError
from pneumodet.inference import backends, card, suppression
from pneumodet.inference.suppression import CONVERTERS, Settings

_UNLIKE = {
    "soft_nms_sigma": "soft NMS",
    "use_class_agnostic_nms": "class-agnostic NMS",
    "use_combined_nms": "combined NMS",
    "use_static_shapes": "NMS of static shapes",
    "use_partitioned_nms": "partitioned NMS",
}
"""Fields of the API's NMS that ``inference.suppression`` does not do, and their names for messages."""

OPERATION = "TFLite_Detection_PostProcess"
"""TensorFlow Lite's own decoding of boxes and suppression of duplicates."""

OPERATION_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
"""Names here of what ``OPERATION`` answers with, in its order: boxes yxyx_norm, classes from 0."""

_OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")

MASKS = "detection_masks"
"""Of a model that has them: (1, M, m, n) in [0, 1], within the boxes."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A function of a model.

    Attributes:
      function: a tf.function, without types; takes the image, and the true shape where the model pads; returns a dict of tensors.
      signature: tf.TensorSpecs of its arguments.
      names: of its outputs.
    """

    function: Any
    signature: list[Any]
    names: tuple[str, ...]

    def named(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return arguments by their names."""
        return dict(zip((one.name for one in self.signature), values, strict=True))


def save(part: Part, folder: Path) -> None:
    """Write a part as a SavedModel, whose signature is its own."""
    import tensorflow as tf

    module, concrete = tf.Module(), part.function.get_concrete_function()
    module.function, module.held = part.function, list(concrete.graph.variables)  # what is saved must be held by what is saved
    tf.saved_model.save(module, str(folder), signatures=concrete)


def settings_of(config: Any) -> tuple[Settings | None, str | None]:
    """Return (how a single-stage model's boxes and scores become detections, None), or (None, why this cannot be done outside of its graph).

    Args:
      config: a TrainEvalPipelineConfig.
    """
    kind = config.model.WhichOneof("model")
    if kind != "ssd":
        return None, f"its architecture is {kind}, not one of a single stage"
    ssd = config.model.ssd
    nms = ssd.post_processing.batch_non_max_suppression
    unlike = [name for field, name in _UNLIKE.items() if getattr(nms, field)]
    if ssd.post_processing.HasField("calibration_config"):
        unlike.append("calibrated scores")
    if ssd.box_coder.WhichOneof("box_coder_oneof") != "faster_rcnn_box_coder":
        unlike.append("another box coder than faster_rcnn_box_coder")
    if unlike:
        return None, f"its config asks for {' and '.join(unlike)}"
    coder = ssd.box_coder.faster_rcnn_box_coder
    post = ssd.post_processing
    # the message holds an enum as its number; names are in the descriptor
    names = {value.number: value.name for value in post.DESCRIPTOR.fields_by_name["score_converter"].enum_type.values}
    converter = names[post.score_converter]
    if converter not in CONVERTERS:
        return None, f"its score converter is {converter}"
    settings = Settings(
        score_converter=converter,
        logit_scale=post.logit_scale,
        background=ssd.add_background_class or ssd.explicit_background_class,
        box_scales=(coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale),
        score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold,
        max_detections_per_class=nms.max_detections_per_class,
        max_total_detections=nms.max_total_detections,
        change_coordinate_frame=nms.change_coordinate_frame,
    )
    return settings, None


def of_model(model: Any, config: Any, *, kind: str, ranges: Sequence[suppression.Ranges] | None = None) -> Part:
    """Return the function of a model that answers in one of three ways.

    The image is (1, h, w, 3) uint8 in [0, 255] of the model's size, padded where it pads; bringing its values into the backbone's range is
    part of the function.

    Args:
      model: a DetectionModel of the API with its weights.
      config: its TrainEvalPipelineConfig.
      kind: ``card.DETECTIONS``: the API's output after suppression. ``card.BOXES``: ``boxes`` (1, N, 4) float32 yxyx_norm and ``scores``
        (1, N, C) without the background's. ``card.ENCODINGS``: ``encodings_i`` (1, N_i, 4) and ``logits_i`` (1, N_i, C + 1) of each feature
        map i; nothing of different ranges is joined, so that each has a quantization of its own.
        ``card.TASK``: what TensorFlow Lite's operation TFLite_Detection_PostProcess makes of boxes and scores; it stands only in the converted file.
      ranges: with encodings: what the outputs of each feature map are cut off at, see ``quantizing.ranges``.
    """
    import tensorflow as tf

    from pneumodet.models.detection import models, pipeline_config, resizing

    size, background = resizing.of_config(config), config.model.ssd.add_background_class or config.model.ssd.explicit_background_class
    outputs = (*_OUTPUTS, MASKS) if pipeline_config.has_masks(config) else _OUTPUTS
    height, width = size.canvas_hw or (None, None)
    signature = [tf.TensorSpec([1, height, width, 3], tf.uint8, name=backends.INPUT)]
    if size.padded:
        signature.append(tf.TensorSpec([1, 3], tf.int32, name=backends.TRUE_SHAPE))

    def prepared(image: Any, true_shape: Any) -> Any:
        models.set_training(model, False)
        return models.normalized(model, image, true_shape)

    def detections(input_tensor: Any, true_shape: Any = None) -> dict[str, Any]:
        images = prepared(input_tensor, true_shape)
        # without padding the whole input is the radiograph
        shapes = tf.shape(input_tensor)[tf.newaxis, 1:] if true_shape is None else true_shape
        answer = model.postprocess(model.predict(images, shapes), shapes)
        answer["detection_classes"] += 1  # the API counts from 0 here, and from 1 in the label map
        return {name: tf.cast(answer[name], tf.float32) for name in outputs}

    def boxes(input_tensor: Any, true_shape: Any = None) -> dict[str, Any]:
        answer = model.predict(prepared(input_tensor, true_shape), None)
        # the API has no public call between predict and suppression: its own postprocess begins with these two
        decoded, _ = model._batch_decode(answer["box_encodings"], answer["anchors"])
        scores = model._score_conversion_fn(answer["class_predictions_with_background"])
        return {"boxes": decoded, "scores": scores[:, :, 1:] if background else scores}

    def bounded(values: Any, limits: suppression.Range) -> Any:
        low, high = limits
        return tf.nn.relu6((values - low) * (suppression.BOUNDED_TOP / (high - low)))  # all of which the converter folds into a convolution

    def encodings(input_tensor: Any, true_shape: Any = None) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for number, (codes, logits) in enumerate(_heads(model, prepared(input_tensor, true_shape))):
            if ranges is not None:
                codes, logits = bounded(codes, ranges[number].encodings), bounded(logits, ranges[number].logits)
            answer |= {f"encodings_{number}": codes, f"logits_{number}": logits}
        return answer

    def task(input_tensor: Any) -> dict[str, Any]:
        answer = model.predict(prepared(input_tensor, None), None)
        scores = model._score_conversion_fn(answer["class_predictions_with_background"])
        operation = _postprocess(config)
        found = operation(answer["box_encodings"], scores[:, :, 1:] if background else scores, _centred(answer["anchors"]))
        return dict(zip(OPERATION_OUTPUTS, found, strict=True))

    function = {card.DETECTIONS: detections, card.BOXES: boxes, card.ENCODINGS: encodings, card.TASK: task}[kind]
    if kind == card.ENCODINGS:
        # how many feature maps there are shows only when the model runs
        maps = len(_heads(model, tf.zeros([1, height, width, 3])))
        names = tuple(f"{what}_{number}" for number in range(maps) for what in ("encodings", "logits"))
    else:
        names = {card.DETECTIONS: outputs, card.TASK: _OUTPUTS}.get(kind, ("boxes", "scores"))
    return Part(tf.function(function, input_signature=signature, autograph=False), signature, names)


def _postprocess(config: Any) -> Any:
    """Return a function of (encodings, scores, anchors) that the converter replaces by the operation ``OPERATION``; by itself it answers with zeros."""
    import tensorflow as tf

    settings, reason = settings_of(config)
    if settings is None:
        raise ConfigError(f"This model has no post-processing that TensorFlow Lite's own operation does: {reason}.")
    scales = dict(zip(("y_scale", "x_scale", "h_scale", "w_scale"), settings.box_scales, strict=True))
    numbers = {"nms_score_threshold": settings.score_threshold, "nms_iou_threshold": settings.iou_threshold, **scales}
    counts = {
        "max_detections": settings.max_total_detections,
        "detections_per_class": settings.max_detections_per_class,
        "max_classes_per_detection": 1,
        "num_classes": config.model.ssd.num_classes,
    }
    attributes = [f"{name}' value {{ f: {value:.9g} }}" for name, value in numbers.items()]
    attributes += [f"{name}' value {{ i: {value} }}" for name, value in counts.items()]
    attributes.append("use_regular_nms' value { b: true }")  # of each class by itself, as the API does
    text = f"name: '{OPERATION}' " + " ".join(f"attr {{ key: '{one} }}" for one in attributes)

    @tf.function(experimental_implements=text, autograph=False)
    def operation(encodings: Any, scores: Any, anchors: Any) -> Any:
        return tuple(tf.constant(0.0, name=name) for name in OPERATION_OUTPUTS)

    return operation


def _centred(anchors: Any) -> Any:
    """Return (N, 4) centre y, centre x, height, width of (N, 4) yxyx_norm anchors, as a constant."""
    import tensorflow as tf

    top, left, bottom, right = tf.unstack(anchors, axis=1)
    return tf.stack([(top + bottom) / 2, (left + right) / 2, bottom - top, right - left], axis=1)


def anchors_of(model: Any, config: Any) -> np.ndarray:
    """Return (N, 4) float32 yxyx_norm, the anchors of a single-stage model in the order of its encodings."""
    import tensorflow as tf

    from pneumodet.models.detection import models, resizing

    models.set_training(model, False)
    canvas_hw = resizing.of_config(config).canvas_hw
    if canvas_hw is None:
        raise ConfigError("A model whose input has no fixed size has no fixed anchors. Leave tflite-int8 out of --formats.")
    height, width = canvas_hw
    return model.predict(tf.zeros([1, height, width, 3]), None)["anchors"].numpy().astype(np.float32)


def _heads(model: Any, images: Any) -> list[tuple[Any, Any]]:
    """Return for each feature map (box encodings (B, N, 4), class logits (B, N, C + 1)) of a single-stage model, as its ``predict`` joins them."""
    import tensorflow as tf

    predictions = model._box_predictor(model._feature_extractor(images))
    codes, logits = (predictions[key] for key in ("box_encodings", "class_predictions_with_background"))
    # as SSDMetaArch.predict: some predictors give (B, N, 1, 4), one box for all classes
    return [(tf.squeeze(one, axis=2) if one.shape.ndims == 4 else one, other) for one, other in zip(codes, logits, strict=True)]
