"""Radiographs in the report, as small JPEGs inside the page.

html = figures([("0004cfab", picture, "1 of 2 boxes missed")])
"""

from collections.abc import Sequence

from markupsafe import Markup
from PIL import Image

from pneumodet.viz import templating
from pneumodet.viz.embedding import data_uri


def figures(pictures: Sequence[tuple[str, Image.Image | None, str]]) -> Markup:
    """Return the gallery, or nothing without pictures.

    Args:
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
    """
    shown = [(exam, None if picture is None else data_uri(picture), reason) for exam, picture, reason in pictures]
    return templating.part("radiographs", shown)
