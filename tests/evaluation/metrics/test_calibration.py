"""Reliability by hand and against scikit-learn and SciPy; calibrators against theirs, on odd input, and that none is fitted on its own data."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import random_cases
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.evaluation.metrics.calibration import cross_fitted, evaluate, reliability, wilson, with_own
from pneumodet.evaluation.metrics.calibrators import SLOPES, fit, method_for
from pneumodet.evaluation.metrics.matching import match
from pneumodet.evaluation.metrics.operating_point import patient_folds
from pneumodet.inference.probability import METHODS, Calibrator

GRID = np.linspace(0, 1, 1001)


def logit(scores):
    return np.log(scores / (1 - scores))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def drawn(seed, count=2000, *, slope=0.5, intercept=-1.0):
    """Scores, and outcomes whose log odds are slope * logit(score) + intercept."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.8, 1.5, count).clip(0.001, 0.999)
    return scores, rng.random(count) < sigmoid(slope * logit(scores) + intercept)


# --- reliability ---


def test_reliability_by_hand():
    result = reliability(np.array([0.9, 0.1, 0.2, 0.7]), np.array([True, False, True, True]), bins=2)
    low, high = result["curve"]
    assert (low["low"], low["high"], low["count"], low["true"], low["rate"]) == (0.1, 0.2, 2, 1, 0.5)
    assert low["mean_score"] == pytest.approx(0.15)
    assert (high["mean_score"], high["rate"], high["count"]) == (pytest.approx(0.8), 1.0, 2)
    assert result["ece"] == pytest.approx((0.35 + 0.2) / 2)
    assert result["brier"] == pytest.approx((0.01 + 0.01 + 0.64 + 0.09) / 4)
    assert result["brier_of_base_rate"] == pytest.approx(0.75 * 0.25)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("seed", range(5))
def test_curve_and_brier_equal_scikit_learn(seed):
    scores, outcomes = drawn(seed, 500)
    result = reliability(scores, outcomes, bins=10)
    rate, mean = calibration_curve(outcomes, scores, n_bins=10, strategy="quantile")
    assert [one["rate"] for one in result["curve"]] == pytest.approx(rate, abs=1e-12)
    assert [one["mean_score"] for one in result["curve"]] == pytest.approx(mean, abs=1e-12)
    assert result["ece"] == pytest.approx(np.abs(rate - mean).mean(), abs=1e-12)
    assert result["brier"] == pytest.approx(brier_score_loss(outcomes, scores), abs=1e-12)


@pytest.mark.parametrize("bins", [1, 3, 10, 50])
def test_equal_scores_stay_in_one_bin_and_none_is_lost(bins):
    rng = np.random.default_rng(0)
    scores, outcomes = rng.integers(0, 5, 97) / 4, rng.random(97) < 0.5
    curve = reliability(scores, outcomes, bins=bins)["curve"]
    assert sum(one["count"] for one in curve) == 97
    assert sum(one["true"] for one in curve) == outcomes.sum()
    assert all(one["high"] < other["low"] for one, other in zip(curve, curve[1:], strict=False))
    assert len(curve) <= min(bins, 5)


@pytest.mark.parametrize(("true", "count"), [(0, 1), (0, 40), (3, 10), (10, 10), (500, 1000)])
def test_wilson_equals_scipy(true, count):
    expected = binomtest(true, count).proportion_ci(0.95, method="wilson")
    low, high = wilson(np.array([true]), np.array([count]))
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_reliability_of_nothing_and_of_one_score():
    nothing = reliability(np.zeros(0), np.zeros(0, bool))
    assert (nothing["ece"], nothing["curve"], nothing["undefined"]) == (None, [], "There is no score to compare.")
    assert reliability(np.full(8, 0.25), np.arange(8) < 2)["ece"] == 0
    with pytest.raises(ConfigError, match="at least one bin, not 0"):
        reliability(np.zeros(3), np.zeros(3, bool), bins=0)


