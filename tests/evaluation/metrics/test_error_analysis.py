"""TIDE's buckets by hand and against loops that build the fixed detections; the worst exams; maps."""

import dataclasses
import json

import numpy as np
import pytest
from random_cases import random_cases

from pneumodet.core.boxes import iou
from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics.average_precision import average_precision
from pneumodet.evaluation.metrics.error_analysis import BUCKETS, SIZE_EDGES, buckets, image_sizes_hw, maps, worst_cases
from pneumodet.evaluation.metrics.matching import match

BOX = (100, 100, 200, 200)
FAR = (600, 600, 700, 700)


def part(fraction):
    """A box inside ``BOX`` whose IoU with it is ``fraction``."""
    return (100, 100, 100 + 100 * fraction, 200)


def make(*exams):
    """Cases of (ground-truth boxes, [(score, box), ...]) of each exam."""
    truth = [(index, box) for index, (boxes, _) in enumerate(exams) for box in boxes]
    detected = [(index, score, box) for index, (_, rows) in enumerate(exams) for score, box in sorted(rows, reverse=True)]
    return Cases(
        tuple(f"exam {index}" for index in range(len(exams))),
        np.arange(len(exams)),
        np.array([box for _, box in truth], float).reshape(-1, 4),
        np.array([index for index, _ in truth], int),
        np.array([box for _, _, box in detected], float).reshape(-1, 4),
        np.array([score for _, score, _ in detected], float),
        np.array([index for index, _, _ in detected], int),
    )


def counts(cases, threshold=0.0):
    errors = buckets(cases, score_threshold=threshold)
    return {name: errors[f"errors.{name}"] for name in ("hits", *BUCKETS) if errors[f"errors.{name}"]}


@pytest.mark.parametrize(
    ("truth", "detected", "expected"),
    [
        ([BOX], [(0.9, BOX)], {"hits": 1}),
        ([BOX], [(0.9, part(0.5))], {"hits": 1}),
        ([BOX], [(0.9, part(0.49))], {"localization": 1}),
        ([BOX], [(0.9, part(0.1))], {"localization": 1}),
        ([BOX], [(0.9, part(0.09))], {"background": 1, "missed": 1}),
        ([BOX], [(0.9, BOX), (0.8, part(0.6))], {"hits": 1, "duplicate": 1}),
        ([BOX], [(0.9, BOX), (0.8, part(0.3))], {"hits": 1, "localization": 1}),
        ([BOX, FAR], [(0.9, part(0.3))], {"localization": 1, "missed": 1}),
        ([], [(0.9, BOX), (0.1, BOX)], {"background": 2}),
        ([BOX, FAR], [], {"missed": 2}),
        ([], [], {}),
    ],
)
def test_the_bucket_of_an_error(truth, detected, expected):
    assert counts(make((truth, detected))) == expected


def test_errors_are_counted_at_the_operating_point_and_cost_at_all_scores():
    cases = make(([BOX], [(0.9, BOX), (0.2, part(0.3))]), ([], [(0.95, BOX), (0.3, BOX)]))
    assert counts(cases, 0.5) == {"hits": 1, "background": 1}
    assert counts(cases, np.array([0.5, 0.0, 1.0, 0.0])) == {"hits": 1, "localization": 1, "background": 1}
    errors = [buckets(cases, score_threshold=threshold) for threshold in (0.0, 0.5)]
    assert errors[0]["errors.ap50"] == errors[1]["errors.ap50"] == pytest.approx(0.5)
    assert errors[1]["errors.dap50.background"] == errors[0]["errors.dap50.background"] == pytest.approx(0.5)
    assert errors[1]["errors.dap50.localization"] == 0


def test_only_one_of_several_localization_errors_at_a_box_becomes_a_hit():
    near = [(0.9, part(0.3)), (0.8, part(0.4)), (0.7, part(0.45))]
    errors = buckets(make(([BOX, FAR], near)), score_threshold=0.0)
    assert errors["errors.localization"] == 3
    assert errors["errors.dap50.localization"] == pytest.approx(51 / 101)  # one of two boxes, with nothing false left
    assert errors["errors.dap50.missed"] == 0
    errors = buckets(make(([BOX], [(0.5, BOX), *near])), score_threshold=0.0)
    assert errors["errors.dap50.localization"] == pytest.approx(0.75)  # the box has its detection: all three only go away


def slow_nearest(cases, index):
    here = np.flatnonzero(cases.truth_case == cases.box_case[index])
    if not len(here):
        return -1, 0.0
    ious = iou(cases.boxes_xyxy_px[index][None], cases.truth_xyxy_px[here])[0]
    return here[ious.argmax()], ious.max()


