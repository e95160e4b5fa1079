"""Suppression against a loop over boxes in plain Python, and against OpenCV's."""

import cv2
import numpy as np
import pytest

from pneumodet import inference
from pneumodet.inference import suppression

SETTINGS = suppression.Settings("SIGMOID", 1.0, True, (10.0, 10.0, 5.0, 5.0), 1e-8, 0.6, 100, 100, False)


def settings(**changes):
    return suppression.Settings(**{**SETTINGS.__dict__, **changes})


def random_boxes(seed, count=400, *, low=-0.2, high=1.2):
    generator = np.random.default_rng(seed)
    centres, sizes = generator.uniform(low, high, (count, 2)), generator.uniform(0.05, 0.6, (count, 2))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)


def overlap(a, b):
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def plain(boxes, scores, how):
    """(score, class from 1, box) of what stays: one box at a time, as the API's documentation has it."""
    answer = []
    for column in range(scores.shape[1]):
        kept = []
        for row in sorted(range(len(boxes)), key=lambda row: -scores[row, column]):
            may = scores[row, column] > how.score_threshold and len(kept) < how.max_detections_per_class
            if may and all(overlap(boxes[row].tolist(), boxes[other].tolist()) <= how.iou_threshold for other in kept):
                kept.append(row)
        answer += [(float(scores[row, column]), column + 1, np.clip(boxes[row], 0, 1)) for row in kept]
    answer = sorted(answer, key=lambda one: -one[0])
    answer = [one for one in answer if one[2][2] > one[2][0] and one[2][3] > one[2][1]]
    return answer[: how.max_total_detections]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "how",
    [
        settings(),
        settings(iou_threshold=0.3, max_detections_per_class=7),
        settings(max_detections_per_class=20, max_total_detections=25),
        settings(score_threshold=0.4),
        settings(iou_threshold=0.9, max_detections_per_class=350, max_total_detections=500),
    ],
    ids=["usual", "few a class", "few in all", "threshold", "many"],
)
def test_the_same_stays_as_in_a_plain_loop(seed, how):
    boxes = random_boxes(seed)
    scores = np.random.default_rng(seed + 9).uniform(0.002, 1, (len(boxes), 2)).astype(np.float32)
    answer = suppression.detections(boxes, scores, how)
    expected = plain(boxes, scores, how)
    assert answer["num_detections"].tolist() == [len(expected)]
    assert len(expected) > 5
    np.testing.assert_array_equal(answer["detection_scores"][0], np.float32([one[0] for one in expected]))
    np.testing.assert_array_equal(answer["detection_classes"][0], [one[1] for one in expected])
    np.testing.assert_array_equal(answer["detection_boxes"][0], [one[2] for one in expected])


@pytest.mark.parametrize("iou", [0.2, 0.5, 0.8])
def test_opencv_keeps_the_same(iou):
    boxes = random_boxes(5, 600)
    order = np.argsort(-np.random.default_rng(1).uniform(size=len(boxes)))
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)[order].astype(np.float64)
    falling = np.linspace(1, 0.1, len(boxes)).astype(np.float32)
    expected = cv2.dnn.NMSBoxes(xywh.tolist(), falling.tolist(), 0.0, iou)
    np.testing.assert_array_equal(suppression.suppress(boxes[order], iou, most=1000), np.ravel(expected))


def test_what_is_below_the_floor_is_left_out_and_changes_nothing_above():
    boxes = random_boxes(3)
    scores = (10 ** np.random.default_rng(3).uniform(-5, 0, (len(boxes), 2))).astype(np.float32)
    scores[0] = np.float32(inference.SCORE_FLOOR)
    answer = suppression.detections(boxes, scores, settings(max_detections_per_class=400, max_total_detections=800))
    expected = [
        one for one in plain(boxes, scores, settings(max_detections_per_class=400, max_total_detections=800)) if one[0] >= np.float32(0.001)
    ]
    np.testing.assert_array_equal(answer["detection_scores"][0], np.float32([one[0] for one in expected]))


def test_nothing_at_all():
    answer = suppression.detections(np.zeros((5, 4), np.float32), np.zeros((5, 2), np.float32), SETTINGS)
    assert answer["num_detections"].tolist() == [0]
    assert answer["detection_boxes"].shape == (1, 0, 4)


def test_padding_is_cut_off_and_boxes_are_relative_to_the_rest():
    boxes = np.float32([[0.1, 0.1, 0.9, 0.4], [0.6, 0.1, 0.9, 0.4]])  # the second lies in the padding, below half the height
    scores = np.float32([[0.9], [0.8]])
    answer = suppression.detections(boxes, scores, settings(change_coordinate_frame=True), window_hw=(0.5, 1.0))
    np.testing.assert_allclose(answer["detection_boxes"][0], [[0.2, 0.1, 1.0, 0.4]], rtol=1e-6)
    kept = suppression.detections(boxes, scores, settings(), window_hw=(0.5, 1.0))
    np.testing.assert_allclose(kept["detection_boxes"][0], [[0.1, 0.1, 0.5, 0.4]], rtol=1e-6)


def test_scores_of_logits():
    logits = np.float32([[0.0, 2.0, -200.0], [5.0, 0.0, 0.0]])
    sigmoid = suppression.scores_of(logits, SETTINGS)
    np.testing.assert_allclose(sigmoid, [[1 / (1 + np.exp(-2)), 0], [0.5, 0.5]], rtol=1e-6, atol=1e-30)
    softmax = suppression.scores_of(logits, settings(score_converter="SOFTMAX", logit_scale=2.0))
    whole = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, whole[:, 1:], rtol=1e-5)
    assert suppression.scores_of(logits, settings(score_converter="IDENTITY", background=False)).tolist() == logits.tolist()


def test_a_box_comes_back_from_its_encoding():
    anchors, boxes = random_boxes(1, 50), random_boxes(2, 50)
    sizes, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shifts = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / sizes
    encodings = np.concatenate([10 * shifts, 5 * np.log(wanted / sizes)], axis=1)
    np.testing.assert_allclose(suppression.decode(encodings, anchors, SETTINGS), boxes, atol=1e-5)
    scores = np.random.default_rng(0).uniform(-9, 3, (50, 3)).astype(np.float32)
    one = suppression.from_encodings(encodings, scores, anchors, SETTINGS)
    other = suppression.detections(boxes, suppression.scores_of(scores, SETTINGS), SETTINGS)
    np.testing.assert_array_equal(one["detection_scores"], other["detection_scores"])
    np.testing.assert_allclose(one["detection_boxes"], other["detection_boxes"], atol=1e-5)


def test_what_was_cut_off_comes_back():
    low, high = -7.0, 3.5
    values = np.float32([-300, -7, -1.25, 0, 3.5, 9])
    bounded = np.clip((values - low) * (suppression.BOUNDED_TOP / (high - low)), 0, suppression.BOUNDED_TOP)
    np.testing.assert_allclose(suppression.unbounded(bounded, (low, high)), [-7, -7, -1.25, 0, 3.5, 3.5], atol=1e-6)
