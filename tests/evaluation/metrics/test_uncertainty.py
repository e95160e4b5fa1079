"""Headline figures: weights against copies, intervals by patient, thresholds chosen again, and the comparison of two models."""

import dataclasses
import json

import numpy as np
import pytest
from random_cases import random_cases

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import jackknife, operating_point, refitted, rsna
from pneumodet.evaluation.metrics.average_precision import PrecisionRecall
from pneumodet.evaluation.metrics.froc import at_threshold, froc
from pneumodet.evaluation.metrics.headline import Figures
from pneumodet.evaluation.metrics.image_level import image_level
from pneumodet.evaluation.metrics.refitted import Refitted, resampled_weights
from pneumodet.evaluation.metrics.uncertainty import Choice, compare, intervals

THRESHOLD = 0.4


def simulated(rng, patients, *, exams=4, spread=4.0):
    """Exams of patients, half of whom have pneumonia; the share of exams in which it is found differs between patients.

    A positive exam has one box, found with the patient's own probability: Beta(0.6, 0.4) times ``spread``. Every exam has a false detection
    with probability 0.5. All scores are drawn from (0, 1), those of hits higher.
    """
    count = patients * exams
    patient = np.repeat(np.arange(patients), exams)
    chance = np.where(rng.random(patients) < 0.5, rng.beta(0.6 * spread, 0.4 * spread, patients), -1.0)[patient]
    positive = np.flatnonzero(chance >= 0)
    result = positive[rng.random(len(positive)) < chance[positive]]
    false = np.flatnonzero(rng.random(count) < 0.5)
    case = np.concatenate([result, false])
    scores = np.concatenate([rng.beta(3, 2, len(result)), rng.beta(2, 3, len(false))])
    boxes = np.where(np.arange(len(case))[:, None] < len(result), [100.0, 100, 290, 300], [600.0, 600, 700, 700])
    order = np.lexsort((-scores, case))
    truth = np.tile([100.0, 100, 300, 300], (len(positive), 1))
    names = tuple(map(str, range(count)))
    return Cases(names, patient, truth, positive, boxes[order], scores[order], case[order])


@pytest.mark.parametrize("rules", rsna.RULES)
@pytest.mark.parametrize("seed", range(4))
def test_a_weighted_figure_is_that_of_so_many_copies(seed, rules):
    """Every figure of the bootstrap against the function that reports it."""
    cases = random_cases(seed, count=40, grid=10**6)
    weights = np.random.default_rng(seed).integers(0, 4, (len(cases), 2))
    result = Figures(cases, score_threshold=THRESHOLD, rules=rules)(weights.astype(float))
    for column in range(2):
        copies = cases.take(np.repeat(np.arange(len(cases)), weights[:, column]))
        curves, ones = PrecisionRecall(copies), np.ones((len(copies), 1))
        ap, ar = curves.average_precision(ones)[:, 0], curves.average_recall(ones)[:, 0]
        expected = {
            "rsna_metric": np.nanmean(rsna.case_scores(copies, rules=rules, score_threshold=THRESHOLD)),
            **{f"coco.pneumonia.{key}": value for key, value in zip(("AP", "AP50", "AP75"), (ap.mean(), ap[0], ap[5]), strict=True)},
            **{f"coco.pneumonia.AR{limit}": value for limit, value in zip((1, 10, 100), ar, strict=True)},
            **froc(copies),
            **image_level(copies, score_threshold=THRESHOLD),
            **at_threshold(copies, THRESHOLD),
        }
        assert {key: values[column] for key, values in result.items()} == pytest.approx({key: expected[key] for key in result}, abs=1e-12)
    assert len(result) == 1 + 6 + 14 + 6 + 3


