"""Boxes from heatmaps, and where these are cut off."""

import numpy as np
import pytest
from scipy import ndimage

from pneumodet.core.errors import ConfigError
from pneumodet.evaluation.classification import weak_boxes
from pneumodet.evaluation.classification.weak_boxes import (
    GRID,
    SHARES,
    best_overlaps,
    boxes_by_share,
    chosen,
    cross_fitted,
    enlarged,
    overlaps_by_share,
)


def blobs():
    """A grid of 256 px with a piece of heatmap 1 and one of heatmap 0.6."""
    heatmap = np.zeros((GRID, GRID), np.float32)
    heatmap[32:96, 16:48] = 1.0
    heatmap[128:192, 160:224] = 0.6
    return heatmap


def test_each_piece_gives_a_box_in_px_of_the_radiograph():
    detections = weak_boxes.weak_boxes(blobs() * 7, share=0.5, image_hw=(512, 1024), probability=0.8, category_id=2)
    np.testing.assert_allclose(detections.boxes_xyxy_px, [[64, 64, 192, 192], [640, 256, 896, 384]])
    np.testing.assert_allclose(detections.scores, [0.8, 0.48], rtol=1e-6)
    np.testing.assert_array_equal(detections.classes, [2, 2])
    only = weak_boxes.weak_boxes(blobs(), share=0.7, image_hw=(512, 1024), probability=0.8)
    np.testing.assert_allclose(only.boxes_xyxy_px, [[64, 64, 192, 192]])


def test_boxes_are_those_of_scipy_label():
    """A smooth random heatmap, cut at several heights."""
    rng = np.random.default_rng(3)
    for share in (0.2, 0.5, 0.8):
        large = enlarged(rng.random((9, 7)))
        pieces, count = ndimage.label(large >= share, structure=np.ones((3, 3)))
        places = ndimage.find_objects(pieces)
        means = ndimage.mean(large, pieces, range(1, count + 1))
        expected = sorted((columns.start, rows.start, columns.stop, rows.stop) for rows, columns in places)
        detections = weak_boxes.weak_boxes(large, share=share, image_hw=(GRID, GRID), probability=1.0)
        assert sorted(map(tuple, detections.boxes_xyxy_px.tolist())) == expected
        np.testing.assert_allclose(detections.scores, sorted(means, reverse=True), rtol=1e-4)
        assert count > 1 or share < 0.5


def test_a_coarse_map_lies_over_the_whole_radiograph():
    """The hot one of 4 x 4 cells is the radiograph's third column and first row."""
    heatmap = np.zeros((4, 4))
    heatmap[0, 2] = 3e-9
    (box,) = weak_boxes.weak_boxes(heatmap, share=0.5, image_hw=(1000, 2000), probability=1.0).boxes_xyxy_px
    np.testing.assert_allclose(box, [1000, 0, 1500, 250], atol=9)


def test_no_heat_is_no_box():
    detections = weak_boxes.weak_boxes(np.zeros((7, 7)), share=0.1, image_hw=(1024, 1024), probability=0.9)
    assert len(detections) == 0
    assert not enlarged(np.zeros((7, 7))).any()
    np.testing.assert_array_equal(overlaps_by_share(boxes_by_share(np.zeros((7, 7))), np.array([[0, 0, 9, 9]]), image_hw=(9, 9)), 0)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_is_above_0_and_at_most_1(share):
    with pytest.raises(ConfigError, match="must be a share of their maximum"):
        weak_boxes.weak_boxes(blobs(), share=share, image_hw=(9, 9), probability=1.0)


def test_every_true_box_has_its_best_overlap():
    truth = np.array([[0.0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]])
    weak = np.array([[0.0, 0, 10, 5], [20, 20, 40, 40], [0, 0, 10, 8]])
    np.testing.assert_allclose(best_overlaps(truth, weak), [0.8, 1, 0])
    np.testing.assert_array_equal(best_overlaps(truth, np.zeros((0, 4))), 0)
    assert best_overlaps(np.zeros((0, 4)), weak).shape == (0,)


def test_the_share_that_fits_is_chosen():
    """A cone: the higher it is cut, the smaller is the box."""
    distance = np.hypot(*np.meshgrid(*[np.arange(GRID) + 0.5 - GRID / 2] * 2))
    heatmap = np.maximum(1 - distance / 120, 0)
    half = 120 * (1 - 0.7)
    truth = np.array([[128 - half, 128 - half, 128 + half, 128 + half]])
    overlaps = overlaps_by_share(boxes_by_share(heatmap), truth, image_hw=(GRID, GRID))
    assert chosen(overlaps[np.newaxis]) == 0.7
    assert overlaps.max() > 0.9
    assert chosen(np.zeros((3, len(SHARES)))) == SHARES[-1], "of equal ones the highest"


def test_no_exam_has_a_part_in_its_own_share():
    rng = np.random.default_rng(0)
    overlaps, folds = rng.random((30, len(SHARES))), np.arange(30) % 3
    before = cross_fitted(overlaps, folds)
    overlaps[folds == 1] = 0
    overlaps[folds == 1, 4] = 100.0
    after = cross_fitted(overlaps, folds)
    np.testing.assert_array_equal(after[folds == 1], before[folds == 1])
    np.testing.assert_array_equal(after[folds != 1], SHARES[4])
