import numpy as np
import pytest

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.equalizing import NORMALIZATIONS, checked_name, equalized


@pytest.fixture
def dull():
    """(64, 96) uint8 between 90 and 140, brighter to the right."""
    rng = np.random.default_rng(0)
    return np.uint8(np.clip(90 + np.linspace(0, 40, 96) + rng.normal(0, 4, (64, 96)), 90, 140))


def by_hand(pixels):
    """Histogram equalization as in the textbooks: the share of pixels above the lowest gray, times 255."""
    total = np.bincount(pixels.ravel(), minlength=256).cumsum()
    lowest = total[pixels.min()]
    return np.rint((total[pixels] - lowest) * 255 / (pixels.size - lowest)).astype(np.uint8)


def test_histogram_equalization_by_hand(dull):
    assert np.abs(np.int16(equalized(dull, "histogram")) - by_hand(dull)).max() <= 1


def test_clahe_stretches_less_than_the_whole_histogram_and_follows_the_place(dull):
    clahe = equalized(dull, "clahe")
    assert dull.std() < clahe.std() < equalized(dull, "histogram").std()
    assert clahe[:, :48][dull[:, :48] == 110].mean() > clahe[:, 48:][dull[:, 48:] == 110].mean() + 10


def test_none_is_the_same_array_and_nothing_is_changed_in_place(dull):
    before = dull.copy()
    assert equalized(dull, "none") is dull
    for name in NORMALIZATIONS:
        equalized(dull, name)
    assert np.array_equal(dull, before)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_shape_and_type_stay(dull, name):
    out = equalized(dull[..., None], name)
    assert out.shape == (64, 96, 1) and out.dtype == np.uint8
    assert np.array_equal(out[..., 0], equalized(dull, name))
    assert equalized(dull[::2, ::2], name).shape == (32, 48)
    assert equalized(np.full((8, 8), 7, np.uint8), name).shape == (8, 8)


def test_sixteen_bits_colours_and_unknown_names_are_refused(dull):
    with pytest.raises(DataError, match="8-bit gray values, not on uint16"):
        equalized(np.uint16(dull), "clahe")
    with pytest.raises(DataError, match=r"one gray channel.*\(64, 96, 3\)"):
        equalized(np.repeat(dull[..., None], 3, 2), "histogram")
    with pytest.raises(ConfigError, match="'Clahe' is not known; choose one of none, histogram, clahe"):
        checked_name("Clahe")
