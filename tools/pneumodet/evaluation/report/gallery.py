"""Radiographs in the report, as small JPEGs inside the page.

html = figures([("0004cfab", picture, "1 of 2 boxes missed")])
"""

import base64
import io
from collections.abc import Sequence

from markupsafe import Markup
from PIL import Image

from pneumodet.viz import templating

PICTURE_PX, PICTURE_QUALITY = 480, 80
"""Longer side and JPEG quality of pictures in a page: 24 of them have about 1 MB."""


def figures(pictures: Sequence[tuple[str, Image.Image | None, str]]) -> Markup:
    """Return the gallery, or nothing without pictures.

    Args:
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
    """
    shown = [(exam, None if picture is None else data_uri(picture), reason) for exam, picture, reason in pictures]
    return templating.part("radiographs", shown)


def data_uri(picture: Image.Image, side_px: int = PICTURE_PX) -> str:
    """Return a picture as the source of an image in a page, no longer than ``side_px``."""
    small = picture.convert("RGB")
    # in place, and only ever smaller: a thumbnail is not blown up
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
