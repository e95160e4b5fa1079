"""Forest plots: where values lie, and which are coloured."""

import re

import pytest

from pneumodet.viz import forest


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


def test_no_line_runs_through_a_value_or_a_name():
    svg = forest.forest("x", [("a run", -0.3, -0.6, -0.01), ("another", -0.2, -0.3, 0.0)], zero=True)
    values = [float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end">-0\.', svg)]
    (zero,) = re.findall(r'class="zero" d="([^"]+)"', svg)
    pieces = [tuple(map(float, piece)) for piece in re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", zero)]
    assert len(values) == len(pieces) == 2
    letters = 6 * 8  # "-0.300" in px, at the most
    assert max(x for x, _, _ in pieces) < min(values) - letters
    ends = [float(x) for x in re.findall(r"class=\"bar-line \w+\" d=\"M[\d.]+ [\d.]+H([\d.]+)", svg)]
    assert max(ends) < min(values) - letters
    names = [float(y) for y in re.findall(r'class="axis halo" x="[\d.]+" y="([\d.]+)"', svg)]
    assert not any(top < name < bottom for name in names for _, top, bottom in pieces)