# --- calibrators ---


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_isotonic_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    scores, outcomes = drawn(seed, 400)
    if seed % 2:
        scores = rng.integers(0, 30, 400) / 29  # many equal, 0 and 1 among them
    expected = IsotonicRegression(out_of_bounds="clip").fit(np.tile(scores, 2000), np.tile(outcomes, 2000))
    result = fit(np.tile(scores, 2000), np.tile(outcomes, 2000), method="isotonic")
    assert result(GRID) == pytest.approx(expected.predict(GRID), abs=1e-3)  # of so many exams a step is what they say


@pytest.mark.parametrize("seed", range(8))
def test_a_step_is_what_the_rule_of_succession_makes_of_its_exams(seed):
    """However few they are, it is neither 0 nor 1; with 57 exams the highest step is often of two or three."""
    scores, outcomes = drawn(seed, 57, slope=2.0)
    result = fit(scores, outcomes, method="isotonic")(scores)
    assert (np.diff(result[np.argsort(scores)]) >= 0).all()
    for level in np.unique(result):
        inside = outcomes[result == level]
        assert level == pytest.approx((inside.sum() + 1) / (len(inside) + 2), abs=1e-12)
    assert 1 < len(np.unique(result)) < 20


def test_few_exams_get_a_smooth_curve_and_many_get_steps():
    assert [method_for(count) for count in (57, 999, 1000, 20_000)] == ["platt", "platt", "isotonic", "isotonic"]


@pytest.mark.parametrize("seed", range(5))
def test_platt_equals_logistic_regression_on_his_targets(seed):
    scores, outcomes = drawn(seed)
    true, false = outcomes.sum(), (~outcomes).sum()
    targets = np.where(outcomes, (true + 1) / (true + 2), 1 / (false + 2))
    column = np.tile(logit(scores), 2)[:, None]
    expected = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
    expected.fit(column, np.repeat([1, 0], len(scores)), sample_weight=np.concatenate([targets, 1 - targets]))
    result = fit(scores, outcomes, method="platt").parameters
    assert result["slope"] == pytest.approx(expected.coef_[0, 0], abs=1e-4)
    assert result["intercept"] == pytest.approx(expected.intercept_[0], abs=1e-4)
    assert result["slope"] == pytest.approx(0.5, abs=0.1)  # what the outcomes were drawn with


def test_platt_reaches_the_least_log_loss_on_a_few_low_scores():
    """There Newton's full step overshoots: the loss must be watched."""
    for seed in range(15):
        rng = np.random.default_rng(seed)
        scores, outcomes = rng.beta(0.3, 3, 60).clip(1e-3, 1 - 1e-3), rng.random(60) < 0.1
        outcomes[:2] = True, False
        targets = np.where(outcomes, (outcomes.sum() + 1) / (outcomes.sum() + 2), 1 / ((~outcomes).sum() + 2))

        def loss(parameters, logits, targets):
            line = parameters[0] * logits + parameters[1]
            return (np.logaddexp(0, line) - targets * line).sum()

        result = fit(scores, outcomes, method="platt").parameters
        given = (logit(scores), targets)
        best = minimize(loss, [0.0, -1.0], args=given, bounds=[(SLOPES[0], None), (None, None)]).fun
        assert loss([result["slope"], result["intercept"]], *given) <= best + 1e-6


@pytest.mark.parametrize("slope", [0.3, 1.0, 4.0])
def test_temperature_minimizes_the_log_loss(slope):
    scores, outcomes = drawn(1, slope=slope, intercept=0)
    best = minimize_scalar(
        lambda t: log_loss(outcomes, sigmoid(logit(scores) / t)), bounds=(0.01, 100), method="bounded", options={"xatol": 1e-9}
    )
    result = fit(scores, outcomes, method="temperature").parameters["temperature"]
    assert result == pytest.approx(best.x, rel=1e-5)
    assert result == pytest.approx(1 / slope, rel=0.15)


