"""What a backbone starts from: keras.applications' download, a file, or the ImageNet MobileNetV2 of the Object Detection API as a checkpoint; and
the way back, by which a detector starts from a classifier's backbone.

backbone, sentence = started(settings)
prefix = handed_over(run, "workspace/gate/best/ckpt-600", settings)          # workspace/gate/backbone/ckpt-600
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pneumodet.core import locks, runs
from pneumodet.core.errors import CheckpointError, first_line
from pneumodet.models import keras_checkpoints
from pneumodet.models.classification import networks
from pneumodet.models.classification.settings import FILES, IMAGENET, ClassifierSettings
from pneumodet.models.detection import checkpoint_files

_FAILURE = re.compile(r"URL fetch failure on (?P<url>\S+): .* -- (?:\[Errno [^]]*\] )?(?P<reason>.+)")
"""What keras.utils.get_file raises: the address (…/mobilenet_v2_…_no_top.h5), a code or None, and why."""

_LAYER = "layer_with_weights-{number}"

_ENTRY = f"feature_extractor/{_LAYER}/{{name}}/.ATTRIBUTES/VARIABLE_VALUE"


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
        for name, variable in _named(layer):
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


def _named(layer: keras.Layer) -> Iterator[tuple[str, Any]]:
    """Yield the variables of a layer by their names in Keras 2, by which the API's checkpoints are written; Keras 3 has another name for one kind."""
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    for variable in layer.weights:
        yield "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name, variable


def handed_over(run: Path, prefix: str, settings: ClassifierSettings) -> str:
    """Write the backbone of a classifier as the API's ImageNet checkpoints are, if that has not been done, and return the prefix.

    Args:
      run: the classifier's folder, which gets a folder ``runs.BACKBONE``.
      prefix: of the checkpoint in it.
      settings: of the run.

    Raises:
      CheckpointError: the checkpoint cannot be read or does not fit the settings, or the backbone cannot be written.
    """
    final = run / runs.BACKBONE / Path(prefix).name
    index = final.with_name(f"{final.name}.index")
    try:
        final.parent.mkdir(exist_ok=True)
        # two detectors that start at once would write the same files
        with locks.locked(final.parent, wait=lambda: None):
            # a run that was begun anew has checkpoints of the same names
            if not index.is_file() or index.stat().st_mtime_ns < Path(f"{prefix}.index").stat().st_mtime_ns:
                model = networks.classifier(settings)
                keras_checkpoints.restore(model, prefix)
                index.unlink(missing_ok=True)
                _as_the_api(networks.backbone_of(model)).write(str(final))
    except (OSError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"The backbone of the classifier {run.name} cannot be written into {final.parent}: {first_line(error)}. Copy the run's folder to where you may "
            "write, or free some disk space."
        ) from error
    return str(final)


def _as_the_api(backbone: keras.Model) -> tf.train.Checkpoint:
    layers = [layer for layer in backbone.layers if layer.weights]
    nodes = {
        _LAYER.format(number=number): tf.train.Checkpoint(**{name: tf.Variable(variable.numpy()) for name, variable in _named(layer)})
        for number, layer in enumerate(layers)
    }
    return tf.train.Checkpoint(feature_extractor=tf.train.Checkpoint(**nodes))
