"""Box arithmetic against itself, pycocotools and counted pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from pneumodet.core import boxes

coordinate = st.floats(-50, 1100, allow_nan=False, width=32)
side = st.floats(0.5, 900, allow_nan=False, width=32)
some_xywh = st.lists(st.tuples(coordinate, coordinate, side, side), max_size=6).map(lambda rows: np.array(rows, np.float64).reshape(-1, 4))


def test_layouts_by_hand():
    xyxy = boxes.xywh_to_xyxy_px(np.array([[10.0, 20, 30, 40]]))
    assert xyxy.tolist() == [[10, 20, 40, 60]]
    assert boxes.xyxy_to_xywh_px(xyxy).tolist() == [[10, 20, 30, 40]]
    assert boxes.xyxy_px_to_yxyx_norm(xyxy, height=100, width=200).tolist() == [[0.2, 0.05, 0.6, 0.2]]


@settings(max_examples=40, deadline=None)
@given(some_xywh, st.integers(1, 3000), st.integers(1, 3000))
def test_round_trips(xywh, height, width):
    xyxy = boxes.xywh_to_xyxy_px(xywh)
    np.testing.assert_allclose(boxes.xyxy_to_xywh_px(xyxy), xywh, atol=1e-9)
    norm = boxes.xyxy_px_to_yxyx_norm(xyxy, height=height, width=width)
    np.testing.assert_allclose(boxes.yxyx_norm_to_xyxy_px(norm, height=height, width=width), xyxy, atol=1e-9)


@pytest.mark.parametrize("function", [boxes.xywh_to_xyxy_px, boxes.xyxy_to_xywh_px, boxes.area_px])
def test_no_boxes_stay_no_boxes(function):
    assert function(np.zeros((0, 4))).shape[0] == 0
    assert function([]).size == 0


def test_clip_cuts_each_edge_and_leaves_the_rest():
    given_boxes = np.array([[-5.0, -6, 10, 10], [90, 40, 130, 70], [0, 0, 100, 50], [120, 10, 140, 20]])
    clipped = boxes.clip_xyxy_px(given_boxes, height=50, width=100)
    assert clipped.tolist() == [[0, 0, 10, 10], [90, 40, 100, 50], [0, 0, 100, 50], [100, 10, 100, 20]]
    assert boxes.area_px(clipped).tolist() == [100, 100, 5000, 0]


def test_inverted_box_has_no_area():
    assert boxes.area_px(np.array([[10, 10, 5, 5], [10, 10, 5, 20]])).tolist() == [0, 0]


@settings(max_examples=40, deadline=None)
@given(some_xywh, some_xywh)
def test_iou_agrees_with_pycocotools(a, b):
    result = boxes.iou(boxes.xywh_to_xyxy_px(a), boxes.xywh_to_xyxy_px(b))
    assert result.shape == (len(a), len(b))
    if len(a) and len(b):
        np.testing.assert_allclose(result, mask.iou(a, b, [0] * len(b)), atol=1e-9)


def test_iou_of_boxes_without_area_is_0():
    point = np.array([[3.0, 3, 3, 3]])
    assert boxes.iou(point, point).tolist() == [[0.0]]


def test_iou_counts_pixels():
    canvas = np.zeros((2, 20, 20), bool)
    canvas[0, 2:10, 3:12], canvas[1, 5:15, 6:18] = True, True
    expected = (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()
    assert boxes.iou(np.array([[3, 2, 12, 10]]), np.array([[6, 5, 18, 15]]))[0, 0] == pytest.approx(expected)


def test_iou_of_pairs_is_the_diagonal_of_iou():
    corner = np.random.default_rng(0).integers(0, 30, (2, 40, 2))
    a, b = np.concatenate([corner, corner + np.random.default_rng(1).integers(0, 20, corner.shape)], axis=2).astype(float)
    np.testing.assert_array_equal(boxes.iou_of_pairs(a, b), boxes.iou(a, b).diagonal())


def test_areas_of_whole_numbers_do_not_overflow():
    assert boxes.area_px(np.array([[0, 0, 60_000, 60_000]], np.int32)).tolist() == [3_600_000_000]
