"""Figures of slices against the metrics of the same exams alone, and which slice is named."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
from random_cases import random_cases

from pneumodet.core.errors import DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import froc, rsna
from pneumodet.evaluation.metrics.average_precision import average_precision
from pneumodet.evaluation.metrics.headline import Figures
from pneumodet.evaluation.metrics.operating_point import at
from pneumodet.evaluation.metrics.slices import FIGURES, age_band, slices
from pneumodet.evaluation.metrics.uncertainty import fixed_moves, intervals, moves

CLASSES = ("Normal", "No Lung Opacity / Not Normal")


def with_facts(seed, count=240, **more):
    rng = np.random.default_rng(seed)
    cases = random_cases(seed, count=count, **more)
    facts = {
        "view_position": tuple(rng.choice(["AP", "PA"], count).tolist()),
        "sex": tuple(rng.choice(["F", "M", ""], count, p=[0.5, 0.4, 0.1]).tolist()),
        "age": tuple(rng.choice([5, 30, 50, 70, 85, 150], count).tolist()),
        "rsna_class": tuple(np.where(cases.positive, "Lung Opacity", rng.choice(CLASSES, count)).tolist()),
    }
    return dataclasses.replace(cases, facts=facts)


def of_groups(*groups, by="sex"):
    """Cases of (name, positives, of them called positive, negatives, of them called positive); nothing hits."""
    positive, called, facts = [], [], []
    for name, positives, true, negatives, false in groups:
        positive += [True] * positives + [False] * negatives
        called += [index < true for index in range(positives)] + [index < false for index in range(negatives)]
        facts += [name] * (positives + negatives)
    truth_case, box_case = np.flatnonzero(positive), np.flatnonzero(called)
    truth, boxes = (np.tile([low, low, low + 100.0, low + 100.0], (n, 1)) for low, n in ((500, len(truth_case)), (0, len(box_case))))
    count = len(positive)
    names = tuple(map(str, range(count)))
    return Cases(names, np.arange(count), truth, truth_case, boxes, np.full(len(box_case), 0.9), box_case, {by: tuple(facts)})


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "<18"), (17.9, "<18"), (18, "18-39"), (39, "18-39"), (40, "40-59"), (60, "60-79"), (79, "60-79"), (80, "80+"), (110, "80+")]
    + [(age, "unknown") for age in (148, 155, -1, None, math.nan, 110.5)],
)
def test_age_bands(age, band):
    assert age_band(age) == band


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_the_metrics_of_the_same_exams_alone(seed):
    cases = with_facts(seed)
    result = slices(cases, score_threshold=0.4, class_name="opacity")
    assert result["left_out"] == {}
    assert {row["by"] for row in result["slices"]} == {"view_position", "sex", "age", "rsna_class", "box_size"}
    for row in result["slices"]:
        if row["by"] == "box_size":
            continue
        values = np.array([age_band(value) if row["by"] == "age" else value or "unknown" for value in cases.facts[row["by"]]])
        part = cases.take(np.flatnonzero(values == row["slice"]))
        assert (row["exams"], row["positives"]) == (len(part), part.positive.sum())
        expected = {
            **at(part, 0.4),
            "coco.opacity.AP50": average_precision(part),
            "froc.mean_sensitivity": froc.froc(part)["froc.mean_sensitivity"],
        }
        assert set(row["figures"]) == {*FIGURES, "coco.opacity.AP50"}
        for key, one in row["figures"].items():
            assert one["value"] == (None if expected[key] is None else pytest.approx(expected[key], abs=1e-12)), (row["slice"], key)
    json.dumps(result, allow_nan=False)


def test_slices_by_a_fact_part_all_exams():
    cases = with_facts(0)
    rows = slices(cases, score_threshold=0.4)["slices"]
    for by in ("view_position", "sex", "age", "rsna_class"):
        assert sum(row["exams"] for row in rows if row["by"] == by) == len(cases)
    assert [row["slice"] for row in rows if row["by"] == "age"] == ["<18", "18-39", "40-59", "60-79", "80+", "unknown"]
    assert [row["slice"] for row in rows if row["by"] == "sex"] == ["F", "M", "unknown"]


def test_classes_tell_which_negatives_false_positives_come_from():
    cases = with_facts(1)
    rows = {row["slice"]: row["figures"] for row in slices(cases, score_threshold=0.4)["slices"] if row["by"] == "rsna_class"}
    assert rows["Lung Opacity"]["image.specificity"]["value"] is None
    for name in CLASSES:
        assert rows[name]["image.sensitivity"]["value"] is None
        assert rows[name]["coco.pneumonia.AP50"]["value"] is None
        assert 0 < rows[name]["image.specificity"]["value"] < 1
        assert rows[name]["lesion.fp_per_image"]["value"] > 0


def test_box_sizes_part_the_positives_in_three_by_their_largest_box():
    cases = with_facts(2)
    rows = [row for row in slices(cases, score_threshold=0.4, sizes_hw=np.full((len(cases), 2), 1000))["slices"] if row["by"] == "box_size"]
    assert [row["slice"].split(" (")[0] for row in rows] == ["smallest third", "middle third", "largest third"]
    assert sum(row["exams"] for row in rows) == cases.positive.sum()
    assert max(row["exams"] for row in rows) - min(row["exams"] for row in rows) <= 3
    assert all(row["positives"] == row["exams"] for row in rows)
    largest = {}
    for case, (left, top, right, bottom) in zip(cases.truth_case.tolist(), cases.truth_xyxy_px, strict=True):
        largest[case] = max(largest.get(case, 0), (right - left) * (bottom - top))
    order = sorted(largest, key=largest.get)
    part = cases.take(np.array(sorted(order[: rows[0]["exams"]])))
    assert rows[0]["figures"]["lesion.sensitivity"]["value"] == pytest.approx(at(part, 0.4)["lesion.sensitivity"])
    edge = np.sqrt(largest[order[rows[0]["exams"] - 1]]) / 1000
    assert f"up to {edge:.0%} of the image's side" in rows[0]["slice"]


def test_boxes_of_one_size_make_one_slice():
    rows = slices(of_groups(("F", 9, 3, 9, 3)), score_threshold=0.5)["slices"]
    assert [row["exams"] for row in rows if row["by"] == "box_size"] == [9]


def test_a_slice_is_small_below_thirty_exams_or_ten_positives():
    cases = of_groups(("A", 10, 5, 20, 2), ("B", 9, 5, 40, 2), ("C", 15, 5, 14, 2), ("D", 0, 0, 30, 3))
    assert {row["slice"]: row["small"] for row in slices(cases, score_threshold=0.5)["slices"] if row["by"] == "sex"} == {
        "A": False,
        "B": True,
        "C": True,
        "D": True,
    }
    few = of_groups(("A", 4, 2, 5, 1), ("B", 5, 2, 5, 1))
    assert (
        slices(few, score_threshold=0.5)["caveat"]
        == "No slice was compared with the other exams: each has fewer than 30 exams or 10 with findings."
    )
    cases = of_groups(("Normal", 0, 0, 30, 2), ("Not Normal", 0, 0, 29, 2), by="rsna_class")
    assert {row["slice"]: row["small"] for row in slices(cases, score_threshold=0.5)["slices"]} == {"Normal": False, "Not Normal": True}


def test_the_worst_slice_is_named_in_a_sentence():
    cases = of_groups(("F", 20, 18, 30, 3), ("M", 20, 10, 30, 3), ("O", 5, 0, 30, 30))  # the last is worse, but small
    result = slices(cases, score_threshold=0.5)
    assert (result["worst"]["by"], result["worst"]["slice"], result["worst"]["figure"]) == ("sex", "M", "image.sensitivity")
    assert result["worst"]["shortfall"] == pytest.approx(28 / 45 - 0.5)
    assert result["worst"]["sentence"] == (
        "Lowest sensitivity: 0.500 for sex M (50 exams, 20 positive), against 0.622 over all exams; not shown to differ from all other exams "
        "(p = 0.138, corrected for 4 comparisons)."
    )
    assert result["worst_by"] == {"sex": result["worst"], "box_size": None}
    # two sexes; all positives are of one size, so that there are no others to compare with
    assert result["caveat"].startswith("4 figures of slices were compared")


def test_a_low_specificity_is_found_as_well_and_an_unknown_fact_is_not_named():
    cases = of_groups(("F", 20, 10, 30, 20), ("M", 20, 10, 30, 3), ("", 20, 0, 30, 30))
    worst = slices(cases, score_threshold=0.5)["worst"]
    assert (worst["slice"], worst["figure"]) == ("F", "image.specificity")


def test_a_specificity_of_a_few_negatives_names_no_slice():
    cases = of_groups(("F", 40, 20, 9, 9), ("M", 40, 20, 60, 3))
    assert slices(cases, score_threshold=0.5)["worst"] is None


def test_facts_that_nothing_is_known_of_are_listed():
    cases = dataclasses.replace(with_facts(0), facts={"sex": ("",) * 240, "age": (None,) * 239 + (33,)})
    result = slices(cases, score_threshold=0.4)
    assert result["left_out"] == dict.fromkeys(("view_position", "sex", "rsna_class"), "Not known of any exam.")
    assert [(row["slice"], row["exams"]) for row in result["slices"] if row["by"] == "age"] == [("18-39", 1), ("unknown", 239)]
    few = slices(of_groups(("F", 2, 1, 40, 3)), score_threshold=0.4)
    assert few["left_out"]["box_size"] == "2 positive exams cannot be parted into three."


def test_each_slice_has_an_interval_of_its_own():
    cases = with_facts(3, patients=100)
    result = slices(cases, score_threshold=0.4, moves=functools.partial(fixed_moves, resamples=40, seed=1))
    row = next(row for row in result["slices"] if row["slice"] == "AP")
    part = cases.take(np.flatnonzero(np.array(cases.facts["view_position"]) == "AP"))
    expected = intervals(part, score_threshold=0.4, resamples=40, seed=1)["figures"]
    for key, one in row["figures"].items():
        assert one == pytest.approx({name: expected[key][name] for name in ("value", "low", "high")})
    assert f"[{result['worst_by']['sex']['sentence'].split('[')[1].split(']')[0]}]" in result["worst_by"]["sex"]["sentence"]
    sentence = result["worst_by"]["sex"]["sentence"]
    assert "differ from all other exams (p " in sentence and "corrected for" in sentence
    assert 0 <= result["worst"]["p"] <= 1
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("given", [{}, {"most_detections": 14}, {"grid": 6}, {"positives": 0.3}], ids=["few", "many", "ties", "negative"])
def test_figures_of_some_cases_are_those_of_these_cases_alone(given):
    cases, rng = random_cases(5, **given), np.random.default_rng(0)
    whole = Figures(cases, score_threshold=0.4)
    for share in (0.02, 0.3, 0.9):
        rows = np.flatnonzero(rng.random(len(cases)) < share)
        alone = Figures(cases.take(rows), score_threshold=0.4)
        # counted in both ways: all but few cases as they are, and all of them changed
        for weights in (np.ones((len(rows), 2)), rng.integers(0, 3, (len(rows), 4)).astype(np.float64)):
            expected = alone(weights)
            for key, values in whole.take(rows)(weights).items():
                np.testing.assert_allclose(values, expected[key], rtol=1e-12, err_msg=key)


def test_a_choice_of_thresholds_widens_the_interval_of_a_slice():
    cases = with_facts(3, patients=100)
    how = functools.partial(fixed_moves, resamples=40)
    overall = moves(cases, score_threshold=0.4, resamples=40)
    key = "image.specificity"
    drawn = np.random.default_rng(0).normal(overall[key].value, 0.2, 50)
    wider = overall | {key: dataclasses.replace(overall[key], refitted=drawn)}
    width = []
    for one in (overall, wider):
        row = next(row for row in slices(cases, score_threshold=0.4, moves=how, overall=one)["slices"] if row["slice"] == "AP")
        width.append(row["figures"][key]["high"] - row["figures"][key]["low"])
    assert width[1] > 1.5 * width[0]


def test_thresholds_of_each_detection_reach_the_figures_and_the_intervals():
    cases = with_facts(4)
    thresholds = np.random.default_rng(0).choice([0.2, 0.6], len(cases))[cases.box_case]
    kept = cases.where(cases.scores >= thresholds)
    seen = []

    def record(figures, patients):
        seen.append(figures.ratios["lesion.precision"].whole.sum())
        return fixed_moves(figures, patients, resamples=2)

    result = slices(cases, score_threshold=thresholds, moves=record)
    row = result["slices"][0]
    part = kept.take(np.flatnonzero(np.array(cases.facts["view_position"]) == "AP"))
    assert seen[0] == len(part.scores)
    assert row["figures"]["rsna_metric"]["value"] == pytest.approx(np.nanmean(rsna.case_scores(part)))


def test_no_cases_is_an_error():
    with pytest.raises(DataError, match="no cases"):
        slices(random_cases(0).take(np.zeros(0, int)), score_threshold=0.5)
