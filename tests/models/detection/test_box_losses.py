"""Losses of IoU and GIoU compare boxes, and not encodings, which the API's SSD gives them."""

import numpy as np
import pytest
import shallow

from pneumodet.models.detection import models, odapi, pipeline_config

pytestmark = pytest.mark.parametrize("network", ["shallow"], indirect=True)


def built(loss):
    config = pipeline_config.load("ssd_mobilenet")
    pipeline_config.override(config, [*shallow.SETTINGS, f"model.ssd.loss.localization_loss={loss}"])
    return models.build(config, is_training=True)


def giou(one, other):
    """Return GIoU of two yxyx boxes (Rezatofighi et al., CVPR 2019), written for one pair at a time."""
    height, width = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    both = max(0, height) * max(0, width)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both
    hull = np.prod([max(one[i + 2], other[i + 2]) - min(one[i], other[i]) for i in (0, 1)])
    return both / union - (hull - union) / hull


@pytest.mark.parametrize(("loss", "lowest"), [("{weighted_giou {}}", -1), ("{weighted_iou {}}", 0)])
def test_it_is_of_the_boxes(network, loss, lowest):
    import tensorflow as tf

    model = built(loss)
    anchors = model.anchors.get().numpy()
    random = np.random.default_rng(0)
    centers = random.uniform(0.2, 0.8, (2, 2, len(anchors), 2))
    halves = random.uniform(0.02, 0.2, centers.shape)
    boxes = np.concatenate([centers - halves, centers + halves], axis=-1).astype(np.float32)  # predicted and wanted, of two images
    coded = [[model._box_coder.encode(_boxes(tf.constant(of_image)), model.anchors) for of_image in role] for role in boxes]
    weights = random.uniform(0, 2, (2, len(anchors))).astype(np.float32)
    got = model._localization_loss(tf.stack(coded[0]), tf.stack(coded[1]), weights=weights, ignore_nan_targets=True).numpy()
    pairs = zip(boxes[0].reshape(-1, 4), boxes[1].reshape(-1, 4), strict=True)
    like = [giou(*pair) if lowest < 0 else max(0, _iou(*pair)) for pair in pairs]
    assert min(like) < 0.01 < max(like), "some touch, and some do not"
    np.testing.assert_allclose(got, weights * (1 - np.reshape(like, weights.shape)), atol=1e-4)


def _boxes(boxes):
    from object_detection.core import box_list

    return box_list.BoxList(boxes)


def _iou(one, other):
    both = np.prod([max(0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)])
    return both / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both)


def test_losses_of_encodings_are_the_api_s_own(network):
    assert type(built("{weighted_smooth_l1 {}}")._localization_loss) is odapi.load().losses.WeightedSmoothL1LocalizationLoss
