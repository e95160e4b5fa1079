import keras
import numpy as np
import pytest
import tensorflow as tf

from pneumodet.core.errors import ConfigError
from pneumodet.models.segmentation.networks import PRIOR, unet
from pneumodet.models.segmentation.settings import Architecture

SIZE = (32, 64)
PLAIN = Architecture(filters=4, depth=2)
RESIDUAL = Architecture(filters=4, encoder="resnet34", convolutions=1)


@pytest.fixture(scope="module")
def models():
    """The networks that several tests use, made once."""
    return {"plain": unet(SIZE, PLAIN), "resnet34": unet(SIZE, RESIDUAL)}


def logits_of(model, image, *, training=False):
    return np.asarray(model({"image": image}, training=training)["mask"])


def convolutions(model, prefix):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith(prefix)]


@pytest.mark.parametrize("name", ["plain", "resnet34"])
def test_the_mask_is_as_large_as_the_image_and_begins_at_the_prior(models, name):
    rng = np.random.default_rng(0)
    logits = logits_of(models[name], rng.integers(0, 256, (2, *SIZE, 1), np.uint8))
    assert logits.shape == (2, *SIZE, 1) and logits.dtype == np.float32
    assert 0.2 * PRIOR < np.median(1 / (1 + np.exp(-logits))) < 5 * PRIOR


@pytest.mark.parametrize("name", ["plain", "resnet34"])
def test_everything_is_connected(models, name):
    """Where a skip is not joined, or nothing comes through a block, the output does not depend on its kernels."""
    model = models[name]
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (2, *SIZE, 1), np.uint8))
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model({"image": image}, training=True)["mask"] ** 2)
    gradients = tape.gradient(total, [kernel.value for kernel in kernels])
    assert len(kernels) > 10
    assert [
        kernel.path for kernel, gradient in zip(kernels, gradients, strict=True) if gradient is None or not np.abs(gradient).max() > 0
    ] == []


@pytest.mark.parametrize("name", ["plain", "resnet34"])
def test_every_size_of_map_is_joined_again(models, name):
    joined = [layer for layer in models[name].layers if layer.name.endswith("_join")]
    halvings = (PLAIN if name == "plain" else RESIDUAL).halvings
    assert sorted(layer.output.shape[1] for layer in joined) == [SIZE[0] >> level for level in reversed(range(halvings))]


def test_parameters_of_the_plain_network_by_hand():
    """Each convolution has no bias beside batch normalization, which has four numbers a filter."""

    def block(inputs, filters, count):
        return sum(9 * (inputs if one == 0 else filters) * filters + 4 * filters for one in range(count))

    def whole(filters, count):
        down = block(1, filters, count) + block(filters, 2 * filters, count) + block(2 * filters, 4 * filters, count)
        up = 4 * 4 * filters * 2 * filters + 2 * filters + 4 * 2 * filters * filters + filters  # with bias
        return down + up + block(4 * filters, 2 * filters, count) + block(2 * filters, filters, count) + filters + 1

    for filters, count in ((4, 2), (6, 3)):
        assert unet((16, 16), Architecture(filters=filters, depth=2, convolutions=count)).count_params() == whole(filters, count)


def test_the_residual_encoder_has_the_layers_of_the_paper(models):
    model = models["resnet34"]
    main = [one for one in convolutions(model, "stage") if "_conv" in one.name]
    assert len(main) == 32  # 34 with the stem and the classifier, which is none here
    assert [sum(one.name.startswith(f"stage{stage}") for one in main) for stage in range(4)] == [6, 8, 12, 6]
    assert [one.filters for one in main[::8]] == [4, 8, 16, 16]
    assert len([one for one in convolutions(model, "stage") if "_fit" in one.name]) == 3
    assert model.get_layer("stage3_block2_relu").output.shape == (None, 1, 2, 32)


def test_paper_width_has_the_papers_number_of_parameters(monkeypatch):
    """He et al.'s ResNet34 without its classifier has 21,284,672 trained parameters for three channels; the first convolution has one here."""
    monkeypatch.setattr(keras.initializers, "HeNormal", lambda seed: keras.initializers.Zeros())  # 30 million random numbers take long
    model = unet((32, 32), Architecture(filters=64, encoder="resnet34"))
    encoder = [layer for layer in model.layers if layer.name.startswith(("stem", "stage"))]
    trained = sum(int(np.prod(weight.shape)) for layer in encoder for weight in layer.trainable_weights)
    assert trained == 21_284_672 - 2 * 7 * 7 * 64


def test_dropout_is_in_training_only_and_not_there_unless_asked_for(models):
    assert not [layer for layer in models["plain"].layers if "dropout" in layer.name]
    model = unet((16, 16), Architecture(filters=4, depth=1, dropout=0.5, batch_norm=False))
    image = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 1), np.uint8)
    still = [logits_of(model, image) for _ in range(2)]
    moving = [logits_of(model, image, training=True) for _ in range(2)]
    assert np.array_equal(*still) and not np.array_equal(*moving)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_the_seed_gives_the_weights():
    first, second, other = (unet((16, 16), Architecture(filters=4, depth=1), seed=seed).get_weights() for seed in (7, 7, 2**32 - 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("size_hw", "changes", "message"),
    [
        ((130, 128), {}, "130 x 128 px cannot be halved 4 times.*multiples of 16. The nearest size is 128 x 128"),
        ((48, 48), {"encoder": "resnet34"}, "cannot be halved 5 times"),
        ((8, 8), {}, "nearest size is 16 x 16"),
        ((32, 32), {"encoder": "resnet50"}, "encoder is 'resnet50'. Did you mean 'resnet34'"),
        ((32, 32), {"dropout": 1.0}, "dropout is 1, must be from 0 to 0.9"),
        ((32, 32), {"convolutions": 0}, "convolutions is 0, must be from 1 to 4"),
    ],
)
def test_what_does_not_fit_is_refused(size_hw, changes, message):
    with pytest.raises(ConfigError, match=message):
        unet(size_hw, Architecture(**changes))
