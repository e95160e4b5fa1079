"""Schedules and phases."""

import math

import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.training.keras import phases
from pneumodet.training.keras.phases import Phase


def test_rate_rises_linearly_and_falls_along_a_cosine():
    phase = Phase(steps=110, learning_rate=0.5, warmup_steps=10)
    assert [phase.rate(step) for step in (0, 4, 9)] == pytest.approx([0.05, 0.25, 0.5])
    for step in (10, 35, 60, 109):
        assert phase.rate(step) == pytest.approx(0.25 * (1 + math.cos(math.pi * (step - 10) / 100)))
    assert phase.rate(500) == pytest.approx(0)


def test_warmup_longer_than_half_of_the_phase_is_cut():
    rates = [Phase(steps=4, learning_rate=1.0, warmup_steps=50).rate(step) for step in range(5)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])
    assert Phase(steps=1, learning_rate=1.0, warmup_steps=50).rate(0) == 1.0


def test_which_phase_a_step_belongs_to():
    three = [Phase(steps=3, learning_rate=1), Phase(steps=2, learning_rate=1), Phase(steps=4, learning_rate=1)]
    assert phases.total(three) == 9
    places = [phases.at(three, step) for step in range(11)]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]


@pytest.mark.parametrize("steps", [[], [3, 0]])
def test_a_phase_without_a_step_is_refused(steps):
    with pytest.raises(ConfigError, match="at least one step"):
        phases.total([Phase(steps=one, learning_rate=1) for one in steps])
