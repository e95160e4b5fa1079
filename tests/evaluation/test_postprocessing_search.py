"""The search finds the errors that a simulated detector has, does not use the patients it reports on, and its figures are the library's."""

import dataclasses

import numpy as np
import pytest
import simulated

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations
from pneumodet.evaluation import postprocess_bench, postprocess_search
from pneumodet.evaluation.metrics import average_precision, rsna, uncertainty
from pneumodet.evaluation.metrics.operating_point import choose, cross_fitted, just_below, patient_folds
from pneumodet.inference.postprocess.recipe import Recipe, apply_to_cases

EXAMS = 300


@pytest.fixture(scope="module")
def cases():
    """Boxes are 15 % too large, each is result three times, and half of the patients have two exams."""
    patients = np.random.default_rng(0).integers(0, EXAMS * 3 // 4, EXAMS)
    return simulated.detect(simulated.truth(EXAMS), too_large=1.15, patients=patients)


@pytest.fixture(scope="module")
def folds(cases):
    return patient_folds(cases, 3)


@pytest.fixture(scope="module")
def gate(cases):
    return simulated.gate(cases)


@pytest.fixture(scope="module")
def result(cases, folds, gate):
    return postprocess_search.search([cases], folds=folds, gate=gate, resamples=200)


def row_of(table, step):
    return next(row for row in table["rows"] if row["step"] == step)


def recipe_of(changes, sources=1):
    return Recipe(sources=sources, **changes)


def test_finds_what_is_wrong_with_the_detector(result):
    assert [row["step"] for row in result.table["rows"]] == ["score threshold", "nms", "box scale", "minimum size", "boxes an exam", "gate"]
    assert result.recipe.nms != "none"
    assert abs(result.recipe.box_scale * 1.15 - 1) < 0.08
    assert result.recipe.gate != "none"
    for step in ("nms", "box scale", "gate"):
        assert row_of(result.table, step)["gain"]["low"] > 0, step


def test_a_good_detector_is_left_alone():
    """Nothing is result twice and boxes have their size: no NMS, no scale."""
    cases = simulated.detect(simulated.truth(EXAMS), too_large=1.0, jitter=0.02, repeats=1, false=1)
    table = postprocess_search.search([cases], folds=patient_folds(cases, 3), resamples=50).table
    assert row_of(table, "box scale")["gain"]["value"] == pytest.approx(0, abs=0.003)
    assert row_of(table, "nms")["gain"]["value"] == pytest.approx(0, abs=0.003)


def test_a_gate_of_noise_gains_nothing(cases, folds):
    noise = np.random.default_rng(5).random(EXAMS)
    gain = row_of(postprocess_search.search([cases], folds=folds, gate=noise, resamples=100).table, "gate")["gain"]
    # where no fold has a use for it, nothing differs, and there is no interval
    assert gain["low"] is None or gain["low"] <= 0
    assert gain["value"] < 0.01


def test_no_single_value_is_better_than_the_saved_one(cases, gate, result):
    """Against the public functions: evaluate every neighbour of the recipe on all patients."""

    def value(recipe):
        return rsna.case_threshold(apply_to_cases(dataclasses.replace(recipe, score_threshold=0.0), [cases], gate=gate))

    threshold, best = value(result.recipe)
    scores = apply_to_cases(dataclasses.replace(result.recipe, score_threshold=0.0), [cases], gate=gate).scores
    assert result.recipe.score_threshold == just_below(threshold, scores) < threshold
    for grid in postprocess_search.grids(1, gate).values():
        for changes in grid:
            assert value(dataclasses.replace(result.recipe, **changes))[1] < best + postprocess_bench.MARGIN / np.sqrt(
                cases.positive.sum()
            ), changes


def test_figures_are_of_each_fold_after_the_recipe_of_the_others(cases, folds, gate, result):
    for row in result.table["rows"]:
        scores = np.full(EXAMS, np.nan)
        for fold, changes in enumerate(row["in_folds"]):
            scores[folds == fold] = rsna.case_scores(apply_to_cases(recipe_of(changes), [cases], gate=gate))[folds == fold]
        assert row["figure"]["value"] == pytest.approx(np.nanmean(scores), rel=1e-12)
        assert row["figure"]["low"] < row["figure"]["value"] < row["figure"]["high"]
    assert result.table["rows"][-1]["figure"]["value"] == pytest.approx(np.nanmean(rsna.case_scores(result.cross_fitted)), rel=1e-12)
    assert recipe_of(result.table["rows"][-1]["chosen"]) == result.recipe


def test_a_threshold_alone_has_the_interval_and_the_stored_value_of_an_evaluation(cases, folds, result):
    """By another method the same exams had [0.014, 0.107] here and [0.012, 0.097] there; and export and recipe had two thresholds of one choice."""
    first = result.table["rows"][0]
    at, fitted = cross_fitted(cases, "rsna", folds=folds)
    evaluated = uncertainty.intervals(cases, score_threshold=at[cases.box_case], resamples=20)["figures"]["rsna_metric"]
    assert first["figure"] == pytest.approx(evaluated, rel=1e-9)
    assert [one["score_threshold"] for one in first["in_folds"]] == fitted["thresholds"], "on the same detections nothing is computed again"
    assert first["chosen"] == {"score_threshold": just_below(choose(cases, "rsna")["threshold"], cases.scores)}


def test_gains_add_up(result):
    rows = result.table["rows"]
    values = [row["figure"]["value"] for row in rows]
    np.testing.assert_allclose([row["gain"]["value"] for row in rows[1:]], np.diff(values), atol=1e-12)
    assert rows[0]["gain"] is None
    assert result.table["total"]["value"] == pytest.approx(values[-1] - values[0])
    assert result.table["patients"] < result.table["exams"] == EXAMS


def test_a_fold_has_no_part_in_its_own_recipe(cases, folds, gate, result):
    """Spoil the ground truth of fold 1: what the others gave it stays, and what it gave the others may not."""
    spoiled = dataclasses.replace(
        cases, truth_xyxy_px=np.where((folds == 1)[cases.truth_case][:, None], cases.truth_xyxy_px / 10, cases.truth_xyxy_px)
    )
    table = postprocess_search.search([spoiled], folds=folds, gate=gate, resamples=20).table
    for before, after in zip(result.table["rows"], table["rows"], strict=True):
        assert after["in_folds"][1] == before["in_folds"][1]
    assert table["rows"][-1]["in_folds"] != result.table["rows"][-1]["in_folds"]


def test_small_memory_gives_the_same(monkeypatch, cases, folds, gate, result):
    monkeypatch.setattr(postprocess_bench, "KEPT_DETECTIONS", 0)
    again = postprocess_search.search([cases], folds=folds, gate=gate, resamples=200)
    assert again.table == result.table


def test_community_rules_are_used(cases, folds):
    table = postprocess_search.search([cases], folds=folds, rules="community", resamples=20).table
    changes = table["rows"][0]["in_folds"]
    scores = np.full(EXAMS, np.nan)
    for fold, one in enumerate(changes):
        scores[folds == fold] = rsna.case_scores(apply_to_cases(recipe_of(one), [cases]), rules="community")[folds == fold]
    assert table["rows"][0]["figure"]["value"] == pytest.approx(np.nanmean(scores), rel=1e-12)


def test_ap50(cases, folds, gate):
    result = postprocess_search.search([cases], folds=folds, gate=gate, objective="ap50", resamples=50)
    assert result.table["rows"][0]["step"] == "as they are"
    assert result.recipe.score_threshold == 0
    values = []
    for fold, changes in enumerate(result.table["rows"][-1]["in_folds"]):
        after = apply_to_cases(recipe_of(changes), [cases], gate=gate)
        values.append(average_precision.average_precision(after.take(np.flatnonzero(folds == fold))))
    assert result.table["rows"][-1]["figure"]["value"] == pytest.approx(np.mean(values), rel=1e-9)
    assert result.table["total"]["low"] > 0


def test_two_sources_are_fused(cases, folds):
    truth = simulated.truth(EXAMS)
    sources = [simulated.detect(truth, seed=seed, jitter=0.12, repeats=1, patients=cases.patients) for seed in (1, 2)]
    result = postprocess_search.search(sources, folds=folds, resamples=100)
    rows = result.table["rows"]
    assert [row["step"] for row in rows[:3]] == ["detections 1 alone", "detections 2 alone", "fusion"]
    assert result.recipe.sources == 2
    alone = max(row["figure"]["value"] for row in rows[:2])
    assert rows[2]["gain"]["value"] == pytest.approx(rows[2]["figure"]["value"] - alone)
    assert rows[2]["gain"]["low"] > 0
    assert rows[2]["chosen"]["fusion"] == "wbf"  # with independent jitter, the mean of two boxes is better than one of them
    assert result.table["total"]["value"] == pytest.approx(rows[-1]["figure"]["value"] - alone)


def test_nothing_detected(cases, folds, gate):
    nothing = cases.where(np.zeros(len(cases.scores), bool))
    table = postprocess_search.search([nothing], folds=folds, gate=gate, resamples=20).table
    assert [row["figure"]["value"] for row in table["rows"]] == [0.0] * 6


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"objective": "f1"}, ConfigError, r"objective is 'f1', must be one of rsna, ap50", id="objective"),
        pytest.param({"rules": "loose"}, DataError, r"no rules 'loose'", id="rules"),
        pytest.param({"folds": np.arange(EXAMS)}, DataError, r"is in two folds", id="torn patient"),
        pytest.param({"gate": np.ones(3)}, DataError, r"image-level score from 0 to 1 each", id="gate"),
    ],
)
def test_refused(cases, folds, change, error, message):
    with pytest.raises(error, match=message):
        postprocess_search.search([cases], **({"folds": folds} | change))


