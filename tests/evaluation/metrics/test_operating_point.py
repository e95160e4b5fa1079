"""Operating points against a search that tries every threshold, and that nothing is evaluated at its own threshold."""

import dataclasses
import json

import numpy as np
import pytest
from random_cases import random_cases
from scipy import stats

from pneumodet.core.aims import as_text, confidence_of, parse_aim
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import froc, image_level, rsna
from pneumodet.evaluation.metrics.operating_point import MARGIN, at, choose, cross_fitted, just_below, patient_folds


def of_scores(scores_of_cases, positive):
    """Cases with detections of these scores, none of which hits, and one ground-truth box in each positive case."""
    box_case = np.repeat(np.arange(len(positive)), [len(one) for one in scores_of_cases])
    truth_case = np.flatnonzero(positive)
    boxes, truth = (
        np.tile([corner, corner, corner + 100.0, corner + 100.0], (n, 1)) for corner, n in ((0, len(box_case)), (500, sum(positive)))
    )
    scores = np.array([score for one in scores_of_cases for score in sorted(one, reverse=True)])
    return Cases(tuple(map(str, range(len(positive)))), np.arange(len(positive)), truth, truth_case, boxes, scores, box_case)


@pytest.mark.parametrize(
    ("aim", "parsed"),
    [
        ("rsna", ("rsna", None)),
        (" f1 ", ("f1", None)),
        ("sensitivity>=0.9", ("sensitivity", 0.9)),
        ("sensitivity >= .95", ("sensitivity", 0.95)),
        ("fp_per_image<=0", ("fp_per_image", 0.0)),
        ("fp_per_image <= 2.", ("fp_per_image", 2.0)),
    ],
)
def test_aims(aim, parsed):
    assert parse_aim(aim) == parsed


@pytest.mark.parametrize(
    "aim", ["", "auc", "sensitivity", "sensitivity<=0.9", "fp_per_image>=1", "sensitivity>=-0.1", "fp_per_image<=nan", "rsna>=0.2"]
)
def test_an_unknown_aim_is_said_with_the_known_ones(aim):
    with pytest.raises(ConfigError, match=r"Unknown aim .* Aims: rsna, f1, sensitivity>=X, sensitivity>=X@C%, fp_per_image<=X"):
        parse_aim(aim)


@pytest.mark.parametrize("aim", ["sensitivity>=0", "sensitivity>=90"])
def test_a_sensitivity_is_a_fraction(aim):
    with pytest.raises(ConfigError, match=r"outside \(0, 1\]"):
        parse_aim(aim)


def searched(cases, aim):
    """The threshold by trying all, each evaluated from the start."""
    candidates = [np.nextafter(np.float32(cases.scores.max()), np.float32(2)), *np.unique(cases.scores)[::-1]]
    if aim == "rsna":
        values = [np.nanmean(rsna.case_scores(cases, score_threshold=one)) for one in candidates]
        return candidates[next(i for i, value in enumerate(values) if value > max(values) - 1e-9)]
    images = [image_level.image_level(cases, score_threshold=one) for one in candidates]
    if aim == "f1":
        values = [one["image.f1"] for one in images]
        return candidates[values.index(max(values))]
    name, level = parse_aim(aim)
    if name == "sensitivity":
        values = [one["image.sensitivity"] for one in images]
        return candidates[next(i for i, value in enumerate(values) if value >= min(level, max(values)))]
    return min(one for one in candidates if froc.at_threshold(cases, one)["lesion.fp_per_image"] <= level)


@pytest.mark.parametrize(
    "aim", ["rsna", "f1", "sensitivity>=0.5", "sensitivity>=1", "fp_per_image<=0", "fp_per_image<=0.3", "fp_per_image<=9"]
)
@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_that_of_an_exhaustive_search(seed, aim):
    cases = random_cases(seed, skill=0.7)
    point = choose(cases, aim)
    assert point["threshold"] == searched(cases, aim)
    assert point["reached"] == at(cases, point["threshold"])
    json.dumps(point, allow_nan=False)


def test_what_is_reached_is_what_the_metrics_say():
    cases = random_cases(3)
    reached = at(cases, 0.4)
    assert reached["rsna_metric"] == pytest.approx(np.nanmean(rsna.case_scores(cases, score_threshold=0.4)))
    image, lesion = image_level.image_level(cases, score_threshold=0.4), froc.at_threshold(cases, 0.4)
    for key in ("image.sensitivity", "image.specificity", "image.f1"):
        assert reached[key] == image[key] is not None
    for key in ("lesion.sensitivity", "lesion.fp_per_image"):
        assert reached[key] == lesion[key] is not None


