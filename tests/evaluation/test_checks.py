"""Errors of ground truth and detections that files of the right form can have: refused or reported, each in a sentence."""

import contextlib
import io
import itertools

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pneumodet.core.errors import DataError
from pneumodet.evaluation import checks, inputs, summary

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def instances(boxes=((0, [10, 10, 20, 20]), (0, [50, 40, 30, 20]), (1, [0, 0, 100, 80])), *, count=3, size=(80, 100), **more):
    """COCO ground truth: images of height and width, each of a patient of its own; (image, box) of each annotation."""
    images = [{"id": 7 + index, "file_name": f"exam-{index}", "patient": index} for index in range(count)]
    images = [image | ({"height": size[0], "width": size[1]} if size else {}) for image in images]
    rows = [{"id": n, "image_id": 7 + image, "category_id": 2, "bbox": box, **more} for n, (image, box) in enumerate(boxes, 1)]
    return {"images": images, "annotations": rows, "categories": CATEGORIES}


def result(image=0, bbox=(10, 10, 20, 20), score=0.5, category=2):
    return {"image_id": 7 + image, "category_id": category, "bbox": list(bbox), "score": score}


RIGHT = (result(0, score=0.4), result(1), result(2, score=0.1))


def load(truth=None, results=RIGHT, **more):
    return inputs.assemble(truth or instances(), lambda images, category: list(results), names=("truth.json", "found.json"), **more)


def boxes_within_100_x_80():
    return [(x, y, 20, 15) for x, y in itertools.product(range(5, 80, 10), range(5, 60, 10))]


def as_corners(boxes):
    return [(x, y, x + width, y + height) for x, y, width, height in boxes]


def test_nothing_is_said_of_what_is_right():
    assert load().warnings == []


def test_boxes_over_the_edge_are_counted_and_left_as_they_are():
    truth = instances([(0, [10, 10, 20, 20]), (1, [-5, 0, 50, 40]), (2, [0, 0, 100.5, 80])], count=4)
    loaded = load(truth, [result(0, (90, 10, 30, 10)), result(1, (-0.5, 0, 10, 10), 0.4), result(2, (0, 70, 10, 12)), result(3)])
    assert loaded.warnings == [
        "1 of 3 ground-truth boxes reach over the edge of their image (first in exam-1); they count as they are, as in pycocotools and on Kaggle.",
        "2 of 4 detected boxes reach over the edge of their image (first in exam-0); they count as they are, as in pycocotools and on Kaggle.",
    ]
    assert loaded.cases.boxes_xyxy_px.tolist() == [[90, 10, 120, 20], [-0.5, 0, 9.5, 10], [0, 70, 10, 82], [10, 10, 30, 30]]
    assert loaded.cases.truth_xyxy_px[1].tolist() == [-5, 0, 45, 40]


def test_figures_of_boxes_over_the_edge_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    truth = [(image, [float(one) for one in (*rng.integers(0, 80, 2), *rng.integers(20, 60, 2))]) for image in range(40)]
    results = [result(image, np.array(box) + rng.normal(0, 4, 4), rng.random()) for image, box in truth]
    loaded = load(instances(truth, count=40, area=1000, iscrowd=0), results)
    assert len(loaded.warnings) == 3 and "over the edge" in loaded.warnings[0]
    metrics = summary.summarize(loaded, resamples=20)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = loaded.instances
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes([row | {} for row in results]), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert metrics["coco.pneumonia.AP50"] == pytest.approx(run.stats[1], abs=1e-9)
    low, high = metrics["intervals"]["coco.pneumonia.AP50"]
    assert low <= run.stats[1] <= high


@pytest.mark.parametrize("which", ["truth", "detections"])
def test_xyxy_in_place_of_xywh_is_refused(which):
    right = boxes_within_100_x_80()
    for boxes in (right, as_corners(right)):
        truth = instances([(0, list(box)) for box in boxes]) if which == "truth" else None
        results = [result(0, box, score=index / 100) for index, box in enumerate(boxes)]
        given = (truth,) if which == "truth" else (None, results)
        if boxes is right:
            assert not any("edge" in text for text in load(*given).warnings)
            continue
        name = "truth.json" if which == "truth" else "found.json"
        with pytest.raises(DataError, match=rf"{name}: \d+% of the boxes leave .*100% fit as .x, y, right, bottom.*subtract x and y"):
            load(*given)


def test_xyxy_is_told_where_sizes_are_not_known():
    """It cannot be known then: ground truth may happen to lie in one corner."""
    truth = instances([(0, [0, 0, 100, 80])], size=None)
    right = boxes_within_100_x_80()
    warned = [
        [text for text in load(truth, [result(0, box, score=n / 100) for n, box in enumerate(boxes)]).warnings if "bottom]" in text]
        for boxes in (right, as_corners(right))
    ]
    assert not warned[0]
    assert len(warned[1]) == 1 and "100% would not if they were meant as [x, y, right, bottom]" in warned[1][0]


@pytest.mark.parametrize("which", ["truth", "detections"])
def test_shares_of_the_image_are_refused(which):
    box = [0.1, 0.2, 0.5, 0.3]
    given = (instances([(0, box)]),) if which == "truth" else (None, [result(0, box)])
    with pytest.raises(DataError, match="no box has a coordinate above 1, .* multiply them by the image's width and height"):
        load(*given)


