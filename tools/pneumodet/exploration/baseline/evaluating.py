"""Cross-validation by patient: scores of exams that the model did not see, their figures with intervals, and what each column is worth.

folds = patient_folds(table.patients, table.positive, number=5, seed=0)
validated = cross_validate("logistic", table.values, table.positive, table.patients, folds, categorical=table.categorical)
validated.scores                                     # (N,) float64
figures(validated.scores, table.positive, table.patients, folds=folds, resamples=1000, seed=0)

Exams are compared within a fold only. Each fold's scores are of another model: one that was fitted with a few positives less gives lower scores to all of
its exams, and pooled with others they make the ROC AUC too low (Forman and Scholz, SIGKDD Explorations 2010), even below that of a rule of one line.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.inspection import permutation_importance
from threadpoolctl import threadpool_limits

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import splits
from pneumodet.evaluation.metrics import calibration, image_level, interval, jackknife
from pneumodet.evaluation.metrics.image_level import Areas
from pneumodet.exploration.baseline import models

INNER_FOLDS = 3
"""Folds within a training set, on which the SVC's scores become probabilities."""

REPEATS = 5
"""Permutations of each column in each fold."""


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What cross-validation measured of one model.

    Attributes:
      scores: (N,) float64 in [0, 1], each of a model that was fitted without the exam's patient.
      fold_auc: ROC AUC of each fold.
      importance: (F, folds) float64: by how much the ROC AUC of a held-out fold falls when a column is permuted in it; None where not asked for.
    """

    scores: np.ndarray
    fold_auc: list[float]
    importance: np.ndarray | None


def check(positive: np.ndarray, patients: np.ndarray, *, folds: int) -> None:
    """Check that there is something to learn and to evaluate in each fold.

    Args:
      positive: (N,) bool.
      patients: (N,) int64.
      folds: how many there are to be.

    Raises:
      ConfigError: fewer than two folds.
      DataError: all exams are of one class, or too few patients have exams of one.
    """
    if folds < 2:
        raise ConfigError(f"Cross-validation needs at least 2 folds, not {folds}. Say --folds 5.")
    for kind, mask in (("positive", positive), ("negative", ~positive)):
        if not mask.any():
            raise DataError(
                f"None of the {len(positive):,} exams is {kind}: there is nothing to distinguish. Give labels with both classes."
            )
    # counted by patient, since folds are made of patients: a patient with one positive exam is a positive one
    with_positive = np.unique(patients[positive])
    counts = {"with": len(with_positive), "without": len(np.unique(patients)) - len(with_positive)}
    for kind, count in counts.items():
        # the training set of a fold is split once more for Platt's method, and each part needs patients of both kinds
        if count < folds + INNER_FOLDS:
            raise DataError(
                f"Only {count} patients are {kind} pneumonia; {folds} folds need at least {folds + INNER_FOLDS}. "
                "Give more exams or fewer --folds."
            )


def patient_folds(patients: np.ndarray, positive: np.ndarray, *, number: int, seed: int) -> np.ndarray:
    """Return (N,) int64, the fold of each exam: all exams of a patient in one, and in each fold the same share of patients with a positive exam."""
    # the positive ones overwrite the rest: one positive exam makes the patient positive
    strata = dict.fromkeys(patients.tolist(), "negative") | dict.fromkeys(patients[positive].tolist(), "positive")
    # the project's own splitter rather than scikit-learn's, so that folds are made as those of records are
    of_patients = {str(patient): stratum for patient, stratum in strata.items()}
    named = splits.stratified(of_patients, splits.Shares(), seed=seed, number_of_folds=number)
    place = {splits.fold_name(index): index for index in range(number)}
    return np.array([place[named[str(patient)]] for patient in patients.tolist()], np.int64)


def cross_validate(
    name: str,
    values: np.ndarray,
    positive: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    *,
    categorical: Sequence[bool],
    importance: bool = False,
    seed: int = 0,
    on_fold: Callable[[], object] = lambda: None,
) -> CrossValidation:
    """Fit a model on all folds but one, evaluate it on that one, and so on.

    Args:
      name: of ``models.NAMES``.
      values: (N, F) float64 with NaN.
      positive: (N,) bool.
      patients: (N,) int64, by which the inner folds are made.
      folds: (N,) int64, of each exam.
      categorical: of each column.
      importance: permute columns, too.
      seed: of models and permutations.
      on_fold: called after each fold.
    """
    with threadpool_limits(limits=1):  # threads without a processor of their own wait for one another: 1 s became 50 s on a busy machine
        return _cross_validated(
            name, values, positive, patients, folds, categorical=categorical, importance=importance, seed=seed, on_fold=on_fold
        )


def _cross_validated(
    name: str,
    known: np.ndarray,
    positive: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    *,
    categorical: Sequence[bool],
    importance: bool,
    seed: int,
    on_fold: Callable[[], object],
) -> CrossValidation:
    scores, drops, auc = np.zeros(len(positive)), [], []
    for fold in np.unique(folds):
        test = folds == fold
        values = _taught(known, known[~test])
        model = fitted(name, values[~test], positive[~test], patients[~test], categorical=categorical, seed=seed)
        scores[test] = model.predict_proba(values[test])[:, 1]
        auc.append(roc_auc(scores[test], positive[test]))
        if importance:
            # on the held-out fold: on exams that the model was fitted on, a column that it only memorized would seem to matter
            permuted = permutation_importance(
                model, values[test], positive[test], scoring="roc_auc", n_repeats=REPEATS, random_state=seed + int(fold)
            )
            drops.append(permuted.importances_mean)
        on_fold()
    return CrossValidation(scores, auc, np.stack(drops, axis=1) if drops else None)


def _taught(values: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return values with 0 in columns without a value in ``learned``, which can teach nothing, and which gradient boosting cannot take."""
    return np.where(np.isnan(learned).all(axis=0), 0.0, values)


