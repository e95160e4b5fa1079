"""Where a reported accuracy of 99 % comes from, shown on the same exams: box columns that are filled exactly when the answer is 1.

    rows = compare(table, number_of_folds=5, seed=0)
    rows[0]      # {"columns": "metadata and boxes", "split": "by row", "models": {"svc": {"accuracy": 1.0, "roc_auc": 1.0}, …}, …}

RSNA's labels have a row a box: x, y, width and height are empty in the row of a negative exam and filled in those of a positive one, so that
they are the answer under another name. The second leak is smaller: an exam with two boxes has two rows with the same header values, and a
split by row puts one of them into each split; so does a split by exam with the exams of one patient.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pneumodet.exploration.baseline import evaluating, models
from pneumodet.exploration.baseline.table import Table

WITH_BOXES, WITHOUT_BOXES = "metadata and boxes", "metadata only"
BY_ROW, BY_PATIENT = "by row", "by patient"
WAYS = ((WITH_BOXES, BY_ROW), (WITH_BOXES, BY_PATIENT), (WITHOUT_BOXES, BY_ROW), (WITHOUT_BOXES, BY_PATIENT))
"""Columns and splits that are compared: as reported, each leak alone, and neither."""

CALLED_POSITIVE = 0.5
"""Probability from which on a row is called positive, as ``predict`` of a classifier has it."""

EXPLANATION = (
    "A leak, shown on purpose: x, y, width and height of the labels are empty exactly when the answer is 0. A model that sees them reads the "
    "answer; its accuracy says nothing of radiographs or metadata. Nothing else in this report uses them."
)


def compare(
    table: Table,
    *,
    number_of_folds: int,
    seed: int,
    names: Sequence[str] = tuple(models.NAMES),
    on_fold: Callable[[], object] = lambda: None,
) -> list[dict]:
    """Cross-validate on the rows of the labels, one a box or one for a negative exam, in each of ``WAYS``.

    Args:
      table: the exams.
      number_of_folds: as for the baseline.
      seed: of folds and models.
      names: of ``models.NAMES``.
      on_fold: called after each fold of each model.

    Returns:
      A dict of each way: ``columns``, ``split``, ``rows``, ``majority`` (the accuracy of calling every row negative, or positive where that is
      more) and ``models``: name -> ``accuracy`` and ``roc_auc``.
    """
    # the rows of RSNA's CSV: one a box, and one for an exam without
    counts = np.array([max(1, len(boxes)) for boxes in table.boxes_xyxy_px])
    positive, patients = np.repeat(table.positive, counts), np.repeat(table.patients, counts)
    metadata = np.repeat(table.values, counts, axis=0)
    # a split by row is one by patient in which every row has a patient of its own
    groups_of = {BY_ROW: np.arange(len(positive)), BY_PATIENT: patients}
    columns = {
        WITHOUT_BOXES: (metadata, table.categorical),
        WITH_BOXES: (np.hstack([metadata, _box_columns(table)]), [*table.categorical, False, False, False, False]),
    }
    share = float(positive.mean())
    ways = []
    for columns_name, split in WAYS:
        values, categorical = columns[columns_name]
        groups = groups_of[split]
        folds = evaluating.patient_folds(groups, positive, number=number_of_folds, seed=seed)
        row: dict = {"columns": columns_name, "split": split, "rows": len(positive), "majority": max(share, 1 - share), "models": {}}
        for name in names:
            scores = evaluating.cross_validate(
                name, values, positive, groups, folds, categorical=categorical, seed=seed, on_fold=on_fold
            ).scores
            accuracy = float(((scores >= CALLED_POSITIVE) == positive).mean())
            row["models"][name] = {"accuracy": accuracy, "roc_auc": evaluating.roc_auc(scores, positive, folds)}
        ways.append(row)
    return ways


def _box_columns(table: Table) -> np.ndarray:
    """Return (R, 4) float64: x, y, width, height in px of each row, 0 where the labels have none, as the reports filled them in."""
    # 0 and not NaN, because imputation would hide the leak that the reports had
    rows = []
    for boxes in table.boxes_xyxy_px:
        xywh_px = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]) if len(boxes) else np.zeros((1, 4))
        rows.append(xywh_px)
    return np.concatenate(rows)