def test_resamples_draw_patients_with_all_their_exams():
    patients = np.array([7, 3, 7, 3, 9])
    weights = np.concatenate(list(resampled_weights(patients, resamples=500, seed=1)), axis=1)
    assert weights.shape == (5, 500)
    assert np.array_equal(weights[0], weights[2]) and np.array_equal(weights[1], weights[3])
    assert (weights[[0, 1, 4]].sum(axis=0) == 3).all()
    assert weights.mean(axis=1) == pytest.approx(np.ones(5), abs=0.12)
    assert np.array_equal(weights, np.concatenate(list(resampled_weights(patients, resamples=500, seed=1)), axis=1))
    assert not np.array_equal(weights, np.concatenate(list(resampled_weights(patients, resamples=500, seed=2)), axis=1))


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say_and_naive_ones_do_not():
    """120 sets of 100 patients, against the truth of 20,000; clusters widen the intervals of what differs between patients.

    A share of 0.95 in 120 has a standard error of 0.02.
    """
    rng = np.random.default_rng(0)
    truth = Figures(simulated(rng, 20_000), score_threshold=THRESHOLD)(np.ones((80_000, 1)))
    keys = ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity", "image.roc_auc", "image.pr_auc", "image.sensitivity")
    held, held_naive = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    width, width_naive = [], []
    for _ in range(120):
        cases = simulated(rng, 100)
        naive = dataclasses.replace(cases, patients=np.arange(len(cases)))
        of_set, of_naive = (intervals(one, score_threshold=THRESHOLD, resamples=160)["figures"] for one in (cases, naive))
        for counts, widths, one in ((held, width, of_set), (held_naive, width_naive, of_naive)):
            for key in keys:
                counts[key] += one[key]["low"] <= truth[key][0] <= one[key]["high"]
            widths.append([one[key]["high"] - one[key]["low"] for key in keys])
    assert all(0.87 <= count / 120 <= 1 for count in held.values()), held
    assert 0.92 <= np.mean(list(held.values())) / 120 <= 0.98, held
    assert held_naive["image.sensitivity"] < held["image.sensitivity"]
    assert np.mean(list(held_naive.values())) / 120 < 0.91, held_naive
    assert (np.mean(width, axis=0) > 1.05 * np.mean(width_naive, axis=0)).all()


def test_intervals_are_plain_numbers_around_the_figure_and_repeat_with_the_seed():
    cases = simulated(np.random.default_rng(1), 100)
    result = intervals(cases, score_threshold=THRESHOLD, resamples=200, seed=5, class_name="opacity")
    json.dumps(result, allow_nan=False)
    assert (result["resamples"], result["seed"], result["confidence"], result["patients"]) == (200, 5, 0.95, 100)
    assert "100 patients left out in turn" in result["method"] and "score thresholds fixed; seed 5" in result["method"]
    assert "coco.opacity.AP50" in result["figures"]
    for key, figure in result["figures"].items():
        assert figure["low"] <= figure["value"] <= figure["high"], key
    assert result == intervals(cases, score_threshold=THRESHOLD, resamples=200, seed=5, class_name="opacity")
    narrow = intervals(cases, score_threshold=THRESHOLD, resamples=200, seed=5, confidence=0.5)["figures"]["rsna_metric"]
    wide = result["figures"]["rsna_metric"]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_what_has_no_value_says_why():
    cases = random_cases(1, positives=0.0)
    result = intervals(cases, score_threshold=THRESHOLD, resamples=50)["figures"]
    assert result["image.roc_auc"] == {"value": None, "low": None, "high": None, "undefined": "These cases give the figure no value."}
    assert result["image.specificity"]["low"] < result["image.specificity"]["high"]
    one_positive = random_cases(1, count=30).take(np.array([*np.flatnonzero(~random_cases(1, count=30).positive), 0]))
    assert one_positive.positive.sum() == 1
    figure = intervals(one_positive, score_threshold=THRESHOLD, resamples=200)["figures"]["image.sensitivity"]
    assert figure["value"] is not None and figure["low"] is None
    assert figure["undefined"] == "Only 1 patient of the kind that makes this figure: too few for an interval."


def test_one_patient_has_no_interval():
    cases = dataclasses.replace(random_cases(1), patients=np.full(30, 7))
    figure = intervals(cases, score_threshold=THRESHOLD, resamples=20)["figures"]["rsna_metric"]
    assert figure["value"] > 0 and figure["low"] is None and figure["high"] is None
    assert figure["undefined"].startswith("Only 1 patient")
    compared = compare(cases, cases, thresholds=(0.2, 0.4), resamples=20)["figures"]["rsna_metric"]
    assert compared["sentence"].startswith("A and B cannot be compared: ")


