"""What the report's charts have in common with those of the other reports."""

import re

import pytest

from pneumodet.evaluation.report import plots
from pneumodet.exploration import panels


def test_pneumonia_has_one_colour_in_all_reports():
    ages = {
        "least": 1, "most": 80, "quartiles": (20, 40, 60), "unknown_or_impossible": 0, "groups": [],
        "histogram_edges": [0, 40, 80], "histogram": {"target_0": [3, 1], "target_1": [1, 4]},
    }  # fmt: skip
    scores = {"class_name": "pneumonia", "curves": {"score_histogram": {"edges": [0, 0.5, 1], "positive": [1, 4], "negative": [3, 1]}}}
    swatches = [dict(re.findall(r'"swatch (c\d)"></span>([^<]+)<', svg)) for svg in (panels._age(ages)["chart"], *plots.curves(scores))]
    assert [one["c0"] for one in swatches] == ["with pneumonia"] * 2


@pytest.mark.parametrize(("rows", "legend"), [({"Normal": 3}, ["rows", "exams"]), ({}, [])])
def test_bars_of_exams_alone_are_not_called_rows(rows, legend):
    counts = {"class_exams": {"Normal": 2}, "class_rows": rows, "rows_per_exam": {"1": 2}, "boxes_per_exam": {"0": 2}}
    assert re.findall(r'"swatch c\d"></span>([^<]+)<', panels.classes({"classes": counts})["chart"]) == legend
