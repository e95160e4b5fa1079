"""COCO metrics against pycocotools."""

import contextlib
import copy
import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pneumodet.core.detections import image_id
from pneumodet.core.errors import DataError
from pneumodet.data import detection_files
from pneumodet.evaluation.metrics.coco import coco_metrics

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]

KEYS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
"""COCO's 12 numbers, in the order of pycocotools' stats."""


def random_data(seed, *, large_ids, classes=(1, 2)):
    rng = np.random.default_rng(seed)
    ids = [image_id(f"exam {number}") if large_ids else number + 1 for number in range(15)]
    instances = {"images": [{"id": one, "width": 1024, "height": 1024} for one in ids], "annotations": [], "categories": CATEGORIES}
    detections = []
    for one in ids[:-2]:  # two images without annotations, one of them with detections
        for _ in range(rng.integers(0, 4)):
            x, y, width, height = (int(value) for value in [*rng.integers(0, 600, 2), *rng.integers(20, rng.choice([40, 110, 400]), 2)])
            annotation = {"image_id": one, "category_id": int(rng.choice(classes)), "bbox": [x, y, width, height]}
            annotation |= {"iscrowd": int(rng.random() < 0.05), "area": width * height * float(rng.uniform(0.6, 1))}
            instances["annotations"].append({**annotation, "id": len(instances["annotations"]) + 1})
            for _ in range(rng.integers(0, 4)):
                box = (np.array([x, y, width, height]) + rng.normal(0, min(width, 100) / 6, 4)).round(2)
                box[2:] = np.maximum(box[2:], 1)
                category = annotation["category_id"] if rng.random() < 0.8 else 3 - annotation["category_id"]
                score = float(rng.integers(1, 50)) / 50
                detections.append({"image_id": one, "category_id": category, "bbox": box.tolist(), "score": score})
    detections.append({"image_id": ids[-1], "category_id": 2, "bbox": [1, 2, 300, 400], "score": 0.99})
    return instances, detections


def by_pycocotools(instances, detections, category=None):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(instances)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(detections)), "bbox")
        if category:
            run.params.catIds = [category]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {key: None if value == -1 else value for key, value in zip(KEYS, run.stats, strict=True)}