def test_a_model_against_itself_differs_by_exactly_nothing():
    cases = simulated(np.random.default_rng(2), 40)
    result = compare(cases, cases, thresholds=(THRESHOLD, THRESHOLD), resamples=100)
    for figure in result["figures"].values():
        # an interval of no width would say that no set of patients could tell them apart
        assert (figure["value"], figure["low"], figure["high"], figure["p"]) == (0.0, None, None, None)
        assert figure["sentence"].endswith("The models differ in 0 patients only: too few to say which is better.")


@pytest.fixture(scope="module")
def two_models():
    """A model, and the same without every second of its detections that are hits, and with the same false ones."""
    cases = simulated(np.random.default_rng(3), 120)
    hits = cases.boxes_xyxy_px[:, 0] == 100
    return cases, cases.where(~hits | (np.cumsum(hits) % 2 == 0))


def test_the_better_model_is_named(two_models):
    good, bad = two_models
    result = compare(good, bad, thresholds=(THRESHOLD, THRESHOLD), names=("old", "new"), resamples=200)["figures"]["lesion.sensitivity"]
    assert result["value"] == pytest.approx(result["b"] - result["a"]) and result["value"] < 0
    low, high = result["low"], result["high"]
    assert low < high < 0
    assert result["sentence"].startswith(f"old is better: new - old = {result['value']:.3f} [{low:.3f}, {high:.3f}] (95% interval, p ")
    turned = compare(bad, good, thresholds=(THRESHOLD, THRESHOLD), names=("old", "new"), resamples=200)["figures"]["lesion.sensitivity"]
    shown = f"new is better: new - old = +{-result['value']:.3f} [+{-high:.3f}, +{-low:.3f}] (95% interval, p "
    assert turned["sentence"].startswith(shown), "the same direction, whoever is better"
    assert (turned["low"], turned["high"]) == (pytest.approx(-high), pytest.approx(-low))


def test_fewer_false_positives_are_better():
    cases = simulated(np.random.default_rng(4), 60)
    result = compare(cases, cases, thresholds=(0.2, 0.6), names=("low", "high"), resamples=100)["figures"]["lesion.fp_per_image"]
    assert result["value"] < 0
    assert result["sentence"].startswith(f"high is better: high - low = {result['value']:.3f} [-")


def test_the_comparison_is_paired(two_models):
    """A tenth of the hits lost is a small difference on hard patients, and yet it is seen: both models are drawn with the same patients."""
    cases, _ = two_models
    hits = cases.boxes_xyxy_px[:, 0] == 100
    other = cases.where(~hits | (np.cumsum(hits) % 10 != 0))
    difference = compare(cases, other, thresholds=(THRESHOLD, THRESHOLD), resamples=300)["figures"]["lesion.sensitivity"]
    alone = [intervals(one, score_threshold=THRESHOLD, resamples=300)["figures"]["lesion.sensitivity"] for one in (cases, other)]
    assert alone[0]["low"] < alone[1]["high"]  # their intervals overlap
    assert difference["high"] < 0
    assert difference["high"] - difference["low"] < 0.6 * (alone[0]["high"] - alone[0]["low"])


def test_what_cannot_be_compared_says_why():
    cases = random_cases(1, positives=0.0)
    result = compare(cases, cases, thresholds=(THRESHOLD, THRESHOLD), resamples=20)["figures"]["image.roc_auc"]
    assert result["sentence"] == "A and B cannot be compared: These cases give the figure no value."
    assert result["a"] is None and result["b"] is None and result["value"] is None


def test_errors(two_models):
    good, bad = two_models
    both = {"thresholds": (THRESHOLD, THRESHOLD)}
    with pytest.raises(DataError, match="same cases in the same order only; 0 differs"):
        compare(good, dataclasses.replace(bad, names=bad.names[::-1]), **both)
    with pytest.raises(DataError, match="number of cases or the patients differs"):
        compare(good, bad.take(np.arange(3)), **both)
    with pytest.raises(DataError, match="same ground truth only"):
        compare(good, dataclasses.replace(bad, truth_xyxy_px=bad.truth_xyxy_px + 1), **both)
    with pytest.raises(DataError, match="no cases"):
        intervals(good.take(np.zeros(0, int)), score_threshold=THRESHOLD)
    with pytest.raises(DataError, match="no rules 'kaggle'"):
        intervals(good, score_threshold=THRESHOLD, rules="kaggle")
    for wrong in ({"confidence": 1.0}, {"confidence": 95}):
        with pytest.raises(ConfigError, match="a confidence between 0 and 1"):
            intervals(good, score_threshold=THRESHOLD, **wrong)
    with pytest.raises(ConfigError, match="Resamples must be at least 2, not 1"):
        intervals(good, score_threshold=THRESHOLD, resamples=1)