def test_scores_that_point_the_wrong_way_become_flat_never_turned_around():
    scores, outcomes = drawn(2)
    outcomes = ~outcomes
    assert fit(scores, outcomes, method="temperature").parameters["temperature"] == pytest.approx(1 / SLOPES[0])
    result = fit(scores, outcomes, method="platt").parameters
    best = minimize(
        lambda p: log_loss(outcomes, sigmoid(p[0] * logit(scores) + p[1])),
        [1, 0],
        bounds=[(SLOPES[0], None), (None, None)],
        options={"ftol": 1e-15},
    )
    assert result["slope"] == pytest.approx(SLOPES[0], rel=1e-6)
    assert result["intercept"] == pytest.approx(best.x[1], abs=5e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("scores", "outcomes"),
    [
        ([0.03] * 6, [1, 0, 0, 0, 0, 1]),
        ([0, 0, 1, 1, 0, 1], [0, 0, 1, 1, 0, 1]),
        ([0, 1, 1, 0, 0.5], [0, 0, 1, 1, 1]),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),
        ([0.5, 0.5, 0.5], [0, 1, 1]),
        ([1e-300, 1 - 1e-16, 0.5], [0, 1, 0]),
    ],
    ids=["all equal", "0 and 1, right", "0 and 1, wrong", "parted wholly", "all one half", "beyond the floor"],
)
def test_odd_scores_give_rising_probabilities(scores, outcomes, method):
    result = fit(np.array(scores, float), np.array(outcomes, bool), method=method)
    probabilities = result(GRID)
    assert np.isfinite(probabilities).all()
    assert (np.diff(probabilities) >= 0).all()
    assert 0 <= probabilities[0] <= probabilities[-1] <= 1


def test_equal_scores_get_about_the_share_of_true_outcomes():
    scores, outcomes = np.full(1000, 0.03), np.arange(1000) < 200
    assert fit(scores, outcomes, method="platt")(scores[:1])[0] == pytest.approx(0.2, abs=2e-3)  # Platt's targets are drawn in a little
    assert set(fit(scores, outcomes, method="isotonic")(GRID)) == {201 / 1002}


def test_a_slope_that_is_nearly_flat_is_held_at_the_least():
    scores, outcomes = np.repeat([0.1, 0.9], 1000), np.tile(np.arange(1000), 2) < np.repeat([400, 405], 1000)
    result = fit(scores, outcomes, method="platt")
    assert 0 < np.diff(logit(np.array([0.4, 0.405])))[0] / np.diff(logit(np.array([0.1, 0.9])))[0] < SLOPES[0]
    assert result.parameters["slope"] == pytest.approx(SLOPES[0])
    assert result(scores).mean() == pytest.approx(0.4025, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({outcome for _, outcome in rows}) == 2
    ),
    st.sampled_from(METHODS),
)
def test_no_calibrator_turns_scores_around_and_all_come_back_from_json(rows, method):
    scores, outcomes = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    calibrator = fit(scores, outcomes, method=method)
    points = np.sort(np.concatenate([GRID, scores]))
    probabilities = calibrator(points)
    assert (np.diff(probabilities) >= -1e-15).all()
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    again = Calibrator.from_json(json.loads(json.dumps(calibrator.to_json(), allow_nan=False)))
    assert again == calibrator
    assert np.array_equal(again(points), probabilities)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_smooth_calibrators_keep_scores_apart(method):
    assert (np.diff(fit(*drawn(0), method=method)(np.linspace(1e-3, 1 - 1e-3, 1000))) > 0).all()
    steep = Calibrator("temperature", {"temperature": 0.05})
    assert (np.diff(steep(np.geomspace(2e-3, 0.1, 1000))) > 0).all()  # down to 1e-54, where 1 + tanh has long been 0
    assert np.isfinite(Calibrator("temperature", {"temperature": 1e-2})(GRID)).all()


@pytest.mark.parametrize("outcomes", [[False, False], [True, True], []])
def test_one_kind_of_outcome_is_no_ground_to_calibrate_on(outcomes):
    with pytest.raises(DataError, match=f"of {len(outcomes)} {sum(outcomes)} are true"):
        fit(np.linspace(0, 1, len(outcomes)), np.array(outcomes, bool), method="platt")


def test_an_unknown_method_is_said():
    with pytest.raises(ConfigError, match="no calibrator 'beta'. Calibrators: temperature, platt, isotonic"):
        fit(np.array([0.1, 0.2]), np.array([True, False]), method="beta")


