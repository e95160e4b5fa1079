"""The radiographs with pictures as one page, the highest score first: it needs no network, no script, and nothing but the folder that it lies in.

write(folder, totals.shown, rules, heading)         # gallery.html, which links to images/
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pneumodet import paths
from pneumodet.metrics import probability_words
from pneumodet.prediction.outputs import IMAGES, Rules, Shown, truth_words
from pneumodet.reporting import markup
from pneumodet.reporting.style import CSS
from pneumodet.wording import counted

GALLERY = "gallery.html"

POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
"""Content security policy: pictures beside the page, opened from disk or from a server, and nothing else."""

_CSS = """
.gallery a { display: block; color: inherit; } .gallery a:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; border-radius: 4px; }
.gallery figcaption { margin-top: 6px; } .gallery figcaption strong { color: var(--ink); }
.found { font-weight: 600; color: var(--ink); }
.gallery.wide-pictures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
"""


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
      rules: tell the threshold.
      heading: what stands above.
      truth_boxes: exam -> number of ground-truth boxes, where there are labels; the pictures then are pairs.

    Returns:
      The page's path.

    Raises:
      DataError: it cannot be written.
    """
    ranked = sorted(shown, key=lambda one: (-one.score, one.exam))
    figures = "\n".join(_figure(one, truth_boxes) for one in ranked)
    title = "Radiographs by score"
    wide = " wide-pictures" if truth_boxes is not None else ""
    content = f'<div class="gallery{wide}">\n{figures}\n</div>' if ranked else "<p>No pictures were drawn (--max-images 0).</p>"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title><style>{CSS}{_CSS}</style></head>\n'
        f"<body><main><h1>{title}</h1>\n{_head(heading, rules, len(ranked), with_truth=truth_boxes is not None)}\n{content}\n"
        "<footer>For research, not a medical device. Made by pneumodet; nothing in this page comes from the network.</footer>"
        "</main></body></html>\n"
    )
    with paths.atomic_path(folder / GALLERY) as tmp:
        tmp.write_text(page, encoding="utf-8", errors="replace")
    return folder / GALLERY


def _head(heading: Heading, rules: Rules, pictures: int, *, with_truth: bool) -> str:
    left_out = f"; {counted(heading.left_out, 'file')} could not be read" if heading.left_out else ""
    counts = (
        f"{counted(heading.radiographs, 'radiograph')}, {heading.positive:,} with pneumonia at a score of "
        f"{rules.score_threshold:.4g} or more ({markup.text(heading.threshold_source)}){left_out}."
    )
    drawn = f"{pictures:,} of them have a picture; all are in scores.csv." if pictures < heading.radiographs else ""
    below = "; ground truth is dashed and blue, at the left alone and at the right below them" if with_truth else ""
    key = f"Detections are solid and orange{below}. A click opens a picture in full."
    notes = "".join(f"<p>{markup.text(note)}</p>" for note in heading.notes)
    return f'<p class="lead">{markup.text(heading.model)}</p><p>{counts} {drawn}</p><p>{key}</p>{notes}'


def _figure(one: Shown, truth_boxes: Mapping[str, int] | None) -> str:
    boxes = counted(one.boxes, "box")
    parts = [f"score {one.score:.3f}" if one.score else "nothing found at all", f'<span class="found">{boxes}</span>']
    if one.probability is not None:
        parts.insert(1, f"probability {markup.text(probability_words.in_words(one.probability))}")
    if truth_boxes is not None:
        parts.append(truth_words(truth_boxes.get(one.exam)))
    exam, height, width = markup.text(one.exam), *one.size_hw
    source = quote(f"{IMAGES}/{one.picture}")
    width *= 2 if truth_boxes is not None else 1
    return (
        f'<figure><a href="{source}"><img src="{source}" width="{width}" height="{height}" loading="lazy" '
        f'alt="Radiograph {exam}, {boxes}"></a><figcaption><strong>{exam}</strong> {" · ".join(parts)}</figcaption></figure>'
    )
