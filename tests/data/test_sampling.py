"""The order of the records: whole epochs, the same after a resume, and the share of positives that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import ConfigError
from pneumodet.data.sampling import Order


@given(count=st.integers(1, 60), seed=st.integers(0, 1000), epoch=st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_record_once(count, seed, epoch):
    order = Order(count, seed=seed)
    assert sorted(order.at(epoch * count + place) for place in range(count)) == list(range(count))


def test_a_position_does_not_depend_on_what_was_asked_before():
    walked, jumped = Order(37, seed=5), Order(37, seed=5)
    sequence = [walked.at(position) for position in range(300)]
    assert [jumped.at(position) for position in (250, 3, 299, 120)] == [sequence[position] for position in (250, 3, 299, 120)]


def test_epochs_and_seeds_differ():
    order = Order(50, seed=0)
    first, second = ([order.at(epoch * 50 + place) for place in range(50)] for epoch in (0, 1))
    assert first != second
    assert first != [Order(50, seed=1).at(place) for place in range(50)]


@given(positives=st.integers(1, 20), negatives=st.integers(1, 40), share=st.floats(0.05, 0.95), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_share_of_positives_holds_in_every_epoch_and_none_is_forgotten(positives, negatives, share, seed):
    positive = np.arange(positives + negatives) % (positives + negatives) < positives
    count = len(positive)
    order = Order(count, seed=seed, positive=positive, positive_share=share)
    expected = min(max(round(share * count), 1), count - 1)
    epochs = [[order.at(epoch * count + place) for place in range(count)] for epoch in range(8)]
    assert all(int(positive[epoch].sum()) == expected for epoch in epochs)
    times = np.bincount(np.concatenate(epochs), minlength=count)
    for rows in (positive, ~positive):  # equally often, but for the round at hand
        assert times[rows].max() - times[rows].min() <= 1


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Order(4, seed=0, positive=np.array([True, False, True, False]), positive_share=share)


def test_one_class_only_is_refused():
    with pytest.raises(ConfigError, match="with and without pneumonia"):
        Order(4, seed=0, positive=np.ones(4, bool), positive_share=0.5)
