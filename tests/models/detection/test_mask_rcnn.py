"""Mask R-CNN gives masks, in training, evaluation and in what is exported."""

import numpy as np
import pytest

from pneumodet.models.detection import pipeline_config

SIDE = 128


def test_which_configs_have_masks():
    masked = [name for name in pipeline_config.names() if pipeline_config.has_masks(pipeline_config.load(name))]
    assert masked == ["mask_rcnn_resnet50"]


@pytest.mark.slow
def test_detections_have_masks():
    """Of random weights: how many there are and where they lie, not what they are of."""
    from pneumodet.export import graphs
    from pneumodet.inference import card
    from pneumodet.inference.outputs import from_outputs
    from pneumodet.models.detection import models
    from pneumodet.models.detection.running import DetectorRunner

    config = pipeline_config.load("mask_rcnn_resnet50")
    resizer = config.model.faster_rcnn.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    model = models.build(config, is_training=False)
    pixels = np.random.default_rng(0).integers(256, size=(200, 300), dtype=np.uint8)
    runner = DetectorRunner(model, config)
    outputs = runner.detect(*(one[np.newaxis] for one in runner.prepared(pixels)))
    outputs["detection_scores"] = np.full_like(outputs["detection_scores"], 0.9)  # random weights are sure of nothing
    detections = from_outputs(outputs, 0, height=200, width=300)
    assert len(detections) > 0
    assert detections.masks.shape == (len(detections), 15, 15)
    assert detections.masks.max() > detections.masks.min()
    mask = detections.mask(0, size_hw=pixels.shape)
    left, top, right, bottom = detections.boxes_xyxy_px[0]
    rows, columns = np.nonzero(mask)
    assert not len(rows) or (rows.min() >= top - 1 and rows.max() <= bottom and columns.min() >= left - 1 and columns.max() <= right)

    part = graphs.of_model(model, config, kind=card.DETECTIONS)
    assert part.names[-1] == graphs.MASKS
    assert part.function.get_concrete_function().structured_outputs[graphs.MASKS].shape[2:] == (15, 15)
