"""Forest plots: where values lie, and which are coloured."""

import pytest

from pneumodet.reporting import forest


def test_a_forest_plot_places_values_and_colours_what_is_shown():
    svg = forest.forest(
        "x", [("up", 0.2, 0.1, 0.3), ("down", -0.2, -0.3, -0.1), ("open", 0.0, -0.1, 0.1), ("none", None, None, None)], zero=True
    )
    assert svg.count('class="bar-line better"') == svg.count('class="bar-line worse"') == svg.count('class="bar-line c0"') == 1
    assert svg.count("<circle") == 3
    centers = [float(part.split('"')[0]) for part in svg.split('cx="')[1:]]
    assert centers[1] < centers[2] < centers[0]
    assert centers[0] - centers[2] == pytest.approx(centers[2] - centers[1], abs=0.2)
    assert forest.forest("x", [("none", None, None, None)]) == ""
    assert "<circle" in forest.forest("x", [("one", 0.5, None, None)])
