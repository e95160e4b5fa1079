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
    """Of random weights, which detect nothing: that masks come with whatever is detected."""
    from pneumodet.export import graphs
    from pneumodet.inference import card
    from pneumodet.models.detection import models
    from pneumodet.models.detection.running import DetectorRunner

    config = pipeline_config.load("mask_rcnn_resnet50")
    resizer = config.model.faster_rcnn.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    model = models.build(config, is_training=False)
    pixels = np.random.default_rng(0).integers(256, size=(200, 300), dtype=np.uint8)
    detections = DetectorRunner(model, config).detect_one(pixels)
    assert detections.masks.shape == (len(detections), 15, 15)
    part = graphs.of_model(model, config, kind=card.DETECTIONS)
    assert part.names[-1] == graphs.MASKS
