"""The pointing game and other localization metrics, with answers known beforehand."""

import numpy as np
import pytest

from pneumodet.evaluation.classification import localization
from pneumodet.evaluation.classification.weak_boxes import GRID
from pneumodet.evaluation.metrics.jackknife import Ratio

SIZE_HW = (512, 1024)
NONE = np.zeros((0, 4))


def spot(row, column, *, cells=8):
    """Heat in one cell of 8 x 8: 64 px high and 128 px wide on the radiograph."""
    heatmap = np.zeros((cells, cells))
    heatmap[row, column] = 0.3
    return heatmap


def measure(heatmap, truth, weak=NONE, **more):
    """Return the four figures of one exam."""
    counts = localization.measure([heatmap], [np.asarray(truth, np.float64)], [SIZE_HW], [weak], **more)
    return {name: ratio(np.ones((1, 1)))[0] for name, ratio in counts.items()}


def test_the_hottest_place_is_the_middle_of_the_hottest_cell():
    assert localization.hottest_xy_px(spot(0, 0), SIZE_HW) == (64, 32)
    assert localization.hottest_xy_px(spot(7, 2), SIZE_HW) == (320, 480)
    assert localization.hottest_xy_px(np.zeros((8, 8)), SIZE_HW) is None


@pytest.mark.parametrize(
    ("box", "tolerance_px", "hit"),
    [
        ([300, 200, 400, 300], 0, 1),  # the point is (320, 224)
        ([320, 224, 400, 300], 0, 1),
        ([330, 200, 400, 300], 0, 0),
        ([330, 200, 400, 300], 10, 1),
        ([330, 200, 400, 300], 9.9, 0),
        ([323, 228, 400, 300], 5, 1),  # 3 px aside and 4 px below
        ([323, 228, 400, 300], 4.9, 0),
    ],
)
def test_the_pointing_game_has_a_tolerance(box, tolerance_px, hit):
    assert measure(spot(3, 2), [box], tolerance_px=tolerance_px)["pointing"] == hit
    far = [900.0, 400, 950, 450]
    assert measure(spot(3, 2), [far, box], tolerance_px=tolerance_px)["pointing"] == hit, "any box counts"


def test_energy_is_the_share_of_the_heatmap_in_boxes():
    heatmap = np.zeros((GRID, GRID))
    heatmap[:, :64] = 1
    heatmap[:, 192:] = 3
    left, right = [0, 0, 256, 512], [768, 0, 1024, 512]
    assert measure(heatmap, [left])["energy"] == pytest.approx(0.25)
    assert measure(heatmap, [right])["energy"] == pytest.approx(0.75)
    assert measure(heatmap, [left, left, right])["energy"] == pytest.approx(1), "boxes that overlap count once"


def test_overlaps_with_weak_boxes():
    truth = [[0, 0, 256, 256], [512, 0, 768, 256]]
    weak = np.array([[0.0, 0, 256, 128]])
    figures = measure(spot(3, 2), truth, weak)
    assert figures["box_iou"] == pytest.approx(0.25), "0.5 of the first box and 0 of the second"
    assert figures["area_iou"] == pytest.approx(0.25)


def test_without_heat_nothing_is_localized():
    assert measure(np.zeros((8, 8)), [[0, 0, 1024, 512]]) == dict.fromkeys(localization.FIGURES, 0.0)


def test_exams_without_boxes_do_not_count():
    counts = localization.measure([spot(3, 2), spot(0, 0)], [np.array([[300.0, 200, 400, 300]]), NONE], [SIZE_HW] * 2, [NONE] * 2)
    assert counts["pointing"](np.ones((2, 1)))[0] == 1
    only_negative = localization.measure([spot(0, 0)], [NONE], [SIZE_HW], [NONE])
    assert all(np.isnan(ratio(np.ones((1, 1)))[0]) for ratio in only_negative.values())


def test_chance_is_the_share_of_area():
    box = np.array([[256.0, 128, 512, 384]])
    chance = localization.by_chance([box], [SIZE_HW], tolerance_px=0)
    for name in localization.FIGURES:
        assert chance[name](np.ones((1, 1)))[0] == pytest.approx(0.125), name
    near = localization.by_chance([box], [SIZE_HW], tolerance_px=50)["pointing"](np.ones((1, 1)))[0]
    area = 256 * 256 + 4 * 256 * 50 + np.pi * 50**2
    assert near == pytest.approx(area / (512 * 1024), rel=0.01)
    twice = localization.by_chance([np.concatenate([box, box])], [SIZE_HW], tolerance_px=0)["energy"](np.ones((1, 1)))[0]
    assert twice == pytest.approx(0.125), "area that two boxes share counts once"


