"""All figures of an evaluation in one dict."""

import dataclasses
import json
import math

import made_up
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.evaluation import inputs, summary
from pneumodet.evaluation.metrics import operating_point, rsna


@pytest.fixture(scope="module")
def loaded():
    """Return ground truth and detections of 120 exams."""
    return made_up.loaded()


@pytest.fixture(scope="module")
def plain():
    """Return the same without facts of the exams, and so without slices."""
    return made_up.loaded(facts=False)


@pytest.fixture(scope="module")
def metrics(loaded):
    """Return their figures."""
    return summary.summarize(loaded, resamples=100)


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, float) else []


def test_it_is_json_without_nan(metrics):
    json.dumps(metrics, allow_nan=False)
    assert all(math.isfinite(number) for number in numbers(metrics))


def test_what_the_issue_asks_for_is_there(metrics):
    keys = {
        "rsna_metric",
        "coco.pneumonia.AP50",
        "coco.pneumonia.AP_small",
        "froc.sensitivity_at_0.125",
        "froc.mean_sensitivity",
        "image.roc_auc",
    }
    keys |= {
        "image.pr_auc",
        "image.f1",
        "image.confusion",
        "lesion.mean_iou_of_hits",
        "rsna_threshold",
        "rsna_threshold_source",
        "highest_score",
    }
    assert keys | {"images", "patients", "positive_images", "boxes", "detections"} <= metrics.keys()
    assert (metrics["images"], metrics["patients"]) == (120, 60)
    for key in ("rsna_metric", "coco.pneumonia.AP50", "froc.mean_sensitivity", "image.roc_auc", "image.sensitivity"):
        low, high = metrics["intervals"][key]
        assert low < metrics[key] < high
    assert {row["by"] for row in metrics["slices"]["slices"]} >= {"view_position", "sex", "age"}


def test_figures_are_those_of_their_own_functions(metrics, loaded):
    cases = loaded.cases
    assert metrics["image.roc_auc"] == pytest.approx(roc_auc_score(cases.positive, cases.case_scores))
    assert metrics["curves"]["thresholds"]["rsna"][0] == 0
    best = rsna.case_threshold(cases)
    assert best[0] - operating_point.MARGIN <= metrics["rsna_threshold"] < best[0], "not the score itself, which rounding would lose"
    assert not ((cases.scores < best[0]) & (cases.scores >= metrics["rsna_threshold"])).any()
    assert max(metrics["curves"]["thresholds"]["rsna"]) <= best[1] + 1e-12
    assert sum(metrics["curves"]["score_histogram"]["positive"]) == metrics["positive_images"]


def test_the_curve_of_thresholds_has_the_chosen_one_and_the_peak_whatever_the_number_of_detections():
    """Thousands of weak detections crowd at the low end, so that points by rank alone would leave hardly any where it matters."""
    truth = made_up.instances(facts=False)
    rng = np.random.default_rng(4)
    weak = [
        {
            "image_id": one["id"],
            "category_id": 2,
            "bbox": [*rng.uniform(0, 300, 2).tolist(), 40.0, 40.0],
            "score": float(rng.uniform(0.001, 0.02)),
        }
        for one in truth["images"]
        for _ in range(60)
    ]
    rows = made_up.results(truth) + weak
    crowded = inputs.assemble(truth, lambda images, category: rows)
    assert len(crowded.cases.scores) > 7000
    thresholds, values = rsna.threshold_curve(crowded.cases)
    for given in (None, 0.4321, 0.0001, 0.9999):
        metrics = summary.summarize(crowded, threshold=given, resamples=2)
        curve = metrics["curves"]["thresholds"]
        assert curve["threshold"] == sorted(curve["threshold"], reverse=True) and len(curve["rsna"]) == len(curve["threshold"]) < 1000
        there = dict(zip(curve["threshold"], curve["rsna"], strict=True))
        assert max(curve["rsna"]) == values.max()
        reached = metrics["operating_point"]["chosen"]["reached"]["rsna_metric"] if given is None else metrics["rsna_metric"]
        assert there[metrics["rsna_threshold"]] == pytest.approx(reached)
        column = thresholds[0] / summary.SWEEP_BINS  # less than 2 px of the chart
        for threshold, value in zip(thresholds[::50], values[::50], strict=True):
            near = [one for at, one in there.items() if abs(at - threshold) <= column]
            assert min(near) <= value <= max(near), "nothing that is seen is lost"


def test_a_worst_exam_has_the_threshold_that_its_sentence_is_of(metrics, loaded):
    cases = loaded.cases
    for one in metrics["worst"]:
        mine = cases.scores[cases.box_case == one["case"]]
        assert (one["score_threshold"] is None) == (not len(mine))
        if len(mine):
            assert (mine >= one["score_threshold"]).sum() == one["hits"] + one["false_positives"]
    assert len({one["score_threshold"] for one in metrics["worst"]} - {None}) > 1, "cross-fitted"


def test_nobody_is_evaluated_at_a_threshold_that_saw_him(metrics, loaded):
    """The same by hand: thresholds of each fold from the other folds, and the metric of all."""
    cases = loaded.cases
    folds = operating_point.patient_folds(cases, seed=0)
    scores = np.full(len(cases), np.nan)
    for fold in np.unique(folds):
        inside, outside = (np.flatnonzero((folds == fold) == side) for side in (True, False))
        threshold = rsna.case_threshold(cases.take(outside))[0]
        scores[inside] = rsna.case_scores(cases.take(inside), score_threshold=threshold)
    assert metrics["rsna_metric"] == pytest.approx(np.nanmean(scores))
    assert metrics["rsna_metric"] < rsna.case_threshold(cases)[1]
    assert "the score threshold that gave the highest RSNA metric on other patients (5 folds)" in metrics["rsna_threshold_source"]


