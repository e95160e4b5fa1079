"""Densities, centres and sizes of boxes against loops over cells, and what is an outlier."""

import numpy as np
import pytest

from pneumodet.exploration import conclusions, counting, issues, places
from pneumodet.exploration.gathering import Exams


def exams(boxes, *, size_hw=(1000, 500), views=None, ages=None, positive=None):
    count = len(boxes)
    boxes = [np.array(one, float).reshape(-1, 4) for one in boxes]
    return Exams(
        ids=[f"exam{index:03d}" for index in range(count)],
        positive=np.array([len(one) > 0 for one in boxes] if positive is None else positive, bool),
        class_names=np.array(["Target 0"] * count),
        boxes_xyxy_px=boxes,
        size_hw=np.tile(np.array(size_hw, float), (count, 1)),
        patients=np.arange(count),
        age_years=np.array([50.0] * count if ages is None else ages),
        sex=np.array(["F"] * count),
        view=np.array(["AP"] * count if views is None else views),
        spacing_mm=np.full(count, 0.14),
    )


def random_exams(count=40):
    rng = np.random.default_rng(0)
    boxes = []
    for index in range(count):
        left_top = rng.uniform(0, (300, 600), (index % 4, 2))
        boxes.append(np.concatenate([left_top, left_top + rng.uniform(20, (200, 400), (index % 4, 2))], axis=1))
    return exams(
        boxes, views=rng.choice(["AP", "PA", ""], count), ages=np.where(rng.random(count) < 0.2, np.nan, rng.uniform(1, 100, count))
    )


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_density_is_the_share_of_exams_whose_boxes_cover_a_cell(view):
    data = random_exams()
    result = places.boxes(data)
    members = [boxes for boxes, one in zip(data.boxes_xyxy_px, data.view, strict=True) if one == view and len(boxes)]
    expected = np.zeros((places.CELLS, places.CELLS))
    for row in range(places.CELLS):
        for column in range(places.CELLS):
            x, y = (column + 0.5) / places.CELLS * 500, (row + 0.5) / places.CELLS * 1000
            expected[row, column] = np.mean([any(a <= x < c and b <= y < d for a, b, c, d in boxes) for boxes in members])
    np.testing.assert_allclose(result["density"][view], expected, atol=1e-4)
    assert expected.max() > 0.2
    assert result["groups"][view]["exams"] == len(members)


def test_centres_lie_where_boxes_are_with_rows_from_the_top():
    result = places.boxes(exams([[[0, 0, 50, 100]], []]))  # the upper left corner of 500 x 1000 px
    centers = np.array(result["centers"]["all"])
    assert centers.sum() == 1
    assert centers[0, 0] == 1
    assert result["groups"]["all"]["left_half"] == 1.0
    assert result["groups"]["all"]["width"][1] == pytest.approx(0.1)
    assert result["groups"]["all"]["area"][1] == pytest.approx(0.01)


def test_groups_are_of_views_and_ages_that_have_boxes():
    result = places.boxes(exams([[[0, 0, 50, 100]]] * 3 + [[]], views=["AP", "PA", "", "LL"], ages=[17.9, 18.0, np.nan, 3]))
    assert result["views"] == ["AP", "PA"]
    assert result["ages"] == ["0 to 17", "18 to 39"]
    assert result["groups"]["all"]["exams"] == 3
    assert sum(result["sizes"]["AP"]) == 1


def test_no_box_is_no_table():
    assert places.boxes(exams([[], []])) is None


def test_correlation_with_boxes_is_of_positive_exams():
    data = random_exams()
    result = counting.correlation(data)
    names, values = result["names"], result["values"]
    target, boxes = names.index("pneumonia (Target)"), names.index("boxes")
    assert values[target][boxes] is None  # among positives Target does not vary
    assert result["exams"][boxes][boxes] == sum(len(one) > 0 for one in data.boxes_xyxy_px)
    numbers = np.array(values, float)  # None becomes NaN
    np.testing.assert_allclose(numbers, numbers.T, atol=1e-12)


def test_the_correlation_that_is_left_out_is_named():
    names = ["pneumonia (Target)", "boxes", "area of the boxes"]
    values = [[1.0, 0.31, None], [0.31, 1.0, 0.65], [None, 0.65, 1.0]]
    sentences = list(conclusions._correlation({"correlation": {"names": names, "values": values}}))
    assert sentences[0].startswith("Rank correlations of at least 0.3 in size: boxes and pneumonia (Target) +0.31. ")
    assert sentences[1:] == ["Not counted as such is boxes and area of the boxes +0.65: more boxes have more area by definition."]


def test_outliers_lie_beyond_tukeys_outer_fence():
    values = np.exp(np.r_[np.linspace(0, 1, 101), 2.6, -1.6, 2.1, -1.1])
    names = [str(index) for index in range(len(values))]
    low, high = np.quantile(np.log(values), (0.25, 0.75))
    fences = low - 3 * (high - low), high + 3 * (high - low)
    expected = [name for name, value in zip(names, np.log(values), strict=True) if not fences[0] <= value <= fences[1]]
    assert [name for name, _ in issues.outlying(names, values)] == expected
    assert expected == ["101", "102"]


def test_there_is_no_outlier_where_most_are_equal():
    assert issues.outlying(list("abcde"), np.array([1.0, 1, 1, 1, 9])) == []
    assert issues.outlying([], np.zeros(0)) == []