def test_exams_on_which_nothing_was_found_do_not_bend_the_curve():
    """They score 0, which as log odds is far below the lowest box."""
    scores, outcomes = drawn(0, 400, slope=2.0, intercept=1.0)
    with_zeros = np.concatenate([scores, np.zeros(60)]), np.concatenate([outcomes, np.arange(60) < 9])
    plain, result = fit(scores, outcomes, method="platt"), fit(*with_zeros, method="platt")
    high = scores[scores > 0.3]
    assert np.abs(plain(high) - result(high)).mean() < 0.15
    assert result(np.zeros(1))[0] == result(np.array([1e-3]))[0]


def test_steps_of_0_and_1_that_were_saved_before_come_back_as_less():
    saved = {"method": "isotonic", "scores": [0.2, 0.4, 0.6], "probabilities": [0.0, 0.5, 1.0]}
    assert Calibrator.from_json(saved)(np.array([0.0, 0.4, 0.9])).tolist() == [0.01, 0.5, 0.99]
    assert Calibrator.from_json(saved | {"probabilities": [0.002, 0.5, 0.999]})(np.array([0.0, 0.9])).tolist() == [0.002, 0.999]


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "Not a calibrator"),
        ({"method": "beta"}, "Not a calibrator"),
        ({"method": "platt", "slope": 1.0}, "Not a calibrator"),
        ({"method": "temperature", "temperature": 2.0, "more": 1}, "Not a calibrator"),
        ({"method": "temperature", "temperature": "warm"}, "no numbers"),
        ({"method": "temperature", "temperature": -1.0}, "rising"),
        ({"method": "temperature", "temperature": float("nan")}, "rising"),
        ({"method": "platt", "slope": -0.5, "intercept": 0.0}, "rising"),
        ({"method": "isotonic", "scores": [0.1, 0.9], "probabilities": [0.5, 0.2]}, "rising"),
        ({"method": "isotonic", "scores": [0.9, 0.1], "probabilities": [0.2, 0.5]}, "rising"),
        ({"method": "isotonic", "scores": [0.1, 0.9], "probabilities": [0.2, 1.5]}, "rising"),
        ({"method": "isotonic", "scores": [0.1], "probabilities": [0.2, 0.5]}, "rising"),
        ({"method": "isotonic", "scores": [], "probabilities": []}, "rising"),
    ],
)
def test_a_calibrator_that_was_tampered_with_is_refused(saved, message):
    with pytest.raises(ConfigError, match=message):
        Calibrator.from_json(saved)


# --- on other patients ---


def test_each_fold_is_calibrated_by_the_others():
    scores, outcomes = drawn(3, 300)
    folds = np.arange(300) % 3
    result = cross_fitted(scores, outcomes, folds=folds, method="isotonic")
    for fold in range(3):
        other = fit(scores[folds != fold], outcomes[folds != fold], method="isotonic")
        assert np.array_equal(result[folds == fold], other(scores[folds == fold]))


def test_calibration_on_other_patients_does_not_flatter():
    """Isotonic regression fits noise: on its own data it seems perfect, which only the cross-fitted figure shows to be wrong."""
    rng = np.random.default_rng(0)
    scores, outcomes = rng.random(200), rng.random(200) < 0.3
    own = reliability(fit(scores, outcomes, method="isotonic")(scores), outcomes)
    other = reliability(cross_fitted(scores, outcomes, folds=np.arange(200) % 5, method="isotonic"), outcomes)
    assert own["ece"] < 0.02
    assert other["ece"] > 0.03
    assert own["brier"] < own["brier_of_base_rate"] < other["brier"]


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_mends_overconfident_scores(method):
    scores, outcomes = drawn(4, 4000)
    raw = reliability(scores, outcomes)
    fixed = reliability(cross_fitted(scores, outcomes, folds=np.arange(4000) % 5, method=method), outcomes)
    assert raw["ece"] > 0.1
    assert fixed["ece"] < 0.03
    assert fixed["brier"] < raw["brier"]