def test_one_image_without_a_size_does_not_spare_the_others():
    truth = instances()
    del truth["images"][1]["height"]
    loaded = load(truth, [result(0, (90, 10, 30, 10)), result(1, (90, 10, 30, 10), 0.4), result(2, score=0.3)])
    assert loaded.warnings[0].startswith("The ground truth does not say height and width of 1 of 3 images: whether boxes lie inside")
    assert loaded.warnings[1].startswith("1 of 3 detected boxes reach over the edge of their image (first in exam-0)")
    assert np.isnan(loaded.sizes_hw).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert summary.summarize(loaded, resamples=10)["maps"]["sizes"] == "guessed"


@pytest.mark.parametrize("size", [(0, 100), (80, -1), (80, None), ("80", 100), (float("nan"), 100)])
def test_a_size_that_is_none(size):
    assert np.isnan(load(instances(size=size)).sizes_hw).all()


def test_crowds_are_reported():
    truth = instances(iscrowd=0)
    truth["annotations"][2]["iscrowd"] = 1
    (warning,) = load(truth).warnings
    assert warning.startswith("iscrowd marks 1 of 3 ground-truth boxes: COCO's numbers neither ask for them")


def test_what_the_sentence_on_crowds_says_is_so():
    """The box of exam-1 is found by nothing: COCO does not ask for it, the FROC does."""
    truth, results = instances(iscrowd=0), [result(0, score=0.9), result(0, (50, 40, 30, 20), 0.8), result(2, score=0.1)]
    truth["annotations"][2]["iscrowd"] = 1
    metrics = summary.summarize(load(truth, results), resamples=10)
    assert metrics["coco.pneumonia.AR100"] == pytest.approx(1.0)
    assert metrics["froc.sensitivity_at_4"] == pytest.approx(2 / 3)


def test_a_ground_truth_box_that_is_there_again_is_reported():
    boxes = ((0, [10, 10, 20, 20]), (0, [10, 10, 20, 20]), (1, [10, 10, 20, 20]))
    (warning,) = load(instances(boxes)).warnings
    assert warning.startswith("1 of 3 ground-truth boxes repeat another one of the same image (first in exam-0): each counts by itself")


def test_more_detections_than_coco_takes_are_reported():
    many = [result(0, score=0.9 - n / 1000) for n in range(120)]
    (warning,) = [one for one in load(results=[*many, *RIGHT[1:]]).warnings if "AP and AR" in one]
    assert (
        warning.startswith("1 images have more than 100 detections of 'pneumonia' (at most 120, in exam-0)") and "leave out 20;" in warning
    )


def test_boxes_without_area_are_reported():
    (warning,) = load(instances([(0, [10, 10, 20, 20]), (1, [5, 5, 0, 9])])).warnings
    assert warning == "1 of 2 ground-truth boxes have no area (first in exam-1): no detection can find them."


def test_images_without_positives_or_without_negatives_are_reported():
    (warning,) = load(instances([])).warnings
    assert "most figures are undefined, the RSNA metric, sensitivity and ROC AUC among them" in warning
    (warning,) = load(instances([(index, [10, 10, 20, 20]) for index in range(3)])).warnings
    assert "specificity and ROC AUC are undefined without negative images" in warning


def test_detections_of_a_category_that_is_not_listed_are_refused():
    results = [result(), result(category=0), result(1, category=3), result(2, category=0)]
    with pytest.raises(DataError) as caught:
        load(None, results)
    assert str(caught.value) == (
        "found.json: 3 of 4 detections are of a category that the ground truth does not list: 0 (2, the first in entry 1), 3 (1, the first in "
        "entry 2). It lists 1 (no-pneumonia), 2 (pneumonia). Does one of the two files count from 0?"
    )


def test_detections_of_other_classes_only_are_reported():
    warnings = load(None, [result(index, score=0.1 * index, category=1) for index in range(3)]).warnings
    assert warnings == ["None of 3 detections is of 'pneumonia', the class that is evaluated; they are of 1 (no-pneumonia)."]


def test_copies_are_counted():
    again = [result(0, score=0.4), result(1), result(1), result(2, score=0.1), result(1)]
    near = [result(1, (10, 10, 20, 21)), result(1, score=0.51), result(1, category=1), result(2)]
    (warning,) = load(None, [*again, *near]).warnings
    assert warning.startswith("2 of 8 detections of 'pneumonia' repeat another one with the same image, box and score (first in exam-1)")


@pytest.mark.parametrize("seed", range(5))
def test_copies_by_counting(seed):
    rng = np.random.default_rng(seed)
    case, scores = rng.integers(0, 4, 60), rng.integers(0, 3, 60) / 4
    boxes = rng.integers(0, 2, (60, 4)).astype(float)
    seen, expected = set(), []
    for index, row in enumerate(zip(case.tolist(), scores.tolist(), map(tuple, boxes.tolist()), strict=True)):
        if row in seen:
            expected.append(index)
        seen.add(row)
    assert checks._copies(boxes, scores, case).tolist() == expected and len(expected) > 5


@pytest.mark.parametrize(("scores", "is_said"), [((0.5, 0.5, 0.5), True), ((0.5, 0.5, 0.4), False), ((0.5,), False)])
def test_scores_that_are_all_equal_are_reported(scores, is_said):
    warnings = load(None, [result(index, score=score) for index, score in enumerate(scores)]).warnings
    assert any(text.startswith("All 3 detections of 'pneumonia' have the score 0.5") for text in warnings) == is_said


def test_images_without_detections_are_counted():
    assert load(None, [result(1)]).warnings == ["2 of 3 images have no detection of any class."]
    assert not load(None, [result(1)], source=checks.MASKS).warnings
    assert load(None, []).warnings == ["There is no detection at all: every image counts as one in which nothing is detected."]