def scores_of(
    name: str,
    learned: np.ndarray,
    positive: np.ndarray,
    patients: np.ndarray,
    values: np.ndarray,
    *,
    categorical: Sequence[bool],
    seed: int,
) -> np.ndarray:
    """Return the (M,) float64 scores of exams that are none of those that a model is fitted on.

    Args:
      name: of ``models.NAMES``.
      learned: (N, F) float64 with NaN, of the exams that it is fitted on.
      positive: (N,) bool, and ``patients`` (N,) int64, of these.
      values: (M, F) float64 with NaN, of the others.
      categorical: of each column.
      seed: of the model.
    """
    with threadpool_limits(limits=1):
        model = fitted(name, _taught(learned, learned), positive, patients, categorical=categorical, seed=seed)
        return np.asarray(model.predict_proba(_taught(values, learned))[:, 1], np.float64)


def fitted(name: str, values: np.ndarray, positive: np.ndarray, patients: np.ndarray, *, categorical: Sequence[bool], seed: int):
    """Return a model that was fitted on all that is given; arguments as in ``cross_validate``."""
    # by patient here, too, or the SVC would be calibrated on exams of patients that it has seen
    inner = patient_folds(patients, positive, number=INNER_FOLDS, seed=seed)
    inner_folds = [(np.flatnonzero(inner != fold), np.flatnonzero(inner == fold)) for fold in range(INNER_FOLDS)]
    return models.build(name, categorical=categorical, folds=inner_folds, rows=len(positive), seed=seed).fit(values, positive)


class WithinFolds:
    """ROC AUC and average precision of exams that are compared with those of their own fold only.

    The ROC AUC is the share of pairs of a positive and a negative of one fold in which the positive has the higher score; the average precision is the
    folds' mean, weighted by their positives.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray, folds: np.ndarray) -> None:
        """Take (N,) float64, (N,) bool and (N,) int64."""
        # the project's own areas, so that these figures compare with those of detectors and classifiers
        self._members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        self._areas = [Areas(positive[members], scores[members]) for members in self._members]
        self._positive = positive.astype(np.float64)[:, None]

    def areas(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (B,) ROC AUC and average precision for (N, B) float64 weights >= 0; NaN where no fold has one."""
        sums = np.zeros((4, weights.shape[1]))
        for members, areas in zip(self._members, self._areas, strict=True):
            here = weights[members]
            positives = (here * self._positive[members]).sum(axis=0)
            pairs = positives * (here.sum(axis=0) - positives)
            roc, precision = areas.areas(here)
            # a fold without pairs has no area, and no weight either
            sums += np.stack([np.nan_to_num(roc) * pairs, pairs, np.nan_to_num(precision) * positives, positives])
        with np.errstate(invalid="ignore"):
            return sums[0] / sums[1], sums[2] / sums[3]


def ranked_within_folds(scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the (N,) ranks of scores in their own folds, in (0, 1), equal scores alike: what a curve over all folds is drawn of."""
    ranks = np.zeros(len(scores))
    for fold in np.unique(folds):
        members = folds == fold
        ranks[members] = (rankdata(scores[members]) - 0.5) / members.sum()
    return ranks


def roc_auc(scores: np.ndarray, positive: np.ndarray, folds: np.ndarray | None = None) -> float:
    """Return the ROC AUC of (N,) scores, within folds where there are some; NaN where all are of one class."""
    one = np.zeros(len(scores), np.int64) if folds is None else folds
    return float(WithinFolds(scores, positive, one).areas(np.ones((len(scores), 1)))[0][0])


def figures(scores: np.ndarray, positive: np.ndarray, patients: np.ndarray, *, folds: np.ndarray, resamples: int, seed: int) -> dict:
    """Return ROC AUC and average precision with the 95 % interval over patients, and how well scores are calibrated.

    Args:
      scores: (N,) float64 in [0, 1].
      positive: (N,) bool, of both kinds.
      patients: (N,) int64.
      folds: (N,) int64, within which exams are compared; all of one where nothing was fitted.
      resamples: most groups of patients that are left out in turn for the intervals.
      seed: of these groups.

    Returns:
      ``roc_auc`` and ``average_precision`` as ``interval.of``; ``brier``, ``brier_of_base_rate``, ``ece`` and ``curve`` of
      ``calibration.reliability``.
    """
    areas = WithinFolds(scores, positive, folds)

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(("roc_auc", "average_precision"), areas.areas(weights), strict=True))

    carriers = dict.fromkeys(("roc_auc", "average_precision"), image_level.rarer(positive))
    moved = jackknife.of_figures(of, patients, carriers=carriers, groups=resamples, seed=seed)
    # calibration has no interval: it is a description of these scores, not a comparison
    areas_with_intervals: dict = interval.as_intervals(moved)
    reliable = calibration.reliability(scores, positive)
    return areas_with_intervals | {key: reliable[key] for key in ("brier", "brier_of_base_rate", "ece", "curve")}
