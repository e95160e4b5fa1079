"""Losses of IoU and GIoU are given boxes, and not encodings, which the API's SSD would give them."""

import numpy as np
import pytest
import shallow

from pneumodet.inference import suppression
from pneumodet.models.detection import models, pipeline_config

BOX = np.array([[0.2, 0.3, 0.7, 0.6]], np.float32)


@pytest.mark.parametrize("network", ["shallow"], indirect=True)
@pytest.mark.parametrize("loss", ["weighted_giou", "weighted_iou", "weighted_smooth_l1"])
def test_what_a_localization_loss_is_given(network, loss, monkeypatch):
    import tensorflow as tf

    config = pipeline_config.load("ssd_mobilenet")
    pipeline_config.override(config, [*shallow.SETTINGS, f"model.ssd.loss.localization_loss={{{loss} {{}}}}"])
    model = models.build(config, is_training=True)
    given = {}
    real = model._localization_loss._compute_loss
    monkeypatch.setattr(
        model._localization_loss,
        "_compute_loss",
        lambda prediction, target, weights: (
            given.update(prediction=prediction, target=target, weights=weights) or real(prediction, target, weights)
        ),
    )
    images, shapes = model.preprocess(tf.random.stateless_uniform([1, shallow.SIDE, shallow.SIDE, 3], [0, 1], 0, 255))
    model.provide_groundtruth(groundtruth_boxes_list=[tf.constant(BOX)], groundtruth_classes_list=[tf.constant([[0.0, 1.0]])])
    predicted = model.predict(images, shapes)
    value = model.loss(predicted, shapes)["Loss/localization_loss"].numpy()
    matched = given["weights"].numpy()[0] > 0
    encodings, anchors = predicted["box_encodings"].numpy()[0], model.anchors.get().numpy()
    if loss == "weighted_smooth_l1":
        np.testing.assert_array_equal(given["prediction"][0], encodings)
        return
    settings = suppression.Settings("SIGMOID", 1.0, True, (10.0, 10.0, 5.0, 5.0), 0.0, 0.5, 100, 100, False)
    boxes = suppression.decode(encodings, anchors, settings)
    np.testing.assert_allclose(given["prediction"][0], boxes, atol=1e-6)
    np.testing.assert_allclose(given["target"].numpy()[0, matched], np.repeat(BOX, matched.sum(), axis=0), atol=1e-6)
    lowest = -1 if loss == "weighted_giou" else 0
    of_each = [max(lowest, giou(box, BOX[0]) if lowest else iou(box, BOX[0])) for box in boxes[matched]]
    # normalize_loss_by_num_matches, and by_codesize
    assert value == pytest.approx(np.sum(1 - np.array(of_each)) / matched.sum() / 4 * config.model.ssd.loss.localization_weight, rel=1e-4)


def iou(one, other):
    both = np.prod([max(0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)])
    return both / (area(one) + area(other) - both)


def giou(one, other):
    """Rezatofighi et al., CVPR 2019, algorithm 1."""
    hull = np.prod([max(one[i + 2], other[i + 2]) - min(one[i], other[i]) for i in (0, 1)])
    union = (area(one) + area(other)) / (1 + iou(one, other))
    return iou(one, other) - (hull - union) / hull


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])