def test_random_points_hit_as_often_as_chance_says():
    """The pointing game itself, of heatmap at random places."""
    rng = np.random.default_rng(1)
    box = np.array([[200.0, 100, 700, 300]])
    heatmaps = [spot(*rng.integers(0, 32, 2), cells=32) for _ in range(600)]
    played = localization.measure(heatmaps, [box] * 600, [SIZE_HW] * 600, [NONE] * 600, tolerance_px=30)["pointing"]
    chance = localization.by_chance([box], [SIZE_HW], tolerance_px=30)["pointing"](np.ones((1, 1)))[0]
    assert played(np.ones((600, 1)))[0] == pytest.approx(chance, abs=0.04)


def test_priors():
    centre = localization.centre_heatmap()
    x, y = localization.hottest_xy_px(centre, SIZE_HW)
    assert (x, y) == pytest.approx((512, 256), abs=4)
    prior = localization.spatial_prior([np.array([[0.0, 0, 512, 512]]), NONE, np.array([[0.0, 0, 1024, 256]])], [SIZE_HW] * 3)
    np.testing.assert_allclose(prior[[0, 0, -1, -1], [0, -1, 0, -1]], [1, 0.5, 0.5, 0])
    assert localization.spatial_prior([NONE], [SIZE_HW]) is None


def sources(rng, count, *, better=0.3):
    hits = (rng.random(count) < 0.4).astype(np.float64)
    more = np.where(rng.random(count) < better, 1.0, hits)
    ones = np.ones(count)
    return {name: dict.fromkeys(localization.FIGURES, Ratio(values, ones)) for name, values in (("a", more), ("b", hits))}


def test_intervals_are_by_patient_and_differences_are_paired():
    rng = np.random.default_rng(2)
    patients = np.arange(80)
    once = sources(rng, 80)
    table = localization.compared(once, patients)["pointing"]
    assert table["a"]["low"] < table["a"]["value"] < table["a"]["high"]
    assert table["b"]["above"]["value"] == pytest.approx(table["a"]["value"] - table["b"]["value"])
    widths = [one["high"] - one["low"] for one in (table["b"]["above"], table["a"], table["b"])]
    assert widths[0] < widths[1] + widths[2]
    assert table["b"]["above"]["low"] > 0, "a is never worse than b in any exam"
    twice = {
        name: {figure: Ratio(np.tile(ratio.part, 2), np.tile(ratio.whole, 2)) for figure, ratio in ratios.items()}
        for name, ratios in once.items()
    }
    again = localization.compared(twice, np.tile(patients, 2))["pointing"]["a"]
    # a second exam that is alike says nothing new
    assert (again["value"], again["high"] - again["low"]) == (table["a"]["value"], pytest.approx(widths[1], rel=0.05))
    narrower = localization.compared(twice, np.arange(160))["pointing"]["a"]
    assert narrower["high"] - narrower["low"] < widths[1]


def test_intervals_agree_with_resampling_by_hand():
    rng = np.random.default_rng(5)
    reached, of, patients = rng.random(40), rng.integers(1, 4, 40).astype(np.float64), rng.integers(0, 15, 40)
    table = localization.compared({"a": dict.fromkeys(localization.FIGURES, Ratio(reached, of))}, patients)["energy"]["a"]
    drawn = []
    names = np.unique(patients)
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(patients == one) for one in rng.choice(names, len(names))])
        drawn.append(reached[rows].sum() / of[rows].sum())
    assert table["value"] == pytest.approx(reached.sum() / of.sum())
    assert (table["low"], table["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.03)


def test_too_few_patients_have_no_interval():
    one = {"a": dict.fromkeys(localization.FIGURES, Ratio(np.array([1.0, 0.0]), np.ones(2)))}
    assert localization.compared(one, np.zeros(2, np.int64))["pointing"]["a"] == {
        "value": 0.5,
        "low": None,
        "high": None,
        "undefined": "Only 1 patient of the kind that makes this figure: too few for an interval.",
    }
    none = {"a": dict.fromkeys(localization.FIGURES, Ratio(np.zeros(2), np.zeros(2)))}
    assert localization.compared(none, np.arange(2))["pointing"]["a"]["value"] is None
