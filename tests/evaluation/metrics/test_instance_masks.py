"""Figures of masks: those of pycocotools, Dice by its definition, and rectangles by their name."""

import contextlib
import io

import numpy as np
import pytest

from pneumodet.core import masks
from pneumodet.core.errors import DataError
from pneumodet.evaluation.inputs import Loaded, with_masks
from pneumodet.evaluation.metrics import instance_masks

SIDE = 64
CLASSES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def disc(x, y, radius):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def made_up(seed, images=12):
    """Return (COCO object, COCO results) of discs, some of which are detected, shifted."""
    random = np.random.default_rng(seed)
    truth, results = [], []
    for image in range(1, images + 1):
        for _ in range(random.integers(0, 3)):
            x, y, radius = random.integers(15, 48), random.integers(15, 48), random.integers(5, 12)
            mask = disc(x, y, radius)
            box = [int(x - radius), int(y - radius), int(2 * radius), int(2 * radius)]
            one = {"image_id": image, "category_id": 2, "bbox": box, "segmentation": masks.to_rle(mask)}
            truth.append({**one, "id": len(truth) + 1, "area": int(mask.sum()), "iscrowd": 0})
            for _ in range(random.integers(0, 3)):
                moved = disc(x + random.integers(-4, 5), y + random.integers(-4, 5), radius)
                results.append({**one, "segmentation": masks.to_rle(moved), "score": float(random.random())})
    instances = {"images": [{"id": number, "height": SIDE, "width": SIDE} for number in range(1, images + 1)]}
    return instances | {"annotations": truth, "categories": CLASSES}, results


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    instances, results = made_up(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, **instances}
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes([dict(row) for row in results]), "segm")
        run.params.catIds = [2]
        run.evaluate()
        run.accumulate()
        run.summarize()
    ours = instance_masks.mask_metrics(instances, results, category=2, score_threshold=0.5)
    assert [ours[f"mask.{name}"] for name in ("AP", "AP50", "AP75")] == pytest.approx(run.stats[:3].tolist())
    assert ours["mask.rectangles"] == 0
    assert 0 < ours["mask.AP50"] < 1


def test_dice_is_of_all_masks_of_an_image():
    a, b, other = disc(20, 20, 8), disc(40, 40, 6), disc(22, 20, 8)

    def row(mask, image, **more):
        return {"image_id": image, "category_id": 2, "bbox": [0, 0, 9, 9], "segmentation": masks.to_rle(mask), **more}

    instances = {"images": [{"id": number, "height": SIDE, "width": SIDE} for number in (1, 2, 3)], "categories": CLASSES}
    instances["annotations"] = [row(a, 1, id=1), row(b, 1, id=2), row(a, 2, id=3)]
    results = [row(other, 1, score=0.8), row(b, 1, score=0.3), row(a, 3, score=0.9)]
    figures = instance_masks.mask_metrics(instances, results, category=2, score_threshold=0.5)
    expected = 2 * (other & (a | b)).sum() / (other.sum() + (a | b).sum())
    assert figures["mask.dice"] == pytest.approx((expected + 0) / 2), (
        "nothing was detected on the second, and the third has no ground truth"
    )


def test_a_box_without_an_outline_is_a_rectangle_and_polygons_are_filled():
    box = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 12, 20, 16]}
    assert masks.from_rle(instance_masks.truth_rle(box, (SIDE, SIDE))).sum() == 20 * 16
    triangle = box | {"id": 2, "segmentation": [[10, 12, 30, 12, 10, 28]]}
    filled = masks.from_rle(instance_masks.truth_rle(triangle, (SIDE, SIDE)))
    assert filled.sum() == pytest.approx(20 * 16 / 2, rel=0.1)
    assert filled[13, 11]
    assert not filled[27, 29]
    instances = {"images": [{"id": 1, "height": SIDE, "width": SIDE}], "categories": CLASSES, "annotations": [box, triangle]}
    whole = [{**box, "score": 0.9, "segmentation": instance_masks.truth_rle(box, (SIDE, SIDE))}]
    figures = instance_masks.mask_metrics(instances, whole, category=2, score_threshold=0.5)
    assert (figures["mask.truth"], figures["mask.rectangles"], figures["mask.dice"]) == (2, 1, 1.0)
    (sentence,) = instance_masks.of_rectangles(figures)
    assert sentence.startswith("1 of 2 masks of the ground truth are rectangles")
    assert instance_masks.of_rectangles({"mask.rectangles": 0, "mask.truth": 3}) == instance_masks.of_rectangles({}) == []


def test_what_cannot_be_evaluated():
    with pytest.raises(DataError, match="segmentation of annotation 7 is neither polygons nor run lengths"):
        instance_masks.truth_rle({"id": 7, "bbox": [0, 0, 1, 1], "segmentation": {"size": [2, 2], "counts": [1]}}, (2, 2))
    instances = {
        "images": [{"id": 1}],
        "categories": CLASSES,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]}],
    }
    with pytest.raises(DataError, match="does not say those of image 1"):
        instance_masks.mask_metrics(instances, [], category=2, score_threshold=0.5)
    instances["images"] = [{"id": 1, "height": 4, "width": 4}]
    figures = instance_masks.mask_metrics(instances, [], category=2, score_threshold=0.5)
    assert (figures["mask.AP"], figures["mask.dice"]) == (0, 0)
    assert instance_masks.mask_metrics(instances, [], category=1, score_threshold=0.5)["mask.AP"] is None


def test_boxes_have_no_figures_of_masks():
    instances, results = made_up(1)
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in results]
    for rows, keys in ((results, 6), (boxes, 0), ([*results, boxes[0]], 0), ([], 0)):
        loaded = Loaded(None, instances, None, np.zeros(0), [], with_masks(rows))
        assert len(instance_masks.of_loaded(loaded, class_name="pneumonia", score_threshold=0.5)) == keys
