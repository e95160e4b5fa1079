"""The anchors that the API makes from a config, and how well they cover the boxes to be learned. TensorFlow is not needed.

    iou = best_iou(config, instances)                # of every box with the anchor that fits it best
    reached = iou >= matched_threshold(config)       # those that teach more than one anchor

Lengths are in px of the model's input.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet.core import boxes as box_math
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import pipeline_config, resizing
from pneumodet.models.detection.odapi import Config, Message

RPN_MATCHED = 0.7
"""IoU from which an anchor of Faster R-CNN's first stage is a positive (Ren et al. 2015, arXiv:1506.01497, section 3.1.2; fixed in the API)."""

USUAL_MATCHED = 0.5
"""IoU at which recall is reported where the config's matcher has no threshold."""

WITH_ANCHORS = ("ssd", "faster_rcnn")
"""Kinds of models that have anchors."""

_TOUCHING = 1e-6
"""Share of a cell by which an anchor may reach over the edge: rounding."""

_FIRST_LEVEL = 4
"""MobileNet's first feature map for boxes has stride 2**4; each further one has twice the stride of the one before."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The anchors of one feature map, for N input sizes, or for one that goes for all boxes (N = 1).

    Attributes:
      cells_hw: (N, 2) int64, cells of the feature map.
      first_yx_px: (N, 2) centre of the first cell's anchors.
      stride_yx_px: (N, 2) from one cell to the next.
      sizes_hw_px: (N, K, 2) height and width of the K anchors at every cell.
      window_hw_px: (N, 2) size of the input where anchors that reach over its edge are not trained (Faster R-CNN); else None.
    """

    cells_hw: np.ndarray
    first_yx_px: np.ndarray
    stride_yx_px: np.ndarray
    sizes_hw_px: np.ndarray
    window_hw_px: np.ndarray | None = None

    def boxes_yxyx_px(self) -> np.ndarray:
        """Return all anchors of the first input size, (A, 4), in the API's order: by row, column, shape."""
        axes = [self.first_yx_px[0, axis] + self.stride_yx_px[0, axis] * np.arange(self.cells_hw[0, axis]) for axis in (0, 1)]
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        half = self.sizes_hw_px[:1] / 2
        boxes = np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)
        if self.window_hw_px is not None:
            boxes = boxes[(boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= self.window_hw_px[0]).all(axis=1)]
        return boxes


def best_iou(config: Config, instances: Mapping[str, Any]) -> np.ndarray:
    """Return (N,) float64, the IoU of every box of COCO ground truth with the anchor that fits it best, in the annotations' order.

    Raises:
      ConfigError: as ``grids`` and ``resized_hw``.
    """
    boxes_yxyx_px, input_hw, _ = boxes_of(config, instances)
    return coverage(grids(config, input_hw), boxes_yxyx_px) if len(boxes_yxyx_px) else np.zeros(0)


def matched_threshold(config: Config) -> float:
    """Return the IoU from which the config's matcher makes an anchor a positive."""
    if config.model.WhichOneof("model") == "faster_rcnn":
        return RPN_MATCHED
    matcher = pipeline_config.architecture(config).matcher
    if matcher.HasField("argmax_matcher") and not matcher.argmax_matcher.ignore_thresholds:
        return round(matcher.argmax_matcher.matched_threshold, 6)  # a float32
    return USUAL_MATCHED


