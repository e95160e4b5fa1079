"""Masks: COCO's run lengths are those of pycocotools, and a mask in a box is where the box is."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from pycocotools import mask as oracle

from pneumodet.core import masks


@hypothesis.given(arrays.arrays(bool, strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40))))
def test_run_lengths_are_those_of_pycocotools(mask):
    ours, theirs = masks.to_rle(mask), oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}
    assert np.array_equal(masks.from_rle(ours), mask)
    assert masks.area(ours) == mask.sum()


def test_long_runs():
    mask = np.zeros((700, 900), bool)
    mask[100:650, 200:800] = True
    mask[300:310, 10:890] ^= True
    rle = masks.to_rle(mask)
    assert rle["counts"] == oracle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(masks.from_rle(rle), mask)
    assert np.array_equal(masks.from_rle({"size": [2, 3], "counts": [1, 2, 3]}), [[False, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        pytest.param("1", "1 pixels for an image of 2 x 3", id="too short"),
        pytest.param([7, -1], "6 pixels", id="negative"),
        pytest.param("6\x7f", "no part of run lengths", id="another character"),
        pytest.param("6P", "cut off", id="cut off"),
    ],
)
def test_what_is_no_run_lengths(counts, reason):
    with pytest.raises(ValueError, match=reason):
        masks.from_rle({"size": [2, 3], "counts": counts})


def test_a_full_mask_is_its_box():
    mask = masks.on_image(np.ones((15, 15)), (3.4, 2.0, 7.6, 5.0), height=8, width=10)
    rows, columns = np.nonzero(mask)
    # centres at 3.5 to 7.5, and at 2.5 to 4.5
    assert (columns.min(), columns.max(), rows.min(), rows.max(), mask.sum()) == (3, 7, 2, 4, 15)


def test_a_mask_lies_in_its_box_as_the_network_gives_it():
    cells = np.zeros((2, 2))
    cells[0, 1] = 1.0  # top right
    mask = masks.on_image(cells, (10, 20, 30, 40), height=50, width=60)
    assert mask[21, 28]
    assert not mask[21, 12]
    assert not mask[38, 28]
    assert mask.sum() == pytest.approx(100, abs=25)


def test_a_box_over_the_edge_is_cut_off():
    mask = masks.on_image(np.ones((3, 3)), (-5, -5, 4, 2), height=6, width=6)
    assert mask.sum() == 4 * 2
    assert not masks.on_image(np.ones((3, 3)), (7, 7, 9, 9), height=6, width=6).any()
    assert not masks.on_image(np.ones((3, 3)), (2.0, 2.0, 2.0, 2.0), height=6, width=6).any()
