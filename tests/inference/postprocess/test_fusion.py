"""Weighted boxes fusion against a slow implementation of the paper's text."""

import dataclasses

import numpy as np
import pytest
import simulated

from pneumodet.core.boxes import iou
from pneumodet.core.errors import DataError
from pneumodet.inference.postprocess import fusion, steps


def sources_of(count, exams=20):
    truth = simulated.truth(exams)
    return [simulated.detect(truth, seed=seed, repeats=2, false=4) for seed in range(count)]


def slow_weighted_boxes(sources, case, threshold):
    """Solovyev et al. 2021, section 3: lists B, L and F."""
    pairs = [
        (box, score)
        for one in sources
        for box, score in zip(*(array[one.box_case == case] for array in (one.boxes_xyxy_px, one.scores)), strict=True)
    ]
    clusters, fused = [], []
    for box, score in sorted(pairs, key=lambda pair: -pair[1]):
        overlaps = [iou([box], [other])[0, 0] for other in fused]
        if overlaps and max(overlaps) > threshold:
            position = int(np.argmax(overlaps))
            clusters[position].append((box, score))
            members = clusters[position]
            fused[position] = sum(s * b for b, s in members) / sum(s for _, s in members)
        else:
            clusters.append([(box, score)])
            fused.append(box)
    scores = [np.mean([s for _, s in members]) * min(len(members), len(sources)) / len(sources) for members in clusters]
    return sorted(zip(scores, map(tuple, fused), strict=True), reverse=True)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.2, 0.55, 0.9])
@pytest.mark.parametrize("block", [1, 10**9], ids=["one case at once", "all at once"])
def test_weighted_boxes(monkeypatch, count, threshold, block):
    monkeypatch.setattr(fusion, "BLOCK_VALUES", block)
    sources = sources_of(count)
    combined = fusion.weighted_boxes(sources, iou_threshold=threshold)
    for case in range(len(combined)):
        expected = slow_weighted_boxes(sources, case, threshold)
        np.testing.assert_allclose(combined.scores[combined.box_case == case], [score for score, _ in expected], rtol=1e-12)
        np.testing.assert_allclose(combined.boxes_xyxy_px[combined.box_case == case], [box for _, box in expected], rtol=1e-12)


def test_by_hand():
    """Two sources find one box; a second one is found by one source only, and counts half."""
    one, two = (source.where(np.zeros(len(source.scores), bool)) for source in sources_of(2, exams=2))
    one = steps.replaced(one, np.array([[0, 0, 10, 10], [50.0, 50, 60, 60]]), np.array([0.8, 0.6]), np.array([0, 0]))
    two = steps.replaced(two, np.array([[2.0, 0, 12, 10]]), np.array([0.4]), np.array([0]))
    combined = fusion.weighted_boxes([one, two], iou_threshold=0.55)
    np.testing.assert_allclose(combined.boxes_xyxy_px, [[0.8 / 1.2, 0, 10 + 0.8 / 1.2, 10], [50, 50, 60, 60]])
    np.testing.assert_allclose(combined.scores, [0.6, 0.3])


def test_a_lonely_detection_of_an_exam_counts_as_one_of_many():
    one, two = (source.where(np.zeros(len(source.scores), bool)) for source in sources_of(2, exams=2))
    one = steps.replaced(one, np.array([[0.0, 0, 10, 10]]), np.array([0.8]), np.array([1]))
    assert fusion.weighted_boxes([one, two], iou_threshold=0.5).scores.tolist() == [0.4]
    assert fusion.weighted_boxes([two, two], iou_threshold=0.5).scores.tolist() == []


def test_boxes_of_score_zero_have_a_mean():
    one, two = sources_of(2, exams=2)
    zero = [
        steps.replaced(source, np.array([[0.0, 0, 10, 10 + plus]]), np.zeros(1), np.zeros(1, np.int64))
        for plus, source in ((0, one), (2, two))
    ]
    combined = fusion.weighted_boxes(zero, iou_threshold=0.5)
    np.testing.assert_allclose(combined.boxes_xyxy_px, [[0, 0, 10, 11]])
    assert combined.scores.tolist() == [0]


def test_pooled_ties_keep_the_order_of_sources():
    one, two = sources_of(2, exams=1)
    same = [
        steps.replaced(source, np.array([[x, 0, x + 1, 1.0]]), np.full(1, 0.5), np.zeros(1, np.int64)) for x, source in ((0, one), (5, two))
    ]
    assert fusion.pool(same).boxes_xyxy_px[:, 0].tolist() == [0, 5]
    assert len(fusion.pool(sources_of(3)).scores) == sum(len(one.scores) for one in sources_of(3))


def test_sources_of_other_exams():
    one, two = sources_of(2)
    with pytest.raises(DataError, match=r"same radiographs in the same order"):
        fusion.pool([one, dataclasses.replace(two, names=two.names[::-1])])
    with pytest.raises(DataError, match=r"nothing to fuse"):
        fusion.pool([])