def test_a_threshold_from_elsewhere_is_used_as_it_is(plain):
    metrics = summary.summarize(plain, threshold=0.4, threshold_source="from a friend", resamples=20)
    assert (metrics["rsna_threshold"], metrics["rsna_threshold_source"]) == (0.4, "from a friend")
    assert metrics["rsna_metric"] == pytest.approx(np.nanmean(rsna.case_scores(plain.cases, score_threshold=0.4)))
    confusion = metrics["image.confusion"]
    called = plain.cases.case_scores >= 0.4
    assert confusion["tp"] == int((called & plain.cases.positive).sum())
    assert confusion["fp"] == int((called & ~plain.cases.positive).sum())


@pytest.mark.parametrize("aim", ["sensitivity>=0.8", "fp_per_image<=0.5", "f1"])
def test_aims(plain, aim):
    metrics = summary.summarize(plain, aim=aim, resamples=20)
    assert metrics["operating_point"]["aim"] == aim
    reached = metrics["operating_point"]["chosen"]["reached"]
    if aim.startswith("sensitivity"):
        assert reached["image.sensitivity"] >= 0.8
    if aim.startswith("fp"):
        assert reached["lesion.fp_per_image"] <= 0.5


def test_an_aim_that_cannot_be_met_is_told(plain):
    metrics = summary.summarize(made_up.loaded(sensitivity=0.0, facts=False), aim="sensitivity>=1", resamples=20)
    assert any("No threshold reaches" in text for text in metrics["warnings"])
    with pytest.raises(ConfigError):
        summary.summarize(plain, aim="beauty")


def test_without_positives_nothing_is_made_up():
    metrics = summary.summarize(made_up.loaded(positives=0.0), resamples=20)
    for key in ("rsna_metric", "rsna_threshold", "coco.pneumonia.AP50", "image.roc_auc", "image.sensitivity", "froc.mean_sensitivity"):
        assert metrics[key] is None, key
    json.dumps(metrics, allow_nan=False)
    assert any("most figures are undefined" in text for text in metrics["warnings"])


def test_without_negatives_or_detections():
    truth = made_up.instances(positives=1.1)
    for rows in ([], made_up.results(truth)):
        metrics = summary.summarize(inputs.assemble(truth, lambda images, category, rows=rows: rows), resamples=20)
        json.dumps(metrics, allow_nan=False)
        assert metrics["image.roc_auc"] is None
        assert metrics["rsna_metric"] is not None


def test_few_patients_are_told():
    metrics = summary.summarize(made_up.loaded(exams=6), resamples=20)
    assert "optimistic" in metrics["rsna_threshold_source"] or metrics["rsna_threshold"] is None
    json.dumps(metrics, allow_nan=False)


def test_two_models(plain):
    same = summary.summarize(plain, resamples=50, other=plain)["comparison"]["figures"]["rsna_metric"]
    assert (same["value"], same["low"], same["p"]) == (0, None, None)
    worse = summary.summarize(plain, resamples=200, other=made_up.loaded(sensitivity=0.1, facts=False), names=("good", "bad"))["comparison"]
    assert worse["figures"]["coco.pneumonia.AP50"]["sentence"].startswith("good is better: bad - good = -")
    with pytest.raises(DataError, match="on the same"):
        summary.summarize(plain, resamples=20, other=made_up.loaded(exams=60, facts=False))


def test_each_of_two_models_has_its_own_operating_point(plain):
    """A threshold that is given is of this model's scores: at it, the other would detect nothing."""
    scaled = dataclasses.replace(plain.cases, scores=plain.cases.scores / 100)
    other = dataclasses.replace(plain, cases=scaled)
    metrics = summary.summarize(plain, threshold=0.3, resamples=20, other=other, names=("this", "that"))
    figures = metrics["comparison"]["figures"]
    assert figures["image.sensitivity"]["b"] > 0.5
    assert any(one.startswith("The score threshold 0.3 is this's; that, whose scores have another scale") for one in metrics["warnings"])
    assert metrics["comparison"]["operating_points"][0] == "given" and "on other patients" in metrics["comparison"]["operating_points"][1]


def test_an_aim_that_is_missed_on_other_patients_is_a_warning(plain):
    metrics = summary.summarize(plain, aim="sensitivity>=0.75", resamples=20)
    reached = metrics["operating_point"]["cross_fitted"]["reached"]["image.sensitivity"]
    said = [one for one in metrics["warnings"] if "missed on patients that had no part" in one]
    assert bool(said) is (reached < 0.75)
    assert summary._missed("sensitivity>=0.9", {"image.sensitivity": 0.795}).startswith(
        "The aim sensitivity>=0.9 is missed on patients that had no part in the choice: there it is 0.795. sensitivity>=0.9@95% chooses"
    )
    assert summary._missed("fp_per_image<=0.5", {"lesion.fp_per_image": 0.6}) and not summary._missed("f1", {"image.f1": 0.1})


def test_scalars_are_floats(metrics):
    scalars = summary.scalars(metrics)
    assert all(isinstance(value, float) for value in scalars.values())
    assert scalars["rsna_metric.low"] < scalars["rsna_metric"] < scalars["rsna_metric.high"]
    assert "rsna_threshold_source" not in scalars


def test_the_same_seed_gives_the_same(loaded, metrics):
    assert summary.summarize(loaded, resamples=100) == metrics