def resized_hw(config: Config, image_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the config's image resizer does to images.

    Args:
      config: a TrainEvalPipelineConfig.
      image_hw: (N, 2) heights and widths in px.

    Returns:
      ((N, 2) float64 height and width of the image after resizing, (N, 2) of the model's input, which padding may make larger).

    Raises:
      ConfigError: the resizer is of another kind than the two in common use.
    """
    size = resizing.of_config(config)
    image_hw = np.asarray(image_hw).reshape(-1, 2)
    kinds, which = np.unique(image_hw, axis=0, return_inverse=True)  # of few sizes, in most sets
    resized = np.array([size.of((height, width)) for height, width in kinds.tolist()], np.float64).reshape(-1, 2)[which.reshape(-1)]
    return resized, np.full_like(resized, size.canvas_hw) if size.canvas_hw else resized


def generator(config: Config) -> Message:
    """Return the config's anchor generator, such as its SsdAnchorGenerator.

    Raises:
      ConfigError: the model has no anchors (CenterNet), or ones of a kind that is not known here.
    """
    return getattr(_of_model(config), _kind(config))


def _of_model(config: Config) -> Message:
    kind = config.model.WhichOneof("model")
    field = {"ssd": "anchor_generator", "faster_rcnn": "first_stage_anchor_generator"}.get(kind)
    if field is None:
        raise ConfigError(f"Models of kind {kind!r} have no anchors. Leave out --fit-anchors.")
    return getattr(pipeline_config.architecture(config), field)


def _kind(config: Config) -> str:
    kind = _of_model(config).WhichOneof("anchor_generator_oneof")
    if kind not in _MAKERS:
        raise ConfigError(f"The config's anchor generator is {kind!r}; known here are {', '.join(_MAKERS)}. Leave out --fit-anchors.")
    return kind


def grids(config: Config, input_hw: np.ndarray) -> list[Grid]:
    """Return the anchors that the API makes for inputs of some sizes, a Grid a feature map.

    Faster R-CNN's ``clip_anchors_to_image`` is taken as if anchors over the edge were trained as they are.

    Args:
      config: a TrainEvalPipelineConfig.
      input_hw: (N, 2) height and width of the model's input in px.

    Raises:
      ConfigError: as ``generator``, or not as many layers of them as feature maps.
    """
    input_hw = np.asarray(input_hw, np.float64)
    # most configs give all images one size: one grid then serves all boxes, in a fraction of the memory
    if len(input_hw) and (input_hw == input_hw[0]).all():
        input_hw = input_hw[:1]
    made = generator(config)
    cells = _feature_maps_hw(config, input_hw)
    layers = _layers(made)
    if layers != len(cells):
        raise ConfigError(f"The anchor generator makes {layers} layers of anchors, but the model has {len(cells)} feature maps.")
    layer_grids = _MAKERS[_kind(config)](made, input_hw, cells, config.model.WhichOneof("model") == "ssd")
    model = pipeline_config.architecture(config)
    if config.model.WhichOneof("model") == "faster_rcnn" and not model.clip_anchors_to_image:
        # in training, Faster R-CNN drops the anchors that cross the edge (Ren et al., section 3.3) unless it clips them
        layer_grids = [dataclasses.replace(grid, window_hw_px=input_hw) for grid in layer_grids]
    return layer_grids


def coverage(anchors: list[Grid], boxes_yxyx_px: np.ndarray) -> np.ndarray:
    """Return (N,) float64, every box's IoU with the anchor that fits it best, in [0, 1].

    Of the anchors of one shape, the one whose centre is nearest in y and nearest in x has the largest overlap, so that no other is compared.

    Args:
      anchors: as from ``grids`` for the boxes' input sizes.
      boxes_yxyx_px: (N, 4) in px of the model's input.
    """
    boxes = np.asarray(boxes_yxyx_px, np.float64).reshape(-1, 4)
    best = np.zeros(len(boxes))
    for grid in anchors:
        # intersection and areas are products over the two axes, so that no array is larger than boxes x shapes
        overlap, anchor_areas, box_areas = np.ones(()), np.ones(()), np.ones(())
        for axis in (0, 1):
            extent, centre = (boxes[:, 2 + axis] - boxes[:, axis])[:, None], (boxes[:, 2 + axis] + boxes[:, axis])[:, None] / 2
            first, stride, size = grid.first_yx_px[:, axis, None], grid.stride_yx_px[:, axis, None], grid.sizes_hw_px[:, :, axis]
            low, high = np.zeros((1, 1)), grid.cells_hw[:, axis, None] - 1.0
            if grid.window_hw_px is not None:
                low = np.maximum(low, np.ceil((size / 2 - first) / stride - _TOUCHING))
                high = np.minimum(high, np.floor((grid.window_hw_px[:, axis, None] - size / 2 - first) / stride + _TOUCHING))
            # a shape larger than the window has no cell at all (low > high): it gets an overlap of 0 below
            nearest = np.clip(np.rint((centre - first) / stride), low, np.maximum(low, high))
            apart = np.abs(first + stride * nearest - centre)
            # two intervals share at most the shorter one, which the first term exceeds where one holds the other
            along = np.clip((size + extent) / 2 - apart, 0, np.minimum(size, extent))
            overlap = overlap * np.where(low <= high, along, 0)
            anchor_areas, box_areas = anchor_areas * size, box_areas * extent
        best = np.maximum(best, (overlap / (anchor_areas + box_areas - overlap)).max(axis=1))
    return best


def boxes_of(config: Config, instances: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ((N, 4) boxes as yxyx in px of the input, (N, 2) sizes of the inputs, (N,) images' ids) of COCO ground truth."""
    image_hw = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    rows = instances["annotations"]
    original = np.array([image_hw[row["image_id"]] for row in rows], np.float64).reshape(-1, 2)
    resized, input_hw = resized_hw(config, original)
    xyxy_px = box_math.xywh_to_xyxy_px(np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4))
    scale = resized / original
    return xyxy_px[:, [1, 0, 3, 2]] * np.concatenate([scale, scale], axis=1), input_hw, np.array([row["image_id"] for row in rows])


def _feature_maps_hw(config: Config, input_hw: np.ndarray) -> list[np.ndarray]:
    """Return (N, 2) cells of each feature map that has anchors."""
    model = pipeline_config.architecture(config)
    extractor = model.feature_extractor
    if config.model.WhichOneof("model") == "ssd":
        # the API pads before the backbone, so that the feature maps count cells of the padded image
        multiple = max(1, extractor.pad_to_multiple)
        input_hw = np.ceil(input_hw / multiple) * multiple
        pyramid = extractor.bifpn if "bifpn" in extractor.type else extractor.fpn if "fpn" in extractor.type else None
        first, last = (pyramid.min_level, pyramid.max_level) if pyramid else (_FIRST_LEVEL, _FIRST_LEVEL + extractor.num_layers - 1)
    elif "fpn" in extractor.type:
        first, last = extractor.fpn.min_level, extractor.fpn.max_level
    else:
        # without a pyramid, the first stage proposes from a single map
        return [np.ceil(input_hw / extractor.first_stage_features_stride).astype(np.int64)]
    return [np.ceil(input_hw / 2**level).astype(np.int64) for level in range(first, last + 1)]


def _layers(made: Message) -> int:
    if made.DESCRIPTOR.name == "SsdAnchorGenerator":
        return min(made.num_layers, len(made.scales) or made.num_layers)
    return made.max_level - made.min_level + 1 if made.DESCRIPTOR.name == "MultiscaleAnchorGenerator" else 1


def _ssd(made: Message, input_hw: np.ndarray, cells: list[np.ndarray], is_ssd: bool) -> list[Grid]:
    del is_ssd
    scales = list(made.scales) or np.linspace(made.min_scale, made.max_scale, made.num_layers).tolist()
    # of the shorter side, as the API has it: a square anchor stays square where the input is not
    unit = input_hw.min(axis=1)[:, None, None] * [made.base_anchor_height, made.base_anchor_width]
    layer_grids = []
    # the last layer has no next scale, and interpolates towards 1.0, as create_ssd_anchors of the API does
    for layer, (scale, following) in enumerate(zip(scales[: len(cells)], [*scales[1:], 1.0], strict=False)):
        shapes = [(scale, ratio) for ratio in made.aspect_ratios]
        if made.interpolated_scale_aspect_ratio > 0:
            shapes.append((np.sqrt(scale * following), made.interpolated_scale_aspect_ratio))
        if layer == 0 and made.reduce_boxes_in_lowest_layer:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]  # as the API has them
        stride = input_hw / cells[layer]
        if made.height_stride:
            stride = np.broadcast_to([[made.height_stride[layer], made.width_stride[layer]]], input_hw.shape)
        first = stride / 2
        if made.height_offset:
            first = np.broadcast_to([[made.height_offset[layer], made.width_offset[layer]]], input_hw.shape)
        layer_grids.append(Grid(cells[layer], first, stride, _shapes(shapes) * unit))
    return layer_grids


