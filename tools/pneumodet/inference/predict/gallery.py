"""The radiographs with pictures as one page, the highest score first: it needs no network, no script, and nothing but the folder that it lies in.

write(folder, totals.shown, rules, heading)         # gallery.html, which links to images/
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pneumodet.core import paths
from pneumodet.core.formatting import counted
from pneumodet.inference import probability
from pneumodet.inference.predict.outputs import IMAGES, Rules, Shown, truth_words
from pneumodet.viz import templating

GALLERY = "gallery.html"


@dataclasses.dataclass(frozen=True)
class Heading:
    """What the page says above the pictures.

    Attributes:
      model: the model's name, or those of several.
      radiographs: number of all.
      positive: those with pneumonia at the threshold.
      left_out: number of files that could not be read.
      threshold_source: where the threshold is from.
      notes: sentences.
    """

    model: str
    radiographs: int
    positive: int
    left_out: int
    threshold_source: str
    notes: Sequence[str] = ()


def write(folder: Path, shown: Iterable[Shown], rules: Rules, heading: Heading, *, truth_boxes: Mapping[str, int] | None = None) -> Path:
    """Write ``gallery.html``.

    Args:
      folder: of the results; pictures are in ``images/`` in it.
      shown: the radiographs with a picture.
      rules: with the threshold.
      heading: what stands above.
      truth_boxes: exam -> number of ground-truth boxes, where there are labels; the pictures then are pairs.

    Returns:
      The page's path.

    Raises:
      DataError: it cannot be written.
    """
    # by exam where scores are equal: the same results give the same page
    ranked = sorted(shown, key=lambda one: (-one.score, one.exam))
    pairs = truth_boxes is not None
    page = templating.render(
        "gallery.html",
        title="Radiographs by score",
        lead=heading.model,
        lines=_head(heading, rules, len(ranked), with_truth=pairs),
        pictures=[_picture(one, rules, truth_boxes) for one in ranked],
        pairs=pairs,
    )
    with paths.atomic_path(folder / GALLERY) as tmp:
        # names that are no UTF-8 come from Python with lone surrogates, which cannot be encoded
        tmp.write_text(page, encoding="utf-8", errors="replace")
    return folder / GALLERY


def _head(heading: Heading, rules: Rules, pictures: int, *, with_truth: bool) -> list[str]:
    """Return the paragraphs above the pictures."""
    left_out = f"; {counted(heading.left_out, 'file')} could not be read" if heading.left_out else ""
    counts = (
        f"{counted(heading.radiographs, 'radiograph')}, {heading.positive:,} with pneumonia at a score of "
        f"{rules.score_threshold:.4g} or more ({heading.threshold_source}){left_out}."
    )
    drawn = f"{pictures:,} of them, by the highest scores, have a picture; all are in scores.csv." if pictures < heading.radiographs else ""
    if rules.boxes:
        below = "; ground truth is dashed and blue, at the left alone and at the right below them" if with_truth else ""
        key = f"Detections are solid and orange{below}. A click opens a picture in full."
    else:
        key = f"{'Ground truth is dashed and blue. ' if with_truth else ''}A click opens a picture in full."
    # a high probability beside no box would pass for an error
    more = [] if rules.calibrator is None or not rules.boxes else [probability.NO_BOX]
    return [f"{counts} {drawn}", key, *more, *heading.notes]


def _picture(one: Shown, rules: Rules, truth_boxes: Mapping[str, int] | None) -> dict[str, Any]:
    """Return what is shown of a radiograph; ``before`` and ``after`` stand around what is said of its boxes, ``found``."""
    height, width = one.size_hw
    below = f"below the threshold of {rules.score_threshold:.4g}"
    if not rules.boxes:
        found = "pneumonia" if one.boxes else below
    elif one.boxes or not one.score:
        found = counted(one.boxes, "box")
    else:
        found = f"no box, {below}"
    before = f"score {one.score:.3f}" if one.score or not rules.boxes else "no detection at all"
    if one.probability is not None:
        before += f" · probability {probability.as_text(one.probability)}"
    return {
        "exam": one.exam,
        "source": quote(f"{IMAGES}/{one.picture}"),
        "width": width if truth_boxes is None else 2 * width,
        "height": height,
        "boxes": counted(one.boxes, "box") if rules.boxes else found,
        "found": found,
        "before": before,
        "after": "" if truth_boxes is None else f" · {truth_words(truth_boxes.get(one.exam))}",
    }
