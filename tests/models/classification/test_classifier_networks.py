"""What backbones get and start from: the range that keras.applications makes, and the weights of files and checkpoints."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format

from pneumodet.core.errors import CheckpointError
from pneumodet.models.classification import networks, weights
from pneumodet.models.classification.settings import ClassifierSettings, check_weights
from pneumodet.models.detection import checkpoint_files

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)

PREPROCESSING = {
    "resnet50": keras.applications.resnet50.preprocess_input,
    "inceptionv3": keras.applications.inception_v3.preprocess_input,
    "vgg16": keras.applications.vgg16.preprocess_input,
    "vgg19": keras.applications.vgg19.preprocess_input,
    "mobilenetv2": keras.applications.mobilenet_v2.preprocess_input,
    "efficientnetv2b0": keras.applications.efficientnet_v2.preprocess_input,
}


@pytest.mark.parametrize("name", PREPROCESSING)
def test_a_backbone_gets_the_range_that_keras_applications_makes(name):
    """With a backbone that changes nothing, the pooled features are the means of what it got."""
    image = keras.Input((32, 32, 3))
    same = keras.Model(image, keras.layers.Activation("linear")(image))
    model = networks.classifier(ClassifierSettings(backbone=name, image_size=32), same)
    got = keras.Model(model.inputs, model.get_layer("channels").output)({"image": IMAGES})
    wanted = PREPROCESSING[name](np.repeat(IMAGES, 3, axis=-1).astype(np.float32))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("task", ["pneumonia", "three-class", "both"])
def test_heads_of_a_task(task):
    model = networks.classifier(ClassifierSettings(backbone="resnet-scratch", image_size=32, task=task, metadata=True))
    outputs = model({"image": IMAGES, "metadata": np.zeros((2, 8), np.float32)})
    wanted = {"pneumonia": {"pneumonia": 1}, "three-class": {"classes": 3}, "both": {"pneumonia": 1, "classes": 3}}[task]
    assert {name: value.shape for name, value in outputs.items()} == {name: (2, count) for name, count in wanted.items()}


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vgg16", 14.7),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in [("resnet50", 23.6), ("inceptionv3", 21.8), ("vgg19", 20.0), ("efficientnetv2b0", 5.9)]
        ),
    ],
)
def test_every_backbone_can_be_built(name, millions):
    """The others are built elsewhere; numbers of weights are those of the papers' networks without their tops."""
    model = networks.classifier(ClassifierSettings(backbone=name, image_size=75))
    assert networks.backbone_of(model).count_params() / 1e6 == pytest.approx(millions, abs=0.06)


def settings(path):
    return ClassifierSettings(backbone="mobilenetv2", image_size=32, pretrained=str(path))


@pytest.fixture(scope="module")
def source():
    """Return a MobileNetV2 with weights and statistics of its own."""
    model = networks.new_backbone(settings("none"))
    random = np.random.default_rng(1)
    model.set_weights([one + random.uniform(0, 0.1, one.shape).astype(np.float32) for one in model.get_weights()])
    return model


@pytest.fixture(autouse=True, scope="module")
def built_once(source):
    """Build the MobileNetV2 that weights are read into once: that takes longer than to read them. Its weights are zeros whenever it is asked for."""
    real, kept = networks.new_backbone, {}

    def new_backbone(chosen, **more):
        if chosen.backbone != "mobilenetv2" or more:
            return real(chosen, **more)
        if chosen.size_hw not in kept:
            kept[chosen.size_hw] = real(chosen)
        kept[chosen.size_hw].set_weights([np.zeros_like(one) for one in kept[chosen.size_hw].get_weights()])
        return kept[chosen.size_hw]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "new_backbone", new_backbone)
        yield


def features(model):
    return model(np.repeat(IMAGES, 3, axis=-1).astype(np.float32) / 127.5 - 1, training=False).numpy()


class Node(tf.Module):
    """Holds variables by name, as layers of the legacy Keras do in a checkpoint."""


def checkpoint(model, path, *, leave_out=0, reshape=False):
    """Write a model as the Object Detection API's ImageNet checkpoints are: layers with weights by number, legacy names of variables."""
    root = Node()
    layers = [layer for layer in model.layers if layer.weights]
    for number, layer in enumerate(layers[: len(layers) - leave_out]):
        node = Node()
        for variable in layer.weights:
            name = "depthwise_kernel" if isinstance(layer, keras.layers.DepthwiseConv2D) else variable.name
            setattr(node, name, tf.Variable(variable.numpy()[:1] if reshape and not number else variable.numpy()))
        setattr(root, f"layer_with_weights-{number}", node)
    return tf.train.Checkpoint(feature_extractor=root).save(str(path / "ckpt"))


def test_a_checkpoint_of_mobilenet_goes_to_the_right_layers(source, tmp_path):
    prefix = checkpoint(source, tmp_path)
    check_weights(prefix, "mobilenetv2")
    model, sentence = weights.started(settings(prefix))
    np.testing.assert_array_equal(features(model), features(source))
    assert sentence == "mobilenetv2: 260 variables of ckpt-1"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"leave_out": 1}, "is missing, must be"),
        pytest.param({"reshape": True}, r"is \[1, 3, 3, 32\]", marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(source, tmp_path, more, message):
    with pytest.raises(CheckpointError, match=message):
        weights.started(settings(checkpoint(source, tmp_path, **more)))


@pytest.fixture
def classifier(source, tmp_path):
    """Return (folder, prefix) of a classifier's run whose backbone is the source's."""
    model = networks.classifier(settings("none"), source)
    kept = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(tmp_path / "gate" / "best"), max_to_keep=1)
    return tmp_path / "gate", kept.save(checkpoint_number=6)


