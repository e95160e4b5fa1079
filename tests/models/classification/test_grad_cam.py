"""Grad-CAM and Grad-CAM++ against the papers' formulas, computed by hand."""

import itertools

import keras
import numpy as np
import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.models.classification.grad_cam import GRAD_CAM, GRAD_CAM_PLUS_PLUS, HEATMAP, Explainer, last_feature_layer

SIDE, CHANNELS = 9, 3
FEATURES = SIDE - 2

layers = keras.layers


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (4, SIDE, SIDE, 1), dtype=np.uint8)


def score(outputs):
    return outputs["pneumonia"][:, 0]


def set_weights(model, rng):
    """Give a model's convolution and head random weights of both signs, so that what ReLU cuts off matters."""
    for name in ("conv", "head"):
        layer = by_name(model, name)
        kernel, bias = layer.get_weights()
        layer.set_weights([rng.permuted(np.linspace(-1, 1, kernel.size)).reshape(kernel.shape), bias])
    return model


def convolved(scaled):
    return layers.Conv2D(CHANNELS, 3, activation="relu", name="conv")(scaled)


def flat(head):
    """All layers in one model."""
    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    return keras.Model({"image": image}, {"pneumonia": layers.Dense(1, name="head")(head(convolved(layers.Rescaling(1 / 255)(image))))})


def nested(head):
    """The head outside of the backbone."""
    inner = keras.Input((SIDE, SIDE, 1))
    backbone = keras.Model(inner, convolved(inner), name="backbone")
    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    return keras.Model({"image": image}, {"pneumonia": layers.Dense(1, name="head")(head(backbone(layers.Rescaling(1 / 255)(image))))})


def nested_with_head(head):
    """The feature map is no tensor of the outer model; all of the backbone is frozen; there is metadata besides."""
    inner = keras.Input((SIDE, SIDE, 1))
    backbone = keras.Model(inner, head(convolved(inner)), name="backbone")
    backbone.trainable = False
    image, metadata = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image"), keras.Input((2,), name="metadata")
    joined = layers.Concatenate()([backbone(layers.Rescaling(1 / 255)(image)), metadata])
    outputs = {"pneumonia": layers.Dense(1, name="head")(joined), "classes": layers.Dense(3)(joined)}
    return keras.Model({"image": image, "metadata": metadata}, outputs)


def inputs_of(model, images):
    metadata = np.ones((len(images), 2), np.float32)
    return {"image": images} | ({"metadata": metadata} if len(model.inputs) > 1 else {})


def by_name(model, name):
    """A layer, also one inside of a nested model."""
    inside = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return next(one for one in [*model.layers, *(layer for each in inside for layer in each.layers)] if one.name == name)


def features_by_hand(model, images):
    """(B, h, w, C) float64: the convolution and ReLU, written out."""
    kernel, bias = (value.astype(np.float64) for value in by_name(model, "conv").get_weights())
    scaled = images[..., 0] / 255
    features = np.zeros((len(images), FEATURES, FEATURES, CHANNELS))
    for row, column in itertools.product(range(FEATURES), repeat=2):
        patch = scaled[:, row : row + 3, column : column + 3]
        features[:, row, column] = np.einsum("bij,ijc->bc", patch, kernel[:, :, 0]) + bias
    return np.maximum(features, 0)


@pytest.mark.parametrize("build", [flat, nested, nested_with_head])
def test_of_a_model_with_global_average_pooling_grad_cam_is_cam(build, images, rng):
    """Zhou et al. 2016: the map is the sum of feature maps, weighted by the head; Grad-CAM has 1/Z of it."""
    model = set_weights(build(layers.GlobalAveragePooling2D()), rng)
    head = by_name(model, "head").get_weights()[0].astype(np.float64)[:CHANNELS, 0]
    cam = np.maximum(features_by_hand(model, images) @ head, 0) / FEATURES**2
    assert (cam == 0).any() and (cam > 0).any()
    explainer = Explainer(model, score)
    assert explainer.layer == "conv"
    explained = explainer(inputs_of(model, images))
    np.testing.assert_allclose(explained[HEATMAP], cam, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explained["pneumonia"], model(inputs_of(model, images))["pneumonia"], rtol=1e-5)
    assert set(explained) == {*model.output, HEATMAP}