def test_a_sensitivity_that_no_threshold_reaches_is_said():
    cases = of_scores([[0.8], [0.0], [], [0.9]], [True, True, True, False])
    point = choose(cases, "sensitivity>=0.9")
    assert (point["met"], point["threshold"]) == (False, 0.0)  # a case without detections is positive at no threshold
    assert "with every detection kept it is 0.667" in point["note"]
    met = choose(cases, "sensitivity>=0.66")
    assert met["met"]
    assert "note" not in met


def test_a_rate_is_kept_exactly():
    cases = of_scores([[0.9 - 0.005 * index] for index in range(100)], [True] + [False] * 99)
    assert choose(cases, "fp_per_image<=0.29")["reached"]["lesion.fp_per_image"] == 0.29  # 0.29 * 100 is 28.999999999999996
    none = choose(cases, "fp_per_image<=0.005")
    assert 0.9 < none["threshold"] < 0.901
    assert none["reached"]["lesion.fp_per_image"] == 0


def test_without_detections_the_threshold_is_one():
    cases = of_scores([[], []], [True, False])
    assert [choose(cases, aim)["threshold"] for aim in ("rsna", "f1", "sensitivity>=0.9", "fp_per_image<=1")] == [1.0] * 4


def test_without_positives_nothing_is_chosen():
    with pytest.raises(DataError, match="none of 2 exams has a ground-truth box"):
        choose(of_scores([[0.5], []], [False, False]), "fp_per_image<=1")


def test_folds_hold_whole_patients_and_share_the_positives():
    cases = random_cases(0, count=200, patients=60, positives=0.2)
    folds = patient_folds(cases, 4, seed=1)
    assert all(len(set(folds[cases.patients == patient])) == 1 for patient in np.unique(cases.patients))
    positive = set(cases.patients[cases.positive].tolist())
    fold_of = dict(zip(cases.patients.tolist(), folds.tolist(), strict=True))
    for group in (positive, fold_of):
        sizes = np.bincount([fold_of[patient] for patient in group], minlength=4)
        assert sizes.max() - sizes.min() <= 1
    assert not np.array_equal(folds, patient_folds(cases, 4, seed=2))
    order = np.random.default_rng(0).permutation(len(cases))
    assert np.array_equal(patient_folds(cases.take(order), 4, seed=1), folds[order])


@pytest.mark.parametrize(
    ("aim", "text"),
    [
        ("rsna", "gave the highest RSNA metric"),
        ("f1", "gave the highest image-level F1"),
        (" sensitivity >= .90", "was the highest with an image sensitivity of at least 0.9"),
        ("fp_per_image<=1", "was the lowest with at most 1 false positives an image"),
    ],
)
def test_the_note_says_what_a_threshold_was_chosen_for(aim, text):
    assert as_text(aim) == text
    cases = random_cases(5, count=80, grid=1000)
    note = cross_fitted(cases, aim, folds=patient_folds(cases, 2))[1]["note"]
    assert note.startswith(
        f"Each exam is evaluated at the score threshold that {text} on other patients (2 folds); the thresholds lie between"
    )
    same = cross_fitted(cases.above(2.0), aim, folds=patient_folds(cases, 2))[1]["note"]
    assert "(2 folds); it is 1 for all." in same
    assert ("the nearest was taken" in same) == aim.strip().startswith("sensitivity")


def test_folds_that_cannot_be_made():
    cases = random_cases(0, count=10)
    with pytest.raises(ConfigError, match="at least 2 folds, not 1"):
        patient_folds(cases, 1)
    with pytest.raises(DataError, match=r"Too few patients \(10, with a positive exam \d+\) for 11 folds"):
        patient_folds(cases, 11)
    with pytest.raises(DataError, match=r"\(4, with a positive exam 1\) for 2 folds"):
        patient_folds(of_scores([[0.5]] * 4, [True, False, False, False]), 2)


@pytest.mark.parametrize("aim", ["rsna", "f1", "sensitivity>=0.8", "fp_per_image<=0.5"])
def test_a_fold_is_evaluated_at_the_choice_on_all_others(aim):
    cases = random_cases(5, count=80, patients=40)
    folds = patient_folds(cases, 4) + 3  # any numbers may name folds
    thresholds, spread = cross_fitted(cases, aim, folds=folds)
    for index, fold in enumerate((3, 4, 5, 6)):
        expected = choose(cases.take(np.flatnonzero(folds != fold)), aim)["threshold"]
        assert set(thresholds[folds == fold]) == {expected} == {spread["thresholds"][index]}
    assert (spread["lowest"], spread["highest"], spread["folds"]) == (thresholds.min(), thresholds.max(), 4)
    kept = np.concatenate([cases.scores[cases.box_case == case] >= thresholds[case] for case in range(len(cases))])
    assert spread["reached"] == at(cases.where(kept), 0.0)
    json.dumps(spread, allow_nan=False)