def _numbers(report):
    return [value for key, value in report.items() if key != "curve"] + [value for row in report["curve"] for value in row.values()]


def test_evaluate_reports_both_levels():
    cases = random_cases(1, count=150, patients=70)
    result = evaluate(cases, folds=patient_folds(cases, 3), bins=5)
    assert result["calibration.image"]["raw"] == reliability(cases.case_scores, cases.positive, bins=5, patients=cases.patients)
    assert result["calibration.box"]["raw"] == reliability(cases.scores, match(cases).hit, bins=5, patients=cases.patients[cases.box_case])
    folds = patient_folds(cases, 3)
    for method in METHODS:
        image = cross_fitted(cases.case_scores, cases.positive, folds=folds, method=method)
        box = cross_fitted(cases.scores, match(cases).hit, folds=folds[cases.box_case], method=method)
        # sums there are by rising score, so that they are rounded otherwise
        expected = reliability(image, cases.positive, bins=5, patients=cases.patients)
        assert _numbers(result["calibration.image"][method]) == pytest.approx(_numbers(expected), rel=1e-12)
        expected = reliability(box, match(cases).hit, bins=5, patients=cases.patients[cases.box_case])
        assert _numbers(result["calibration.box"][method]) == pytest.approx(_numbers(expected), rel=1e-12)
    for level in ("calibration.image", "calibration.box"):
        assert list(result[level]) == ["raw", *METHODS]
        assert {one["count"] for one in result[level].values()} == {result[level]["raw"]["count"]}
    assert "fit on other patients (3 folds)" in result["note"]
    json.dumps(result, allow_nan=False)


def test_the_models_own_calibrator_is_measured_as_it_is():
    """On test, where all others are fits on the very exams: here one that says half of everything."""
    cases = random_cases(1, count=150, patients=70)
    flat = Calibrator("isotonic", {"scores": (0.0, 1.0), "probabilities": (0.5, 0.5)})
    report = evaluate(cases, folds=patient_folds(cases, 3))
    own = with_own(report, cases, flat)
    assert list(own["calibration.image"]) == ["raw", "own", *METHODS]
    assert own["calibration.image"]["own"]["brier"] == pytest.approx(0.25)
    assert own["calibration.image"]["own"]["ece"] == pytest.approx(abs(cases.positive.mean() - 0.5))
    assert {key: one for key, one in own["calibration.image"].items() if key != "own"} == report["calibration.image"]
    assert own["calibration.box"] == report["calibration.box"] and own["note"].endswith(report["note"])
    few = with_own({"undefined": "Too few patients."}, cases, flat)
    assert list(few["calibration.image"]) == ["raw", "own"] and "are fits" not in few["note"] and few["undefined"] == "Too few patients."


def test_exams_of_one_patient_are_worth_fewer_in_a_curve():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 5)
    outcomes = (rng.random(60) < 0.4)[patients]
    scores = rng.random(300)
    alone, together = (reliability(scores, outcomes, bins=2, patients=one)["curve"] for one in (np.arange(300), patients))
    plain = reliability(scores, outcomes, bins=2)["curve"]
    for one, other, same in zip(alone, together, plain, strict=True):
        assert (one["rate_low"], one["rate_high"]) == pytest.approx((same["rate_low"], same["rate_high"]))
        assert other["rate_low"] < one["rate_low"] - 0.02 and other["rate_high"] > one["rate_high"] + 0.02


def test_evaluate_says_what_cannot_be_calibrated():
    cases = random_cases(0, count=20, skill=0.0, positives=1.0)
    result = evaluate(cases.where(~match(cases).hit), folds=np.arange(20) % 2)  # all positive, nothing hit
    for level in ("calibration.image", "calibration.box"):
        assert result[level]["raw"]["ece"] is not None
        assert result[level]["platt"]["ece"] is None
        assert "needs true and false outcomes" in result[level]["platt"]["undefined"]
    with pytest.raises(ConfigError, match="no calibrator"):
        evaluate(cases, folds=np.arange(20) % 2, methods=("beta",))