def _multiscale(made: Message, input_hw: np.ndarray, cells: list[np.ndarray], is_ssd: bool) -> list[Grid]:
    octave = [2 ** (step / made.scales_per_octave) for step in range(made.scales_per_octave)]
    layer_grids = []
    for level, of_level in zip(range(made.min_level, made.max_level + 1), cells, strict=True):
        stride = np.full_like(input_hw, 2.0**level)
        # half a cell only where cells divide the input; Faster R-CNN does not give the generator the input's size
        first = np.where(input_hw % 2**level == 0, stride / 2, 0) if is_ssd else stride / 2
        shapes = [(scale, ratio) for ratio in made.aspect_ratios for scale in octave]
        layer_grids.append(Grid(of_level, first, stride, _shapes(shapes) * 2.0**level * made.anchor_scale))
    return layer_grids


def _single(made: Message, input_hw: np.ndarray, cells: list[np.ndarray], is_ssd: bool) -> list[Grid]:
    del is_ssd
    shapes = [(scale, ratio) for ratio in made.aspect_ratios for scale in made.scales]
    first = np.broadcast_to([[made.height_offset, made.width_offset]], input_hw.shape)
    stride = np.broadcast_to([[made.height_stride, made.width_stride]], input_hw.shape)
    return [Grid(cells[0], first, stride, _shapes(shapes) * np.array([made.height, made.width]))]


def _shapes(scale_and_ratio: list[tuple[float, float]]) -> np.ndarray:
    """Return (1, K, 2) height and width of anchors of scale * scale square units."""
    table = np.array(scale_and_ratio, np.float64)
    root = np.sqrt(table[:, 1])  # height scale / root and width scale * root keep the area and give the ratio of width to height
    return np.stack([table[:, 0] / root, table[:, 0] * root], axis=1)[None]


_MAKERS = {"ssd_anchor_generator": _ssd, "multiscale_anchor_generator": _multiscale, "grid_anchor_generator": _single}
"""Anchor generator -> function (message, (N, 2) input_hw, feature maps' cells, whether the model is an SSD) -> its grids."""
