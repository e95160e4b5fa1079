"""Radiographs in the report, as small JPEGs inside the page.

html = figures([("0004cfab", picture, "1 of 2 boxes missed")])
"""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

PICTURE_PX, PICTURE_QUALITY = 480, 80
"""Longer side and JPEG quality of pictures in a page: 24 of them have about 1 MB."""


def figures(pictures: Sequence[tuple[str, Image.Image | None, str]]) -> str:
    """Return the gallery, or nothing without pictures.

    Args:
      pictures: exam, picture with ground truth and detections (None where there is no image), and why it is shown.
    """
    if not pictures:
        return ""
    parts = []
    for exam, picture, reason in pictures:
        image = '<div class="no-image">image not given</div>'
        if picture is not None:
            image = f'<img src="{data_uri(picture)}" alt="Radiograph {html.escape(exam)}: {html.escape(reason)}">'
        parts.append(f"<figure>{image}<figcaption><strong>{html.escape(exam)}</strong> {html.escape(reason)}</figcaption></figure>")
    intro = (
        '<p class="before">The radiographs with the largest errors at the operating point. Ground truth is dashed and blue, detections are solid and orange; '
        "those below the radiograph's threshold are left out.</p>"
    )
    return f'{intro}<div class="gallery">{"".join(parts)}</div>'


def data_uri(picture: Image.Image, side_px: int = PICTURE_PX) -> str:
    """Return a picture as the source of an image in a page, no longer than ``side_px``."""
    small = picture.convert("RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
