"""Charts of a classifier: the operating point lies where the figures are, in both."""

import pytest

from pneumodet.evaluation.classification import charts

METRICS = {
    "curves": {
        "roc": {"false_positive_rate": [0, 0.2, 1], "sensitivity": [0, 0.8, 1]},
        "pr": {"sensitivity": [0.4, 0.8, 1], "precision": [1, 0.7, 0.4]},
    },
    "image.specificity": 0.8,
    "image.sensitivity": 0.8,
    "image.precision": 0.7,
    "image.roc_auc": 0.8,
    "image.pr_auc": 0.75,
    "intervals": {},
    "operating_point": {"aim": "f1"},
    "positive_images": 4,
    "images": 10,
}


@pytest.mark.parametrize(
    ("more", "expected"),
    [({}, [[(pytest.approx(0.2), 0.8)], [(0.8, 0.7)]]), ({"image.precision": None}, [[(pytest.approx(0.2), 0.8)], []])],
    ids=["both", "precision undefined"],
)
def test_the_operating_point_is_in_both_charts(tmp_path, monkeypatch, more, expected):
    figures = []
    monkeypatch.setattr(charts.figures, "save", lambda path, figure: figures.append(figure))
    charts.roc(tmp_path / "roc.png", METRICS | more, title="run")
    points = [[line.get_xydata()[0] for line in axes.lines if line.get_label() == "operating point (f1)"] for axes in figures[0].axes]
    assert [[tuple(point) for point in of_chart] for of_chart in points] == expected