def test_five_of_five_is_no_certainty():
    """Five positive patients, all detected, and five negative ones: a sensitivity of 1 has an interval below it, and so have the areas."""
    cases = simulated(np.random.default_rng(6), 10, exams=1)
    truth_case = np.arange(5)
    truth = np.tile([100.0, 100, 300, 300], (5, 1))
    cases = dataclasses.replace(
        cases, truth_case=truth_case, truth_xyxy_px=truth, box_case=truth_case, boxes_xyxy_px=truth, scores=np.full(5, 0.9)
    )
    of_set = intervals(cases, score_threshold=0.5)["figures"]
    for key in ("image.sensitivity", "image.specificity", "image.roc_auc", "coco.pneumonia.AP50"):
        assert of_set[key]["value"] == 1.0 and of_set[key]["high"] == 1.0, key
        # beyond Clopper and Pearson's 0.478, which leaves half of the error to an end that nothing reaches
        assert of_set[key]["low"] == pytest.approx(0.05 ** (1 / 5), abs=1e-6), key
    assert of_set["lesion.fp_per_image"]["high"] == pytest.approx(-np.log(0.05) / 10)


@pytest.mark.parametrize("aim", ["rsna", "f1", "sensitivity>=0.7", "fp_per_image<=0.2"])
def test_choosing_again_gives_the_cross_fitted_figures_and_widens_their_intervals(aim):
    cases = simulated(np.random.default_rng(7), 60)
    folds = operating_point.patient_folds(cases)
    by_case, fitted = operating_point.cross_fitted(cases, aim, folds=folds)
    again = Refitted(cases, aim, folds=folds, candidates=10_000)
    ones = again(np.ones((len(cases), 1)))
    assert {key: ones[key][0] for key in ones if key in fitted["reached"]} == pytest.approx(
        {key: value for key, value in fitted["reached"].items() if key in ones}, abs=0.02 if aim.startswith("fp") else 1e-12
    )
    if not aim.startswith("fp"):
        assert again.thresholds() == pytest.approx(fitted["thresholds"], abs=1e-7)
    at = by_case[cases.box_case]
    fixed, chosen = (intervals(cases, score_threshold=at, choice=one, resamples=100)["figures"] for one in (None, Choice(aim, folds)))
    for key in refitted.KEYS:
        width = [one[key]["high"] - one[key]["low"] for one in (fixed, chosen)]
        assert width[1] >= width[0] - 1e-12, key
    # the threshold of the highest F1 lies where specificity moves with it
    if aim == "f1":
        assert chosen["image.specificity"]["low"] < fixed["image.specificity"]["low"] - 0.005
    assert fixed["image.roc_auc"] == chosen["image.roc_auc"]


def test_p_and_interval_agree_and_hold_for_many(two_models):
    good, bad = two_models
    for comparisons in (1, 4):
        result = compare(good, bad, thresholds=(THRESHOLD, THRESHOLD), comparisons=comparisons)["figures"]
        for key, one in result.items():
            if one["low"] is not None:
                assert (one["p"] < 0.05) == (not one["low"] <= 0 <= one["high"]), key
        assert ("both for 4 comparisons" in result["rsna_metric"]["sentence"]) is (comparisons == 4)


def test_two_processors_give_the_same(monkeypatch):
    cases = random_cases(5, count=40)
    choice = Choice("rsna", operating_point.patient_folds(cases))
    one = intervals(cases, score_threshold=THRESHOLD, choice=choice, resamples=35)
    monkeypatch.setattr(jackknife, "_MANY", 0)
    assert intervals(cases, score_threshold=THRESHOLD, choice=choice, resamples=35) == one
    assert jackknife.in_threads(lambda number: number**2, iter(range(5)), number=1) == [0, 1, 4, 9, 16], "of an iterator, in its order"
