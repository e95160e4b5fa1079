"""Cross-validation by patient against scikit-learn, against noise, and against tables in which patients give themselves away."""

import made_up_metadata
import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.svm import SVC

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.exploration.baseline import evaluating, leak, models, table


@pytest.fixture(scope="module")
def exams(tmp_path_factory):
    result = made_up_metadata.write(tmp_path_factory.mktemp("exams"))
    return table.read(labels=result["labels"], headers_csv=result["headers"], patient_map=result["patient_map"])


def validate(exams, name, *, values=None, positive=None, **more):
    values, positive = exams.values if values is None else values, exams.positive if positive is None else positive
    folds = evaluating.patient_folds(exams.patients, positive, number=4, seed=1)
    categorical = more.pop("categorical", exams.categorical)
    return evaluating.cross_validate(name, values, positive, exams.patients, folds, categorical=categorical, **more)


def test_folds_keep_patients_together_and_are_alike(exams):
    folds = evaluating.patient_folds(exams.patients, exams.positive, number=4, seed=1)
    assert set(folds) == {0, 1, 2, 3}
    assert len(set(zip(exams.patients, folds, strict=True))) == len(np.unique(exams.patients))
    ill = [len(np.unique(exams.patients[(folds == fold) & exams.positive])) for fold in range(4)]
    assert max(ill) - min(ill) <= 1
    assert not np.array_equal(folds, evaluating.patient_folds(exams.patients, exams.positive, number=4, seed=2))


@pytest.mark.parametrize("name", models.NAMES)
def test_every_model_finds_what_the_view_tells(exams, name, monkeypatch):
    """View decides alone here: no model can do better than it, and chance is 0.5."""
    monkeypatch.setattr(evaluating, "REPEATS", 2)
    got = validate(exams, name, importance=True)
    view = exams.values[:, exams.columns.index("view")] == exams.categories["view"].index("AP")
    best = roc_auc_score(exams.positive, view)
    assert best - 0.08 < evaluating.roc_auc(got.scores, exams.positive) < best + 0.03
    assert ((got.scores >= 0) & (got.scores <= 1)).all()
    importance = dict(zip(exams.columns, got.importance.mean(axis=1), strict=True))
    assert max(importance, key=importance.get) == "view"
    assert importance["view"] > 0.1 > max(abs(importance[other]) for other in ("age", "sex", "spacing"))


def test_a_patient_who_is_known_by_the_age_does_not_help():
    """Where the answer is the patient's, and random, an age that names the patient tells it to whoever learns from the patient's other exams."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 20)
    ill = (rng.permutation(30) < 15)[patients]
    values = rng.permutation(30)[patients].astype(float)[:, None]
    auc = {}
    for name, groups in (("honest", patients), ("leaking", np.arange(len(ill)))):
        folds = evaluating.patient_folds(groups, ill, number=4, seed=1)
        auc[name] = evaluating.roc_auc(evaluating.cross_validate("boosting", values, ill, patients, folds, categorical=[False]).scores, ill)
    assert auc["leaking"] > 0.95
    assert auc["honest"] < 0.65


@pytest.mark.parametrize("name", models.NAMES)
def test_missing_values_and_unseen_categories_are_taken(exams, name):
    values = exams.values.copy()
    values[::3, 0] = np.nan
    values[::4, 2] = np.nan
    values[5, 2] = 9.0
    values[1:, 3] = np.nan  # of all but one fold nothing is known
    assert np.isfinite(validate(exams, name, values=values).scores).all()


def test_the_approximated_kernel_ranks_as_the_kernel_does(exams):
    folds = evaluating.patient_folds(exams.patients, exams.positive, number=4, seed=1)
    test = folds == 0
    model = evaluating.fitted(
        "svc", exams.values[~test], exams.positive[~test], exams.patients[~test], categorical=exams.categorical, seed=0
    )
    prepared, kernel, _ = (step for _, step in model.calibrated_classifiers_[0].estimator.steps)
    assert isinstance(kernel, Nystroem)
    fit, held_out = (prepared.transform(exams.values[mask]) for mask in (~test, test))
    exact = SVC(gamma=1 / fit.shape[1], class_weight="balanced").fit(fit, exams.positive[~test]).decision_function(held_out)
    ours = model.predict_proba(exams.values[test])[:, 1]
    assert abs(roc_auc_score(exams.positive[test], ours) - roc_auc_score(exams.positive[test], exact)) < 0.05


def test_figures_are_those_of_scikit_learn(exams):
    scores = np.round(np.random.default_rng(3).random(len(exams.exams)) * 0.7 + 0.3 * exams.positive, 2)  # with ties
    folds = np.zeros(len(scores), np.int64)
    got = evaluating.figures(scores, exams.positive, exams.patients, folds=folds, resamples=200, seed=0)
    assert got["roc_auc"]["value"] == pytest.approx(roc_auc_score(exams.positive, scores))
    assert got["average_precision"]["value"] == pytest.approx(average_precision_score(exams.positive, scores))
    assert got["brier"] == pytest.approx(np.mean((scores - exams.positive) ** 2))
    for key in ("roc_auc", "average_precision"):
        assert got[key]["low"] < got[key]["value"] < got[key]["high"]


def test_a_fold_whose_scores_are_all_lower_costs_nothing(exams):
    """Each fold's model has an offset of its own; pooled, it ranks exams by their fold."""
    rng = np.random.default_rng(5)
    scores = rng.random(len(exams.exams)) * 0.4 + 0.2 * exams.positive
    folds = evaluating.patient_folds(exams.patients, exams.positive, number=4, seed=1)
    shifted = (scores + folds / 10) / 2
    got = evaluating.figures(shifted, exams.positive, exams.patients, folds=folds, resamples=20, seed=0)
    pairs = np.array([exams.positive[folds == one].sum() * (~exams.positive[folds == one]).sum() for one in range(4)])
    each = [roc_auc_score(exams.positive[folds == one], scores[folds == one]) for one in range(4)]
    assert got["roc_auc"]["value"] == pytest.approx(np.average(each, weights=pairs))
    assert roc_auc_score(exams.positive, shifted) < got["roc_auc"]["value"] - 0.02, "what pooling made of it"
    ranks = evaluating.ranked_within_folds(shifted, folds)
    assert roc_auc_score(exams.positive, ranks) == pytest.approx(got["roc_auc"]["value"], abs=0.01), "the curve that is drawn"
    assert evaluating.roc_auc(shifted, exams.positive, folds) == got["roc_auc"]["value"]


