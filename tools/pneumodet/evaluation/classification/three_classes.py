"""How well three classes are kept apart: confusion matrix, accuracy, recall, precision, F1 and one-against-rest ROC AUC, with intervals by patient.

    result = summarize(probabilities, classes, patients=patients)
    result["figures"]["classes.macro_f1"], result["confusion"]

A prediction is the class of the highest probability; nothing is chosen on these exams.
"""

from typing import Any

import numpy as np

from pneumodet.evaluation.metrics import interval, jackknife, uncertainty
from pneumodet.evaluation.metrics.image_level import Areas, rarer
from pneumodet.evaluation.metrics.interval import Moved
from pneumodet.evaluation.metrics.jackknife import Ratio
from pneumodet.models.classification.settings import CLASSES

KEYS = ("normal", "not_normal", "opacity")
"""Of ``CLASSES``, in names of figures."""


def summarize(
    probabilities: np.ndarray, classes: np.ndarray, *, patients: np.ndarray, resamples: int = uncertainty.RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Return the figures of three classes.

    Args:
      probabilities: (N, 3).
      classes: (N,) int64, the truth.
      patients: (N,) int64, the same number for the exams of one patient; they move figures together.
      resamples: most groups of patients that are left out in turn for the intervals.
      seed: of these groups.

    Returns:
      ``figures`` (``classes.accuracy``, ``.macro_f1``, ``.macro_roc_auc`` and of each class ``.NAME.recall``, ``.precision``, ``.f1``, ``.roc_auc``;
      None where one is undefined), ``intervals`` (key -> [low, high]), ``confusion`` (3 rows of truth, 3 columns of predictions) and ``classes``.
    """
    moved = _moved(probabilities, classes, patients, groups=resamples, seed=seed)
    of = interval.as_intervals(moved)
    intervals = {key: [one["low"], one["high"]] for key, one in of.items() if one["low"] is not None}
    return {
        "figures": {key: one["value"] for key, one in of.items()},
        "intervals": intervals,
        "confusion": confusion(probabilities.argmax(axis=1), classes).tolist(),
        "classes": list(CLASSES),
    }


def confusion(predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return (3, 3) int64 counts: rows are the truth, columns the predictions."""
    count = len(CLASSES)
    return np.bincount(classes * count + predicted, minlength=count**2).reshape(count, count)


def _moved(probabilities: np.ndarray, classes: np.ndarray, patients: np.ndarray, *, groups: int, seed: int) -> dict[str, Moved]:
    """Return all figures with what moves them, in their order."""
    predicted = probabilities.argmax(axis=1)
    ratios = {"classes.accuracy": Ratio((predicted == classes).astype(np.float64), np.ones(len(classes)))}
    for number, key in enumerate(KEYS):
        called, there = ((one == number).astype(np.float64) for one in (predicted, classes))
        hits = called * there
        ratios[f"classes.{key}.recall"] = Ratio(hits, there)
        ratios[f"classes.{key}.precision"] = Ratio(hits, called)
        ratios[f"classes.{key}.f1"] = Ratio(2 * hits, called + there)
    areas = {f"classes.{key}.roc_auc": Areas(classes == number, probabilities[:, number]) for number, key in enumerate(KEYS)}

    def curves(weights: np.ndarray) -> dict[str, np.ndarray]:
        aucs = {key: one.areas(weights)[0] for key, one in areas.items()}
        f1 = [ratios[f"classes.{key}.f1"](weights) for key in KEYS]
        # the unweighted mean: a class that is rare counts as much as the others
        return {"classes.macro_f1": np.mean(f1, axis=0), "classes.macro_roc_auc": np.mean(list(aucs.values()), axis=0), **aucs}

    carriers = {f"classes.{key}.roc_auc": rarer(classes == number) for number, key in enumerate(KEYS)}
    # a mean over classes rests on as many patients as the rarest one
    rarest = min((classes == number for number in range(len(KEYS))), key=np.count_nonzero)
    carriers |= dict.fromkeys(("classes.macro_f1", "classes.macro_roc_auc"), rarest)
    moved = {key: one.moved(patients) for key, one in ratios.items()}
    moved |= jackknife.of_figures(curves, patients, carriers=carriers, groups=groups, seed=seed)
    order = ["classes.accuracy", "classes.macro_f1", "classes.macro_roc_auc"]
    order += [f"classes.{key}.{name}" for key in KEYS for name in ("recall", "precision", "f1", "roc_auc")]
    return {key: moved[key] for key in order}
