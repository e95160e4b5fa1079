"""Masks of boxes and polygons."""

import io

import numpy as np
import pytest
from PIL import Image

from pneumodet.data import object_masks


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def mask(box, outline=None, side=12):
    return decoded(object_masks.encoded(box, outline, height=side, width=side))


@pytest.mark.parametrize("box", [(2.0, 3.0, 7.0, 9.0), (2.4, 3.5, 7.5, 9.6), (0.0, 0.0, 12.0, 12.0)])
def test_a_box_is_the_polygon_of_its_corners(box):
    left, top, right, bottom = box
    np.testing.assert_array_equal(mask(box), mask(box, ((left, top, right, top, right, bottom, left, bottom),)))


def test_a_pixel_belongs_where_its_centre_lies():
    triangle = mask((0.0, 0.0, 4.0, 4.0), ((0, 0, 4, 0, 0, 4),))
    np.testing.assert_array_equal(triangle[:4, :4], [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert triangle.sum() == 6


def test_several_polygons_are_one_object_and_none_reaches_over_the_edge():
    both = mask((0.0, 0.0, 12.0, 12.0), ((-5, -5, 2, -5, 2, 2, -5, 2), (10, 10, 20, 10, 20, 20, 10, 20)))
    assert (both.sum(), both[:2, :2].sum(), both[10:, 10:].sum()) == (8, 4, 4)


def test_where_no_pixel_lies_within_the_polygon_the_box_counts():
    assert mask((2.0, 2.0, 5.0, 5.0), ((2.1, 2.1, 2.2, 2.1, 2.1, 2.2),)).sum() == 9


def test_scaled():
    assert object_masks.scaled(((1.0, 2.0, 3.0, 4.0, 5.0, 6.0),), (0.5, 2.0)) == ((0.5, 4.0, 1.5, 8.0, 2.5, 12.0),)
