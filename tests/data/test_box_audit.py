"""The audit of boxes before training: each problem is noticed, counted and named, and sound data gives no warning."""

import copy
import json

import numpy as np
import pytest

from pneumodet.core.errors import DataError
from pneumodet.data import box_audit

FLAGS = {"split": "train", "resized_hw": lambda image_hw: np.full_like(image_hw, 320.0), "max_boxes": 4}
CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}, {"id": 3, "name": "effusion"}]


def sound(positives=30, negatives=70, size=1000):
    """Exams e0, e1 …, each positive with one box of its own."""
    images = [{"id": 10 + index, "file_name": f"e{index}", "width": size, "height": size} for index in range(positives + negatives)]
    rows = [{"image_id": 10 + index, "category_id": 2, "bbox": [100.0 + index, 200, 200, 300]} for index in range(positives)]
    return {"images": images, "annotations": rows, "categories": CATEGORIES}


def with_boxes(exam, *boxes, category=2):
    truth = sound()
    truth["annotations"] += [{"image_id": 10 + exam, "category_id": category, "bbox": list(map(float, box))} for box in boxes]
    return truth


def test_sound_data_gives_facts_and_nothing_else():
    report = box_audit.audit(sound(), **FLAGS, best_iou=np.full(30, 0.5))
    assert (report.errors, report.warnings) == ((), ())
    report.check()
    assert report.facts == {
        "exams": 100,
        "positive_exams": 30,
        "negative_exams": 70,
        "boxes": 30,
        "boxes_by_category": {"2": 30},
        "small_boxes": 0,
        "whole_image_boxes": 0,
        "repeated_boxes": 0,
        "exams_over_max_boxes": 0,
        "unmatched_boxes": 0,
        "mean_best_iou": 0.5,
    }
    json.dumps(report.facts, allow_nan=False)


@pytest.mark.parametrize(
    ("truth", "fact", "count", "message"),
    [
        pytest.param(
            with_boxes(31, (10, 10, 24, 500), (10, 10, 26, 500), (10, 10, 500, 20)),
            "small_boxes",
            2,
            "2 of the 33 boxes of train have a side below 8 px in the model's input (least 6.4 px), the first in exam e31. A larger",
            id="small",  # 24 of 1000 px are 7.7 of 320, 26 are 8.3
        ),
        pytest.param(
            with_boxes(40, (0, 0, 899, 1000), (0, 0, 1000, 901)),
            "whole_image_boxes",
            1,
            "1 of the 32 boxes of train covers more than 90% of the image, the first in exam e40.",
            id="whole image",
        ),
        pytest.param(
            with_boxes(3, (103.5, 200, 200, 300), (150, 200, 200, 300)),
            "repeated_boxes",
            1,
            "1 of the 32 boxes of train repeats another one of its image, the first in exam e3.",
            id="twice",
        ),
        pytest.param(
            with_boxes(5, (0, 0, 100, 100), (200, 0, 100, 100), (400, 0, 100, 100), (600, 0, 100, 100)),
            "exams_over_max_boxes",
            1,
            "Exams of train with more boxes than train_config.max_number_of_boxes = 4: 1, the first is e5; the rest",
            id="more than the model takes",
        ),
    ],
)
def test_each_fault_is_counted_and_named(truth, fact, count, message):
    report = box_audit.audit(truth, **FLAGS)
    assert report.facts[fact] == count
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith(message)
    report.check()


def test_same_place_of_another_class_is_no_repetition():
    assert box_audit.audit(with_boxes(3, (103, 200, 200, 300), category=3), **FLAGS).warnings == ()


def test_size_is_what_the_model_sees():
    """A box of 30 px in a small image is large where the image is enlarged, and small where it is made smaller."""
    truth = sound(size=1000) | {"annotations": sound()["annotations"] + [{"image_id": 10, "category_id": 2, "bbox": [0.0, 0, 30, 30]}]}
    large = FLAGS | {"resized_hw": lambda image_hw: image_hw * [0.2, 2.0]}
    assert box_audit.audit(truth, **large).facts["small_boxes"] == 1
    assert box_audit.audit(truth, **FLAGS).facts["small_boxes"] == 0