def slow_gains(cases):
    """Mend detections and ground truth themselves, one bucket at a time, and evaluate again."""
    matched, base = match(cases), average_precision(cases)
    false = [index for index in range(len(cases.scores)) if not matched.hit[index]]
    nearest = {index: slow_nearest(cases, index) for index in false}
    gone = {
        "background": [index for index in false if nearest[index][1] < 0.1],
        "duplicate": [index for index in false if nearest[index][1] >= 0.5],
    }
    localization = [index for index in false if 0.1 <= nearest[index][1] < 0.5]
    gains = {}
    for name, rows in gone.items():
        keep = ~np.isin(np.arange(len(cases.scores)), rows)
        gains[name] = average_precision(cases.where(keep)) - base
    boxes, keep, taken = cases.boxes_xyxy_px.copy(), np.ones(len(cases.scores), bool), set(np.flatnonzero(matched.detected).tolist())
    for index in sorted(localization, key=lambda index: -cases.scores[index]):  # stable: equal scores in their order
        truth = nearest[index][0]
        boxes[index], keep[index] = cases.truth_xyxy_px[truth], truth not in taken
        taken.add(truth)
    # a hit must keep its box, which a fixed detection could take over where two ground-truth boxes overlap
    boxes[matched.hit] = cases.truth_xyxy_px[matched.truth[matched.hit]]
    gains["localization"] = average_precision(dataclasses.replace(cases, boxes_xyxy_px=boxes).where(keep)) - base
    covered = matched.detected.copy()
    covered[[nearest[index][0] for index in localization]] = True
    fewer = dataclasses.replace(cases, truth_xyxy_px=cases.truth_xyxy_px[covered], truth_case=cases.truth_case[covered])
    gains["missed"] = average_precision(fewer) - base
    sizes = {name: len(rows) for name, rows in gone.items()}
    return gains, {**sizes, "localization": len(localization), "missed": int((~covered).sum())}


@pytest.mark.parametrize("seed", range(15))
def test_counts_and_gains_equal_mended_detections(seed):
    cases = random_cases(seed, count=40, most_detections=12, skill=0.8)
    # scatter the detections, so that all buckets fill
    boxes = cases.boxes_xyxy_px + np.random.default_rng(seed).integers(-40, 41, cases.boxes_xyxy_px.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    cases = dataclasses.replace(cases, boxes_xyxy_px=boxes)
    errors = buckets(cases, score_threshold=0.0)
    gains, sizes = slow_gains(cases)
    assert min(sizes.values()) > 0
    assert {name: errors[f"errors.{name}"] for name in BUCKETS} == sizes
    assert errors["errors.ap50"] == pytest.approx(average_precision(cases), abs=1e-12)
    for name in BUCKETS:
        assert errors[f"errors.dap50.{name}"] == pytest.approx(gains[name], abs=1e-12), name
        assert gains[name] >= 0
    json.dumps(errors, allow_nan=False)


def test_every_false_detection_is_in_one_bucket():
    cases = random_cases(3, count=60)
    errors, matched = counts(cases), match(cases)
    assert errors["hits"] == matched.hit.sum()
    assert errors["background"] + errors["duplicate"] + errors["localization"] == (~matched.hit).sum()


def test_ap50_is_that_of_the_hundred_most_confident_detections():
    rows = [(0.9 - 0.001 * index, FAR) for index in range(100)] + [(0.1, BOX)]
    assert buckets(make(([BOX], rows)), score_threshold=0.0)["errors.ap50"] == 0


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        (make(([], [(0.9, BOX)])), "No case has a ground-truth box."),
        (make(([BOX], [(0.9, FAR)])), "Every ground-truth box is missed"),
        (make(([BOX], [])), "Every ground-truth box is missed"),
    ],
)
def test_what_has_no_value_is_none_with_a_reason(cases, reason):
    errors = buckets(cases, score_threshold=0.0)
    assert errors["errors.dap50.missed"] is None
    assert errors["errors.dap50.undefined"].startswith(reason)


# --- the worst exams ---


