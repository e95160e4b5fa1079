"""Freezing: what is kept out of the gradient stays as it is, running statistics included, and the rest is trained."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_slim

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import models, pipeline_config
from pneumodet.training import freezing

SIDE = 96


@pytest.fixture(scope="module")
def built():
    config = pipeline_config.load("ssd_mobilenet")
    size = [f"model.ssd.image_resizer.fixed_shape_resizer.{side}={SIDE}" for side in ("height", "width")]
    pipeline_config.override(config, [*size, "model.ssd.feature_extractor.depth_multiplier=0.35"])
    return models.build(config, is_training=True)


@pytest.fixture
def model(built):
    """Return the model with every batch normalization in training again."""
    for layer in batch_norms(built):
        layer.trainable, layer._training = True, True
    return built


def batch_norms(model):
    return [
        thing
        for thing in tf.train.TrackableView(model).descendants()
        if isinstance(thing, tf.keras.layers.Layer) and hasattr(thing, "moving_mean")
    ]


@pytest.fixture
def config():
    return pipeline_config.load("ssd_mobilenet").train_config


def test_frozen_and_trained_make_the_whole_in_its_order(model):
    variables = model.trainable_variables
    inside = {id(variable) for variable in model._feature_extractor.classification_backbone.trainable_variables}
    frozen = freezing.freeze(model, ["backbone"])
    assert [id(variable) for variable in frozen.trained] == [id(variable) for variable in variables if id(variable) not in inside]
    assert list(frozen.names) == [variable.name.removesuffix(":0") for variable in variables if id(variable) in inside]
    assert (frozen.count, frozen.of) == (len(inside), len(variables))
    assert frozen.sentence() == "156 of 204 trainable variables are frozen, and 52 batch normalizations with them"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        pytest.param(["Conv1/kernel"], ["Conv1/kernel"], id="name"),
        pytest.param(["*Conv1/*"], ["Conv1/kernel", "bn_Conv1/gamma", "bn_Conv1/beta"], id="glob"),
        pytest.param(["block_1_*/kernel"], ["block_1_expand/kernel", "block_1_project/kernel"], id="glob-not-block-10"),
        pytest.param([r"re:^block_1\d_expand/k"], [f"block_1{i}_expand/kernel" for i in range(7)], id="regular-expression"),
        pytest.param(["Conv1/kernel", "bn_Conv1/beta"], ["Conv1/kernel", "bn_Conv1/beta"], id="several"),
        pytest.param(
            ["stem"],
            ["Conv1/kernel", "bn_Conv1/gamma", "bn_Conv1/beta"]
            + ["expanded_conv_depthwise/depthwise_kernel", "expanded_conv_depthwise_BN/gamma", "expanded_conv_depthwise_BN/beta"]
            + ["expanded_conv_project/kernel", "expanded_conv_project_BN/gamma", "expanded_conv_project_BN/beta"],
            id="stem",
        ),
    ],
)
def test_patterns(model, patterns, names):
    assert list(freezing.freeze(model, patterns).names) == names


@pytest.mark.parametrize("name", ["conv1_conv/kernel", "conv1_bn/beta", "stem_conv2d/kernel", "stem_bn/gamma", "Conv1/kernel"])
def test_the_stem_of_other_backbones(name):
    assert freezing._STEM.search(name)


@pytest.mark.parametrize(
    "name", ["conv2_block1_1_conv/kernel", "Conv_1/kernel", "Conv_1_bn/beta", "stack_0/block_0/project_bn/beta", "block_1_expand/kernel"]
)
def test_what_is_no_stem(name):
    assert not freezing._STEM.search(name)


def test_batch_norms_that_are_frozen_in_part_go_on_training(model):
    frozen = freezing.freeze(model, ["bn_Conv1/gamma"])
    assert frozen.batch_norms == 0
    assert all(layer.trainable for layer in batch_norms(model))


@pytest.mark.parametrize(
    ("include", "exclude"),
    [
        pytest.param([], ["BoxPredictor"], id="freeze", marks=pytest.mark.slow),
        pytest.param(["BoxPredictor"], [], id="update", marks=pytest.mark.slow),
        pytest.param(["FeatureMaps", "Box"], ["kernel:0$", "^BoxPredictor/.*Class"], id="both"),
    ],
)
def test_the_configs_own_fields_mean_what_the_api_meant(model, config, include, exclude):
    """The oracle is the function that the API's TensorFlow 1 loop called (model_lib.py)."""
    config.update_trainable_variables.extend(include)
    config.freeze_variables.extend(exclude)
    with tf.Graph().as_default():  # the oracle reads names of ops, which only graphs have
        named = [tf.compat.v1.get_variable(variable.name.removesuffix(":0"), shape=()) for variable in model.trainable_variables]
        kept = tf_slim.filter_variables(named, include_patterns=include or None, exclude_patterns=exclude or None)
        wanted = [variable.op.name for variable in kept]
    frozen = freezing.freeze(model, [], train_config=config)
    assert [variable.name.removesuffix(":0") for variable in frozen.trained] == wanted
    assert 0 < len(wanted) < frozen.of


