"""The models: a support vector classifier, logistic regression and gradient boosting, each from table to probability.

    model = build("svc", categorical=[False, True], folds=inner)
    model.fit(values, positive); model.predict_proba(values)[:, 1]

A kernel SVC on 26,684 exams takes minutes a fit, its time growing with the square of their number. Here the kernel is approximated by
Nystroem's method (Williams and Seeger, NIPS 2001) with ``LANDMARKS`` exams, and a linear SVC learns on that; with fewer exams than landmarks
it is the kernel itself.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

NAMES = {"svc": "support vector classifier", "logistic": "logistic regression", "boosting": "gradient boosting"}
"""Models -> what a reader calls them."""

LANDMARKS = 100
"""Exams that approximate the kernel of at most eight numbers; 200 gave the same ROC AUC of the RSNA set to 0.001."""

FEWEST_IN_A_LEAF = 20
"""Of gradient boosting, scikit-learn's default; half as many exams at the most, so that small sets can be split at all."""


def build(
    name: str, *, categorical: Sequence[bool], folds: Sequence[tuple[np.ndarray, np.ndarray]], rows: int, seed: int = 0
) -> BaseEstimator:
    """Return a model that is not yet fitted.

    Args:
      name: of ``NAMES``.
      categorical: of each column, whether its numbers are categories.
      folds: (places to fit, places to evaluate) within what it will be fitted on, grouped by patient: the SVC's scores become probabilities by
        Platt's method (Platt, 1999) on exams that the SVC did not see.
      rows: how many it will be fitted on.
      seed: of the landmarks and of gradient boosting.

    Returns:
      A scikit-learn classifier of (N, F) float64 with NaN.
    """
    if name == "boosting":
        return HistGradientBoostingClassifier(
            categorical_features=list(categorical),
            max_leaf_nodes=15,
            learning_rate=0.05,
            # early stopping would hold out rows at random, and part exams of one patient
            early_stopping=False,
            # on a small set the default would allow no split, and the model would be a constant
            min_samples_leaf=max(1, min(FEWEST_IN_A_LEAF, rows // 4)),
            random_state=seed,
        )
    prepared = _prepared(categorical)
    if name == "logistic":
        return make_pipeline(prepared, LogisticRegression(max_iter=1000))
    # Nystroem takes its landmarks from the rows that it is fitted on, and cannot take more than there are
    smallest = min(len(fit) for fit, _ in folds)
    kernel = Nystroem(kernel="rbf", n_components=min(LANDMARKS, smallest), random_state=seed)
    # balanced, because with one positive of five the plain hinge loss calls everything negative and ranks nothing
    svc = make_pipeline(prepared, kernel, LinearSVC(class_weight="balanced", dual=False))
    # ensemble=False: one SVC, fitted on all rows, with a sigmoid from the held-out scores of the folds
    return CalibratedClassifierCV(svc, method="sigmoid", cv=list(folds), ensemble=False)


def _prepared(categorical: Sequence[bool]) -> ColumnTransformer:
    """Return what makes numbers of all columns: a missing number is the median and says so in a column of its own; a missing category is one."""
    numbers = [index for index, one in enumerate(categorical) if not one]
    others = [index for index, one in enumerate(categorical) if one]
    # columns that are empty in a training set stay, so that every fold has the same columns
    imputed = make_pipeline(SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler())
    return ColumnTransformer(
        [("numbers", imputed, numbers), ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), others)]
    )
