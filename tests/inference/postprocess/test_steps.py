"""The single steps against slow implementations written from the papers' text, and their properties."""

import dataclasses
import math

import numpy as np
import pytest
import simulated
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.boxes import iou
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.inference.postprocess import steps


def cases_of(seed=0, exams=25, **kwargs):
    """Some cases without detections, some with one, most with several that overlap."""
    cases = simulated.detect(simulated.truth(exams, seed=seed), seed=seed, **kwargs)
    rng = np.random.default_rng(seed)
    return cases.where((rng.random(len(cases.scores)) < 0.7) & (rng.random(exams) < 0.8)[cases.box_case])


def by_case(cases):
    """Return for each case its (box, score) pairs."""
    boxes_of = [[] for _ in cases.names]
    for box, score, case in zip(cases.boxes_xyxy_px, cases.scores, cases.box_case, strict=True):
        boxes_of[case].append((tuple(box), float(score)))
    return boxes_of


def slow_hard_nms(pairs, threshold):
    kept = []
    for box, score in sorted(pairs, key=lambda pair: -pair[1]):
        if all(iou([box], [other])[0, 0] <= threshold for other, _ in kept):
            kept.append((box, score))
    return kept


def slow_soft_nms(pairs, decay):
    """Bodla et al. 2017, figure 3: take the best, lower the others, again."""
    left, boxes_of = list(pairs), []
    while left:
        best = max(range(len(left)), key=lambda index: left[index][1])
        box, score = left.pop(best)
        boxes_of.append((box, score))
        left = [(other, value * decay(iou([box], [other])[0, 0])) for other, value in left]
    return sorted(boxes_of, key=lambda pair: -pair[1])


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("block", [1, 700, 10**9], ids=lambda size: f"blocks of {size}")
def test_hard_nms(monkeypatch, threshold, block):
    monkeypatch.setattr(steps, "BLOCK_PAIRS", block)
    cases = cases_of()
    assert by_case(steps.hard_nms(cases, threshold)) == [slow_hard_nms(pairs, threshold) for pairs in by_case(cases)]


def test_hard_nms_keeps_what_a_dropped_box_overlaps():
    """A suppresses B; B would have suppressed C, but is gone."""
    cases = dataclasses.replace(
        cases_of(exams=1),
        boxes_xyxy_px=np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float),
        scores=np.array([0.9, 0.8, 0.7]),
        box_case=np.zeros(3, np.int64),
    )
    assert steps.hard_nms(cases, 0.3).scores.tolist() == [0.9, 0.7]
    assert steps.hard_nms(cases, iou([[0, 0, 10, 10]], [[4, 0, 14, 10]])[0, 0]).scores.tolist() == [0.9, 0.8, 0.7]  # only above


@pytest.mark.parametrize(
    ("arguments", "decay"),
    [
        pytest.param({"iou_threshold": 0.3}, lambda overlap: 1 - overlap if overlap >= 0.3 else 1, id="linear"),
        pytest.param({"iou_threshold": 0.0}, lambda overlap: 1 - overlap, id="linear from 0"),
        pytest.param({"sigma": 0.5}, lambda overlap: math.exp(-(overlap**2) / 0.5), id="gaussian"),
        pytest.param({"sigma": 0.01}, lambda overlap: math.exp(-(overlap**2) / 0.01), id="gaussian, narrow"),
    ],
)
def test_soft_nms(arguments, decay):
    cases = cases_of(seed=3)
    boxes_of = by_case(steps.soft_nms(cases, **arguments))
    for got, pairs in zip(boxes_of, by_case(cases), strict=True):
        expected = slow_soft_nms(pairs, decay)
        assert [box for box, _ in got] == [box for box, _ in expected]
        np.testing.assert_allclose([score for _, score in got], [score for _, score in expected], rtol=1e-12)


def test_soft_nms_of_the_same_box_leaves_a_score_of_zero():
    cases = dataclasses.replace(
        cases_of(exams=1), boxes_xyxy_px=np.full((2, 4), [0.0, 0, 5, 5]), scores=np.array([0.9, 0.8]), box_case=np.zeros(2, np.int64)
    )
    assert steps.soft_nms(cases, iou_threshold=0.5).scores.tolist() == [0.9, 0.0]


