"""Figures and pictures of a data set -> one HTML page that needs nothing else.

text = page(figures, album)              # ``exploring.measure``'s figures; album None where there are no DICOM files
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from PIL import Image

from pneumodet.exploration import box_panels, panels
from pneumodet.viz import markup, templating
from pneumodet.viz.charts import Line, line_chart
from pneumodet.viz.embedding import data_uri
from pneumodet.viz.markup import Table

if TYPE_CHECKING:
    from pneumodet.exploration.radiographs import Picture

SHEET_PX = 1440
"""Longer side of the augmentation sheet, of some eighteen tiles."""


@dataclasses.dataclass(frozen=True)
class Album:
    """The pictures of a report.

    Attributes:
      examples: radiographs with boxes, each with its class as title.
      equalized: one radiograph after each normalization.
      augmented: sheet of augmented radiographs.
      why_not_augmented: a sentence where there is none.
      unreadable: exam -> why it could not be shown.
    """

    examples: Sequence["Picture"]
    equalized: Sequence["Picture"]
    augmented: Image.Image | None
    why_not_augmented: str
    unreadable: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """Return what is shown, for JSON."""
        return {
            "examples": [{"class": one.title, "exam": one.text.partition(",")[0]} for one in self.examples],
            "equalized": {one.title: list(one.gray_shares) for one in self.equalized},
            "augmented": self.augmented is not None,
            "why_not_augmented": self.why_not_augmented,
            "unreadable": dict(self.unreadable),
        }


def page(figures: Mapping[str, Any], album: Album | None) -> str:
    """Return the report.

    Args:
      figures: as ``exploring.measure`` returns them, with ``inputs``.
      album: the pictures.
    """
    return templating.render(
        "exploration.html",
        # the labels, which are always given; the other files follow below
        title=f"Exploration of {figures['inputs']['labels']}",
        lead=" · ".join(name for name in figures["inputs"].values() if name),
        summary=_summary(figures),
        classes=panels.classes(figures),
        issues=panels.issues(figures),
        # without headers there is no age, sex or view, and the section would be empty
        people=panels.people(figures) if figures["headers"] else None,
        boxes=box_panels.boxes(figures),
        correlation=panels.correlation(figures),
        radiographs=_radiographs(album) if album else None,
    )


def _summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    counts, patients = figures["classes"], figures["patients"]
    tiles = [
        ("Exams", markup.number(counts["exams"]), f"{counts['rows']:,} rows"),
        (
            "With pneumonia",
            markup.number(counts["positive_exams"]),
            f"{counts['positive_exams'] / counts['usable_exams']:.1%} of the usable exams",
        ),
        ("Boxes", markup.number(counts["boxes"]), ""),
        (
            "Patients",
            markup.number(patients["patients"]) if patients["known"] else "–",
            "" if patients["known"] else "no patient map given",
        ),
    ]
    note = "Intervals (95%) are made of how much each patient moves a figure, all exams of one together"
    note += "." if patients["known"] else "; here, where patients are not known, exams."
    return {"tiles": tiles, "conclusions": [one["sentence"] for one in figures["conclusions"]], "note": note}


def _radiographs(album: Album) -> dict[str, Any]:
    titles = dict.fromkeys(one.title for one in album.examples)
    return {
        "examples": [(title, [(data_uri(one.image), one.text) for one in album.examples if one.title == title]) for title in titles],
        "equalized": [(data_uri(one.image), f"{one.title}: {one.text}") for one in album.equalized],
        "gray_values": _gray_values(album.equalized) if album.equalized else Markup(),
        "augmented": "" if album.augmented is None else data_uri(album.augmented, side_px=SHEET_PX),
        "why_not_augmented": album.why_not_augmented,
        "unreadable": Table(
            "Radiographs that were to be shown, but cannot be read", ("exam", "reason"), list(album.unreadable.items()), text_columns=(1,)
        ),
    }


def _gray_values(equalized: Sequence["Picture"]) -> Markup:
    bins = len(equalized[0].gray_shares)
    # each share stands in the middle of its bin
    middles = [256 * (index + 0.5) / bins for index in range(bins)]
    lines = [Line(one.title, middles, one.gray_shares) for one in equalized]
    return line_chart("Gray values of the radiograph above", lines, x="gray value", y="share of the pixels", x_range=(0, 256))
