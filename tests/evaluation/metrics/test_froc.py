"""FROC against a loop over every threshold, and by hand."""

import numpy as np
import pytest
from random_cases import random_cases

from pneumodet.core.boxes import iou
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics.froc import CURVE_POINTS, MEANS, RATES, Froc, at_threshold, curve, froc
from pneumodet.evaluation.metrics.matching import match

NAMES = [f"{level}_{rate:g}" for level in ("froc.sensitivity_at", "froc.image_sensitivity_at") for rate in RATES]


def slow(cases):
    """The best sensitivity among all thresholds with at most so many false positives an image, each threshold matched anew."""
    points = [(0.0, 0.0, 0.0)]
    for threshold in set(cases.scores.tolist()):
        kept = cases.above(threshold)
        matched = match(kept)
        images = {int(case) for case in kept.box_case[matched.hit]}
        points.append(
            (
                (~matched.hit).sum() / len(cases),
                matched.detected.sum() / len(cases.truth_case),
                len(images) / np.count_nonzero(cases.positive),
            )
        )
    figures = {}
    for level, column in (("froc.sensitivity_at", 1), ("froc.image_sensitivity_at", 2)):
        for rate in RATES:
            figures[f"{level}_{rate:g}"] = max(point[column] for point in points if point[0] <= rate)
    for mean, level in zip(MEANS, (NAMES[:6], NAMES[6:]), strict=True):
        figures[mean] = np.mean([figures[name] for name in level])
    return figures