def test_the_own_labels_of_a_fold_do_not_move_its_threshold():
    cases = random_cases(7, count=60)
    folds = patient_folds(cases, 3)
    own = folds[cases.truth_case] == 0
    changed = dataclasses.replace(cases, truth_xyxy_px=np.where(own[:, None], cases.truth_xyxy_px + 400, cases.truth_xyxy_px))
    (before, first), (after, second) = (cross_fitted(one, "rsna", folds=folds) for one in (cases, changed))
    assert set(before[folds == 0]) == set(after[folds == 0])
    assert first["reached"] != second["reached"]


def test_choosing_on_noise_gains_nothing_when_folds_are_nested():
    """The threshold that fits noise best flatters; the nested one does not, on the average over draws."""
    gap = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        positive = (np.arange(40) % 2 == 0).tolist()
        cases = of_scores([[score] for score in rng.random(40)], positive)
        own = choose(cases, "f1")["reached"]["image.f1"]
        gap.append(own - cross_fitted(cases, "f1", folds=patient_folds(cases, 5, seed=seed))[1]["reached"]["image.f1"])
    assert min(gap) >= 0
    assert np.mean(gap) > 0.01


def test_folds_that_tear_a_patient_apart_are_refused():
    cases = dataclasses.replace(random_cases(0, count=4), patients=np.array([0, 1, 1, 2]))
    with pytest.raises(DataError, match="patient of exam exam 1 is in two folds"):
        cross_fitted(cases, "rsna", folds=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match="at least two folds"):
        cross_fitted(cases, "rsna", folds=np.zeros(4, int))
    with pytest.raises(DataError, match="need a fold each"):
        cross_fitted(cases, "rsna", folds=np.arange(3))


def test_a_stored_threshold_lies_just_below_the_score_that_it_was_chosen_by():
    scores = np.array([0.9, 0.5, 0.4999, 0.1])
    assert just_below(0.5, scores) == pytest.approx(0.49995), "halfway to the next score"
    assert just_below(0.9, scores) == pytest.approx(0.9 - MARGIN), "and never far"
    above = float(np.nextafter(np.float32(0.9), np.float32(1)))
    assert 0.9 < just_below(above, scores) <= above, "no detection at all stays none"


def test_a_sensitivity_with_confidence_is_one_whose_lower_bound_reaches_it():
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.4
    cases = of_scores(np.clip(rng.normal(0.3 + 0.25 * positive, 0.12), 0.01, 0.99)[:, None], positive)
    plain, sure = (choose(cases, aim) for aim in ("sensitivity>=0.8", "sensitivity>=0.8@95%"))
    assert plain["met"] and sure["met"] and sure["threshold"] < plain["threshold"]
    number, hits = int(positive.sum()), round(sure["reached"]["image.sensitivity"] * positive.sum())
    assert stats.beta.ppf(0.05, hits + 0.5, number - hits + 0.5) >= 0.8 > stats.beta.ppf(0.05, hits - 0.5, number - hits + 1.5)
    assert as_text("sensitivity>=0.8@95%") == "was the highest with an image sensitivity of at least 0.8 with 0.95 confidence"
    assert (parse_aim("sensitivity>=0.8 @ 95 %"), confidence_of("sensitivity>=0.8@95%"), confidence_of("f1")) == (
        ("sensitivity", 0.8),
        0.95,
        None,
    )


def test_few_positives_cannot_be_sure_of_a_sensitivity():
    cases = of_scores(np.linspace(0.1, 0.9, 20)[:, None], np.arange(20) >= 10)
    point = choose(cases, "sensitivity>=0.9@95%")
    assert not point["met"] and point["threshold"] == pytest.approx(cases.case_scores[10])
    assert f"its lower bound is {0.05**0.1:.3f}. There are 10 patients with a positive exam; at least 29 are needed" in point["note"]
    for wrong in ("sensitivity>=1@95%", "fp_per_image<=1@95%", "sensitivity>=0.9@100%", "sensitivity>=0.9@20%"):
        with pytest.raises(ConfigError, match="cannot be reached with a confidence"):
            choose(cases, wrong)
