"""What notebooks show of results: tables, warnings and pictures, in the templates that reports are made of.

pages.html(pages.table("Splits", ("split", "exams"), rows), pages.warnings(texts), pages.picture(picture, "radiograph with 2 boxes"))
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from pneumodet.viz import embedding, templating
from pneumodet.viz.markup import Table

PICTURE_PX = 720
"""Longer side of a picture in a notebook, at the most."""


@dataclasses.dataclass(frozen=True)
class Page:
    """An HTML page of pneumodet that a notebook shows in a frame, so that its style stays its own.

    Attributes:
      path: the file.
      height_px: of the frame.
    """

    path: Path
    height_px: int = 800

    def _repr_html_(self) -> str:
        # the page is the frame's whole content, so that no server has to find its file
        return str(templating.part("frame", self.path.read_text(encoding="utf-8"), self.path.name, self.height_px))


def html(*parts: Markup) -> str:
    """Return parts below each other."""
    return "\n".join(part for part in parts if part)


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table; nothing where there are no rows."""
    return templating.part("table", Table(caption, header, rows))


def warnings(texts: Sequence[str]) -> Markup:
    """Return a box of warnings; nothing where there are none."""
    return templating.part("warnings", "Warnings", list(texts))


def line(text: str) -> Markup:
    """Return a paragraph; nothing of an empty text."""
    return templating.part("paragraph", text)


def listed(texts: Sequence[str]) -> Markup:
    """Return a list; nothing where there are no texts."""
    return templating.part("listed", list(texts))


def picture(image: Image.Image, alt: str) -> Markup:
    """Return an image that needs no file beside the page, with a text for those who cannot see it."""
    return templating.part("picture", embedding.data_uri(image, side_px=PICTURE_PX), alt)