@pytest.mark.parametrize("given", [{}, {"most_detections": 14}, {"grid": 6}, {"positives": 0.3}], ids=["few", "many", "ties", "negative"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_slow_version(seed, given):
    cases = random_cases(seed, **given)
    assert froc(cases) == pytest.approx(slow(cases), abs=1e-12)
    assert froc(cases)["froc.image_mean_sensitivity"] < 1


@pytest.mark.parametrize("seed", range(6))
def test_a_weight_is_as_good_as_so_many_copies(seed):
    cases = random_cases(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (len(cases), 2))
    values = Froc(cases).sensitivities(weights.astype(float))
    for column in range(2):
        expected = froc(cases.take(np.repeat(np.arange(len(cases)), weights[:, column])))
        assert values[:, :, column].ravel() == pytest.approx([expected[name] for name in NAMES], abs=1e-12)


def eight_images(scores):
    """Eight images, of which the first has two boxes; three detections there: a hit, a false one, a hit."""
    truth = np.array([[0.0, 0, 100, 100], [300, 300, 400, 400]])
    boxes = np.array([[0.0, 0, 100, 100], [600, 600, 700, 700], [300, 300, 400, 400]])
    zeros = np.zeros(3, int)
    return Cases(tuple("abcdefgh"), np.arange(8), truth, zeros[:2], boxes, np.array(scores), zeros)


def test_by_hand():
    figures = froc(eight_images([0.9, 0.8, 0.7]))
    # one false positive in eight images is exactly 1/8: it is allowed, and with it the second hit
    assert figures["froc.sensitivity_at_0.125"] == 1.0
    assert figures["froc.image_sensitivity_at_0.125"] == 1.0
    seven = froc(eight_images([0.9, 0.8, 0.7]).take(np.arange(7)))
    assert seven["froc.sensitivity_at_0.125"] == 0.5  # 1/7 is too many
    assert seven["froc.image_sensitivity_at_0.125"] == 1.0
    assert seven["froc.sensitivity_at_0.25"] == 1.0


def test_equal_scores_come_and_go_together():
    seven = eight_images([0.9, 0.9, 0.9]).take(np.arange(7))
    assert froc(seven)["froc.sensitivity_at_0.125"] == 0.0  # no threshold keeps the hits without the false one
    assert froc(seven)["froc.sensitivity_at_0.25"] == 1.0


def test_images_without_boxes_and_detections_count():
    cases = random_cases(2, count=20)
    empty = cases.take(np.arange(20))
    names = tuple(map(str, range(40)))
    wider = Cases(names, np.arange(40), empty.truth_xyxy_px, empty.truth_case, empty.boxes_xyxy_px, empty.scores, empty.box_case)
    assert froc(wider)["froc.sensitivity_at_0.25"] == froc(cases)["froc.sensitivity_at_0.5"]


def test_without_ground_truth_there_is_a_reason():
    figures = froc(random_cases(1, positives=0.0))
    assert figures.pop("froc.undefined") == "no case has a ground-truth box"
    assert set(figures.values()) == {None} and len(figures) == 14


def test_curve():
    cases = random_cases(5, count=400, grid=10**6)
    points = curve(cases)
    assert {len(values) for values in points.values()} == {CURVE_POINTS}
    for name in ("fp_per_image", "sensitivity", "image_sensitivity"):
        assert np.all(np.diff(points[name]) >= 0)
    for index in (0, 50, CURVE_POINTS - 1):
        figures = at_threshold(cases, points["threshold"][index])
        assert figures["lesion.sensitivity"] == pytest.approx(points["sensitivity"][index])
        assert figures["lesion.fp_per_image"] == pytest.approx(points["fp_per_image"][index])
    assert curve(random_cases(1, positives=0.0)) == {"threshold": [], "fp_per_image": [], "sensitivity": [], "image_sensitivity": []}


def test_at_threshold():
    cases = random_cases(7)
    figures = at_threshold(cases, 0.4)
    kept = cases.above(0.4)
    matched = match(kept)
    assert figures["lesion.hits"] == matched.hit.sum() > 0
    assert figures["lesion.hits"] + figures["lesion.false_positives"] == len(kept.scores)
    assert figures["lesion.hits"] + figures["lesion.missed"] == len(cases.truth_case)
    ious = [iou(kept.boxes_xyxy_px[[i]], kept.truth_xyxy_px[[t]])[0, 0] for i, t in enumerate(matched.truth) if t >= 0]
    assert figures["lesion.mean_iou_of_hits"] == pytest.approx(np.mean(ious))
    precision, recall = figures["lesion.precision"], figures["lesion.sensitivity"]
    assert figures["lesion.f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    nothing = at_threshold(cases, 2.0)
    assert (nothing["lesion.sensitivity"], nothing["lesion.precision"], nothing["lesion.mean_iou_of_hits"]) == (0.0, None, None)
    reasons = {key.removesuffix(".undefined"): value for key, value in nothing.items() if key.endswith(".undefined")}
    assert reasons == {"lesion.precision": "no detection reaches the threshold", "lesion.mean_iou_of_hits": "no detection is a hit"}
    negative = random_cases(1, positives=0.0)
    for one in (figures, nothing, at_threshold(negative, 0.4), at_threshold(negative, 2.0)):
        assert {f"{key}.undefined" for key, value in one.items() if value is None} == {key for key in one if key.endswith(".undefined")}


def test_false_positives_of_images_with_and_without_ground_truth_are_counted_apart():
    """A specificity of 1 beside many false positives: all of them are on images with ground truth, in the wrong place."""
    truth = np.array([[0.0, 0, 10, 10]])
    wrong = np.array([[50.0, 50, 60, 60], [70, 70, 80, 80]])
    cases = Cases(["ill", "well", "also well"], np.arange(3), truth, np.array([0]), wrong, np.array([0.9, 0.8]), np.array([0, 0]))
    figures = at_threshold(cases, 0.5)
    assert figures["lesion.fp_per_image"] == pytest.approx(2 / 3)
    assert (figures["lesion.fp_per_positive_image"], figures["lesion.fp_per_negative_image"]) == (2, 0)
    nobody = at_threshold(random_cases(1, positives=0.0), 0.5)
    assert (
        nobody["lesion.fp_per_positive_image"] is None
        and nobody["lesion.fp_per_positive_image.undefined"] == "no case has a ground-truth box"
    )
