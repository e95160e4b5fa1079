"""How well three classes are kept apart: confusion matrix, accuracy, recall, precision, F1 and one-against-rest ROC AUC, with intervals by patient.

    result = summarize(probabilities, classes, patients=patients)
    result["figures"]["classes.macro_f1"], result["confusion"]

A prediction is the class of the highest probability; nothing is chosen on these exams.
"""

from typing import Any

import numpy as np

from pneumodet.evaluation.metrics import bootstrap
from pneumodet.evaluation.metrics.image_level import Areas
from pneumodet.models.classification.settings import CLASSES

KEYS = ("normal", "not_normal", "opacity")
"""Of ``CLASSES``, in names of figures."""


def summarize(
    probabilities: np.ndarray, classes: np.ndarray, *, patients: np.ndarray, resamples: int = bootstrap.RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Return the figures of three classes.

    Args:
      probabilities: (N, 3).
      classes: (N,) int64, the truth.
      patients: (N,) int64, the same number for the exams of one patient; they are drawn together.
      resamples: of the bootstrap.
      seed: of its draws.

    Returns:
      ``figures`` (``classes.accuracy``, ``.macro_f1``, ``.macro_roc_auc`` and of each class ``.NAME.recall``, ``.precision``, ``.f1``, ``.roc_auc``;
      None where one is undefined), ``intervals`` (key -> [low, high]), ``confusion`` (3 rows of truth, 3 columns of predictions) and ``classes``.
    """
    value, drawn = bootstrap.resampled(_Figures(probabilities, classes), patients, resamples=resamples, seed=seed)
    intervals = {}
    for key in value:
        drawn_interval = bootstrap.interval(value[key], drawn[key], patients)
        if drawn_interval["low"] is not None:
            intervals[key] = [drawn_interval["low"], drawn_interval["high"]]
    return {
        "figures": {key: None if np.isnan(one) else one for key, one in value.items()},
        "intervals": intervals,
        "confusion": confusion(probabilities.argmax(axis=1), classes).tolist(),
        "classes": list(CLASSES),
    }


def confusion(predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return (3, 3) int64 counts: rows are the truth, columns the predictions."""
    count = len(CLASSES)
    return np.bincount(classes * count + predicted, minlength=count**2).reshape(count, count)


class _Figures:
    """Figures for many weightings of the same exams."""

    def __init__(self, probabilities: np.ndarray, classes: np.ndarray) -> None:
        predicted = probabilities.argmax(axis=1)
        self._cells = [(predicted == number, classes == number) for number in range(len(CLASSES))]
        self._areas = [Areas(classes == number, probabilities[:, number]) for number in range(len(CLASSES))]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> (B,) float64 for (N, B) weights; NaN where a figure is undefined."""
        figures: dict[str, np.ndarray] = {}
        right = np.zeros(weights.shape[1])
        for key, (predicted, true), areas in zip(KEYS, self._cells, self._areas, strict=True):
            hits, called, there = (mask.astype(np.float64) @ weights for mask in (predicted & true, predicted, true))
            right = right + hits
            figures[f"classes.{key}.recall"] = bootstrap.ratio(hits, there)
            figures[f"classes.{key}.precision"] = bootstrap.ratio(hits, called)
            figures[f"classes.{key}.f1"] = bootstrap.ratio(2 * hits, called + there)
            figures[f"classes.{key}.roc_auc"] = areas.areas(weights)[0]
        # the unweighted mean: a class that is rare counts as much as the others
        means = {f"classes.macro_{name}": np.mean([figures[f"classes.{key}.{name}"] for key in KEYS], axis=0) for name in ("f1", "roc_auc")}
        return {"classes.accuracy": bootstrap.ratio(right, weights.sum(axis=0)), **means, **figures}
