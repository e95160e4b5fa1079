"""Restoring: the same values as TensorFlow's own restore gives, a true count, and nothing changed by a checkpoint that does not fit."""

import functools
import re
import types
from pathlib import Path

import numpy as np
import pytest
import shallow
import tensorflow as tf

from pneumodet.core.errors import CheckpointError
from pneumodet.models.detection import checkpoint_files, checkpoints, models, pipeline_config

SIDE = 96

COUNTS = {
    "shallow": types.SimpleNamespace(all=28, heads=4, backbone=20, extractor=20),
    "mobilenet": types.SimpleNamespace(all=324, heads=12, backbone=260, extractor=300),
}
"""Variables of the model, of its class heads, of its backbone, and of its feature extractor, which has the backbone."""


@pytest.fixture
def count(network):
    """Return how many variables the network of the test has."""
    return COUNTS[network]


def build(network, classes=2, width=0.35, seed=1):
    config = pipeline_config.load("ssd_mobilenet")
    size = [f"model.ssd.image_resizer.fixed_shape_resizer.{side}={SIDE}" for side in ("height", "width")]
    maps = shallow.TWO_MAPS if network == "shallow" else ()
    pipeline_config.override(config, [*size, f"model.ssd.feature_extractor.depth_multiplier={width}", *maps])
    pipeline_config.set_classes(config, classes)
    tf.keras.utils.set_random_seed(seed)
    with shallow.builds(network):
        return models.build(config, is_training=True)


@functools.cache
def initial(network):
    model = build(network)
    return model, [variable.numpy() for variable in model.variables]


@pytest.fixture
def model(network):
    """Return a model of two classes, each time with the same initial values."""
    model, values = initial(network)
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    return model


@pytest.fixture(scope="module")
def three(network, tmp_path_factory):
    """Return (a model of three classes with values of its own, its checkpoint), with an optimizer's slots and a step beside."""
    model = build(network, classes=3, seed=2)
    for number, variable in enumerate(model.variables):
        variable.assign(tf.random.stateless_uniform(variable.shape, seed=(number, 0)))
    optimizer = tf.keras.optimizers.legacy.SGD(0.0, momentum=0.9)
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in model.trainable_variables])
    everything = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(3, dtype=tf.int64))
    return model, everything.save(str(tmp_path_factory.mktemp("three") / "ckpt"))


@pytest.fixture(scope="module")
def backbone(network, tmp_path_factory):
    """Return (a backbone, its checkpoint), as the classification zoo has it."""
    model = build(network, seed=3)
    part = model._feature_extractor.classification_backbone
    return part, tf.train.Checkpoint(feature_extractor=part).write(str(tmp_path_factory.mktemp("backbone") / "ckpt-1"))


def fine_tune(path, kind):
    config = pipeline_config.load("ssd_mobilenet").train_config
    config.fine_tune_checkpoint, config.fine_tune_checkpoint_type = path, kind
    return config


def values(model):
    """Return name -> value; Keras numbers the extractors of the models that one process builds."""
    return {re.sub(r"_extractor_\d+/", "_extractor/", variable.name): variable.numpy() for variable in model.variables}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_names_are_those_that_tensorflow_reads(three, backbone):
    for _, path in (three, backbone):
        assert checkpoint_files.names(path) == sorted(tf.train.load_checkpoint(path).get_variable_to_shape_map())
    assert checkpoint_files.roots(checkpoint_files.names(three[1])) == {"model", "optimizer", "step", "save_counter"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "detection"])
def test_the_same_values_as_tensorflow_restores(network, count, model, tmp_path, kind):
    source = build(network, seed=7)
    path = tf.train.Checkpoint(model=source).write(str(tmp_path / "ckpt-0"))
    restored = checkpoints.restore_fine_tune(model, fine_tune(path, kind))
    assert restored == checkpoints.Restored(count.all, count.all, (), 0)
    ours = values(model)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(model=model).read(path).assert_consumed()
    assert same(ours, values(model))
    assert same(ours, values(source))


def test_a_detector_of_other_classes_leaves_only_its_class_heads_afresh(count, model, three):
    source, path = three
    before = values(model)
    restored = checkpoints.restore_fine_tune(model, fine_tune(path, "detection"))
    heads = {name for name in before if "ClassPredictor" in name}
    kept = count.all - count.heads
    assert (restored.restored, restored.total, set(restored.fresh), restored.unused) == (kept, count.all, heads, count.heads)
    after, theirs = values(model), values(source)
    for name in before:
        assert np.array_equal(after[name], (before if name in heads else theirs)[name]), name
    assert int(restored) == kept
    assert restored.sentence() == (
        f"restored {kept} of {count.all} variables; {count.heads} start afresh (BoxPredictor/ConvolutionalClassHead_#: {count.heads}); "
        f"{count.heads} of the checkpoint are not used"
    )


def test_the_api_itself_would_restore_no_more_than_this(count, model, three):
    """Its own restore, all of whose values must be among ours."""
    checkpoints.restore_fine_tune(model, fine_tune(three[1], "detection"))
    ours = values(model)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    parts = model.restore_from_objects(fine_tune_checkpoint_type="detection")
    tf.train.Checkpoint(**parts).read(three[1]).expect_partial().assert_existing_objects_matched()
    extracted = values(model._feature_extractor)
    assert len(extracted) == count.extractor
    assert all(np.array_equal(value, ours[name]) for name, value in extracted.items())