@pytest.mark.parametrize("limit", [0, 10**9], ids=["computed again", "kept"])
def test_overlaps_may_be_used_again(monkeypatch, limit):
    monkeypatch.setattr(steps, "CACHED_PAIRS", limit)
    cases = cases_of()
    overlaps = steps.Overlaps(cases)
    for _ in range(2):
        assert by_case(steps.hard_nms(cases, 0.2, overlaps=overlaps)) == by_case(steps.hard_nms(cases, 0.2))


def test_scaled_boxes_keep_their_centre_and_come_back():
    cases = cases_of()
    half = steps.scale_boxes(cases, 0.5)
    np.testing.assert_allclose(
        half.boxes_xyxy_px[:, :2] + half.boxes_xyxy_px[:, 2:], cases.boxes_xyxy_px[:, :2] + cases.boxes_xyxy_px[:, 2:]
    )
    sides = [one.boxes_xyxy_px[:, 2:] - one.boxes_xyxy_px[:, :2] for one in (half, cases)]
    np.testing.assert_allclose(sides[0] * 2, sides[1])
    np.testing.assert_allclose(steps.scale_boxes(half, 2).boxes_xyxy_px, cases.boxes_xyxy_px)


@settings(max_examples=50, deadline=None)
@given(factor=st.floats(1e-6, 2), corner=st.floats(-1e6, 1e6), side=st.floats(0, 1e-9))
def test_a_sliver_is_not_inverted_by_scaling(factor, corner, side):
    cases = cases_of(exams=1)
    sliver = dataclasses.replace(
        cases, boxes_xyxy_px=np.array([[corner, 0, corner + side, 0]]), scores=np.ones(1), box_case=np.zeros(1, np.int64)
    )
    assert len(steps.scale_boxes(sliver, factor).scores) == 1  # Cases refuse inverted boxes


def test_minimum_size_and_number():
    cases = cases_of()
    sides = cases.boxes_xyxy_px[:, 2:] - cases.boxes_xyxy_px[:, :2]
    limit = float(np.median(sides.min(axis=1)))
    expected = [[pair for pair in pairs if min(pair[0][2] - pair[0][0], pair[0][3] - pair[0][1]) >= limit] for pairs in by_case(cases)]
    assert by_case(steps.keep_large(cases, limit)) == expected
    assert by_case(steps.keep_first(cases, 2)) == [pairs[:2] for pairs in by_case(cases)]


def test_gates():
    cases = cases_of()
    gate = np.linspace(0, 1, len(cases))
    assert by_case(steps.gate_drop(cases, gate, gate[7])) == [pairs if case >= 7 else [] for case, pairs in enumerate(by_case(cases))]
    multiplied = by_case(steps.gate_multiply(cases, gate))
    assert multiplied == [[(box, score * gate[case]) for box, score in pairs] for case, pairs in enumerate(by_case(cases))]


@pytest.mark.parametrize("gate", [np.ones(3), np.full(25, np.nan), np.full(25, 1.1)], ids=["length", "nan", "range"])
def test_a_gate_that_does_not_fit(gate):
    with pytest.raises(DataError, match=r"25 exams need an image-level score from 0 to 1 each"):
        steps.gate_multiply(cases_of(), gate)


@pytest.mark.parametrize(
    "step",
    [
        lambda cases: steps.hard_nms(cases, 0.5),
        lambda cases: steps.soft_nms(cases, sigma=0.5),
        lambda cases: steps.scale_boxes(cases, 0.9),
        lambda cases: steps.keep_large(cases, 10),
        lambda cases: steps.keep_first(cases, 1),
    ],
    ids=["hard", "soft", "scale", "large", "first"],
)
def test_nothing_detected(step):
    cases = cases_of()
    assert len(step(cases.where(np.zeros(len(cases.scores), bool))).scores) == 0


def test_there_and_back():
    rng = np.random.default_rng(0)
    boxes_of = {
        f"exam-{number}": Detections(
            np.cumsum(rng.uniform(0, 50, (number, 4)), axis=1)[:, [0, 1, 2, 3]], rng.random(number), rng.integers(1, 3, number)
        )
        for number in range(6)
    }
    back = steps.from_cases(steps.to_cases(boxes_of, category_id=2), category_id=2)
    assert list(back) == list(boxes_of)
    for exam, one in boxes_of.items():
        two = one.of_class(2)
        order = np.argsort(-two.scores, kind="stable")
        assert np.array_equal(back[exam].boxes_xyxy_px, two.boxes_xyxy_px[order])
        assert np.array_equal(back[exam].scores, two.scores[order])
        assert back[exam].classes.tolist() == [2] * len(two)
