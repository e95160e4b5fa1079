"""The comparison itself: what counts as the same, and what does not."""

import numpy as np
import pytest

from pneumodet.core.detections import Detections, image_id
from pneumodet.export import parity

STRICT = parity.TOLERANCES["onnx"]


def detections(rows):
    """rows: (left, top, right, bottom, score, class)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


ONE = [(100, 100, 300, 300, 0.8, 2), (400, 400, 500, 600, 0.6, 2), (120, 90, 310, 320, 0.3, 1)]


def compare(reference, candidate, *, limit=100, tolerance=STRICT):
    sizes = dict.fromkeys(reference, (1000, 800))
    return parity.compare(reference, candidate, sizes_hw=sizes, limit=limit, tolerance=tolerance)


def changed(place, **values):
    names = ("left", "top", "right", "bottom", "score", "label")
    row = dict(zip(names, ONE[place], strict=True)) | values
    return [*ONE[:place], tuple(row[name] for name in names), *ONE[place + 1 :]]


def test_the_same_is_alike():
    same = {"a": detections(ONE), "b": detections([])}
    candidate = compare(same, same)
    assert candidate["alike"] == 1
    assert candidate["matched"] == 3
    assert candidate["score_largest"] == candidate["box_largest_px"] == 0


def test_order_does_not_matter():
    assert compare({"a": detections(ONE)}, {"a": detections(ONE[::-1])})["alike"] == 1


@pytest.mark.parametrize(
    ("rows", "alike", "score", "box"),
    [
        pytest.param(changed(0, score=0.8005), 1, 0.0005, 0, id="score within"),
        pytest.param(changed(0, score=0.85), 4 / 6, 0.05, 0, id="score beyond"),
        pytest.param(changed(0, right=301.5), 1, 0, 1.5, id="box within"),
        pytest.param(changed(0, right=310), 4 / 6, 0, 10, id="box beyond"),
        pytest.param(changed(0, label=1), 4 / 6, 0.799, 0, id="another class"),
        pytest.param(ONE[1:], 4 / 5, 0.799, 0, id="missing"),
        pytest.param([*ONE, (700, 700, 750, 790, 0.5, 2)], 6 / 7, 0.499, 0, id="one more"),
        pytest.param([*ONE, (700, 700, 750, 790, 0.0011, 2)], 1, 0.0001, 0, id="one more at the floor"),
    ],
)
def test_what_differs_is_counted(rows, alike, score, box):
    candidate = compare({"a": detections(ONE)}, {"a": detections(rows)})
    assert candidate["alike"] == pytest.approx(alike)
    assert candidate["score_largest"] == pytest.approx(score, abs=1e-6)
    assert candidate["box_largest_px"] == pytest.approx(box, abs=1e-4)


def test_what_a_full_image_has_cut_off_is_not_missing():
    more = [*ONE, (700, 700, 750, 790, 0.29, 2)]
    assert compare({"a": detections(more)}, {"a": detections(ONE)}, limit=3)["alike"] == 1
    assert compare({"a": detections(more)}, {"a": detections(ONE)}, limit=4)["alike"] < 1


def test_the_nearest_of_several_is_the_same_one():
    crowd = [(100 + 20 * step, 100, 300 + 20 * step, 300, 0.9 - 0.1 * step, 2) for step in range(5)]
    assert compare({"a": detections(crowd)}, {"a": detections(crowd[::-1])})["alike"] == 1


INSTANCES = {
    "images": [{"id": image_id(exam), "file_name": exam, "width": 800, "height": 1000} for exam in "ab"],
    "annotations": [{"id": 1, "image_id": image_id("a"), "category_id": 2, "bbox": [100, 100, 200, 200], "area": 40000, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}],
}
HOW = {"class_name": "pneumonia", "category_id": 2}


def test_figures_are_those_of_the_evaluation():
    candidate = {"a": detections(ONE), "b": detections([])}
    all_right = {"ap50": pytest.approx(1), "rsna_metric": pytest.approx(1), "rsna_metric_nearby": pytest.approx(1)}
    assert parity.figures(INSTANCES, candidate, **HOW, score_threshold=0.7) == all_right
    assert parity.figures(INSTANCES, candidate, **HOW, score_threshold=0.5)["rsna_metric"] == pytest.approx(0.5)
    assert parity.figures(INSTANCES, candidate, **HOW, score_threshold=None)["rsna_metric"] is None


@pytest.mark.parametrize(("own", "expected"), [(None, 0.7), (0.799, 0.799), (0.65, 0.65), (0.5, 0.5), (0.9, 0.9)])
def test_the_threshold_is_the_stored_one_or_lies_between_scores(own, expected):
    candidate = {"a": detections(ONE), "b": detections([])}
    threshold = parity.threshold_for(INSTANCES, candidate, category_id=2, own=own)
    assert threshold == (pytest.approx(expected) if own is None else expected)
    less = {"a": detections(changed(0, score=0.8 - 1e-6)), "b": detections([])}
    one, other = (parity.figures(INSTANCES, each, **HOW, score_threshold=threshold)["rsna_metric"] for each in (candidate, less))
    assert one == other, "rounding loses nothing"


def test_without_boxes_there_is_no_threshold():
    empty = {**INSTANCES, "annotations": []}
    candidate = {"a": detections(ONE), "b": detections([])}
    assert parity.threshold_for(empty, candidate, category_id=2, own=0.5) is None
    assert parity.figures(empty, candidate, **HOW, score_threshold=0.5) == dict.fromkeys(("ap50", "rsna_metric", "rsna_metric_nearby"))


@pytest.mark.parametrize(
    ("measured", "parts"),
    [
        ({"alike": 1.0, "ap50_change": 0.3, "rsna_metric_nearby_change": 0.0}, []),
        ({"alike": 1.0, "ap50_change": None, "rsna_metric_nearby_change": None}, []),
        ({"alike": 0.9, "ap50_change": 0.0, "rsna_metric_nearby_change": 0.0}, ["only 90.0% of the detections"]),
        (
            {"alike": 1.0, "ap50_change": -0.01, "rsna_metric_nearby_change": -0.2},
            ["AP50 is lower by 0.0100", "the RSNA metric is lower by 0.2"],
        ),
    ],
)
def test_what_is_outside_is_said(measured, parts):
    issues = parity.outside({"images": 1000} | measured, STRICT)
    assert len(issues) == len(parts)
    assert all(part in issue for part, issue in zip(parts, issues, strict=True))


def test_one_image_of_a_few_is_within_the_tolerance():
    measured = {"alike": 1.0, "ap50_change": -0.04, "rsna_metric_nearby_change": -0.04}
    assert parity.outside(measured | {"images": 25}, STRICT) == []
    assert len(parity.outside(measured | {"images": 26}, STRICT)) == 2


def test_only_the_proposals_of_two_stages_may_tie():
    for name, own in parity.TOLERANCES.items():
        assert parity.tolerance_of(name, two_stage=False) == own
        assert parity.tolerance_of(name, two_stage=True).alike == (0.9 if name == "onnx" else own.alike)
        assert parity.tolerance_of(name, two_stage=True).loss == own.loss
