"""Classifiers: a backbone of keras.applications, or a small ResNet, a head or two, and optionally metadata. Gray uint8 in, log-odds out.

    model = classifier(settings)
    outputs = model({"image": images}, training=False)
    outputs["pneumonia"], outputs["classes"]                 # (B, 1) and (B, 3) float32, where the task has them
    backbone_of(model)

The range that a backbone was trained with is made within the model: [-1, 1] for MobileNetV2 and InceptionV3; ImageNet's mean taken off, channels
in the order blue, green, red, for ResNet50 and VGG; EfficientNetV2 has its own. Keras 3, never the legacy Keras of the detectors.
"""

import keras

from pneumodet.models.classification import metadata
from pneumodet.models.classification.settings import CLASSES, PNEUMONIA, SCRATCH, THREE_CLASS, ClassifierSettings

APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "inceptionv3": keras.applications.InceptionV3,
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "mobilenetv2": keras.applications.MobileNetV2,
    "efficientnetv2b0": keras.applications.EfficientNetV2B0,
}
"""Backbone -> what builds it."""

# Of ImageNet, as mode "caffe" of keras.applications' preprocess_input takes them off: blue first, no scaling.
_MEAN_BGR = (103.939, 116.779, 123.68)
_SIGNED, _MEANS, _OWN = "signed", "means", "own"
_RANGES = {
    "resnet50": _MEANS,
    "inceptionv3": _SIGNED,
    "vgg16": _MEANS,
    "vgg19": _MEANS,
    "mobilenetv2": _SIGNED,
    "efficientnetv2b0": _OWN,
    SCRATCH: _SIGNED,
}

_STAGES = ((32, 1), (64, 2), (128, 2), (256, 2))
"""Filters and stride of the stages of the small ResNet."""

_BLOCKS = 2
_METADATA_UNITS = 16


def classifier(settings: ClassifierSettings, backbone: keras.Model | None = None) -> keras.Model:
    """Return a model with inputs ``image`` (B, h, w, 1) uint8 and, if asked for, ``metadata`` (B, 8) float32, columns ``metadata.NAMES``.

    Args:
      settings: backbone, task, size, dropout, metadata.
      backbone: as from ``new_backbone``; a new one without it.

    Returns:
      A model that gives a dict: ``pneumonia`` (B, 1) float32 log-odds and ``classes`` (B, 3) float32 logits of ``CLASSES``, as the task has them.
    """
    image = keras.Input((*settings.size_hw, 1), dtype="uint8", name="image")
    features = (backbone or new_backbone(settings))(_ranged(image, _RANGES[settings.backbone]))
    # one vector for the image: the head does not depend on its size, and Grad-CAM has a map to explain
    features = keras.layers.GlobalAveragePooling2D(name="pooled")(features)
    inputs = {"image": image}
    if settings.metadata:
        inputs["metadata"] = keras.Input((len(metadata.NAMES),), dtype="float32", name="metadata")
        known = keras.layers.Dense(_METADATA_UNITS, activation="relu", name="metadata_units")(inputs["metadata"])
        features = keras.layers.Concatenate(name="joined")([features, known])
    if settings.dropout:
        features = keras.layers.Dropout(settings.dropout, name="dropout")(features)
    outputs = {}
    if settings.task != THREE_CLASS:
        outputs["pneumonia"] = keras.layers.Dense(1, dtype="float32", name="pneumonia")(features)
    if settings.task != PNEUMONIA:
        outputs["classes"] = keras.layers.Dense(len(CLASSES), dtype="float32", name="classes")(features)
    return keras.Model(inputs, outputs, name=settings.backbone.replace("-", "_"))


def new_backbone(settings: ClassifierSettings, *, weights: str | None = None) -> keras.Model:
    """Return a backbone from (B, h, w, 3) float32 to its last feature map; ``weights`` as keras.applications takes them."""
    shape = (*settings.size_hw, 3)
    if settings.backbone == SCRATCH:
        return small_resnet(shape)
    return APPLICATIONS[settings.backbone](include_top=False, weights=weights, input_shape=shape)


def backbone_of(model: keras.Model) -> keras.Model:
    """Return the backbone in a model of ``classifier``: the layer that is itself a model."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def small_resnet(shape: tuple[int, int, int]) -> keras.Model:
    """Return a ResNet of 18 convolutions, half as wide as the published ResNet-18, to be trained from scratch (He et al., 2016, arXiv:1512.03385).

    Two 3 x 3 convolutions a block, identity shortcuts, 1 x 1 convolutions where the size changes (option B), weights as in He et al., 2015,
    arXiv:1502.01852. In place of the 7 x 7 convolution and the pooling at its beginning there are two 3 x 3 convolutions of stride 2.
    """
    image = keras.Input(shape)
    x = image
    for number in range(2):
        x = _convolution(x, _STAGES[0][0], f"stem{number}", strides=2)
    for stage, (filters, strides) in enumerate(_STAGES):
        for block in range(_BLOCKS):
            x = _residual(x, filters, f"stage{stage}_block{block}", strides=strides if block == 0 else 1)
    return keras.Model(image, x, name="small_resnet")


def _residual(x: keras.KerasTensor, filters: int, name: str, *, strides: int) -> keras.KerasTensor:
    y = _convolution(x, filters, f"{name}_conv0", strides=strides)
    y = _convolution(y, filters, f"{name}_conv1", active=False)
    if strides != 1 or x.shape[-1] != filters:
        x = _convolution(x, filters, f"{name}_fit", kernel=1, strides=strides, active=False)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))


def _convolution(
    x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 3, strides: int = 1, active: bool = True
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    # Keras' momentum of 0.99 needs hundreds of steps to forget where it began; runs on two cores have no more than that
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if active else x


def _ranged(image: keras.KerasTensor, kind: str) -> keras.KerasTensor:
    """Return three equal channels in a backbone's range."""
    if kind == _SIGNED:
        gray = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="ranged")(image)
        return keras.layers.Concatenate(name="channels")([gray] * 3)
    if kind == _MEANS:
        shifted = [keras.layers.Rescaling(1.0, offset=-mean, name=f"ranged{number}")(image) for number, mean in enumerate(_MEAN_BGR)]
        return keras.layers.Concatenate(name="channels")(shifted)
    # EfficientNetV2 scales within itself (include_preprocessing); this only makes floats of uint8
    gray = keras.layers.Rescaling(1.0, name="ranged")(image)
    return keras.layers.Concatenate(name="channels")([gray] * 3)
