"""Exams that are positive without a box: image-level figures count them, and figures of boxes refuse them."""

import numpy as np
import pytest

from pneumodet.core.errors import DataError
from pneumodet.data import coco_objects
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import checks, image_level, inputs

EXAMS = 12


@pytest.fixture
def split():
    """Return 12 exams of as many patients, every second positive: the first with a box, the others as whole images."""
    images = [coco_objects.image_entry(f"e{number}", 30, 40) | {"patient": number} for number in range(EXAMS)]
    for image in images[2::2]:
        image["findings"] = ["pneumonia"]
    box = {"id": 1, "image_id": images[0]["id"], "category_id": 2, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}
    return Split([], {"images": images, "annotations": [box], "categories": [{"id": 2, "name": "pneumonia"}]}, name="val")


def test_positive_with_a_box_or_without(split):
    assert split.positive.tolist() == [True, False] * 6
    assert split.image_level.tolist() == [False, False, *[True, False] * 5]


@pytest.mark.parametrize("boxes", [pytest.param(True, id="mixed"), pytest.param(False, id="no boxes at all")])
def test_figures_of_a_classifier(split, boxes):
    if not boxes:
        split.instances["annotations"].clear()
        split.instances["images"][0]["findings"] = ["pneumonia"]
    loaded = image_level.of_scores(split, np.where(split.positive, 0.8, 0.3) + np.arange(EXAMS) / 100)
    assert loaded.warnings == []
    assert image_level.headline(loaded).figures["image.roc_auc"] == 1
    metrics = image_level.summarize(loaded, resamples=20)
    assert metrics["positive_images"] == 6
    assert metrics["image.confusion"]["tp"] + metrics["image.confusion"]["fn"] == 6


def test_cases_keep_it_when_some_are_taken(split):
    cases = image_level.of_scores(split, np.full(EXAMS, 0.5)).cases
    assert cases.take(np.array([2, 1, 0, 2])).positive.tolist() == [True, False, True, True]


def test_boxes_are_not_evaluated(split):
    rows = [{"image_id": split.instances["images"][2]["id"], "category_id": 2, "bbox": [1, 2, 10, 10], "score": 0.9}]
    for some in (rows, []):  # no detection would otherwise end in a sentence about thresholds
        with pytest.raises(
            DataError, match=r"5 exams of the ground truth are positive without a box \(first: e2\): boxes cannot be evaluated"
        ):
            inputs.assemble(split.instances, lambda _, __, some=some: some)
    assert len(inputs.assemble(split.instances, lambda _, __: [], source=checks.NONE).cases) == EXAMS, "the ground truth alone"
