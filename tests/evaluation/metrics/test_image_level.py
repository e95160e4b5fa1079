"""Image-level figures against scikit-learn."""

import json

import numpy as np
import pytest
from random_cases import random_cases
from sklearn import metrics as sklearn

from pneumodet.evaluation.metrics.image_level import Areas, called_positive, image_level, pr_curve, roc_curve


@pytest.mark.parametrize("grid", [4, 20, 10**6], ids=["many ties", "ties", "no ties"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_scikit_learn(seed, grid):
    cases = random_cases(seed, count=60, grid=grid, positives=0.4)
    threshold = 0.4
    called = called_positive(cases, threshold)
    figures = image_level(cases, score_threshold=threshold)
    tn, fp, fn, tp = sklearn.confusion_matrix(cases.positive, called).ravel()
    assert figures == {
        "image.roc_auc": pytest.approx(sklearn.roc_auc_score(cases.positive, cases.case_scores), abs=1e-12),
        "image.pr_auc": pytest.approx(sklearn.average_precision_score(cases.positive, cases.case_scores), abs=1e-12),
        "image.sensitivity": pytest.approx(sklearn.recall_score(cases.positive, called)),
        "image.specificity": pytest.approx(sklearn.recall_score(~cases.positive, ~called)),
        "image.precision": pytest.approx(sklearn.precision_score(cases.positive, called)),
        "image.f1": pytest.approx(sklearn.f1_score(cases.positive, called)),
        "image.confusion": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
    }
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("seed", range(6))
def test_weighted_areas_equal_scikit_learn(seed):
    cases = random_cases(seed, count=60, grid=8)
    weights = np.random.default_rng(seed).integers(0, 4, (len(cases), 3)).astype(float)
    roc, pr = Areas(cases.positive, cases.case_scores).areas(weights)
    for column, weight in enumerate(weights.T):
        assert roc[column] == pytest.approx(sklearn.roc_auc_score(cases.positive, cases.case_scores, sample_weight=weight), abs=1e-12)
        expected = sklearn.average_precision_score(cases.positive, cases.case_scores, sample_weight=weight)
        assert pr[column] == pytest.approx(expected, abs=1e-12)


def test_a_case_without_detections_is_never_called_positive():
    """Its score is 0, which reaches a threshold of 0."""
    cases = random_cases(3)
    called = called_positive(cases, 0.0)
    assert called.tolist() == [index in set(cases.box_case.tolist()) for index in range(len(cases))]
    assert not called.all()


@pytest.mark.parametrize(
    ("positives", "threshold", "undefined"),
    [
        pytest.param(0.0, 0.1, {"roc_auc": "positive", "pr_auc": "positive", "sensitivity": "positive"}, id="no positives"),
        pytest.param(1.0, 0.1, {"roc_auc": "negative", "specificity": "negative"}, id="no negatives"),
        pytest.param(0.5, 2.0, {"precision": "called positive"}, id="none called"),
        pytest.param(
            0.0,
            2.0,
            {"roc_auc": "positive", "pr_auc": "positive", "sensitivity": "positive", "precision": "called", "f1": "positive or called"},
            id="neither",
        ),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(positives, threshold, undefined):
    figures = image_level(random_cases(2, positives=positives), score_threshold=threshold)
    assert {key for key, value in figures.items() if value is None} == {f"image.{key}" for key in undefined}
    assert {key for key in figures if key.endswith(".undefined")} == {f"image.{key}.undefined" for key in undefined}
    assert all(word in figures[f"image.{key}.undefined"] for key, word in undefined.items())
    json.dumps(figures, allow_nan=False)


def test_no_cases():
    figures = image_level(random_cases(0).take(np.zeros(0, int)), score_threshold=0.5)
    assert figures["image.roc_auc"] is None and figures["image.confusion"] == {"tp": 0, "fp": 0, "fn": 0, "tn": 0}


@pytest.mark.parametrize("grid", [20, 10**6])
def test_curves_lie_on_scikit_learns(grid):
    cases = random_cases(4, count=80, grid=grid)
    ours = roc_curve(cases)
    false, true, thresholds = sklearn.roc_curve(cases.positive, cases.case_scores, drop_intermediate=False)
    assert ours["false_positive_rate"] == pytest.approx(false)
    assert ours["sensitivity"] == pytest.approx(true)
    assert ours["threshold"][1:] == pytest.approx(thresholds[1:])
    ours = pr_curve(cases)
    precision, recall, thresholds = sklearn.precision_recall_curve(cases.positive, cases.case_scores)
    assert ours["precision"] == pytest.approx(precision[:-1][::-1])
    assert ours["sensitivity"] == pytest.approx(recall[:-1][::-1])
    assert ours["threshold"] == pytest.approx(thresholds[::-1])


def test_long_curves_are_thinned_and_keep_their_ends():
    cases = random_cases(4, count=1500, grid=10**6, most_detections=2)
    ours = roc_curve(cases)
    assert len(ours["threshold"]) == 200
    assert (ours["false_positive_rate"][0], ours["sensitivity"][-1]) == (0.0, 1.0)
    assert pr_curve(cases)["sensitivity"][-1] == 1.0
    json.dumps([ours, pr_curve(cases)], allow_nan=False)


@pytest.mark.parametrize("positives", [0.0, 1.0])
def test_curves_without_positives_or_negatives(positives):
    cases = random_cases(4, positives=positives)
    assert roc_curve(cases) == {"threshold": [], "false_positive_rate": [], "sensitivity": []}
    assert bool(pr_curve(cases)["threshold"]) == (positives == 1.0)
