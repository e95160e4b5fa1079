import csv
import math

import numpy as np
import pytest
from PIL import Image

from pneumodet.core.errors import ConfigError
from pneumodet.training import learning_rate_finder as finder


def quadratic(seed, *, curvature, noise=0.0, floor=0.5):
    """Return step(rate) of noisy gradient descent on a bowl of 50 curvatures up to ``curvature``: stable below 2 / curvature."""
    rng = np.random.default_rng(seed)
    bends = np.geomspace(curvature / 30, curvature, 50)
    place = rng.normal(size=50) * math.sqrt(2 / bends.sum())

    def step(rate):
        nonlocal place
        with np.errstate(all="ignore"):
            loss = 0.5 * float((bends * place**2).sum()) + floor
            place = place - rate * (bends * place + 0.03 * rng.normal(size=50) * np.sqrt(bends))
        return loss * (1 + noise * rng.normal())

    return step


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("curvature", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_suggestion_is_stable_and_within_a_decade_of_the_best(seed, curvature, noise):
    suggestion = finder.find(quadratic(seed, curvature=curvature, noise=noise))
    best, limit = 1 / curvature, 2 / curvature
    assert best / 10 <= suggestion.suggested < limit / 2
    assert suggestion.blew_up_at > limit, "the test continues until it really diverges"
    assert "it blows up at" in suggestion.reason


def test_the_suggestion_trains_and_ten_times_it_does_not():
    step = quadratic(0, curvature=100.0, noise=0.1)
    suggestion = finder.find(step)
    for factor, falls in ((1, True), (10, False)):
        step = quadratic(1, curvature=100.0)
        losses = [step(factor * suggestion.suggested) for _ in range(200)]
        assert (losses[-1] < 0.6 * losses[0]) == falls


@pytest.mark.parametrize("settings", [{"steps": 50}, {"steps": 300}, {"smoothing": 0.8}, {"smoothing": 0.98}], ids=str)
def test_the_suggestion_hardly_depends_on_the_settings(settings):
    plain = finder.find(quadratic(3, curvature=100.0, noise=0.05)).suggested
    assert 0.5 < finder.find(quadratic(3, curvature=100.0, noise=0.05), **settings).suggested / plain < 2


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_noise_alone_gives_no_suggestion(noise):
    suggestions = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        result = finder.find(lambda rate, rng=rng: float(np.exp(noise * rng.normal())))
        suggestions += result.suggested is not None
        assert result.blew_up_at is None
    assert suggestions <= 1, "four standard errors, at the lowest of many places"


def test_no_descent_is_said():
    result = finder.find(lambda rate: 1 + 5 * rate)
    assert result.suggested is None
    assert result.reason.startswith("the loss never falls by more than its noise (from 1 by 0) and blows up at ")


def test_a_loss_that_is_broken_at_once_is_not_blamed_on_the_rate():
    result = finder.find(lambda rate: math.nan)
    assert (result.suggested, len(result.rates), result.blew_up_at) == (None, 0, pytest.approx(1e-6))
    assert "not finite at the first step, at a rate of 1e-06: no rate can fix that" in result.reason


def test_divergence_after_the_first_steps_asks_for_lower_rates():
    result = finder.find(quadratic(0, curvature=100.0), lowest=0.05)
    assert result.suggested is None
    assert result.reason.endswith("at once after the lowest rate of 0.05; begin lower")


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
def test_the_test_ends_at_a_loss_that_is_not_finite(bad):
    """The weights are lost then: whatever comes after means nothing."""
    rates = []
    step = quadratic(0, curvature=100.0)

    def breaking(rate):
        rates.append(rate)
        return bad if rate > 0.015 else step(rate)

    result = finder.find(breaking)
    assert result.blew_up_at == rates[-1] > 0.015
    assert len(result.rates) == len(result.losses) == len(result.smoothed) == len(rates) - 1
    assert np.isfinite(result.smoothed).all()
    assert 0.001 < result.suggested < 0.015


def test_one_batch_that_is_hard_to_learn_does_not_end_the_test():
    step, count = quadratic(0, curvature=100.0, noise=0.05), iter(range(1000))

    def spiked(rate):
        return step(rate) * (50 if next(count) == 40 else 1)

    plain = finder.find(quadratic(0, curvature=100.0, noise=0.05))
    assert finder.find(spiked).suggested == pytest.approx(plain.suggested, rel=0.5)


def test_a_range_that_ends_too_low_is_said():
    result = finder.find(quadratic(0, curvature=100.0), highest=3e-3)
    assert result.suggested == pytest.approx(3e-3 / 4)
    assert result.blew_up_at is None
    assert result.reason.endswith("it was still falling, so that a higher rate may do; end higher")


def test_the_rates_rise_evenly_and_the_result_repeats():
    one, other = (finder.find(quadratic(5, curvature=10.0, noise=0.1), lowest=1e-5, highest=10.0, steps=60) for _ in range(2))
    assert (one.suggested, one.reason) == (other.suggested, other.reason)
    assert np.diff(np.log10(one.rates)) == pytest.approx(6 / 59)
    assert one.rates[0] == pytest.approx(1e-5)


def test_the_smoothed_curve_is_not_shifted():
    """A symmetric dip must stay where it is; a mean from one side only moves it by about ten steps."""
    at = np.log(np.geomspace(1e-6, 1.0, 100))
    result = finder.find(lambda rate: 1 - 0.5 * math.exp(-0.5 * ((math.log(rate) - at[50]) / 1.0) ** 2))
    assert abs(int(np.argmin(result.smoothed)) - 50) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lowest": 0.0}, "rise from above 0, but 0 to 1"),
        ({"lowest": 1.0, "highest": 0.1}, "but 1 to 0.1"),
        ({"highest": math.nan}, "rise from above 0"),
        ({"steps": 5}, "at least 20 steps"),
        ({"smoothing": 1.0}, "smoothing in"),
        ({"stop_factor": 1.0}, "stop factor above 1"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_before_a_step(settings, message):
    with pytest.raises(ConfigError, match=message):
        finder.find(lambda rate: pytest.fail("took a step"), **settings)


def test_the_table_gives_the_numbers_back(tmp_path):
    suggestion = finder.find(quadratic(0, curvature=100.0))
    finder.to_csv(tmp_path / "lr.csv", suggestion)
    rows = list(csv.DictReader((tmp_path / "lr.csv").open()))
    for column, values in {"learning_rate": suggestion.rates, "loss": suggestion.losses, "smoothed_loss": suggestion.smoothed}.items():
        assert [float(row[column]) for row in rows] == pytest.approx(values.tolist())


def test_the_picture_marks_the_suggestion(tmp_path):
    suggestion = finder.find(quadratic(0, curvature=100.0))
    finder.draw(tmp_path / "with.png", suggestion)
    finder.draw(tmp_path / "again.png", suggestion)
    finder.draw(tmp_path / "none.png", finder.find(lambda rate: math.nan))
    assert (tmp_path / "with.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    orange = [(np.asarray(Image.open(tmp_path / name).convert("RGB")) == (213, 94, 0)).all(axis=2) for name in ("with.png", "none.png")]
    assert orange[0].any()
    assert not orange[1].any()
    assert np.unique(np.nonzero(orange[0][100:450])[1]).max() < 1000, "a line from top to bottom, left of where it blows up"