def test_flag_and_config_add_up(model, config):
    config.freeze_variables.append("^BoxPredictor/")
    frozen = freezing.freeze(model, ["backbone"], train_config=config)
    assert all("FeatureMaps" in variable.name for variable in frozen.trained)


def test_nothing_asked_nothing_frozen(model, config):
    frozen = freezing.freeze(model, [], train_config=config)
    assert (frozen.count, frozen.batch_norms, len(frozen.trained)) == (0, 0, frozen.of)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        pytest.param(["Conv1"], r"--freeze: 'Conv1' matches none of the 204 trainable variables\. Nearest: Conv1/kernel", id="unknown"),
        pytest.param(["backbone", "re:Conv9"], "'re:Conv9' matches none.*Nearest: Conv1/kernel", id="unknown-among-others"),
        pytest.param(["re:("], r"'\(' is no regular expression: missing \)", id="no-expression"),
        pytest.param(["*"], "All 204 trainable variables are frozen", id="all"),
    ],
)
def test_mistakes(model, patterns, message):
    with pytest.raises(ConfigError, match=message):
        freezing.freeze(model, patterns)
    assert all(layer.trainable for layer in batch_norms(model)), "nothing was changed"


def test_a_mistake_in_the_config_names_the_field(model, config):
    config.freeze_variables.append("FeatureExtractor/MobilenetV1")
    with pytest.raises(ConfigError, match=r"train_config\.freeze_variables: 'FeatureExtractor/MobilenetV1' matches none"):
        freezing.freeze(model, [], train_config=config)


def test_one_step_changes_what_is_trained_and_nothing_else(model):
    """The control is the second half: without freezing, the same step changes the backbone, too."""
    images = tf.random.stateless_uniform([2, SIDE, SIDE, 3], seed=(0, 1), minval=-1.0, maxval=1.0)
    shapes = tf.constant([[SIDE, SIDE, 3]] * 2)

    def step(trained):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            predicted = model.predict(images, shapes)
            loss = tf.add_n(
                [tf.reduce_mean(tf.square(predicted[key] - 1.0)) for key in ("box_encodings", "class_predictions_with_background")]
            )
        for gradient, variable in zip(tape.gradient(loss, trained), trained, strict=True):
            variable.assign_sub(0.1 * gradient)

    def changed(patterns):
        frozen = freezing.freeze(model, patterns) if patterns else None
        models.set_training(model, True)
        before = {id(variable): variable.numpy() for variable in model.variables}
        step(frozen.trained if frozen else model.trainable_variables)
        return {id(variable) for variable in model.variables if not np.array_equal(before[id(variable)], variable.numpy())}, frozen

    backbone = {id(variable) for variable in model._feature_extractor.classification_backbone.variables}
    moved, frozen = changed(["backbone"])
    assert not moved & backbone
    assert {
        id(variable) for variable in model.variables if re.search("BoxPredictor.*bias|FeatureMaps.*moving_variance", variable.name)
    } <= moved
    assert frozen.batch_norms == 52
    for layer in batch_norms(model):
        layer.trainable, layer._training = True, True
    moved, _ = changed(None)
    assert len(moved & backbone) > 0.8 * len(backbone)
