"""Figures with their intervals: one way for the terminal, tables, sentences and pages."""

import numpy as np
import pytest

from pneumodet.core import formatting
from pneumodet.evaluation.compare import sentences
from pneumodet.training.families import segmentation_table
from pneumodet.viz import markup


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ({"value": 0.1184, "low": 0.083, "high": 0.155}, "0.118 [0.083, 0.155]"),
        ({"value": 0.1184, "low": None, "high": None}, "0.118"),
        ({"value": 0.1184}, "0.118"),
        ({"value": None, "low": None, "high": None}, "–"),
        ({"value": np.float32(-0.0002), "low": -0.0004, "high": 1}, "0.000 [0.000, 1.000]"),
    ],
)
def test_a_figure_has_one_form(figure, text):
    """Of -0.0002 the terminal wrote -0.000 and the page 0.000; tables of compare had parentheses, and a dash of another kind."""
    assert formatting.figure(figure, undefined="–") == sentences._with_interval(figure) == text
    assert segmentation_table._cell(*(figure.get(part) for part in ("value", "low", "high"))) == text.replace("–", "-")
    assert markup.number(figure["value"] if figure["value"] is None else float(figure["value"])) == text.split(" [")[0]


def test_signs_percents_and_columns():
    gain = {"value": 0.01, "low": -0.00001, "high": 0.02}
    assert formatting.figure(gain, form="+.3f") == "+0.010 [+0.000, +0.020]"
    assert formatting.between((0.118, 0.139), form=".1%") == "11.8% to 13.9%"
    assert markup.between((0.118, 0.139)) == formatting.between((0.118, 0.139)) == "0.118 to 0.139"
    assert formatting.between(None) == formatting.between((None, None)) == ""


def test_long_lists_are_cut():
    assert [formatting.listed("abc", most) for most in (2, 3, 4)] == ["a, b and 1 more", "a, b, c", "a, b, c"]
    assert formatting.listed([], 2) == ""
