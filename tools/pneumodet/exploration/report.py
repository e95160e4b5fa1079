"""Figures and pictures of a data set -> one HTML page that needs nothing else.

text = page(figures, album)              # ``exploring.measure``'s figures; album None where there are no DICOM files
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from pneumodet.exploration import charts, panels
from pneumodet.reporting import frame, markup
from pneumodet.reporting.charts import Line, line_chart
from pneumodet.reporting.gallery import data_uri

if TYPE_CHECKING:
    from pneumodet.exploration.radiographs import Picture

TITLE = "Exploration of a pneumonia data set"

SHEET_PX = 1440
"""Longer side of the augmentation sheet, of some eighteen tiles."""

NEEDS_FILES = "Pictures, sizes and identical pixels need the DICOM files: give --dicom-dir."
NEEDS_HEADERS = (
    "Age, sex, view position and pixel spacing are in the DICOM headers: give --dicom-dir, or --headers with a CSV of their values."
)


@dataclasses.dataclass(frozen=True)
class Album:
    """The pictures of a report.

    Attributes:
      examples: radiographs with boxes, each with its class as title.
      equalized: one radiograph after each normalization.
      augmented: sheet of augmented radiographs.
      why_not_augmented: a sentence where there is none.
      faults: exam -> why it could not be shown.
    """

    examples: Sequence["Picture"]
    equalized: Sequence["Picture"]
    augmented: Image.Image | None
    why_not_augmented: str
    faults: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """Return what is shown, for JSON."""
        return {
            "examples": [{"class": one.title, "exam": one.text.partition(",")[0]} for one in self.examples],
            "equalized": {one.title: list(one.gray_shares) for one in self.equalized},
            "augmented": self.augmented is not None,
            "why_not_augmented": self.why_not_augmented,
            "unreadable": dict(self.faults),
        }


def page(figures: Mapping[str, Any], album: Album | None) -> str:
    """Return the report.

    Args:
      figures: as ``exploring.measure`` returns them, with ``inputs``.
      album: the pictures.
    """
    missing_headers = "" if figures["headers"] else markup.paragraph(NEEDS_HEADERS)
    sections = [
        ("summary", "Summary", _summary(figures)),
        ("classes", "Classes, rows and boxes", panels.classes(figures)),
        ("faults", "Missing, repeated and unlikely values", panels.faults(figures)),
        ("people", "Sex, age, view and pixel spacing", missing_headers or panels.people(figures)),
        ("boxes", "Boxes", panels.boxes(figures)),
        ("correlation", "Correlation", panels.correlation(figures)),
        ("radiographs", "Radiographs", _radiographs(album) if album else markup.paragraph(NEEDS_FILES)),
    ]
    return frame.page(TITLE, sections, lead=" · ".join(name for name in figures["inputs"].values() if name), css=charts.CSS)


def _summary(figures: Mapping[str, Any]) -> str:
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
    sentences = markup.listed((one["sentence"] for one in figures["conclusions"]), "conclusions")
    return (
        f'{markup.tiles(tiles)}<h3>What follows from the figures</h3>{sentences}<p class="note">'
        "Intervals hold 95% of 1,000 resamples in which patients are drawn with replacement, all exams of one together"
        + ("" if patients["known"] else "; here, where patients are not known, exams")
        + ".</p>"
    )


def _radiographs(album: Album) -> str:
    content = ""
    for title in dict.fromkeys(one.title for one in album.examples):
        of_class = [one for one in album.examples if one.title == title]
        content += f"<h3>{markup.text(title)}</h3>{_pictures([(one, one.text) for one in of_class])}"
    if album.examples:
        content = '<p class="before">Chosen at random, not as typical. Boxes of the ground truth are dashed and blue.</p>' + content
    if album.equalized:
        content += (
            f"<h3>Equalization</h3>{_pictures([(one, f'{one.title}: {one.text}') for one in album.equalized])}{_grays(album.equalized)}"
        )
    if album.augmented is not None:
        content += (
            "<h3>Augmentation</h3><p>What training makes of some of these: first as it is, then varied at random by the preset "
            f'“radiograph”. Boxes follow the pixels.</p><img class="sheet" src="{data_uri(album.augmented, SHEET_PX)}" '
            'alt="Radiographs with their boxes: as they are, and augmented">'
        )
    content += markup.paragraph(album.why_not_augmented)
    if album.faults:
        rows = [(markup.text(exam), markup.text(reason)) for exam, reason in album.faults.items()]
        content += markup.table("Radiographs that were to be shown, but cannot be read", ("exam", "reason"), rows, words=(1,))
    return content


def _grays(equalized: Sequence["Picture"]) -> str:
    bins = len(equalized[0].gray_shares)
    middles = [256 * (index + 0.5) / bins for index in range(bins)]
    lines = [Line(one.title, middles, one.gray_shares) for one in equalized]
    chart = line_chart("Grays of the radiograph above", lines, x="gray value", y="share of the pixels", x_range=(0, 256))
    return (
        "<p>Histogram equalization spreads the grays over the whole range, air and tubes included; CLAHE does so in tiles and with limited gain. Neither adds "
        f"anything to the image: whether one helps a model is measured by training with it.</p>{markup.charts([chart])}"
    )


def _pictures(pictures: Sequence[tuple["Picture", str]]) -> str:
    parts = [
        f'<figure><img src="{data_uri(one.image)}" alt="Radiograph, {markup.text(text)}"><figcaption>{markup.text(text)}</figcaption></figure>'
        for one, text in pictures
    ]
    return f'<div class="radiographs">{"".join(parts)}</div>'