def test_boxes_without_an_anchor():
    best = np.full(30, 0.8)
    best[[7, 9]] = 0.49
    report = box_audit.audit(sound(), **FLAGS, best_iou=best, matched_threshold=0.5)
    assert report.facts["unmatched_boxes"] == 2
    assert report.warnings == ("2 of the 30 boxes of train reach no anchor at IoU 0.5, the first in exam e7. --fit-anchors may fix it.",)


def test_fitted_anchors_need_not_be_fitted():
    """A run with --fit-anchors was advised to give --fit-anchors."""
    best = np.full(30, 0.6)
    best[7] = 0.4
    (warning,) = box_audit.audit(sound(), **FLAGS, best_iou=best, matched_threshold=0.5, anchors_fitted=True).warnings
    assert warning.endswith(
        "the first in exam e7. Anchors were fitted to the boxes already; a larger input image makes small boxes reachable."
    )


def test_training_without_positives_is_an_error():
    truth = sound(positives=0)
    report = box_audit.audit(truth, **FLAGS, best_iou=np.zeros(0))
    with pytest.raises(DataError, match="None of the 70 exams of the split train has a box: .* Check the labels"):
        report.check()
    json.dumps(report.facts, allow_nan=False)
    validation = box_audit.audit(truth, **FLAGS | {"split": "val"})
    validation.check()
    assert validation.warnings == ("None of the 70 exams of val has a box: no metric of it is defined, and none can choose a checkpoint.",)


def test_empty_split_is_an_error():
    with pytest.raises(DataError, match="The split train has no exams"):
        box_audit.audit({"images": [], "annotations": [], "categories": CATEGORIES}, **FLAGS).check()


def test_few_positives_are_told():
    assert box_audit.audit(sound(positives=19), **FLAGS).warnings == (
        "Only 19 of the 89 exams of train have boxes; figures over so few vary much.",
    )


def test_whole_image_boxes_of_negatives_make_no_positive():
    truth = sound()
    truth["annotations"] += [{"image_id": image["id"], "category_id": 1, "bbox": [0.0, 0, 1000, 1000]} for image in truth["images"][30:]]
    plain = box_audit.audit(sound(), **FLAGS, best_iou=np.full(30, 0.6))
    assert box_audit.audit(truth, **FLAGS, best_iou=np.array([0.6] * 30 + [0.1] * 70)) == plain


def test_nothing_is_changed():
    truth = with_boxes(3, (103, 200, 200, 300))
    before = copy.deepcopy(truth)
    box_audit.audit(truth, **FLAGS)
    assert truth == before


@pytest.mark.slow
@pytest.mark.real_data
def test_rsna_labels_are_sound(shared_data):
    import csv

    with open(shared_data / "rsna_csv" / "stage_2_train_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    exams = {exam: number for number, exam in enumerate(dict.fromkeys(row["patientId"] for row in rows))}
    truth = {
        "categories": CATEGORIES,
        "images": [{"id": number, "file_name": exam, "width": 1024, "height": 1024} for exam, number in exams.items()],
        "annotations": [
            {"image_id": exams[row["patientId"]], "category_id": 2, "bbox": [float(row[key]) for key in ("x", "y", "width", "height")]}
            for row in rows
            if row["Target"] == "1"
        ],
    }
    report = box_audit.audit(truth, **FLAGS | {"max_boxes": 100})
    assert (report.facts["exams"], report.facts["positive_exams"], report.facts["boxes"]) == (26684, 6012, 9555)
    assert (report.errors, report.facts["whole_image_boxes"], report.facts["repeated_boxes"]) == ((), 0, 0)
