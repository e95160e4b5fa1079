"""Probabilities as text: never a certainty, and with what they rest on."""

import pytest

from pneumodet.inference.probability import UNKNOWN, as_text, rests_on

CHOSEN = {"operating_point": {"chosen": {"threshold": 0.4}}}


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, ">99%"), (0.996, ">99%"), (0.99, "about 99%"), (0.742, "about 74%"), (0.01, "about 1%"), (0.004, "<1%"), (0.0, "<1%")],
)
def test_a_probability_is_never_0_or_100_percent(probability, text):
    assert as_text(probability) == text


@pytest.mark.parametrize(
    ("more", "text"),
    [
        pytest.param({}, "57 exams of 47 patients", id="given"),
        pytest.param(CHOSEN, "57 exams of 47 patients, on which the model's threshold was chosen as well", id="threshold"),
        pytest.param(
            CHOSEN | {"checkpoint_chosen_of": 10},
            "57 exams of 47 patients, on which the model's threshold and checkpoint were chosen as well",
            id="both",
        ),
        pytest.param({"checkpoint_chosen_of": None}, "57 exams of 47 patients", id="one-evaluation"),
    ],
)
def test_it_is_said_what_they_rest_on(more, text):
    assert rests_on({"images": 57, "patients": 47} | more) == text
    assert rests_on(None) == UNKNOWN
