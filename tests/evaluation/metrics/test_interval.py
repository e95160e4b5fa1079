"""Intervals of spreads: against scipy, DeLong by hand and copies of exams, and a small simulation of coverage (the large one: benchmarks/coverage.py)."""

import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from pneumodet.core.errors import ConfigError
from pneumodet.evaluation.metrics import interval, jackknife
from pneumodet.evaluation.metrics.image_level import Areas
from pneumodet.evaluation.metrics.interval import Moved, Spread
from pneumodet.evaluation.metrics.jackknife import Ratio


def share(hits, count):
    return Ratio((np.arange(count) < hits).astype(float), np.ones(count)).moved(np.arange(count))


@pytest.mark.parametrize(("hits", "count"), [(3, 12), (1, 5), (700, 1000), (11, 12)])
def test_a_share_is_jeffreys_and_lies_within_clopper_and_pearson(hits, count):
    one = interval.of(share(hits, count))
    assert one["value"] == hits / count
    assert (one["low"], one["high"]) == pytest.approx(tuple(stats.beta.ppf([0.025, 0.975], hits + 0.5, count - hits + 0.5)))
    exact = stats.binomtest(hits, count).proportion_ci(method="exact")
    assert exact.low < one["low"] < one["high"] < exact.high


@pytest.mark.parametrize(("hits", "ends"), [(0, (0, 1 - 0.05**0.1)), (10, (0.05**0.1, 1))])
def test_none_and_all_have_an_exact_one_sided_end(hits, ends):
    one = interval.of(share(hits, 10))
    assert (one["low"], one["high"]) == pytest.approx(ends)
    alternative = "less" if hits == 0 else "greater"
    sided = stats.binomtest(hits, 10, alternative=alternative).proportion_ci(0.95, method="exact")
    assert ends == pytest.approx((sided.low, sided.high))


def test_a_second_exam_that_is_alike_says_nothing_new():
    patients = np.arange(30)
    hits = (patients % 3 > 0).astype(float)
    once = interval.of(Ratio(hits, np.ones(30)).moved(patients))
    twice = interval.of(Ratio(np.tile(hits, 2), np.ones(60)).moved(np.tile(patients, 2)))
    naive = interval.of(Ratio(np.tile(hits, 2), np.ones(60)).moved(np.arange(60)))
    width = [one["high"] - one["low"] for one in (naive, once, twice)]
    # a variance that is estimated, not binomial, is less certain
    assert width[0] < 0.75 * width[1] and width[1] < width[2] < 1.1 * width[1]


def test_patients_who_are_all_alike_give_an_interval_all_the_same():
    one = interval.of(Ratio(np.full(20, 0.8), np.ones(20)).moved(np.arange(20)))
    assert one["low"] < 0.7 and one["high"] > 0.9
    rate = interval.of(Ratio(np.full(20, 2.0), np.ones(20)).moved(np.arange(20), kind="rate"))
    assert rate["low"] < 1.5 and rate["high"] > 2.5


def test_a_rate_is_a_poisson_count():
    counts = np.random.default_rng(0).poisson(0.3, 4000).astype(float)
    one = interval.of(Ratio(counts, np.ones(4000)).moved(np.arange(4000), kind="rate"))
    ends = stats.gamma.ppf([0.025, 0.975], counts.sum() + 0.5) / 4000
    assert (one["low"], one["high"]) == pytest.approx(tuple(ends), rel=0.02)
    none = interval.of(Ratio(np.zeros(50), np.ones(50)).moved(np.arange(50), kind="rate"))
    assert (none["low"], none["high"]) == (0, pytest.approx(-np.log(0.05) / 50))


