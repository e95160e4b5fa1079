"""A feature extractor that the API has no name for, made of its parts: MobileNetV2 with a feature pyramid for Faster R-CNN.

    # odapi.mobilenet_fpn, a bridge, gives model_builder the class; a config asks for it by
    feature_extractor { type: "faster_rcnn_mobilenet_v2_fpn_keras" fpn { min_level: 3 max_level: 5 additional_layer_depth: 128 } … }

The API has MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) with a pyramid (Lin et al., 2017, arXiv:1612.03144) for an SSD, and a ResNet with one for
Faster R-CNN. Here is the second with the first one's backbone, which a checkpoint of MobileNetV2 fits: of type "classification", ImageNet's or a classifier's.
"""

from typing import Any

TYPE = "faster_rcnn_mobilenet_v2_fpn_keras"
"""Of the feature extractor, in a config."""

_BACKBONE = "mobilenet_v2"

_STAGES = ["block_2_add", "block_5_add", "block_12_add", "out_relu"]
"""Last layers of the stages with strides of 4, 8, 16 and 32, as the API's SSD with a pyramid takes them."""


def extractor(resnet: Any, network: Any) -> Any:
    """Return the class of the feature extractor.

    Args:
      resnet: the API's module ``faster_rcnn_resnet_v1_fpn_keras_feature_extractor``.
      network: its module ``mobilenet_v2`` of Keras models.
    """
    resnet._RESNET_MODEL_OUTPUT_LAYERS[_BACKBONE] = _STAGES  # by these the API's class finds what its pyramid is made of

    class MobileNetV2Fpn(resnet.FasterRCNNResnetV1FpnKerasFeatureExtractor):
        """The API's extractor, with MobileNetV2 in the ResNet's place."""

        # with the defaults of its siblings: a config may leave conv_hyperparams out
        def __init__(
            self,
            is_training: bool,
            first_stage_features_stride: int = 16,
            batch_norm_trainable: bool = True,
            conv_hyperparams: Any = None,
            **more: Any,
        ) -> None:
            super().__init__(
                is_training=is_training,
                first_stage_features_stride=first_stage_features_stride,
                batch_norm_trainable=batch_norm_trainable,
                conv_hyperparams=conv_hyperparams,
                resnet_v1_base_model=network.mobilenet_v2,
                resnet_v1_base_model_name=_BACKBONE,
                **more,
            )

        def preprocess(self, resized_inputs: Any) -> Any:
            """Return gray values from 0 to 255 in [-1, 1], the range in which MobileNetV2 was trained."""
            return (2.0 / 255.0) * resized_inputs - 1.0

    return MobileNetV2Fpn
