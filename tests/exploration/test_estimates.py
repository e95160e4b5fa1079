"""Shares, their intervals and rank correlations, against scipy and resamples by hand."""

import numpy as np
import pytest

from pneumodet.exploration import estimates

scipy_stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=["two values", "many ties", "hardly a tie"])
def test_spearman_is_scipys(levels):
    rng = np.random.default_rng(levels)
    a = rng.integers(0, levels, 300).astype(float)
    b = np.round(a + rng.normal(0, levels, 300))
    a[::7], b[::11] = np.nan, np.nan
    value, known = estimates.spearman(a, b)
    expected = scipy_stats.spearmanr(a, b, nan_policy="omit").statistic
    assert value == pytest.approx(expected, abs=1e-12)
    assert known == (~np.isnan(a) & ~np.isnan(b)).sum()


def test_spearman_of_what_does_not_vary_is_undefined():
    assert estimates.spearman(np.ones(5), np.arange(5.0)) == (None, 5)
    assert estimates.spearman(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == (None, 1)


def test_intervals_are_as_wide_as_those_of_patients_drawn_by_hand():
    """By hand: patients copied as often as they are drawn, with other random numbers."""
    rng = np.random.default_rng(3)
    patients = rng.integers(0, 60, 400)
    of_patient = rng.random(60)
    hit = rng.random(400) < of_patient[patients]
    group = rng.random(400) < 0.5
    result = estimates.intervals({"in": (hit & group, group), "out": (hit & ~group, ~group)}, patients, differences={"both": ("in", "out")})
    assert result["in"]["value"] == hit[group].mean()
    assert result["in"]["exams"] == group.sum()
    drawn = []
    for _ in range(500):
        chosen = np.concatenate([np.flatnonzero(patients == one) for one in rng.choice(np.unique(patients), len(np.unique(patients)))])
        inside, of_group = hit[chosen], group[chosen]
        drawn.append((inside[of_group].mean(), inside[of_group].mean() - inside[~of_group].mean()))
    for name, column in (("in", 0), ("both", 1)):
        expected = np.quantile([one[column] for one in drawn], (0.025, 0.975))
        assert (result[name]["low"], result[name]["high"]) == pytest.approx(expected, abs=0.02)


def test_exams_of_one_patient_make_the_interval_wider():
    hit = np.repeat(np.arange(40) % 2, 10).astype(bool)
    every = np.ones(400, bool)
    alone = estimates.intervals({"share": (hit, every)}, np.arange(400))["share"]
    together = estimates.intervals({"share": (hit, every)}, np.repeat(np.arange(40), 10))["share"]
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


def test_what_has_no_value_and_what_has_no_interval():
    none, every = np.zeros(6, bool), np.ones(6, bool)
    result = estimates.intervals({"empty": (none, none), "one": (every, every)}, np.arange(6), differences={"gap": ("one", "empty")})
    assert [result["empty"][key] for key in ("value", "low", "high", "exams")] == [None, None, None, 0]
    assert [result["gap"][key] for key in ("value", "low", "high")] == [None, None, None]
    assert result["one"]["low"] == pytest.approx(0.05 ** (1 / 6))
    one_patient = estimates.intervals({"one": (every, every)}, np.zeros(6, int))["one"]
    assert (one_patient["value"], one_patient["low"]) == (1.0, None)


@pytest.mark.parametrize(
    ("low", "high", "shown"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False), (None, None, False)]
)
def test_a_difference_is_shown_where_its_interval_leaves_out_0(low, high, shown):
    assert estimates.is_shown({"low": low, "high": high}) is shown
