"""Cases: what they refuse, and that a subset is what a loop over exams would give."""

import gc
import weakref

import numpy as np
import pytest

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases, once

TRUTH = np.array([[0.0, 0, 10, 10], [5, 5, 20, 20], [1, 1, 9, 9]])
BOXES = np.array([[0.0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7], [3, 3, 6, 6]])


def make(**change):
    """Three exams: two boxes and two detections; nothing; a box and two detections."""
    given = {
        "names": ("a", "b", "c"),
        "patients": np.array([0, 1, 0]),
        "truth_xyxy_px": TRUTH,
        "truth_case": np.array([0, 0, 2]),
        "boxes_xyxy_px": BOXES,
        "scores": np.array([0.9, 0.2, 0.7, 0.7]),
        "box_case": np.array([0, 0, 2, 2]),
        "facts": {"sex": ("F", None, "M")},
    }
    return Cases(**{**given, **change})


def test_summaries():
    cases = make()
    assert len(cases) == 3
    assert cases.positive.tolist() == [True, False, True]
    assert cases.case_scores.tolist() == [0.9, 0.0, 0.7]


def test_above_keeps_what_equals_the_threshold():
    kept = make().above(0.7)
    assert kept.scores.tolist() == [0.9, 0.7, 0.7]
    assert kept.box_case.tolist() == [0, 2, 2]
    assert len(kept) == 3
    assert kept.truth_xyxy_px is TRUTH


def test_cases_that_lose_nothing_are_themselves():
    """What was computed of them is not computed again."""
    cases = make()
    assert cases.above(0.2) is cases
    assert cases.above(0.3) is not cases


def test_rank_within_a_case():
    assert make().rank.tolist() == [0, 1, 0, 1]
    assert make(boxes_xyxy_px=BOXES[:0], scores=np.zeros(0), box_case=np.zeros(0, int)).rank.tolist() == []


@pytest.mark.parametrize("rows", [[2, 0], [1], [], [0, 0, 2, 0], [2, 1, 0]], ids=str)
def test_take_is_a_loop_over_exams(rows):
    cases, taken = make(), make().take(np.array(rows, int))
    assert taken.names == tuple("abc"[row] for row in rows)
    assert taken.patients.tolist() == cases.patients[rows].tolist() if rows else len(taken.patients) == 0
    assert taken.facts["sex"] == tuple(cases.facts["sex"][row] for row in rows)
    for place, row in enumerate(rows):
        assert np.array_equal(taken.truth_xyxy_px[taken.truth_case == place], TRUTH[cases.truth_case == row])
        assert np.array_equal(taken.boxes_xyxy_px[taken.box_case == place], BOXES[cases.box_case == row])
        assert np.array_equal(taken.scores[taken.box_case == place], cases.scores[cases.box_case == row])
    assert len(taken.truth_case) == sum(np.count_nonzero(cases.truth_case == row) for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"truth_xyxy_px": TRUTH[:2]}, "finite ground-truth boxes of shape", id="too few boxes"),
        pytest.param({"boxes_xyxy_px": BOXES[:, [2, 1, 0, 3]]}, "finite detections of shape", id="inverted"),
        pytest.param({"boxes_xyxy_px": BOXES * np.nan}, "finite detections", id="NaN box"),
        pytest.param({"truth_case": np.array([0, 2, 0])}, "cases of the ground-truth boxes must rise from 0 to 2", id="cases fall"),
        pytest.param({"box_case": np.array([0, 0, 2, 3])}, "cases of the detections must rise", id="case unknown"),
        pytest.param({"box_case": np.array([-1, 0, 2, 2])}, "cases of the detections must rise", id="case below 0"),
        pytest.param({"patients": np.array([0, 1])}, "3 cases need as many patients", id="too few patients"),
        pytest.param({"facts": {"sex": ("F",)}}, "3 cases need as many patients and facts", id="too few facts"),
        pytest.param({"scores": np.array([0.9, 0.2, 0.7])}, "score from 0 to 1", id="too few scores"),
        pytest.param({"scores": np.array([1.1, 0.2, 0.7, 0.7])}, "score from 0 to 1", id="score above 1"),
        pytest.param({"scores": np.array([np.nan, 0.2, 0.7, 0.7])}, "score from 0 to 1", id="NaN score"),
        pytest.param({"scores": np.array([0.2, 0.9, 0.7, 0.7])}, "most confident detection comes first", id="scores rise"),
    ],
)
def test_errors(change, message):
    with pytest.raises(DataError, match=message):
        make(**change)


def test_what_is_computed_once_lives_as_long_as_its_cases():
    calls = []

    @once
    def count(cases, factor=1):
        calls.append(factor)
        return [len(cases) * factor]

    cases, other = make(), make()
    assert count(cases) is count(cases) and count(cases) is not count(other)
    assert count(cases, 2) == count(cases, factor=2) == [6]
    assert calls == [1, 1, 2, 2]
    left = weakref.ref(cases)
    del cases
    gc.collect()
    assert left() is None
