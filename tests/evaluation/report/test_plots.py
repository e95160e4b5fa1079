"""Charts and what goes into them: geometry read back from the SVG."""

import math
import re

import pytest
import test_page

from pneumodet.evaluation.report import plots
from pneumodet.viz import charts
from pneumodet.viz.charts import Line, Mark

LEFT, RIGHT, TOP, BOTTOM = 52, charts.WIDTH - 12, 12, charts.HEIGHT - 46


def corners(svg, index=0):
    """Corners of a line in px."""
    (path,) = re.findall(rf'class="line c{index}" d="M([^"]+)"', svg)
    return [tuple(map(float, corner.split())) for corner in path.split("L")]


def circles(svg, kind):
    return [(float(x), float(y)) for x, y in re.findall(rf'class="{kind}[^"]*" cx="([\d.]+)" cy="([\d.]+)"', svg)]


def froc(xs, ys, **more):
    shape = {"x_range": (0.125, 8), "y_range": (0, 1), "log_ticks": (0.125, 0.25, 0.5, 1, 2, 4, 8)}
    return charts.line_chart("t", [Line("", xs, ys, steps=True)], x="x", y="y", **shape, **more)


def test_every_doubling_is_as_wide_on_a_logarithmic_axis():
    ticks = [float(x) for x in re.findall(rf'class="grid" d="M([\d.]+) {TOP}V', froc([0, 1], [0, 1]))]
    assert (ticks[0], ticks[-1]) == (LEFT, RIGHT)
    assert [after - before for before, after in zip(ticks, ticks[1:], strict=False)] == pytest.approx([(RIGHT - LEFT) / 6] * 6, abs=0.1)


def test_a_staircase_is_cut_at_both_ends_of_the_chart():
    """Neither a point at no false positives nor one far to the right may be drawn on the frame, where it would seem a jump."""
    drawn = corners(froc([0.0, 0.1, 1.0, 50.0], [0.1, 0.2, 0.6, 0.9]))
    middle = LEFT + math.log2(8) / 6 * (RIGHT - LEFT)
    heights = [BOTTOM - value * (BOTTOM - TOP) for value in (0.2, 0.2, 0.6, 0.6)]
    assert [x for x, _ in drawn] == pytest.approx([LEFT, middle, middle, RIGHT], abs=0.1)
    assert [y for _, y in drawn] == pytest.approx(heights, abs=0.1)


def test_a_staircase_begins_at_its_first_point():
    assert corners(froc([1.0], [0.6]))[0][0] == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert 'class="line' not in froc([50.0], [0.9])


def test_points_outside_are_not_drawn():
    svg = charts.line_chart("t", [Line("", [-1, 0, 1, 2], [0, 0, 1, 1], dots=True)], x="x", y="y", x_range=(0, 1), y_range=(0, 1))
    assert circles(svg, "dot") == [(LEFT, BOTTOM), (RIGHT, TOP)]


def test_intervals_of_points():
    line = Line("", [0.5], [0.5], dots=True, spans=[(0.25, 1.0)])
    svg = charts.line_chart("t", [line], x="x", y="y", x_range=(0, 1), y_range=(0, 1))
    ((x, low, high),) = re.findall(r'class="span c0" d="M([\d.]+) ([\d.]+)V([\d.]+)"', svg)
    assert (float(x), float(low), float(high)) == pytest.approx(((LEFT + RIGHT) / 2, BOTTOM - (BOTTOM - TOP) / 4, TOP), abs=0.1)


def halves(svg):
    """Return a chart's drawing and its legend."""
    drawing, _, legend = svg.partition("</figcaption>")
    return drawing, legend


def test_the_name_of_a_mark_stands_in_the_legend_and_hides_no_line():
    svg = charts.line_chart("t", [Line("", [0, 1], [0, 1])], x="x", y="y", x_range=(0, 1), y_range=(0, 1), mark=Mark("<here>", 0.5, 0.5))
    drawing, legend = halves(svg)
    assert len(circles(drawing, "mark")) == len(circles(legend, "mark")) == 1
    assert "&lt;here&gt;</li>" in legend and "here" not in drawing


def test_the_legend_shows_lines_as_they_are_drawn():
    drawing, legend = halves(charts.line_chart("t", [Line("a", [0, 1], [0, 1]), Line("b", [0, 1], [1, 0])], x="x", y="y"))
    for index in (0, 1):  # dashes are of these classes, in the page's style
        assert f'<path class="line c{index}"' in drawing and f'<path class="line c{index}"' in legend
    assert 'class="legend"' not in charts.line_chart("t", [Line("a", [0, 1], [0, 1])], x="x", y="y"), "one line needs no name"


@pytest.mark.parametrize("mark", [Mark("", 2, 0.5), Mark("", 0.5, -1), None])
def test_a_mark_outside_is_not_drawn(mark):
    svg = charts.line_chart("t", [Line("", [0, 1], [0, 1])], x="x", y="y", x_range=(0, 1), y_range=(0, 1), mark=mark)
    assert circles(svg, "mark") == [] and 'class="legend"' not in svg


def test_operating_points_lie_where_the_figures_are():
    every = plots.curves(test_page.metrics() | {"image.precision": 0.5})
    assert "threshold for new data" in every[3]
    froc, roc, precision_recall, thresholds, _ = (halves(one)[0] for one in every)
    up = BOTTOM - TOP
    across = (math.log2(0.2) - math.log2(1 / 16)) / 7
    assert circles(froc, "mark") == [pytest.approx((LEFT + across * (RIGHT - LEFT), BOTTOM - 0.3 * up), abs=0.1)]
    assert circles(roc, "mark") == [pytest.approx((LEFT + 0.3 * (RIGHT - LEFT), BOTTOM - 0.8 * up), abs=0.1)]
    assert circles(precision_recall, "mark") == [pytest.approx((LEFT + 0.8 * (RIGHT - LEFT), BOTTOM - 0.5 * up), abs=0.1)]
    assert len(circles(thresholds, "mark")) == 1


def test_sizes_of_found_boxes_are_those_that_are_not_missed():
    svg = plots.sizes(test_page.metrics())
    bars = re.findall(r'class="bar c(\d)" x="[\d.]+" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', svg)
    heights = {kind: [round(float(height) / (BOTTOM - TOP) * 5) for one, height in bars if one == kind] for kind in "012"}
    assert heights == {"0": [0, 4, 0], "1": [0, 1, 3], "2": [2, 0, 0]}, (
        "found, missed, false, on an axis that ends at 5; the empty end is left out"
    )


def test_reliability_shows_the_method_that_is_kept_with_the_model():
    (svg,) = plots.reliability(test_page.metrics())
    assert re.findall(r"</svg>([^<]+)</li>", svg) == ["as it is", "Platt"]


def test_nothing_comes_of_nothing():
    assert plots.curves({}) == plots.maps({}) == plots.reliability({}) == []
    assert plots.sizes({}) == ""
    empty = {"froc": {"fp_per_image": [], "sensitivity": []}, "thresholds": {"threshold": [], "rsna": []}, "roc": {"sensitivity": []}}
    assert plots.curves({"curves": empty}) == []