def test_a_backbone(count, model, backbone):
    part, path = backbone
    before = values(model)
    restored = checkpoints.restore_fine_tune(model, fine_tune(path, "classification"))
    fresh = count.all - count.backbone
    assert (restored.restored, restored.total, len(restored.fresh), restored.unused) == (count.backbone, count.all, fresh, 0)
    inside = {variable.name: variable.numpy() for variable in part.variables}
    after = values(model)
    for name in before:
        assert np.array_equal(after[name], inside.get(name, before[name])), name


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_backbone(shared_data):
    path = str(shared_data / "pretrained" / "mobilenet_v2_imagenet" / "ckpt-1")
    model = build("mobilenet", width=1.0)
    restored = checkpoints.restore_fine_tune(model, fine_tune(path, "classification"))
    assert (restored.restored, restored.total, restored.unused) == (260, 324, 0)
    first = tf.train.load_checkpoint(path).get_tensor("feature_extractor/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    assert np.array_equal(model._feature_extractor.classification_backbone.get_layer("Conv1").kernel.numpy(), first)


def refused(model, path, kind, message):
    before = values(model)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.restore_fine_tune(model, fine_tune(path, kind))
    assert same(before, values(model)), "a checkpoint that is refused changes nothing"
    assert "\n" not in str(caught.value)


def test_full_needs_the_same_classes(count, model, three):
    of_kernels = r"of another shape: .*ClassPredictor/kernel:0 \[1, 1, \d+, 12\] there, \[1, 1, \d+, 9\] here.* 'detection'"
    message = rf"{count.all - count.heads} of {count.all} variables were found \({of_kernels}"
    refused(model, three[1], "full", message)


def test_the_wrong_type_is_told(count, model, three, backbone):
    of_detector = rf"0 of {count.backbone} variables were found .*holds a detector, no bare backbone: give .*'detection'"
    refused(model, three[1], "classification", of_detector)
    of_backbone = rf"0 of {count.extractor} variables were found .*holds a bare backbone, no detector: give .*'classification'"
    refused(model, backbone[1], "detection", of_backbone)
    refused(model, three[1], "fine_tune", "cannot start from a checkpoint of type 'fine_tune'")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mobilenet"], indirect=True)
def test_another_width_is_told(model, tmp_path):
    path = tf.train.Checkpoint(model=build("mobilenet", width=0.5)).write(str(tmp_path / "ckpt-0"))
    refused(
        model,
        path,
        "detection",
        r"\d+ of 300 variables were found \(of another shape: block_.* there, .* here.* of another architecture, width",
    )


def test_another_architecture_is_told(count, model, tmp_path):
    other = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    path = tf.train.Checkpoint(model=tf.train.Checkpoint(_feature_extractor=other)).write(str(tmp_path / "ckpt-0"))
    refused(model, path, "detection", rf"0 of {count.extractor} variables were found \(not in it: Conv1/kernel:0.* of another architecture")


def test_a_real_checkpoint_of_tensorflow_1_is_told(model, tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("FeatureExtractor/Conv/weights", shape=(2,))
        session.run(tf.compat.v1.global_variables_initializer())
        path = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    refused(model, path, "detection", r"name-based checkpoint of TensorFlow 1 \(1 entries, such as FeatureExtractor/Conv/weights\)")


@pytest.mark.parametrize("left", [0.0, 0.3, 0.99])
def test_values_that_are_cut_off_are_told(model, three, tmp_path, left):
    for suffix in (".index", ".data-00000-of-00001"):
        content = Path(three[1] + suffix).read_bytes()
        (tmp_path / f"ckpt-1{suffix}").write_bytes(content[: int(len(content) * left)] if suffix != ".index" else content)
    refused(model, str(tmp_path / "ckpt-1"), "detection", r"ckpt-1 cannot be read: .* Is the file whole\?")


def test_restore_is_strict_and_counts(network, count, three, tmp_path):
    source, path = three
    model = build(network, classes=3, seed=9)
    assert checkpoints.restore({"model": model}, path, hint="") == count.all
    assert same(values(model), values(source))
    with pytest.raises(CheckpointError, match=r"0 of 1 variables were found \(not in it: more:0\)\. Look there\."):
        checkpoints.restore({"more": tf.Variable(1.0, name="more")}, path, hint="Look there.")
    with pytest.raises(CheckpointError, match="0 of 0"):
        checkpoints.restore({"model": tf.train.Checkpoint()}, path, hint="")


def test_variables_of_several_devices_are_restored(tmp_path):
    """They are wrapped, and stand in the graph of objects like any other."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        layer = tf.keras.layers.Dense(2)
        layer.build((None, 3))
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "ckpt-1"))
    kernel = layer.kernel.numpy()
    layer.kernel.assign(tf.zeros_like(layer.kernel))
    assert type(layer.kernel) is not type(tf.Variable(0.0))
    assert checkpoints.restore({"layer": layer}, path, hint="") == 2
    assert np.array_equal(layer.kernel.numpy(), kernel)
