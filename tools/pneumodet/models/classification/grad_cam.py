"""Grad-CAM and Grad-CAM++: which parts of a radiograph a classifier's score rests on.

    explainer = Explainer(model, score=lambda outputs: outputs["pneumonia"], method="grad-cam")
    outputs = explainer({"image": images})          # the model's outputs, and
    outputs[HEATMAP]                                # (B, h, w) float32 >= 0, of the last feature map's size

Grad-CAM: R. R. Selvaraju et al., ICCV 2017 (https://arxiv.org/abs/1610.02391). Grad-CAM++: A. Chattopadhyay et al., WACV 2018
(https://arxiv.org/abs/1710.11063).

Written here because no library fits, though two gave the same maps for a flat model with one input. Neither tf-keras-vis 0.8.7 (MIT, March 2024)
nor Xplique 2.0.2 (MIT, September 2026) finds the feature map in a backbone that is a model in the model. The first fails on all models of Keras 3 once
``tf.keras`` is the legacy Keras; the second takes one input, where classifiers may take age, sex and view besides, and pins older releases
of scipy and scikit-learn than this project has.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from pneumodet.core.errors import ConfigError

GRAD_CAM, GRAD_CAM_PLUS_PLUS = "grad-cam", "grad-cam++"
METHODS = (GRAD_CAM, GRAD_CAM_PLUS_PLUS)
"""Names of the methods."""

HEATMAP = "heatmap"
"""Name of the heatmaps among the outputs."""

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)

_NO_FEATURES = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
)
"""Layers that only thin out a feature map: the map before them is finer (VGG ends in a pooling, and Grad-CAM was shown on what precedes it)."""


class Explainer:
    """A classifier whose outputs have a heatmap besides; it stands wherever the model does that ``evaluation.runner.Runner`` takes."""

    def __init__(self, model: keras.Model, score: Callable[[dict[str, tf.Tensor]], tf.Tensor], *, method: str = GRAD_CAM) -> None:
        """Find the feature map.

        Args:
          model: gives a dict; flat, or with a backbone that is a model itself; channels last.
          score: takes the model's outputs for B images; returns the (B,) score to explain, before softmax or sigmoid, as both papers have it.
          method: one of ``METHODS``.

        Raises:
          ConfigError: the method is unknown, or the model has no convolutional feature map of more than one px.
        """
        if method not in METHODS:
            raise ConfigError(f"There is no method {method!r}. Methods: {', '.join(METHODS)}.")
        self.inputs = model.inputs
        self._model, self._score = model, score
        self._layer = last_feature_layer(model)
        self._weights = weights if method == GRAD_CAM else weights_plus_plus

    @property
    def layer(self) -> str:
        """Name of the layer whose output is the feature map."""
        return self._layer.name

    def __call__(self, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Return the model's outputs for B images, and as ``HEATMAP`` the (B, h, w) float32 heatmaps over the whole of the model's input.

        Values are not below 0; a heatmap is 0 everywhere where nothing speaks for the score, and NaN where the model's weights are broken.

        Raises:
          ConfigError: the score does not depend on the feature map.
        """
        # gradients of the weights are not needed, and would keep every activation in memory
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            with _tapped(self._layer, tape) as taken:
                outputs = self._model(inputs, training=training)
            score = self._score(outputs)
        gradients = tape.gradient(score, taken[-1])
        if gradients is None:
            raise ConfigError(f"The score does not depend on the feature map of layer {self.layer!r}. Explain another output.")
        features, gradients = tf.cast(taken[-1], tf.float32), tf.cast(gradients, tf.float32)
        return {**outputs, HEATMAP: tf.nn.relu(tf.einsum("bhwc,bc->bhw", features, self._weights(features, gradients)))}


def weights(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Return Grad-CAM's (B, C) weights of channels: the mean gradient of each (Selvaraju et al., equation 1).

    Args:
      features: (B, h, w, C) float32.
      gradients: (B, h, w, C) float32, of the score before softmax or sigmoid.
    """
    del features  # the same arguments as ``weights_plus_plus``
    return tf.reduce_mean(gradients, axis=(1, 2))


def weights_plus_plus(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Return Grad-CAM++'s (B, C) weights of channels, divided by exp(score), which is one number an image.

    The class's score is Y = exp(S), with S before softmax or sigmoid, so that (Chattopadhyay et al., equation 19) the weight of a pixel is
    alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)) where the gradient g = dS/dA is not 0, and that of a channel is sum(alpha relu(g)). The
    sum over a channel's features A is taken for 0 where it is below: the paper has rectified features, but swish lets some be a little negative.

    Args:
      features: (B, h, w, C) float32.
      gradients: (B, h, w, C) float32.
    """
    total = tf.maximum(tf.reduce_sum(features, axis=(1, 2), keepdims=True), 0.0)
    positive = tf.nn.relu(gradients)
    return tf.reduce_sum(positive / (2.0 + positive * total), axis=(1, 2))


def last_feature_layer(model: keras.Model) -> keras.layers.Layer:
    """Return the layer of the last convolutional feature map: 4-D, and not merely pooled.

    Raises:
      ConfigError: the model has none, or it has one px only.
    """
    last, convolved = None, False
    for layer in _leaves(model):
        convolved = convolved or isinstance(layer, _CONVOLUTIONS)
        if convolved and not isinstance(layer, _NO_FEATURES) and len(_shape(layer)) == 4:
            last = layer
    if last is None:
        raise ConfigError(f"The model {model.name!r} has no convolutional feature map, which Grad-CAM needs.")
    if _shape(last)[1:3] == (1, 1):
        raise ConfigError(f"The last feature map ({last.name!r}) has one px, which shows no place. Train with larger images.")
    return last


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model, and in place of a model among them that one's layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _shape(layer: keras.layers.Layer) -> tuple[int | None, ...]:
    """Return the shape of what a layer gives; empty where it was never called or gives several things."""
    try:
        return tuple(layer.output.shape)
    except (AttributeError, ValueError):
        return ()


@contextlib.contextmanager
def _tapped(layer: keras.layers.Layer, tape: tf.GradientTape) -> Iterator[list[tf.Tensor]]:
    """Watch what a layer returns, wherever in a model it is called.

    A sub-model up to the layer would not do: the output of a layer in a nested model does not belong to the graph of the outer one.
    """
    call = layer.call
    taken: list[tf.Tensor] = []

    def watched(*args: Any, **kwargs: Any) -> tf.Tensor:
        features = call(*args, **kwargs)
        tape.watch(features)
        taken.append(features)
        return features

    # an attribute of the object hides the method of its class, which is back when the attribute is deleted
    layer.call = watched
    try:
        yield taken
    finally:
        del layer.call
