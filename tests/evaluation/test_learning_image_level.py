"""Image-level figures against scikit-learn, and the records that they are of."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from pneumodet.core import aims, detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import image_level
from pneumodet.inference.postprocess import gates as image_gates


@pytest.fixture(scope="module")
def split(keras_records):
    return RecordSet.open(keras_records).check_two_kinds().train


def many():
    """Return 60 exams of 40 patients, every third with a box, without images."""
    images = [{"id": number, "file_name": f"exam {number}", "width": 100, "height": 80, "patient": number % 40} for number in range(60)]
    box = {"category_id": 2, "bbox": [10, 10, 30, 20], "area": 600, "iscrowd": 0}
    annotations = [box | {"id": number, "image_id": number} for number in range(0, 60, 3)]
    images = [image | {"id": detections.image_id(image["file_name"])} for image in images]
    annotations = [one | {"image_id": images[one["image_id"]]["id"]} for one in annotations]
    return Split([], {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "pneumonia"}]})


def test_areas_and_counts_are_those_of_scikit_learn():
    split = many()
    scores = np.random.default_rng(2).random(len(split)).round(2)
    loaded = image_level.of_scores(split, scores)
    figures = image_level.summarize(loaded, resamples=40)
    assert figures["image.roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(split.positive, scores))
    assert figures["image.pr_auc"] == pytest.approx(sklearn_metrics.average_precision_score(split.positive, scores))
    assert image_level.headline(loaded).figures["image.f1"] == pytest.approx(figures["image.f1"])
    cells = figures["image.confusion"]
    assert sum(cells.values()) == len(split) and cells["tp"] + cells["fn"] == split.positive.sum()
    low, high = figures["intervals"]["image.roc_auc"]
    assert low <= figures["image.roc_auc"] <= high
    assert not [key for key in figures if key.startswith(("coco", "froc", "lesion", "rsna"))], "whole images are no findings"
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("key", ["image.roc_auc", "image.sensitivity"])
def test_moves_are_by_what_figures_differ_without_a_group_of_patients(key):
    split = many()
    scores = np.random.default_rng(3).random(len(split)).round(2)
    headline = image_level.headline(image_level.of_scores(split, scores))
    moves = headline.moves(key)
    assert len(moves) == 40, "as many as patients, since these are fewer than groups"
    without = np.array([headline.prepared((headline.patients != patient)[:, None].astype(float))[key][0] for patient in range(40)])
    assert moves == pytest.approx((headline.figures[key] - without) * np.sqrt(39 / 40))
    assert headline.moves("nothing") is None


def test_scores_that_are_all_alike_are_told_of_as_scores():
    split = many()
    warnings = image_level.of_scores(split, np.full(len(split), 0.5)).warnings
    assert any(one.startswith(f"All {len(split)} exams have the score 0.5: no threshold parts them, and ROC AUC") for one in warnings)
    assert not any("detections" in warning for warning in warnings)
    assert not image_level.of_scores(split, np.linspace(0, 1, len(split))).warnings


def test_the_gate_takes_the_scores(split, tmp_path):
    scores = np.linspace(0, 1, len(split))
    image_level.write_scores(tmp_path / "scores.csv", split, scores)
    scores_of = image_gates.read_gate(tmp_path / "scores.csv", exams=list(split.names))
    assert [scores_of[name] for name in split.names] == pytest.approx(scores.tolist(), abs=1e-6)


@pytest.mark.parametrize("wrong", [[0.5], np.nan, 1.5])
def test_scores_that_are_none(split, wrong):
    scores = np.array(wrong) if isinstance(wrong, list) else np.full(len(split), wrong)
    with pytest.raises(DataError, match="scores from 0 to 1"):
        image_level.of_scores(split, scores)


def test_aims_about_boxes_are_refused():
    aims.check_image_aim("sensitivity>=0.9")
    with pytest.raises(ConfigError, match="about boxes"):
        aims.check_image_aim("rsna")


def test_records_know_their_exams(keras_records):
    both = RecordSet.open(keras_records).check_two_kinds()
    rows = json.loads((keras_records / "instances_train.json").read_text())
    assert both.train.names == tuple(image["file_name"] for image in rows["images"])
    assert sum(map(len, both.train.boxes_xyxy_px)) == len(rows["annotations"])
    assert set(both.train.facts("rsna_class")) <= {"Normal", "No Lung Opacity / Not Normal", "Lung Opacity"}
    assert not set(both.train.names) & set(both.val.names)


@pytest.mark.parametrize(("kind", "part"), [("with", "with"), ("without", "without")])
def test_one_class_only_is_refused(keras_records, tmp_path, kind, part):
    folder = tmp_path / "one_class"
    shutil.copytree(keras_records, folder)
    path = folder / "instances_val.json"
    figures = json.loads(path.read_text())
    if kind == "with":
        figures["annotations"] = []
    else:
        box = {"category_id": 2, "bbox": [1, 1, 20, 20], "area": 400, "iscrowd": 0}
        figures["annotations"] = [box | {"id": number, "image_id": image["id"]} for number, image in enumerate(figures["images"], start=1)]
    path.write_text(json.dumps(figures))
    with pytest.raises(DataError, match=f"None of the [0-9]+ validation exams .* is {part} pneumonia"):
        RecordSet.open(folder).check_two_kinds()


def test_scores_have_a_row_for_each_exam(split, tmp_path):
    image_level.write_scores(tmp_path / "scores.csv", split, np.full(len(split), 1 / 3))
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["patientId"] for row in rows] == list(split.names) and {row["score"] for row in rows} == {"0.333333"}
