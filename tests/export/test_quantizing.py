"""Ranges of a quantized model's outputs."""

import dataclasses

import numpy as np
import pytest

from pneumodet.export import graphs, quantizing
from pneumodet.inference import suppression

SETTINGS = suppression.Settings("SIGMOID", 1.0, True, (10.0, 10.0, 5.0, 5.0), 1e-8, 0.6, 100, 100, False)
NAMES = ("encodings_0", "logits_0", "encodings_1", "logits_1")


def part():
    """A model of two feature maps: 300 anchors, of which the first 100 score, and 50 that never do; it adds its input to what scores."""
    codes, logits = np.full((1, 300, 4), 90.0), np.full((1, 300, 3), -276.0)
    codes[0, :100], logits[0, :100] = np.linspace(-2, 3, 100)[:, None], -4.0
    logits[0, :, 0] = 40  # the background's, which is no score
    rest = np.zeros((1, 50, 4)) + np.array([-1, 0, 0, 1]), np.full((1, 50, 3), -300.0)

    def function(value):
        more = np.zeros_like(logits)
        more[0, 7, 2] = value
        return dict(zip(NAMES, (codes, logits + more, *rest), strict=True))

    return graphs.Part(function, [], NAMES)


def test_steps_are_spent_on_what_may_be_found():
    one, other = quantizing.ranges(part(), SETTINGS, [(0.0,), (5.5,), (1.0,)])
    assert one.logits == other.logits == (pytest.approx(np.log(0.001 / 0.999) - 0.1), pytest.approx(1.5 + 1.0)), (
        "of the best in all images, and room"
    )
    assert one.encodings == (pytest.approx(-2.5, abs=0.01), pytest.approx(3.5, abs=0.01)), "not those of anchors that never are detected"
    assert other.encodings == (pytest.approx(-1.2, abs=0.01), pytest.approx(1.2, abs=0.01)), "of all, where none is a candidate"


def test_the_logit_scale_counts():
    one, _ = quantizing.ranges(part(), dataclasses.replace(SETTINGS, logit_scale=2.0), [(0.0,)])
    assert one.logits[0] == pytest.approx(2 * (np.log(0.001 / 0.999) - 0.1))


def test_scores_that_are_no_sigmoids_have_no_range():
    assert quantizing.ranges(part(), dataclasses.replace(SETTINGS, score_converter="SOFTMAX"), [(0.0,)]) is None