@pytest.mark.parametrize("build", [flat, nested_with_head])
def test_grad_cam_plus_plus_is_equation_19(build, images, rng):
    """Derivatives of Y = exp(S) by finite differences, in float64, of a head that weighs every place for itself."""
    model = set_weights(build(layers.Flatten()), rng)
    model.set_weights([value * 0.1 for value in model.get_weights()])
    kernel = by_name(model, "head").get_weights()[0].astype(np.float64)
    count = FEATURES * FEATURES * CHANNELS
    of_metadata = kernel[count:].sum()  # metadata is all ones
    bias = by_name(model, "head").get_weights()[1].astype(np.float64)[0]
    step = 1e-2
    expected = []
    for features in features_by_hand(model, images):

        def y(one):
            return np.exp(one.ravel() @ kernel[:count, 0] + of_metadata + bias)

        alpha_relu = np.zeros(features.shape)
        for place in itertools.product(*map(range, features.shape)):
            shift = np.zeros(features.shape)
            shift[place] = step
            low2, low, here, high, high2 = (y(features + times * shift) for times in (-2, -1, 0, 1, 2))
            first = (high - low) / (2 * step)
            second = (high - 2 * here + low) / step**2
            third = (high2 - 2 * high + 2 * low - low2) / (2 * step**3)
            if first > 1e-9 * here:
                alpha = second / (2 * second + features[..., place[2]].sum() * third)
                alpha_relu[place] = alpha * first / here  # without exp(S), which is one number an image
        expected.append(np.maximum(features @ alpha_relu.sum(axis=(0, 1)), 0))
    heatmap = Explainer(model, score, method=GRAD_CAM_PLUS_PLUS)(inputs_of(model, images))[HEATMAP]
    np.testing.assert_allclose(heatmap, expected, rtol=2e-3, atol=1e-6)
    plain = Explainer(model, score)(inputs_of(model, images))[HEATMAP]
    assert not np.allclose(heatmap / np.max(heatmap), plain / np.max(plain), atol=0.05), "the two methods differ here"


@pytest.mark.parametrize("method", [GRAD_CAM, GRAD_CAM_PLUS_PLUS])
def test_without_positive_evidence_there_is_no_heat(method, images, rng):
    model = set_weights(flat(layers.GlobalAveragePooling2D()), rng)
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([-np.abs(kernel), bias])
    assert not np.any(Explainer(model, score, method=method)({"image": images})[HEATMAP])


def test_features_below_zero_leave_grad_cam_plus_plus_finite(images, rng):
    model = set_weights(flat(layers.GlobalAveragePooling2D()), rng)
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").activation = keras.activations.linear  # as swish, but more so
    model.get_layer("conv").set_weights([kernel, bias - 50])
    model.get_layer("head").set_weights([np.full((CHANNELS, 1), 3.0), np.zeros(1)])
    heatmap = Explainer(model, score, method=GRAD_CAM_PLUS_PLUS)({"image": images})[HEATMAP]
    np.testing.assert_array_equal(heatmap, 0)


def test_the_model_is_left_as_it_was(images, rng):
    model = set_weights(flat(layers.GlobalAveragePooling2D()), rng)
    before = model({"image": images})["pneumonia"].numpy()
    Explainer(model, score)({"image": images})
    assert "call" not in vars(model.get_layer("conv"))
    np.testing.assert_array_equal(model({"image": images})["pneumonia"], before)
    with pytest.raises(ConfigError, match="does not depend on the feature map of layer 'conv'"):
        Explainer(model, lambda outputs: keras.ops.zeros((4,)))({"image": images})
    assert "call" not in vars(model.get_layer("conv"))


def squeezed(features):
    """A squeeze-and-excitation block, whose feature maps of one px are beside the way."""
    weights = layers.Conv2D(CHANNELS, 1, name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(features))
    return layers.GlobalAveragePooling2D()(layers.Multiply(name="scaled")([features, weights]))


def pooled(features):
    """As VGG ends."""
    return layers.Flatten()(layers.Dropout(0.5)(layers.MaxPooling2D(name="pool")(features)))


def joined(features):
    """As Inception ends."""
    branches = [layers.Conv2D(2, 1, name=f"branch-{number}")(features) for number in range(2)]
    return layers.GlobalAveragePooling2D()(layers.Concatenate(name="mixed")(branches))


@pytest.mark.parametrize("build", [flat, nested, nested_with_head])
@pytest.mark.parametrize(("head", "name"), [(squeezed, "scaled"), (pooled, "conv"), (joined, "mixed")])
def test_the_last_feature_map_is_found(build, head, name):
    assert last_feature_layer(build(head)).name == name


def test_a_backbone_of_keras_applications_is_looked_into():
    inner = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    image = keras.Input((64, 64, 3), name="image")
    assert last_feature_layer(keras.Model(image, layers.Dense(1)(inner(image)))).name == "block5_conv3"


def test_what_cannot_be_explained_gets_a_sentence():
    model = flat(layers.GlobalAveragePooling2D())
    with pytest.raises(ConfigError, match=r"no method 'cam'\. Methods: grad-cam, grad-cam\+\+"):
        Explainer(model, score, method="cam")
    image = keras.Input((SIDE, SIDE, 1))
    dense = keras.Model(image, layers.Dense(1)(layers.Flatten()(layers.Rescaling(1 / 255)(image))), name="dense")
    with pytest.raises(ConfigError, match="'dense' has no convolutional feature map"):
        Explainer(dense, score)
    small = keras.Model(image, layers.Flatten()(layers.Conv2D(2, SIDE, name="all")(image)))
    with pytest.raises(ConfigError, match=r"\('all'\) has one px, which shows no place"):
        Explainer(small, score)
