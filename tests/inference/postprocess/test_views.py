"""Views and the ways back: exact for boxes, and a detector of bright rectangles finds them at the same place in every view."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError
from pneumodet.inference.postprocess import views

SIDES = st.integers(17, 600)
SCALES = st.integers(50, 150).filter(lambda percent: percent != 100).map(lambda percent: percent / 100)


def into_view(name, boxes, height, width):
    """Where boxes of the radiograph lie in the view, written from its description."""
    boxes = np.array(boxes, float)
    if name == "identity":
        return boxes
    if name == "flip":
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    scale = float(name.partition("=")[2])
    for column, side in ((0, width), (1, height), (2, width), (3, height)):
        if scale < 1:
            small = max(1, round(scale * side))
            boxes[:, column] = (side - small) // 2 + boxes[:, column] * small / side
        else:
            part = max(1, round(side / scale))
            boxes[:, column] = (boxes[:, column] - (side - part) // 2) * side / part
    return boxes


names = st.one_of(st.sampled_from(["identity", "flip"]), SCALES.map(lambda scale: f"scale={scale:g}"))


@given(names, SIDES, SIDES, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_boxes_come_back_exactly(name, height, width, fractions):
    boxes = np.array([[x, y, x + w * (1 - x), y + h * (1 - y)] for x, y, w, h in fractions]).reshape(-1, 4) * [width, height, width, height]
    back = views.view_of(name).back(into_view(name, boxes, height, width), size_hw=(height, width))
    np.testing.assert_allclose(back, boxes, atol=1e-9)
    assert back.dtype == np.float64


def bright(pixels):
    """A detector: the rectangle of all that is bright, if there is any."""
    rows, columns = np.nonzero((pixels if pixels.ndim == 2 else pixels[:, :, 0]) > 127)
    if not len(rows):
        return Detections.none()
    return Detections([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], [0.9], [2])


@given(names, st.integers(60, 300), st.integers(60, 300), st.tuples(*[st.floats(0.22, 0.78)] * 4))
def test_a_bright_rectangle_is_found_where_it_is(name, height, width, fractions):
    """In the middle half, which every scale shows; asymmetric, so that a view that is not undone is seen."""
    x, y = (sorted(round(fraction * side) for fraction in pair) for pair, side in ((fractions[:2], width), (fractions[2:], height)))
    left, right, top, bottom = x[0], max(x[1], x[0] + 4), y[0], max(y[1], y[0] + 4)
    pixels = np.full((height, width), 20, np.uint8)
    pixels[top:bottom, left:right] = 255
    seen = views.view_of(name).seen(pixels)
    assert (seen.shape, seen.dtype, seen.flags.c_contiguous) == (pixels.shape, np.uint8, True)
    (answer,) = views.detect(bright, pixels, [name])
    one_px_of_the_smallest_view = 2.0
    np.testing.assert_allclose(answer.boxes_xyxy_px, [[left, top, right, bottom]], atol=one_px_of_the_smallest_view)
    in_colour = views.view_of(name).seen(np.repeat(pixels[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(in_colour[:, :, 1], seen)


def test_detect_gives_a_set_a_view():
    pixels = np.zeros((80, 100), np.uint8)
    pixels[30:50, 20:45] = 200
    looked_at = []
    sets = views.detect(lambda seen: (looked_at.append(seen), bright(seen))[1], pixels, views.parse("flip,scale=0.5,scale=1.25"))
    assert len(sets) == len(looked_at) == 4
    for answer in sets:
        np.testing.assert_allclose(answer.boxes_xyxy_px, [[20, 30, 45, 50]], atol=1)
    assert looked_at[0] is pixels
    assert looked_at[2][:20].max() == looked_at[2][:, :25].max() == 0, "a black border of half the missing size"


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        pytest.param((30, 60), 1, id="whole"),
        pytest.param((2, 60), 0, id="cut through"),
        pytest.param((2, 9), 0, id="beside the part that is seen"),
        pytest.param((10, 60), 0, id="ends on the cut, so that it may continue"),
        pytest.param((12, 60), 1, id="ends just inside"),
    ],
)
def test_what_an_enlarged_view_cuts(columns, count):
    """scale=1.25 of 100 px shows columns 10 to 90."""
    pixels = np.zeros((100, 100), np.uint8)
    pixels[40:60, slice(*columns)] = 255
    assert [len(one) for one in views.detect(bright, pixels, ["identity", "scale=1.25"])] == [1, count]


def test_boxes_on_the_black_border():
    """Clipped to the radiograph, and left out where nothing remains."""
    boxes = [[0, 0, 50, 50], [0, 0, 24, 100], [30, 30, 60, 60]]
    answer = Detections(boxes, [0.9, 0.8, 0.7], [2, 2, 1])
    back = views.view_of("scale=0.5").detections_back(answer, size_hw=(100, 100))
    assert back.boxes_xyxy_px.tolist() == [[0, 0, 50, 50], [10, 10, 70, 70]]
    assert back.scores.tolist() == pytest.approx([0.9, 0.7])
    assert back.classes.tolist() == [2, 1]


@given(names)
def test_names_there_and_back(name):
    assert views.view_of(name).name == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flip", ("identity", "flip")),
        ("identity", ("identity",)),
        (" scale=0.90 , identity,flip", ("identity", "scale=0.9", "flip")),
        ("scale=1.1,scale=0.9", ("identity", "scale=1.1", "scale=0.9")),
    ],
)
def test_parse(text, expected):
    assert views.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "There is no view ''. Views are identity, flip and scale=S with S from 0.5 to 1.5"),
        ("flip,", "There is no view ''"),
        ("flipp", "There is no view 'flipp'"),
        ("scale", "There is no view 'scale'"),
        ("scale=", "There is no view 'scale='"),
        ("scale=big", "There is no view 'scale=big'"),
        ("scale=nan", "There is no view 'scale=nan'"),
        ("flip=0.9", "There is no view 'flip=0.9'"),
        ("scale=0.4", "'scale=0.4' has a scale that is not from 0.5 to 1.5"),
        ("scale=90", "'scale=90' has a scale"),
        ("scale=1.0", "'scale=1.0' has a scale that is not from 0.5 to 1.5, or is 1"),
        ("flip,flip", "The view 'flip' is listed twice"),
        ("scale=0.9,scale=0.90", "The view 'scale=0.9' is listed twice"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        views.parse(text)
