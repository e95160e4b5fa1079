"""Sizes against the API's own resizers, and normalized pixels against the models' own ``preprocess``."""

import importlib

import numpy as np
import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import pipeline_config, resizing

KEEP = "{keep_aspect_ratio_resizer {min_dimension: %d max_dimension: %d pad_to_max_dimension: %s}}"


def with_resizer(config_name, resizer):
    config = pipeline_config.load(config_name)
    kind = config.model.WhichOneof("model")
    pipeline_config.override(config, [f"model.{kind}.image_resizer={resizer}"])
    return config


@pytest.fixture(scope="module")
def api_resizer():
    """Return the API's builder of resizers."""
    from pneumodet.models.detection import odapi

    odapi.load()
    builder = importlib.import_module("object_detection.builders.image_resizer_builder")
    return lambda config: builder.build(pipeline_config.architecture(config).image_resizer)


@pytest.mark.parametrize("padded", [False, True])
def test_sizes_that_keep_the_shape_are_the_apis(api_resizer, padded):
    """TensorFlow computes in float32, so that a size that is half a px by chance may be rounded the other way."""
    import tensorflow as tf

    rng = np.random.default_rng(5)
    for _ in range(40):
        least = int(rng.integers(20, 90))
        most = least + int(rng.integers(0, 60))
        size = resizing.of_config(config := with_resizer("ssd_mobilenet", KEEP % (least, most, str(padded).lower())))
        height, width = (int(side) for side in rng.integers(15, 300, 2))
        image, shape = api_resizer(config)(tf.zeros([height, width, 3]))
        assert size.of((height, width)) == tuple(shape.numpy()[:2].tolist()), (height, width, least, most)
        if padded:
            assert size.canvas_hw == tuple(image.shape[:2])
        else:
            assert size.canvas_hw is None


def test_a_fixed_size_is_the_apis(api_resizer):
    import tensorflow as tf

    config = with_resizer("ssd_mobilenet", "{fixed_shape_resizer {height: 30 width: 50}}")
    _, shape = api_resizer(config)(tf.zeros([77, 31, 3]))
    size = resizing.of_config(config)
    assert size.of((77, 31)) == size.canvas_hw == tuple(shape.numpy()[:2].tolist()) == (30, 50)


@pytest.mark.parametrize(
    ("resizer", "message"),
    [
        pytest.param("{identity_resizer {}}", "is identity_resizer; pneumodet trains with", id="kind"),
        pytest.param(KEEP.replace("}}", " per_channel_pad_value: 9}}") % (8, 9, "true"), "per_channel_pad_value", id="padding"),
    ],
)
def test_other_resizers_are_refused(resizer, message):
    with pytest.raises(ConfigError, match=message):
        resizing.of_config(with_resizer("ssd_mobilenet", resizer))


# an EfficientDet is built whole before it can preprocess: padded among the slow ones
@pytest.mark.parametrize(
    ("name", "padded"),
    [
        pytest.param(name, padded, id=f"{name}-{'padded' if padded else 'fixed'}", marks=pytest.mark.slow if slow and padded else ())
        for name, slow in (
            ("ssd_mobilenet", False),
            ("ssd_mobilenet_fpnlite", False),
            ("faster_rcnn_resnet50", False),
            ("retinanet_resnet50", False),
            ("efficientdet_d0", True),
        )
        for padded in (False, True)
    ],
)
def test_normalized_pixels_are_those_of_preprocess(name, padded):
    """An image of the model's size is not resized; ``preprocess`` then only normalizes and pads, before or after the other as the model has it."""
    import tensorflow as tf

    from pneumodet.models.detection import models, odapi

    config = with_resizer(name, KEEP % (64, 96, "true") if padded else "{fixed_shape_resizer {height: 64 width: 96}}")
    model = odapi.load().model_builder.build(config.model, is_training=False, add_summaries=False)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 1), np.uint8)
    expected, shapes = model.preprocess(tf.tile(tf.cast(pixels, tf.float32), [1, 1, 1, 3]))
    canvas = np.pad(pixels, ((0, 0), (0, 32 if padded else 0), (0, 0), (0, 0)))
    inputs = models.normalized(model, tf.constant(canvas), shapes if padded else None)
    np.testing.assert_allclose(inputs, expected, atol=1e-4)