def test_a_backbone_is_handed_over_as_the_api_has_it(source, classifier):
    folder, prefix = classifier
    written = weights.handed_over(folder, prefix, settings("none"))
    assert written == str(folder / "backbone" / "ckpt-6")
    assert checkpoint_files.roots(checkpoint_files.check_object_based(written)) == {"feature_extractor"}
    again, _ = weights.started(settings(written))
    np.testing.assert_array_equal(features(again), features(source))


def test_it_is_written_once_and_again_after_the_run_was_begun_anew(classifier, monkeypatch):
    folder, prefix = classifier
    read, build = [], networks.classifier
    monkeypatch.setattr(networks, "classifier", lambda settings: read.append(1) or build(settings))
    for _ in range(2):
        written = weights.handed_over(folder, prefix, settings("none"))
    assert len(read) == 1
    later = os.stat(f"{written}.index").st_mtime_ns + 1
    os.utime(f"{prefix}.index", ns=(later, later))
    weights.handed_over(folder, prefix, settings("none"))
    assert len(read) == 2


def test_a_checkpoint_of_another_classifier_is_refused(classifier):
    folder, prefix = classifier
    other = ClassifierSettings(backbone="resnet-scratch", image_size=32)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        weights.handed_over(folder, prefix, other)
    assert not (folder / "backbone" / "ckpt-6.index").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssd_mobilenet", "ssd_mobilenet_fpnlite", "faster_rcnn_mobilenet_fpn"])
def test_a_detector_sees_with_the_classifiers_backbone(source, classifier, name):
    from pneumodet.models.detection import checkpoints, models, pipeline_config

    config = pipeline_config.load(name)
    pipeline_config.set_classes(config, 2)
    detector = models.build(config, is_training=False)
    config.train_config.fine_tune_checkpoint = weights.handed_over(*classifier, settings("none"))
    config.train_config.fine_tune_checkpoint_type = "classification"
    restored = checkpoints.restore_fine_tune(detector, config.train_config)
    assert restored.unused == 0 and restored.restored >= 260
    images = np.repeat(IMAGES, 3, axis=-1).astype(np.float32) / 127.5 - 1
    last = detector._feature_extractor.classification_backbone(images)[-1]
    np.testing.assert_allclose(last, features(source), rtol=1e-3, atol=1e-4)


def test_a_checkpoint_without_a_backbone_is_refused(tmp_path):
    prefix = tf.train.Checkpoint(model=tf.Variable(1.0)).save(str(tmp_path / "ckpt"))
    with pytest.raises(CheckpointError, match="no MobileNetV2 backbone"):
        check_weights(prefix, "mobilenetv2")


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2_notop.h5",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("backbone.weights.h5", "backbone.keras", "whole.keras")),
    ],
)
def test_files_of_weights(source, tmp_path, name):
    path = tmp_path / name
    if name == "mobilenet_v2_notop.h5":  # the form of keras.applications' downloads
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, source)
    elif name.startswith("whole"):
        networks.classifier(settings("none"), source).save(path)
    elif name.endswith(".keras"):
        source.save(path)
    else:
        source.save_weights(path)
    np.testing.assert_array_equal(features(weights.started(settings(path))[0]), features(source))


@pytest.mark.parametrize("name", ["other.weights.h5", pytest.param("other.keras", marks=pytest.mark.slow), "text.h5"])
def test_files_of_other_things_are_refused(tmp_path, name):
    path = tmp_path / name
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    if name == "text.h5":
        path.write_text("no weights")
    elif name.endswith(".keras"):
        other.save(path)
    else:
        other.save_weights(path)
    with pytest.raises(CheckpointError, match="do not fit mobilenetv2"):
        weights.started(settings(path))


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure on https://storage.googleapis.com/x: None -- unreachable")

    monkeypatch.setattr(networks, "new_backbone", offline)
    with pytest.raises(CheckpointError, match="cannot be downloaded .*--pretrained none"):
        weights.started(settings("imagenet"))


def test_the_file_that_is_to_be_copied_is_named(monkeypatch):
    """As keras.utils.get_file says it; names differ: MobileNetV2's ends in no_top.h5, all others' in notop.h5."""
    url = "https://storage.googleapis.com/keras/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"

    def offline(*_, **__):
        raise Exception(f"URL fetch failure on {url}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(networks, "new_backbone", offline)
    with pytest.raises(CheckpointError) as refused:
        weights.started(settings("imagenet"))
    assert f"cannot be downloaded (Name or service not known). Load {url} on" in str(refused.value)


@pytest.mark.real_data
def test_the_imagenet_checkpoint_gives_features_that_differ_by_image(shared_data):
    """A wrong mapping gives dead or equal features; ImageNet's are sparse and vary."""
    prefix = shared_data / "pretrained" / "mobilenet_v2_imagenet" / "ckpt-1"
    model, _ = weights.started(ClassifierSettings(image_size=96, pretrained=str(prefix)))
    noise = np.random.default_rng(0).normal(0, 0.5, (1, 96, 96, 3))
    ramp = np.broadcast_to(np.linspace(-1, 1, 96)[None, :, None, None], (1, 96, 96, 3))
    means = model(np.concatenate([noise, ramp]).astype(np.float32), training=False).numpy().mean(axis=(1, 2))
    assert 0.02 < (means > 0.1).mean() < 0.9 and np.abs(means[0] - means[1]).mean() > 0.1 and means.max() <= 6