def test_the_area_has_delongs_variance_on_its_log_odds():
    rng = np.random.default_rng(1)
    positive = rng.random(120) < 0.3
    scores = rng.normal(positive * 1.0)
    areas = Areas(positive, scores)
    moved = jackknife.of_figures(lambda weights: {"auc": areas.areas(weights)[0]}, np.arange(120), carriers={"auc": positive})["auc"]
    better = (scores[positive][:, None] > scores[~positive]).astype(float)
    delong = better.mean(axis=1).var(ddof=1) / positive.sum() + better.mean(axis=0).var(ddof=1) / (~positive).sum()
    assert moved.value == pytest.approx(better.mean())
    assert moved.spread.variance == pytest.approx(delong, rel=0.05)
    one = interval.of(moved)
    half = (special.logit(one["high"]) - special.logit(one["low"])) / 2
    expected = stats.t.isf(0.025, positive.sum() - 1) * np.sqrt(moved.spread.variance) / (moved.value * (1 - moved.value))
    assert half == pytest.approx(expected)


def test_groups_stand_for_their_patients():
    rng = np.random.default_rng(2)
    patients = rng.integers(0, 900, 2000)
    ratio = Ratio((rng.random(2000) < 0.3).astype(float), np.ones(2000))
    one = jackknife.of_figures(lambda weights: {"share": ratio(weights)}, patients, carriers={"share": np.ones(2000, bool)}, groups=300)[
        "share"
    ]
    assert len(one.moved) == 300
    assert one.spread.variance == pytest.approx(ratio.moved(patients).spread.variance, rel=0.25)
    group = jackknife.grouped(patients, groups=300)
    assert all(len(set(group[patients == patient])) == 1 for patient in patients[:20])
    assert len(jackknife.grouped(np.array([7, 7, 3]), groups=300)) == 3


def test_a_mean_is_students():
    values = np.random.default_rng(3).normal(50, 9, 40)
    one = interval.of(Ratio(values, np.ones(40)).moved(np.arange(40), kind="mean"))
    expected = stats.t.interval(0.95, 39, values.mean(), values.std() / np.sqrt(40))
    assert (one["low"], one["high"]) == pytest.approx(expected, rel=0.01)


def test_too_few_patients_and_no_value_say_why():
    assert interval.of(share(2, 4))["undefined"] == "Only 4 patients of the kind that makes this figure: too few for an interval."
    assert interval.of(Moved(np.nan, np.full(9, np.nan), "share", 0)) == {
        "value": None,
        "low": None,
        "high": None,
        "undefined": interval.NO_VALUE,
    }
    gaps = Moved(0.5, np.array([np.nan, 0.1, -0.1] * 3), "curve", 9)
    assert "without some of the patients" in interval.of(gaps)["undefined"]
    with pytest.raises(ConfigError, match="between 0 and 1, not 95"):
        interval.of(share(3, 9), confidence=95)


def test_a_difference_cancels_what_both_share_and_needs_patients_that_differ():
    rng = np.random.default_rng(4)
    hits = rng.random(200) < 0.5
    other = np.where(rng.random(200) < 0.1, ~hits, hits)
    a, b = (Ratio(one.astype(float), np.ones(200)).moved(np.arange(200)) for one in (hits, other))
    one = interval.difference(a, b)
    paired = (other.astype(float) - hits).std(ddof=1) / np.sqrt(200)
    assert (one["high"] - one["low"]) / 2 == pytest.approx(
        stats.t.isf(0.025, interval.degrees_of_freedom(b.moved - a.moved)) * paired, rel=1e-6
    )
    few = np.where(np.arange(200) < 5, ~hits, hits)
    c = Ratio(few.astype(float), np.ones(200)).moved(np.arange(200))
    assert interval.difference(a, a)["undefined"].startswith("The models differ in 0 patients only")
    assert interval.difference(a, c)["value"] == pytest.approx(few.mean() - hits.mean())
    always, never = share(12, 12), share(0, 12)
    best = interval.difference(never, always)
    assert best["value"] == 1 and 0.7 < best["low"] < 1 and best["p"] < 0.001


