"""Pictures inside a page, as the source of an image.

source = data_uri(picture)                      # "data:image/jpeg;base64,…"
"""

import base64
import io

from PIL import Image

PICTURE_PX, QUALITY = 480, 80
"""Longer side and JPEG quality of pictures in a page: 24 of them have about 1 MB."""


def data_uri(picture: Image.Image, *, side_px: int = PICTURE_PX) -> str:
    """Return a picture as the source of an image, no longer than ``side_px``."""
    small = picture.convert("RGB")
    # in place, and only ever smaller: a thumbnail is not blown up
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