def test_refused_sources(cases, folds):
    other = dataclasses.replace(cases, truth_xyxy_px=cases.truth_xyxy_px + 1)
    with pytest.raises(DataError, match=r"same exams with the same ground truth"):
        postprocess_search.search([cases, other], folds=folds)
    only = cases.take(np.flatnonzero(~cases.positive | (folds == 0)))
    with pytest.raises(DataError, match=r"none of them is outside one of 3 folds"):
        postprocess_search.search([only], folds=folds[~cases.positive | (folds == 0)])


@pytest.mark.slow
@pytest.mark.real_data
def test_on_real_ground_truth(shared_data):
    """800 exams of the challenge, a detector whose boxes are 10 % too large, and a gate of AUC 0.92."""
    labels = annotations.read_rsna_labels(shared_data / "rsna_csv" / "stage_2_train_labels.csv")
    names = np.random.default_rng(0).permutation(list(labels.exams))[:800]
    cases = simulated.detect({name: labels.exams[name].boxes_xyxy_px for name in names.tolist()}, too_large=1.1, false=15)
    result = postprocess_search.search([cases], folds=patient_folds(cases, 3), gate=simulated.gate(cases), resamples=100)
    assert 0.85 <= result.recipe.box_scale <= 0.95
    assert result.recipe.gate != "none"
    assert row_of(result.table, "box scale")["gain"]["low"] > 0
    assert row_of(result.table, "gate")["gain"]["low"] > 0
