"""Suppression and box decoding in numpy against the API's own."""

import sys

import numpy as np
import pytest

from pneumodet.inference import suppression


@pytest.fixture(scope="module")
def api():
    from pneumodet.models.detection import odapi

    odapi.load()
    return sys.modules["object_detection.core.post_processing"]


def made_up(seed, count=500):
    generator = np.random.default_rng(seed)
    centres, sizes = generator.uniform(-0.1, 1.1, (count, 2)), generator.uniform(0.02, 0.5, (count, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    return boxes, generator.uniform(0.002, 1, (count, 3)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("iou", "a_class", "total", "window", "frame"), [(0.6, 100, 100, (1, 1), False), (0.3, 10, 25, (0.75, 1), True)])
def test_suppression_is_the_apis(api, seed, iou, a_class, total, window, frame):
    import tensorflow as tf

    boxes, scores = made_up(seed)
    settings = suppression.Settings("SIGMOID", 1.0, False, (10.0, 10.0, 5.0, 5.0), 0.01, iou, a_class, total, frame)
    answer = suppression.detections(boxes, scores, settings, window_hw=window)
    expected_boxes, expected_scores, classes, _, _, count = api.batch_multiclass_non_max_suppression(
        tf.constant(boxes[None, :, None]),
        tf.constant(scores[None]),
        0.01,
        iou,
        a_class,
        total,
        clip_window=tf.constant([0, 0, *window], tf.float32),
        change_coordinate_frame=frame,
    )
    count = int(count[0])
    assert answer["num_detections"].tolist() == [count]
    np.testing.assert_array_equal(answer["detection_scores"][0], expected_scores[0, :count])
    np.testing.assert_array_equal(answer["detection_classes"][0], classes[0, :count].numpy() + 1)
    np.testing.assert_allclose(answer["detection_boxes"][0], expected_boxes[0, :count], atol=1e-6)


def test_decoding_is_the_apis(api):
    import tensorflow as tf
    from object_detection.box_coders import faster_rcnn_box_coder
    from object_detection.core import box_list

    anchors, _ = made_up(1, 60)
    encodings = np.random.default_rng(2).normal(0, 3, (60, 4)).astype(np.float32)
    scales = (10.0, 9.0, 5.0, 4.0)
    expected = faster_rcnn_box_coder.FasterRcnnBoxCoder(scales).decode(tf.constant(encodings), box_list.BoxList(tf.constant(anchors))).get()
    settings = suppression.Settings("SIGMOID", 1.0, False, scales, 0.01, 0.6, 100, 100, False)
    np.testing.assert_allclose(suppression.decode(encodings, anchors, settings), expected, atol=1e-5)
