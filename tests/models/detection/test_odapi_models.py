"""Every architecture that pneumodet serves: built from a minimal config, one forward pass, one gradient step as a graph.

SSD MobileNetV2 is trained by many other tests, and Faster R-CNN ResNet-50 is a part of Mask R-CNN.
"""

import numpy as np
import pytest
from google.protobuf import text_format

from pneumodet.models.detection import odapi

CONV = """conv_hyperparams {
  activation: RELU_6 regularizer { l2_regularizer { weight: 0.00004 } } initializer { truncated_normal_initializer { stddev: 0.03 } }
  batch_norm { scale: true decay: 0.97 epsilon: 0.001 } }"""
FC = "{ op: FC regularizer { l2_regularizer { weight: 0.0 } } initializer { variance_scaling_initializer { } } }"
RPN = "{ op: CONV regularizer { l2_regularizer { weight: 0.0 } } initializer { truncated_normal_initializer { stddev: 0.01 } } }"
NMS = "batch_non_max_suppression { score_threshold: 1e-8 iou_threshold: 0.6 max_detections_per_class: 20 max_total_detections: 20 }"


SIDE = 256
"""Side of the random input; ResNet FPN needs more than 128, EfficientDet a multiple of 128."""


def ssd(extractor: str, anchors: str, predictor: str, extra: str = "") -> str:
    return f"""ssd {{ num_classes: 2 encode_background_as_zeros: true
      image_resizer {{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }}
      box_coder {{ faster_rcnn_box_coder {{ }} }} similarity_calculator {{ iou_similarity {{ }} }}
      matcher {{ argmax_matcher {{ matched_threshold: 0.5 unmatched_threshold: 0.5 force_match_for_each_row: true }} }}
      anchor_generator {{ {anchors} }}
      box_predictor {{ {predictor} }}
      feature_extractor {{ type: "{extractor}" {CONV} override_base_feature_extractor_hyperparams: true {extra} }}
      loss {{ classification_loss {{ weighted_sigmoid_focal {{ alpha: 0.25 gamma: 2.0 }} }}
        localization_loss {{ weighted_smooth_l1 {{ }} }} classification_weight: 1.0 localization_weight: 1.0 }}
      post_processing {{ {NMS} score_converter: SIGMOID }} }}"""


def faster_rcnn(extractor: str, extra: str = "", heads: str = "") -> str:
    return f"""faster_rcnn {{ num_classes: 2
      image_resizer {{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }}
      feature_extractor {{ type: "{extractor}" batch_norm_trainable: true }}
      first_stage_anchor_generator {{ grid_anchor_generator {{ scales: [0.5, 1.0] aspect_ratios: [1.0] height_stride: 16 width_stride: 16 }} }}
      first_stage_box_predictor_conv_hyperparams {RPN}
      first_stage_nms_iou_threshold: 0.7 first_stage_max_proposals: 8 first_stage_minibatch_size: 16
      first_stage_localization_loss_weight: 2.0 first_stage_objectness_loss_weight: 1.0
      initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
      second_stage_batch_size: 8 second_stage_box_predictor {{ mask_rcnn_box_predictor {{ fc_hyperparams {FC} {heads} }} }}
      second_stage_post_processing {{ {NMS} score_converter: SOFTMAX }}
      second_stage_localization_loss_weight: 2.0 second_stage_classification_loss_weight: 1.0 {extra} }}"""


def center_net(extractor: str) -> str:
    return f"""center_net {{ num_classes: 2
      feature_extractor {{ type: "{extractor}" }}
      image_resizer {{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }}
      object_detection_task {{ task_loss_weight: 1.0 offset_loss_weight: 1.0 scale_loss_weight: 0.1
        localization_loss {{ l1_localization_loss {{ }} }} }}
      object_center_params {{ object_center_loss_weight: 1.0 min_box_overlap_iou: 0.7 max_box_predictions: 20
        classification_loss {{ penalty_reduced_logistic_focal_loss {{ alpha: 2.0 beta: 4.0 }} }} }} }}"""