def test_the_loss_of_an_exam_by_hand():
    cases = make(
        ([BOX], [(0.9, BOX)]),  # nothing wrong
        ([(0, 0, 400, 400)], [(0.4, FAR)]),  # the largest box missed, and the third of four detections false
        ([], [(0.8, BOX)]),  # the second of four
        ([(0, 0, 50, 50)], []),  # the smallest of three
        ([], [(0.1, BOX)]),  # below the operating point
        ([], [(0.3, FAR)]),  # the last of four
    )
    result = worst_cases(cases, score_threshold=0.2)
    assert [(one["case"], one["loss"]) for one in result] == [(1, 1 + 2 / 4), (2, 3 / 4), (3, pytest.approx(1 / 3)), (5, 1 / 4)]
    assert [one["name"] for one in result] == ["exam 1", "exam 2", "exam 3", "exam 5"]
    assert result[0]["reason"] == "1 of 1 box missed, 1 false detection; highest score 0.400."
    assert result[1]["reason"] == "1 false detection; highest score 0.800."
    assert result[2]["reason"] == "1 of 1 box missed; nothing detected."
    assert result[2]["highest_score"] is None
    assert [one["case"] for one in worst_cases(cases, score_threshold=0.2, count=2)] == [1, 2]
    json.dumps(result, allow_nan=False)


def test_the_order_does_not_depend_on_the_scale_of_scores():
    cases = random_cases(4, count=50)
    lower = dataclasses.replace(cases, scores=cases.scores**3 * 0.04)
    worst, other = worst_cases(cases, score_threshold=0.5), worst_cases(lower, score_threshold=0.5**3 * 0.04)
    assert [(one["case"], one["loss"]) for one in worst] == [(one["case"], one["loss"]) for one in other]
    losses = [one["loss"] for one in worst]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] > 0


# --- maps ---


def test_maps_by_hand():
    cases = make(([(0, 0, 20, 40), (70, 60, 100, 100)], [(0.9, (0, 0, 20, 40)), (0.8, (80, 0, 90, 20)), (0.1, (50, 50, 60, 60))]))
    result = maps(cases, score_threshold=0.5, sizes_hw=np.array([[200, 100]]), bins=4)
    filled = {
        name: {(r, c): n for r, row in enumerate(result[name]["position"]) for c, n in enumerate(row) if n}
        for name in result
        if name[:4] != "size"
    }
    assert filled == {
        "ground_truth": {(0, 0): 1, (1, 3): 1},
        "missed": {(1, 3): 1},
        "hits": {(0, 0): 1},
        "false_positives": {(0, 3): 1},
    }
    assert result["sizes"] == "given"
    sides = [np.sqrt(20 * 40 / 20000), np.sqrt(30 * 40 / 20000)]
    assert result["ground_truth"]["size"] == np.histogram(sides, result["size_edges"])[0].tolist()
    json.dumps(result, allow_nan=False)


def test_maps_lose_no_box_not_even_outside_the_image():
    cases = random_cases(6, count=50)
    result = maps(cases, score_threshold=0.3, sizes_hw=np.full((50, 2), 300))  # boxes reach to 800
    kept = cases.above(0.3)
    matched = match(kept)
    totals = {
        "ground_truth": len(cases.truth_case),
        "missed": (~matched.detected).sum(),
        "hits": matched.hit.sum(),
        "false_positives": (~matched.hit).sum(),
    }
    assert {name: (np.sum(result[name]["position"]), np.sum(result[name]["size"])) for name in totals} == {
        n: (t, t) for n, t in totals.items()
    }
    assert len(result["hits"]["size"]) == len(SIZE_EDGES) - 1


def test_only_sizes_that_are_not_known_are_guessed():
    cases = random_cases(2)
    sizes = np.full((len(cases), 2), [700.0, 900.0])
    sizes[3] = np.nan
    result = image_sizes_hw(cases, sizes)
    assert result[3].tolist() == image_sizes_hw(cases, None)[0].tolist() and (np.delete(result, 3, axis=0) == [700, 900]).all()
    assert (maps(cases, score_threshold=0.4, sizes_hw=sizes)["sizes"], maps(cases, score_threshold=0.4, sizes_hw=result)["sizes"]) == (
        "guessed",
        "given",
    )


def test_sizes_are_guessed_from_the_extent_of_all_boxes():
    cases = make(([(0, 0, 10, 700)], []), ([], [(0.5, (0, 0, 900, 10))]))
    assert image_sizes_hw(cases, None).tolist() == [[700, 900]] * 2
    assert maps(cases, score_threshold=0.0)["sizes"] == "guessed"
    assert np.sum(maps(make(([], [])), score_threshold=0.0)["hits"]["position"]) == 0
    for wrong in (np.ones((1, 2)), np.zeros((2, 2)), np.ones(2)):
        with pytest.raises(DataError, match="2 cases need as many image sizes"):
            image_sizes_hw(cases, wrong)