@pytest.mark.parametrize(
    ("kinds", "bounded"), [(("share", "share"), True), (("share", "curve"), True), (("rate", "rate"), False), (("mean", "share"), False)]
)
def test_a_difference_of_shares_lies_where_differences_can_lie(kinds, bounded):
    """Of 6 positive exams an F1 had a difference of -1.132 to -0.099."""
    moved = 0.1 * np.resize([1.0, -1.0], 8)
    a, b = Moved(0.2, -moved, kinds[0], 8), Moved(0.9, moved, kinds[1], 8)
    one, turned = interval.difference(b, a), interval.difference(a, b)
    half = stats.t.isf(0.025, 7) * 0.2 * np.sqrt(8)
    if not bounded:
        assert (one["low"], one["high"]) == (pytest.approx(-0.7 - half), pytest.approx(-0.7 + half))
    else:
        assert (one["low"], one["high"]) == (-1, pytest.approx(-0.7 + half))
    assert (turned["low"], turned["high"]) == (pytest.approx(-one["high"]), pytest.approx(-one["low"]))


def test_a_spread_of_choices_widens_and_missing_resamples_say_so():
    fixed = share(30, 60)
    drawn = np.random.default_rng(5).normal(0.5, 0.2, 400)
    wide = dataclasses.replace(fixed, refitted=drawn)
    assert wide.spread.variance == pytest.approx(drawn.var(ddof=1))
    assert wide.of_choice == pytest.approx(drawn.var(ddof=1) - fixed.spread.variance)
    narrow = dataclasses.replace(fixed, refitted=np.full(400, 0.5))
    assert narrow.spread.variance == fixed.spread.variance
    drawn[:40] = np.nan
    assert interval.of(dataclasses.replace(fixed, refitted=drawn))["low"] is None


def held(made, true):
    low, high = np.array([(one["low"], one["high"]) for one in made if one["low"] is not None]).T
    return float(((low <= true) & (true <= high)).mean())


def test_shares_and_areas_hold_the_truth_about_as_often_as_they_say():
    """400 sets of each; a coverage of 0.95 has a standard error of 0.011."""
    rng = np.random.default_rng(6)
    for true in (0.6, 0.9):
        made = []
        for count in rng.binomial(60, 0.3, 400).tolist():
            hits = rng.binomial(count, true)
            made.append(interval.of(Spread(hits / count, hits * (count - hits) / count**3, 9.0, "share", count, single=True)))
        assert 0.92 <= held(made, true) <= 0.985, true
    areas = []
    for _ in range(150):
        positive = np.arange(60) < 12
        scores = rng.normal(positive * 1.5)
        prepared = Areas(positive, scores)
        figures = jackknife.of_figures(
            lambda weights, one=prepared: {"auc": one.areas(weights)[0]}, np.arange(60), carriers={"auc": positive}
        )
        areas.append(interval.of(figures["auc"]))
    assert 0.90 <= held(areas, stats.norm.cdf(1.5 / np.sqrt(2))) <= 1


def test_equal_models_are_called_different_about_as_seldom_as_they_may():
    rng = np.random.default_rng(7)
    called = []
    for _ in range(400):
        a, b = (Ratio((rng.random(40) < 0.7).astype(float), np.ones(40)).moved(np.arange(40)) for _ in range(2))
        p = interval.difference(a, b)["p"]
        called += [p < 0.05] if p is not None else []
    assert len(called) > 350 and 0.02 <= np.mean(called) <= 0.08


def test_holm_corrects_the_smallest_for_all_and_keeps_the_order():
    assert interval.holm([0.03, 0.001, 0.02, 0.9]) == pytest.approx([0.06, 0.004, 0.06, 0.9])
    assert interval.holm([0.6, 0.5]) == [1.0, 1.0] and interval.holm([]) == []


def test_a_lower_bound_is_one_sided():
    assert interval.lower_bound(share(10, 10), confidence=0.95) == pytest.approx(0.05**0.1)
    assert interval.lower_bound(share(15, 20), confidence=0.95) == pytest.approx(stats.beta.ppf(0.05, 15.5, 5.5))
    assert interval.lower_bound(share(0, 20), confidence=0.95) == 0 and interval.lower_bound(share(2, 4), confidence=0.95) is None