MULTISCALE = (
    "multiscale_anchor_generator { min_level: 3 max_level: 7 anchor_scale: 4.0 aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 2 }"
)
SHARED = f"weight_shared_convolutional_box_predictor {{ depth: 64 num_layers_before_predictor: 2 kernel_size: 3 {CONV} %s }}"
FPN = "fpn { min_level: 3 max_level: 7 additional_layer_depth: 64 }"
MASK_HEAD = f"""predict_instance_masks: true mask_height: 15 mask_width: 15 mask_prediction_conv_depth: 0 mask_prediction_num_conv_layers: 2
  conv_hyperparams {RPN}"""

MODELS = {
    "ssd_mobilenet_v2_fpnlite": ssd(
        "ssd_mobilenet_v2_fpn_keras", MULTISCALE, SHARED % "use_depthwise: true", f"use_depthwise: true depth_multiplier: 0.35 {FPN}"
    ),
    "retinanet_resnet50": ssd("ssd_resnet50_v1_fpn_keras", MULTISCALE, SHARED % "", FPN),
    "efficientdet_d0": ssd(
        "ssd_efficientnet-b0_bifpn_keras",
        MULTISCALE,
        SHARED % "use_depthwise: true",
        "bifpn { min_level: 3 max_level: 7 num_iterations: 2 num_filters: 64 }",
    ),
    "faster_rcnn_resnet101": faster_rcnn("faster_rcnn_resnet101_keras"),
    "mask_rcnn_resnet50": faster_rcnn(
        "faster_rcnn_resnet50_keras", "number_of_stages: 3 second_stage_mask_prediction_loss_weight: 4.0", MASK_HEAD
    ),
    "centernet_mobilenet_v2_fpn": center_net("mobilenet_v2_fpn"),
    "centernet_resnet50": center_net("resnet_v1_50_fpn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_forward_pass_and_gradient_step(name):
    api = odapi.load()
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    config = text_format.Parse(f"model {{ {MODELS[name]} }}", api.protos.pipeline.TrainEvalPipelineConfig())
    model = api.model_builder.build(config.model, is_training=True, add_summaries=False)
    tf.keras.backend.set_learning_phase(True)
    images, shapes = model.preprocess(tf.random.uniform([1, SIDE, SIDE, 3], maxval=255.0))
    truth = {"groundtruth_boxes_list": [tf.constant([[0.2, 0.1, 0.7, 0.6]])], "groundtruth_classes_list": [tf.constant([[0.0, 1.0]])]}
    if "mask" in name:
        truth["groundtruth_masks_list"] = [tf.ones([1, SIDE, SIDE])]
    model.provide_groundtruth(**truth, groundtruth_weights_list=[tf.ones([1])])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = model.loss(model.predict(images, shapes), shapes)
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, model.trainable_variables)
        return total, gradients

    total, gradients = step()
    assert np.isfinite(total.numpy()) and total.numpy() > 0
    present = [g for g in gradients if g is not None]
    assert len(present) > 0.9 * len(gradients)
    assert all(np.isfinite(tf.convert_to_tensor(g).numpy()).all() for g in present)
    tf.keras.optimizers.SGD(1e-4).apply_gradients(
        [(g, v) for g, v in zip(gradients, model.trainable_variables, strict=True) if g is not None]
    )

    model._is_training = False
    tf.keras.backend.set_learning_phase(False)
    outputs = tf.function(lambda: model.postprocess(model.predict(images, shapes), shapes))()
    assert outputs["detection_boxes"].shape[-1] == 4
    boxes, scores = outputs["detection_boxes"].numpy(), outputs["detection_scores"].numpy()
    assert np.isfinite(boxes).all() and ((scores >= 0) & (scores <= 1)).all()
    if "mask" in name:
        assert outputs["detection_masks"].shape[1:] == (20, 15, 15)
