"""Matching against pycocotools and against a loop."""

import contextlib
import io

import numpy as np
import pytest
from random_cases import coco_run, random_cases

from pneumodet.core.boxes import iou
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics.matching import match, overlaps


def make(truth, boxes, scores, *, count=1):
    """Cases with everything in the first of them."""
    truth, boxes = (np.array(one, float).reshape(-1, 4) for one in (truth, boxes))
    names = tuple(map(str, range(count)))
    case = [np.zeros(len(one), int) for one in (truth, boxes)]
    return Cases(names, np.arange(count), truth, case[0], boxes, np.array(scores, float), case[1])


def by_pycocotools(cases, threshold):
    """Return (hit, truth) from the matches that COCO stores for each image."""
    run = coco_run(cases)
    with contextlib.redirect_stdout(io.StringIO()):
        run.params.iouThrs = np.array([threshold])
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
    taken = np.full(len(cases.scores), -1)
    for image in filter(None, run.evalImgs):
        for detection, annotation in zip(image["dtIds"], image["dtMatches"][0], strict=True):
            taken[int(detection) - 1] = int(annotation) - 1
    return taken


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(10))
def test_equals_pycocotools(seed, threshold):
    cases = random_cases(seed, most_detections=12, skill=0.8)
    matched = match(cases, threshold)
    assert matched.truth.tolist() == by_pycocotools(cases, threshold).tolist()
    assert matched.hit.any()
    assert np.array_equal(matched.hit, matched.truth >= 0)
    assert sorted(matched.truth[matched.hit]) == np.flatnonzero(matched.detected).tolist()  # each box once


def test_of_two_boxes_of_equal_iou_the_last_is_taken_as_in_coco():
    cases = make([(0, 0, 100, 100), (0, 0, 100, 100)], [(0, 0, 100, 90)], [0.5])
    assert match(cases).truth.tolist() == by_pycocotools(cases, 0.5).tolist() == [1]


def test_a_second_detection_of_a_box_is_false_and_keeps_its_iou():
    cases = make([(0, 0, 100, 100)], [(0, 0, 100, 80), (0, 0, 100, 100), (200, 200, 300, 300)], [0.9, 0.8, 0.7], count=2)
    matched = match(cases)
    assert matched.hit.tolist() == [True, False, False]
    assert matched.truth.tolist() == [0, -1, -1]
    assert matched.iou == pytest.approx([0.8, 1.0, 0.0])
    assert matched.detected.tolist() == [True]


def test_iou_of_exactly_the_threshold_is_a_hit():
    assert match(make([(0, 0, 100, 100)], [(0, 0, 100, 50)], [0.9])).hit.tolist() == [True]
    assert match(make([(0, 0, 100, 100)], [(0, 0, 100, 49)], [0.9])).hit.tolist() == [False]
    assert match(make([(0, 0, 100, 100)], [(0, 0, 100, 100)], [0.9]), 1.0).hit.tolist() == [True]


def test_a_detection_that_loses_its_box_takes_the_next_one():
    """Both want the first box; the less confident one gets the second, which it overlaps less."""
    cases = make([(0, 0, 100, 100), (0, 30, 100, 130)], [(0, 0, 100, 100), (0, 10, 100, 110)], [0.9, 0.8])
    assert match(cases).truth.tolist() == [0, 1]


def test_overlaps_are_every_pair_of_a_case_with_the_iou_of_boxes():
    cases = random_cases(3)
    pairs = overlaps(cases.truth_xyxy_px, cases.truth_case, cases.boxes_xyxy_px, cases.box_case, count=len(cases))
    same = cases.box_case[:, None] == cases.truth_case[None]
    assert np.array_equal(np.stack([pairs.box, pairs.truth], axis=1), np.argwhere(same))
    assert np.array_equal(pairs.iou, iou(cases.boxes_xyxy_px, cases.truth_xyxy_px)[same])  # to the last bit, since thresholds are exact
    assert np.array_equal(match(cases).iou, np.where(same, iou(cases.boxes_xyxy_px, cases.truth_xyxy_px), 0).max(axis=1))


@pytest.mark.parametrize(
    "cases", [make([], [], []), make([(0, 0, 9, 9)], [], []), make([], [(0, 0, 9, 9)], [0.5])], ids=["-", "truth", "boxes"]
)
def test_nothing_to_match(cases):
    matched = match(cases)
    assert not matched.hit.any() and not matched.detected.any()
    assert matched.hit.shape == cases.scores.shape and matched.detected.shape == cases.truth_case.shape
    assert (matched.iou == 0).all()
