"""A detector that is built, traced and saved in a fraction of the time, for tests of what training does around its model.

SSD MobileNetV2 with four convolutions in place of fifty-two and with the first two of its six feature maps. Whatever else is tested stays whole:
the config, the API's losses and post-processing, the record set, the loop, checkpoints and files. The real network is trained in tests/models/detection.
"""

import contextlib
import functools
import os
import types
from pathlib import Path
from unittest import mock

from pneumodet.models.detection.choices import NO_AVERAGES

SIDE = 96
"""Input size in px."""

TWO_MAPS = ("model.ssd.feature_extractor.num_layers=2", "model.ssd.anchor_generator.ssd_anchor_generator.num_layers=2")
"""Leave four of the six feature maps out."""

SETTINGS = (
    f"model.ssd.image_resizer.fixed_shape_resizer.height={SIDE}",
    f"model.ssd.image_resizer.fixed_shape_resizer.width={SIDE}",
    "model.ssd.feature_extractor.depth_multiplier=0.35",
    *TWO_MAPS,
    # of weights that are made by hand, or by a few steps; test_averaging has them
    *NO_AVERAGES,
)
"""What is set in the config ``ssd_mobilenet``; without ``backbone()`` these make MobileNetV2 with fewer feature maps."""

FLAGS = tuple(word for setting in SETTINGS for word in ("--set", setting))
"""The same, as flags of tools/train.py."""

CONVOLUTIONS = (("Conv1", 16, 2), ("block_1_project", 32, 4), ("block_13_expand", 64, 2), ("Conv_1", 96, 2))
"""Name, filters and stride; the names are those of MobileNetV2."""


def environment():
    """Return the environment of a process that imports this module."""
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])}


@contextlib.contextmanager
def backbone():
    """Build four convolutions wherever this process builds a MobileNetV2 for an SSD; the API is imported no earlier than without this."""
    from pneumodet.models.detection import odapi

    real = odapi.load
    with contextlib.ExitStack() as patches:

        @functools.cache
        def load():
            api = real()
            from object_detection.models import ssd_mobilenet_v2_keras_feature_extractor as extractor

            patches.enter_context(mock.patch.object(extractor, "mobilenet_v2", types.SimpleNamespace(mobilenet_v2=_network)))
            return api

        patches.enter_context(mock.patch.object(odapi, "load", load))
        yield


def builds(network):
    """Return what lets this process build the network of a parametrized fixture: "shallow" or "mobilenet"."""
    return backbone() if network == "shallow" else contextlib.nullcontext()


def _network(batchnorm_training, *, conv_hyperparams, alpha, min_depth, **_):
    import tf_keras
    from object_detection.models.keras_models import mobilenet_v2

    layers = mobilenet_v2._LayersOverride(batchnorm_training, conv_hyperparams=conv_hyperparams, alpha=1.0, min_depth=min_depth)
    image = x = layers.Input(shape=(None, None, 3))
    for name, filters, stride in CONVOLUTIONS:
        # not layers.Conv2D, which has its own idea of how wide the last one is
        x = tf_keras.layers.Conv2D(
            filters, **conv_hyperparams.params(kernel_size=3, strides=stride, padding="same", use_bias=False, name=name)
        )(x)
        x = layers.BatchNormalization(name=f"bn_{name}" if name == "Conv1" else f"{name}_BN")(x)
        x = layers.ReLU(name="out_relu" if name == "Conv_1" else f"{name}_relu")(x)
    return tf_keras.Model(image, x)