@pytest.mark.parametrize("large_ids", [False, True], ids=["small ids", "48-bit ids"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_pycocotools(seed, large_ids):
    instances, detections = random_data(seed, large_ids=large_ids)
    before = copy.deepcopy((instances, detections))
    metrics = coco_metrics(instances, detections)
    assert (instances, detections) == before  # the evaluator writes into what it is given
    for prefix, category in (("coco.", None), ("coco.no-pneumonia.", 1), ("coco.pneumonia.", 2)):
        expected = by_pycocotools(instances, detections, category)
        assert {key: metrics[prefix + key] for key in KEYS} == pytest.approx(expected, abs=1e-9), prefix
    assert 0 < metrics["coco.AP"] < metrics["coco.AP50"] < 1
    assert len(metrics) == 36


def test_more_than_100_detections_equal_pycocotools():
    """Only the 100 most confident of an image and class count, although they are not given in order."""
    instances, _ = random_data(4, large_ids=False)
    rng = np.random.default_rng(4)
    detections = []
    for annotation in instances["annotations"]:
        boxes = np.array(annotation["bbox"]) + rng.normal(0, 15, (150, 4)).round(1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        same = {"image_id": annotation["image_id"], "category_id": annotation["category_id"]}
        detections += [{**same, "bbox": box.tolist(), "score": float(rng.random())} for box in boxes]
    metrics = coco_metrics(instances, detections)
    assert {key: metrics[f"coco.{key}"] for key in KEYS} == pytest.approx(by_pycocotools(instances, detections), abs=1e-9)


def test_sizes_are_told_apart():
    """One small, one medium and one large box, of which only the medium one is found."""
    instances = {"images": [{"id": 1}], "categories": CATEGORIES, "annotations": []}
    for number, side in enumerate((20, 60, 200)):
        instances["annotations"].append({"id": number, "image_id": 1, "category_id": 2, "bbox": [300 * number, 0, side, side]})
    metrics = coco_metrics(instances, [{"image_id": 1, "category_id": 2, "bbox": [300, 0, 60, 60], "score": 0.5}])
    assert [metrics[f"coco.AR_{size}"] for size in ("small", "medium", "large")] == pytest.approx([0, 1, 0])
    assert [metrics[f"coco.AP_{size}"] for size in ("small", "medium", "large")] == pytest.approx([0, 1, 0])


def test_large_ids_are_told_apart():
    """Ids that agree in their low 32 bits, or as float32, must not be one image."""
    ids = [2**47 + 1, 2**47 + 1 + 2**32, 2**47 + 2]
    images = [{"id": one, "width": 100, "height": 100} for one in ids]
    box = [10, 10, 50, 50]
    instances = {"images": images, "categories": CATEGORIES, "annotations": [{"id": 1, "image_id": ids[0], "category_id": 2, "bbox": box}]}
    right, wrong = ([{"image_id": one, "category_id": 2, "bbox": box, "score": 0.5}] for one in ids[:2])
    assert coco_metrics(instances, right)["coco.pneumonia.AP"] == pytest.approx(1.0)
    assert coco_metrics(instances, wrong)["coco.pneumonia.AP"] == 0.0


def test_class_without_ground_truth_is_none_and_does_not_drag_the_mean_down():
    instances, detections = random_data(3, large_ids=True, classes=(2,))
    detections.append({**detections[0], "category_id": 1, "score": 1.0})
    metrics = coco_metrics(instances, detections)
    assert all(metrics[f"coco.no-pneumonia.{key}"] is None for key in KEYS)
    assert metrics["coco.AP"] == metrics["coco.pneumonia.AP"] > 0


def test_no_detections_give_zeros():
    instances, _ = random_data(3, large_ids=True)
    metrics = coco_metrics(instances, [])
    assert set(metrics.values()) <= {0.0, None}
    assert metrics["coco.AP"] == metrics["coco.pneumonia.AR100"] == 0.0


@pytest.mark.parametrize("images", [True, False], ids=["images", "no images"])
def test_no_ground_truth_gives_none(images):
    instances, detections = random_data(3, large_ids=False)
    metrics = coco_metrics({**instances, "annotations": [], **({} if images else {"images": []})}, detections if images else [])
    assert len(metrics) == 36
    assert set(metrics.values()) == {None}


def test_a_perfect_detector_scores_one_although_ids_start_at_zero():
    """COCO's own matching takes annotation id 0 for "no match"."""
    instances, _ = random_data(5, large_ids=True)
    for number, annotation in enumerate(instances["annotations"]):
        annotation["id"] = number
    perfect = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in instances["annotations"]]
    assert coco_metrics(instances, perfect)["coco.AP"] == pytest.approx(1.0)


def test_prints_nothing(capfd):
    coco_metrics(*random_data(1, large_ids=True))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"image_id": 77}, "detection 0 is of image 77, which the ground truth does not list", id="unknown image"),
        pytest.param({"category_id": 3}, r"detection 0 is of category 3; the ground truth has \[1, 2\]", id="unknown category"),
        pytest.param({"bbox": [0, 0, float("nan"), 1]}, "detection 0 has a box or score that is not finite", id="NaN box"),
        pytest.param({"score": float("inf")}, "not finite", id="infinite score"),
        pytest.param({"score": None}, "detection 0 has no score", id="no score"),
        pytest.param({"bbox": [1, 2, 3]}, "detection 0 needs a bbox of four numbers", id="three numbers"),
        pytest.param({"bbox": [1, 2, 3, "x"]}, "detection 0 needs a bbox of four numbers", id="a word in a box"),
        pytest.param({"score": "high"}, "detection 0 needs .* numbers beside it", id="a word as a score"),
    ],
)
def test_errors(change, message):
    instances, detections = random_data(1, large_ids=False)
    broken = {key: value for key, value in {**detections[0], **change}.items() if value is not None}
    with pytest.raises(DataError, match=message):
        coco_metrics(instances, [broken])


