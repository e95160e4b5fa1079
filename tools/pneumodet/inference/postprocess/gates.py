"""Image-level scores that gate a detector's boxes, from a CSV.

scores = read_gate(Path("scores.csv"))           # {"0004cfab": 0.93}
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pneumodet.core.detections import SCORE_HEADER
from pneumodet.core.errors import DataError
from pneumodet.data import tables
from pneumodet.inference.postprocess.recipe import GATE_HINT, Recipe


def read_gate(path: Path, *, exams: Sequence[str] | None = None) -> dict[str, float]:
    """Read image-level scores.

    Args:
      path: a CSV with the columns ``patientId`` and ``score``.
      exams: all exams that have to be there, and no other; None where any may.

    Returns:
      exam -> score in [0, 1].

    Raises:
      DataError: the file is missing or has no such columns, a score is no number from 0 to 1, an exam is named twice, is unknown, or is missing.
    """
    scores: dict[str, float] = {}
    known = None if exams is None else set(exams)
    for line, row in tables.read(path, SCORE_HEADER).rows():
        exam, where = row["patientId"].strip(), f"{path}, line {line}"
        try:
            score = float(row["score"])
        except ValueError:
            score = math.nan
        # NaN fails this comparison, too
        if not exam or not 0 <= score <= 1:
            raise DataError(f"{where}: exam {exam!r} has the score {row['score']!r}, must be a number from 0 to 1. Write a probability.")
        if exam in scores:
            raise DataError(f"{where}: exam {exam} occurs twice. Keep one score an exam.")
        if known is not None and exam not in known:
            raise DataError(f"{where}: exam {exam} is not in the ground truth. Are these scores of other radiographs?")
        scores[exam] = score
    if known is not None and (missing := known - scores.keys()):
        raise DataError(f"{path} has no score for {len(missing)} of {len(known)} exams, for example {min(missing)}. {GATE_HINT}")
    return scores


def gate_for(recipe: Recipe, path: Path | None) -> dict[str, float] | None:
    """Read the image-level scores that a recipe is applied with, before anything is detected.

    Raises:
      DataError: the recipe gates, but there are none; or as ``read_gate``.
    """
    if path is None and recipe.gate != "none":
        raise DataError(f"The recipe gates by an image-level score, but there is none. {GATE_HINT}")
    return None if path is None else read_gate(path)
