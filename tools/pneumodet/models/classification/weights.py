"""What a backbone starts from: keras.applications' download, a file, or the ImageNet MobileNetV2 of the Object Detection API as a checkpoint.

backbone, sentence = started(settings)
"""

import re
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pneumodet.core.errors import CheckpointError, first_line
from pneumodet.models.classification import networks
from pneumodet.models.classification.settings import FILES, IMAGENET, ClassifierSettings
from pneumodet.models.detection import checkpoint_files

_FAILURE = re.compile(r"URL fetch failure on (?P<url>\S+): .* -- (?:\[Errno [^]]*\] )?(?P<reason>.+)")
"""What keras.utils.get_file raises: the address (…/mobilenet_v2_…_no_top.h5), a code or None, and why."""

_ENTRY = "feature_extractor/layer_with_weights-{number}/{name}/.ATTRIBUTES/VARIABLE_VALUE"


def started(settings: ClassifierSettings) -> tuple[keras.Model, str]:
    """Return (a backbone with the weights that ``settings.pretrained`` names, a sentence about them).

    Raises:
      CheckpointError: they cannot be downloaded or read, or are of another backbone.
    """
    name = settings.pretrained
    if name == IMAGENET:
        return _downloaded(settings), f"{settings.backbone}: ImageNet weights of keras.applications"
    backbone, path = networks.new_backbone(settings), Path(name).expanduser()
    if path.suffix in FILES:
        _load_file(backbone, path, settings.backbone)
    else:
        _load_checkpoint(backbone, checkpoint_files.find(path))
    return backbone, f"{settings.backbone}: {len(backbone.weights)} variables of {path.name}"


def _downloaded(settings: ClassifierSettings) -> keras.Model:
    try:
        return networks.new_backbone(settings, weights="imagenet")
    except Exception as error:  # what keras.utils.get_file raises where there is no network is a bare Exception
        failure = _FAILURE.search(str(error))
        file = failure["url"] if failure else "the file that ends in notop.h5 or no_top.h5"
        reason = failure["reason"].strip(". ") if failure else first_line(error)
        raise CheckpointError(
            f"The ImageNet weights of {settings.backbone} cannot be downloaded ({reason}). Load {file} on a machine that can, and give the file's path "
            "by --pretrained; or train from new weights by --pretrained none."
        ) from error


def _load_file(backbone: keras.Model, path: Path, name: str) -> None:
    hint = f"It must hold the weights of keras.applications' {name} without its top."
    try:
        if path.suffix == ".keras":
            backbone.set_weights(_saved(path, backbone).get_weights())
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that are not in the file and stay as they are
                backbone.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, UserWarning) as error:
        raise CheckpointError(f"The weights {path} do not fit {name}: {first_line(error)}. {hint}") from error


def _saved(path: Path, backbone: keras.Model) -> keras.Model:
    """Return the model of a .keras file that is like a backbone: itself, or one of its layers."""
    whole = keras.models.load_model(path, compile=False)
    shapes = [tuple(one.shape) for one in backbone.weights]
    for model in (whole, *(layer for layer in whole.layers if isinstance(layer, keras.Model))):
        if [tuple(one.shape) for one in model.weights] == shapes:
            return model
    raise ValueError(f"it has {len(whole.weights)} variables, none of its parts is the backbone of {len(shapes)}")


def _load_checkpoint(backbone: keras.Model, prefix: str) -> None:
    """Give a MobileNetV2 the variables of a checkpoint whose layers with weights are numbered in the order of keras.applications' layers.

    All are compared before the first one is changed.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {prefix} cannot be read: {first_line(error)}.") from error
    values: list[np.ndarray] = []
    layers = [layer for layer in backbone.layers if layer.weights]
    for number, layer in enumerate(layers):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        for variable in layer.weights:
            # Keras 2, by which the checkpoint was written, has another name for it than Keras 3
            name = "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name
            key = _ENTRY.format(number=number, name=name)
            if shapes.get(key) != list(variable.shape):
                entry, there = key.partition("/.")[0], shapes.get(key, "missing")
                raise CheckpointError(
                    f"The checkpoint {prefix} does not fit mobilenetv2: {entry} is {there}, must be {list(variable.shape)}."
                )
            values.append(reader.get_tensor(key))
    # all of ours fit and there is more: a wider or longer network whose first layers are alike
    further = [key for key in shapes if key.startswith(f"feature_extractor/layer_with_weights-{len(layers)}/")]
    if further:
        raise CheckpointError(f"The checkpoint {prefix} has more layers than the {len(layers)} of mobilenetv2.")
    backbone.set_weights(values)