def test_errors_name_the_row():
    instances, detections = random_data(1, large_ids=False)
    with pytest.raises(DataError, match="detection 2 is of image 77"):
        coco_metrics(instances, [*detections[:2], {**detections[2], "image_id": 77}])
    with pytest.raises(DataError, match="annotation 1 has a box or area that is not finite"):
        instances["annotations"][1] = {**instances["annotations"][1], "area": float("nan")}
        coco_metrics(instances, detections)


SPANS = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8))
"""Left, top, width and height on a coarse grid: equal boxes and IoUs exactly at a threshold are frequent."""


@settings(max_examples=25, deadline=None)
@given(
    truth=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), SPANS, st.booleans()), min_size=1, max_size=8),
    results=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), SPANS, st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=10),
)
def test_equals_pycocotools_where_much_is_equal(truth, results):
    """Images are listed in falling order of their ids, which must not change which of two detections of one score comes first."""
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3], "iscrowd": int(crowd)}
        for number, (image, category, box, crowd) in enumerate(truth, start=1)
    ]
    instances = {"images": [{"id": one} for one in (3, 2, 1)], "annotations": annotations, "categories": CATEGORIES}
    detections = [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score} for image, category, box, score in results
    ]
    metrics = coco_metrics(instances, detections)
    for prefix, category in (("coco.", None), ("coco.no-pneumonia.", 1), ("coco.pneumonia.", 2)):
        expected = by_pycocotools(instances, detections, category)
        assert {key: metrics[prefix + key] for key in KEYS} == pytest.approx(expected, abs=1e-9), prefix


@pytest.mark.slow
@pytest.mark.real_data
def test_equals_pycocotools_on_real_ground_truth(shared_data):
    """3,000 exams of the challenge, each with detections near its boxes and near those of another exam."""
    rows = {}
    with (shared_data / "rsna_csv" / "stage_2_train_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = [float(row[key]) for key in ("x", "y", "width", "height")] if row["Target"] == "1" else None
            rows.setdefault(row["patientId"], []).extend([box] if box else [])
    exams = list(rows.items())[:3000]
    rng = np.random.default_rng(0)
    instances = {"images": [{"id": image_id(exam)} for exam, _ in exams], "annotations": [], "categories": CATEGORIES}
    detections = []
    for number, (exam, here) in enumerate(exams):
        for box in here:
            annotation = {"id": len(instances["annotations"]) + 1, "image_id": image_id(exam), "category_id": 2, "bbox": box, "iscrowd": 0}
            instances["annotations"].append(annotation | {"area": box[2] * box[3]})
        for box in here + exams[number - 1][1]:
            moved = np.maximum(np.array(box) + rng.normal(0, 25, 4), 1).round(2).tolist()
            detections.append({"image_id": image_id(exam), "category_id": 2, "bbox": moved, "score": round(float(rng.beta(2, 4)), 3)})
    metrics = coco_metrics(instances, detections)
    assert {key: metrics[f"coco.pneumonia.{key}"] for key in KEYS} == pytest.approx(by_pycocotools(instances, detections, 2), abs=1e-9)
    assert 0.1 < metrics["coco.pneumonia.AP50"] < 0.9


@pytest.mark.parametrize("large_ids", [False, True], ids=["small ids", "48-bit ids"])
def test_columns_give_the_same_numbers_as_rows(large_ids):
    """To the last digit, with images in an order of their own: where scores are equal the order of images counts."""
    instances, detections = random_data(3, large_ids=large_ids)
    instances["images"].reverse()
    image_ids = {str(image["id"]): image["id"] for image in instances["images"]}
    columns = detection_files.to_columns(detections, image_ids, "detections")
    assert coco_metrics(instances, columns) == coco_metrics(instances, detections)
