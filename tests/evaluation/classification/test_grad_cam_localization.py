"""Heatmaps evaluated beside what needs no radiograph."""

import numpy as np
import pytest

from pneumodet.core.detections import image_id
from pneumodet.data.record_sets import Split
from pneumodet.evaluation.classification import localization, weak_localization
from pneumodet.evaluation.classification.weak_boxes import DEFAULT_SHARE, GRID
from pneumodet.evaluation.classification.weak_localization import CENTRE, CHANCE, SPATIAL_PRIOR

SIDE = 512


def split_of(boxes_xyxy):
    """Return a split of square exams with at most one box each."""
    images = [{"id": image_id(str(number)), "file_name": str(number), "height": SIDE, "width": SIDE} for number in range(len(boxes_xyxy))]
    annotations = [
        {"id": number, "image_id": images[number]["id"], "category_id": 2, "bbox": [left, top, right - left, bottom - top]}
        for number, (left, top, right, bottom) in enumerate(boxes_xyxy)
        if right > left
    ]
    return Split([], {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "pneumonia"}]})


@pytest.fixture
def split():
    """20 exams, every fourth without a box, the others with one of 128 px at a random place."""
    corners = np.random.default_rng(0).integers(0, SIDE - 128, (20, 2))
    return split_of([(x, y, x + 128 * (number % 4 > 0), y + 128) for number, (x, y) in enumerate(corners.tolist())])


def compared(heatmaps, split, other, **more):
    folds = np.arange(len(split)) % 4
    cut = weak_localization.shares(heatmaps, split, folds, **more)
    patients = np.arange(len(split))
    table = weak_localization.compared_with_priors("mine", heatmaps, cut, split, other=other, patients=patients, folds=folds)
    return table, cut


def test_a_heatmap_on_the_finding_beats_chance_and_priors(split):
    heatmaps = [localization.box_mask(boxes, (SIDE, SIDE)) + 0.1 for boxes in split.boxes_xyxy_px]
    table, cut = compared(heatmaps, split, other=split_of([(0, 0, 128, 128)]))
    assert [table[name]["mine"]["value"] for name in ("pointing", "box_iou", "area_iou")] == pytest.approx([1, 1, 1], abs=0.05)
    assert cut.source == weak_localization.CROSS_FITTED
    assert all(table[name][other]["above"]["low"] > 0 for name in localization.FIGURES for other in (CHANCE, CENTRE, SPATIAL_PRIOR))
    assert table["energy"][CHANCE]["value"] == pytest.approx(1 / 16, rel=0.05)


def test_the_spatial_prior_is_of_other_patients(split):
    heatmaps = [np.ones((GRID, GRID))] * len(split)
    there, _ = compared(heatmaps, split, other=split)
    elsewhere, _ = compared(heatmaps, split, other=split_of([(0, 0, 40, 40)]))
    assert elsewhere["energy"][SPATIAL_PRIOR]["value"] < there["energy"][SPATIAL_PRIOR]["value"]
    assert elsewhere["pointing"][CENTRE] == {**there["pointing"][CENTRE]}


def test_the_spatial_prior_of_exams_without_boxes_localizes_nothing(split):
    table, _ = compared([np.ones((7, 7))] * len(split), split, other=split_of([(0, 0, 0, 40)]))
    assert [table[name][SPATIAL_PRIOR]["value"] for name in localization.FIGURES] == [0, 0, 0, 0]


def test_a_heatmap_that_is_the_same_everywhere_is_chance(split):
    table, _ = compared([np.ones((7, 7))] * len(split), split, other=split)
    for name in ("energy", "box_iou", "area_iou"):
        assert table[name]["mine"]["value"] == pytest.approx(table[name][CHANCE]["value"], rel=1e-6)


def test_shares_that_cannot_be_chosen(split):
    heatmaps = [np.ones((7, 7))] * len(split)
    few = weak_localization.shares(heatmaps, split, None)
    assert (few.for_new_data, few.source) == (DEFAULT_SHARE, weak_localization.TOO_FEW)
    assert set(few.of_exams) == {DEFAULT_SHARE}
    given = weak_localization.shares(heatmaps, split, np.arange(len(split)) % 2, given=0.25)
    assert (set(given.of_exams), given.source) == ({0.25}, weak_localization.GIVEN)