def test_exams_of_one_patient_do_not_narrow_the_interval(exams):
    """Every exam four times is no more evidence, if the copies are the same patient's."""
    scores = np.random.default_rng(3).random(len(exams.exams)) * 0.7 + 0.3 * exams.positive
    four = [np.tile(one, 4) for one in (scores, exams.positive, exams.patients)]
    given = ((scores, exams.positive, exams.patients), four)
    one, copied = (evaluating.figures(*args, folds=np.zeros(len(args[0]), np.int64), resamples=200, seed=0)["roc_auc"] for args in given)
    assert copied == pytest.approx(one)


@pytest.mark.parametrize(
    ("positive", "folds", "error", "message"),
    [
        pytest.param(np.zeros(40, bool), 5, DataError, "None of the 40 exams is positive", id="no positives"),
        pytest.param(np.ones(40, bool), 5, DataError, "None of the 40 exams is negative", id="one class"),
        pytest.param(np.arange(40) < 7, 5, DataError, "Only 7 patients are with pneumonia; 5 folds need at least 8", id="few positives"),
        pytest.param(np.arange(40) < 33, 5, DataError, "Only 7 patients are without pneumonia", id="few negatives"),
        pytest.param(np.arange(40) < 20, 1, ConfigError, "at least 2 folds, not 1", id="one fold"),
    ],
)
def test_what_cannot_be_evaluated(positive, folds, error, message):
    with pytest.raises(error, match=message):
        evaluating.check(positive, np.arange(40), folds=folds)


def test_the_least_that_is_allowed_works(exams):
    for folds in (2, 5):
        positive = np.arange(40) < folds + evaluating.INNER_FOLDS
        evaluating.check(positive, np.arange(40), folds=folds)
        places = evaluating.patient_folds(np.arange(40), positive, number=folds, seed=0)
        got = evaluating.cross_validate("svc", exams.values[:40], positive, np.arange(40), places, categorical=exams.categorical)
        assert not np.isnan(got.fold_auc).any()


def test_box_columns_give_the_answer_and_nothing_else_does(exams):
    result = {(row["columns"], row["split"]): row for row in leak.compare(exams, number_of_folds=2, seed=0, names=("svc", "boosting"))}
    rows = sum(max(1, len(boxes)) for boxes in exams.boxes_xyxy_px)
    assert all(row["rows"] == rows for row in result.values())
    for name in ("svc", "boosting"):
        for split in (leak.BY_ROW, leak.BY_PATIENT):
            assert result[leak.WITH_BOXES, split]["models"][name]["accuracy"] >= 0.99
            assert result[leak.WITHOUT_BOXES, split]["models"][name]["accuracy"] < 0.85
            assert result[leak.WITHOUT_BOXES, split]["models"][name]["roc_auc"] < 0.9


def test_a_split_by_row_is_a_leak_of_its_own(exams):
    """Two rows of one exam with a header value that names it: the other row is in the training set."""
    values = np.random.default_rng(0).normal(size=(len(exams.exams), 1))
    boxes = [np.tile([[1.0, 2.0, 3.0, 4.0]], (30, 1)) if one else np.zeros((0, 4)) for one in exams.positive]
    strange = table.Table(
        **{**vars(exams), "values": values, "columns": ("age",), "boxes_xyxy_px": boxes, "categories": {}},
    )
    result = {
        (row["columns"], row["split"]): row["models"]["boosting"]
        for row in leak.compare(strange, number_of_folds=2, seed=0, names=("boosting",))
    }
    by_row, by_patient = (result[leak.WITHOUT_BOXES, split]["roc_auc"] for split in (leak.BY_ROW, leak.BY_PATIENT))
    assert by_row > by_patient + 0.1
