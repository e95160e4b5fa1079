import numpy as np
import pytest

from pneumodet.training import match_statistics
from pneumodet.training.match_statistics import anchor_matches


def slowly(anchors, boxes, threshold):
    """Count one pair at a time."""
    counts, bests = [], []
    for top, left, bottom, right in boxes:
        ious = []
        for a_top, a_left, a_bottom, a_right in anchors:
            height, width = min(bottom, a_bottom) - max(top, a_top), min(right, a_right) - max(left, a_left)
            overlap = height * width if height > 0 and width > 0 else 0.0
            union = (bottom - top) * (right - left) + (a_bottom - a_top) * (a_right - a_left) - overlap
            ious.append(overlap / union)
        counts.append(sum(one >= threshold for one in ious))
        bests.append(max(ious))
    return [float(np.median(counts)), counts.count(0) / len(counts), sum(bests) / len(bests)]


def random_boxes(rng, count):
    corner = rng.uniform(-0.1, 0.7, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (count, 2))], axis=1)


@pytest.mark.parametrize("pairs_at_once", [1, 1000, 1 << 22])
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_equal_to_counting_one_by_one(monkeypatch, pairs_at_once, threshold):
    monkeypatch.setattr(match_statistics, "_PAIRS_AT_ONCE", pairs_at_once)
    rng = np.random.default_rng(0)
    anchors, boxes = random_boxes(rng, 200), random_boxes(rng, 31)
    assert list(anchor_matches(anchors.astype(np.float64), boxes, threshold).values()) == pytest.approx(slowly(anchors, boxes, threshold))


def test_by_hand():
    anchors = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]]
    boxes = [[0, 0, 0.5, 0.5], [0.5, 0.5, 0.6, 0.6]]
    assert anchor_matches(np.array(anchors), np.array(boxes), 0.5) == {
        "anchors/matched_per_box_median": 1.0,  # two, one of them at the threshold itself, and none
        "anchors/boxes_without_match_share": 0.5,
        "anchors/best_iou_mean": pytest.approx((1 + 0.04) / 2),
    }


def test_no_boxes_and_no_anchors():
    none = np.zeros((0, 4))
    one = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert set(anchor_matches(one, none, 0.5).values()) == {None}
    assert list(anchor_matches(none, one, 0.5).values()) == [0.0, 1.0, 0.0]
