"""Heat over a picture: seen where it is hot, and in an order that a gray print keeps."""

import numpy as np
from PIL import Image

from pneumodet.viz import heatmap


def test_a_heatmap_is_more_opaque_and_lighter_where_its_values_are_larger():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    dark = np.asarray(heatmap.overlay(Image.new("RGB", (256, 4)), ramp, opacity=1.0).convert("L"))[2].astype(int)
    assert (np.diff(dark) >= -1).all() and dark[-1] > 230
    gray = np.asarray(heatmap.overlay(Image.new("RGB", (256, 4), (128,) * 3), ramp, opacity=0.75)).astype(int)[2]
    change = np.abs(gray - 128).max(axis=1)
    assert change[0] == 0 and change[64] > 15 and change[128] > 20 and change[192] > 60 and change[255] > 90


def test_the_scale_goes_from_the_picture_as_it_is_to_the_hottest_colour():
    scale = np.asarray(heatmap.scale(opacity=0.5))
    middle = Image.new("RGB", (4, 4), (128,) * 3)
    hottest = np.asarray(heatmap.overlay(middle, np.full((4, 4), 255, np.uint8), opacity=0.5))[0, 0]
    np.testing.assert_array_equal(scale[0, 0], 128)
    np.testing.assert_array_equal(scale[-1, -1], hottest)
