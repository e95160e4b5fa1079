"""Radiographs with boxes: ground truth and detections in two colours, and sheets of many.

    picture = draw_boxes(pixels, truth_xyxy_px=truth, detections=found, names={2: "pneumonia"}, title="0004cfab")
    save(folder / "0004cfab.png", picture)

Pillow alone; nothing is drawn that is not given, so that no header value of a radiograph gets into a picture by itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pneumodet import paths
from pneumodet.data.boxes import iou
from pneumodet.errors import DataError
from pneumodet.results import Detections

TRUTH_RGB = (0, 158, 115)
"""Bluish green of Okabe and Ito's palette, told apart from ``DETECTION_RGB`` with every kind of colour vision."""

DETECTION_RGB = (230, 159, 0)
"""Orange of Okabe and Ito's palette (https://jfly.uni-koeln.de/color/)."""

_LINE_PX_PER_PX = 4 / 1024
_FONT_PX_PER_PX = 26 / 1024
_SMALLEST_FONT_PX = 10
_DASHES = 24
"""Ground truth is dashed besides: colour alone does not tell it from a detection in a black-and-white print."""


def draw_boxes(
    image: np.ndarray,
    *,
    truth_xyxy_px: np.ndarray | None = None,
    detections: Detections | None = None,
    names: Mapping[int, str] | None = None,
    title: str = "",
) -> Image.Image:
    """Draw boxes on a radiograph.

    Args:
      image: (H, W) or (H, W, 3) uint8, RGB; it is not changed.
      truth_xyxy_px: (N, 4) ground-truth boxes, dashed and green; None where nothing is known (the legend then leaves it out).
      detections: in px of ``image``, solid and orange, each with its score, the most confident on top.
      names: class id -> name to write before the score; needed only where there are several classes.
      title: first line of the legend, which stands in the corner that the boxes leave most free.

    Returns:
      An RGB picture of the radiograph's size.

    Raises:
      DataError: the image is no uint8 (H, W) or (H, W, 3) array.
    """
    picture = _to_rgb(image)
    draw = ImageDraw.Draw(picture)
    size = max(picture.size)
    width = max(1, round(size * _LINE_PX_PER_PX))
    font = ImageFont.load_default(size=max(_SMALLEST_FONT_PX, round(size * _FONT_PX_PER_PX)))
    legend = []
    if truth_xyxy_px is not None:
        truth = np.asarray(truth_xyxy_px, np.float64).reshape(-1, 4)
        legend.append((f"ground truth ({len(truth)})", TRUTH_RGB))
        for box in truth:
            _dashed(draw, box, width=width)
    if detections is not None:
        legend.append((f"detections ({len(detections)})", DETECTION_RGB))
        for index in np.argsort(detections.scores, kind="stable"):
            _rectangle(draw, detections.boxes_xyxy_px[index], width=width)
        for index in np.argsort(detections.scores, kind="stable"):  # after all boxes, so that no line runs through a label
            name = (names or {}).get(int(detections.classes[index]), "")
            score = float(detections.scores[index])
            text = f"{name} {score:.2f}" if score >= 0.1 else f"{name} {score:.3f}"  # a young model's scores all look like 0.0 otherwise
            _label(draw, text.strip(), detections.boxes_xyxy_px[index], font=font, size=picture.size)
    covered = [] if truth_xyxy_px is None else list(truth)
    covered += [] if detections is None else list(detections.boxes_xyxy_px)
    _legend(draw, ([(title, (255, 255, 255))] if title else []) + legend, font=font, size=picture.size, boxes_xyxy_px=covered)
    return picture


def contact_sheet(images: Sequence[Image.Image], *, columns: int, tile_px: int = 384) -> Image.Image:
    """Lay pictures out on a sheet, row by row; each is fitted into a square tile and keeps its proportions.

    Args:
      images: at least one picture.
      columns: tiles a row, at least 1.
      tile_px: side of a tile.

    Returns:
      An RGB picture of columns * tile_px by rows * tile_px; tiles without a picture are black.

    Raises:
      DataError: there is no picture, or ``columns`` or ``tile_px`` is below 1.
    """
    if not images or columns < 1 or tile_px < 1:
        raise DataError(f"A contact sheet needs pictures, columns and a tile size, but got {len(images)}, {columns} and {tile_px} px.")
    columns = min(columns, len(images))
    sheet = Image.new("RGB", (columns * tile_px, -(-len(images) // columns) * tile_px))
    for index, image in enumerate(images):
        scale = tile_px / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        tile = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        row, column = divmod(index, columns)
        sheet.paste(tile, (column * tile_px + (tile_px - width) // 2, row * tile_px + (tile_px - height) // 2))
    return sheet


def save(path: Path, picture: Image.Image) -> None:
    """Write a picture atomically, in the format that the name's suffix asks for (.png or .jpg).

    Raises:
      DataError: the suffix is another one, or the file cannot be written.
    """
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise DataError(f"Pictures are written as .png or .jpg, but {path} ends in {suffix!r}.")
    with paths.atomic_path(path) as tmp:
        picture.save(tmp, format=formats[suffix], **({"quality": 90} if formats[suffix] == "JPEG" else {}))


def _to_rgb(image: np.ndarray) -> Image.Image:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise DataError(f"Pictures are drawn on (H, W) or (H, W, 3) uint8 pixels, but got {image.shape} {image.dtype}.")
    return Image.fromarray(image).convert("RGB")


def _rectangle(draw: ImageDraw.ImageDraw, box_xyxy_px: np.ndarray, *, width: int) -> None:
    left, top, right, bottom = (float(value) for value in box_xyxy_px)
    for grow, colour in ((1, (0, 0, 0)), (0, DETECTION_RGB)):  # a thin black rim keeps the line visible on white bone
        draw.rectangle((left - grow, top - grow, right + grow, bottom + grow), outline=colour, width=width + 2 * grow)


def _dashed(draw: ImageDraw.ImageDraw, box_xyxy_px: np.ndarray, *, width: int) -> None:
    left, top, right, bottom = (float(value) for value in box_xyxy_px)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
        length = max(abs(x1 - x0), abs(y1 - y0))
        pieces = max(1, 2 * round(length / (_DASHES * width / 4) / 2) + 1)  # odd, so that a dash ends in every corner
        at = np.linspace(0, 1, pieces + 1)
        for start, end in zip(at[0:-1:2], at[1::2], strict=True):
            line = (x0 + (x1 - x0) * start, y0 + (y1 - y0) * start, x0 + (x1 - x0) * end, y0 + (y1 - y0) * end)
            draw.line(line, fill=(0, 0, 0), width=width + 2)
            draw.line(line, fill=TRUTH_RGB, width=width)


def _label(draw: ImageDraw.ImageDraw, text: str, box_xyxy_px: np.ndarray, *, font: ImageFont.FreeTypeFont, size: tuple[int, int]) -> None:
    """Write the score above the box's upper left corner, or inside it where there is no room above; always within the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(0.0, float(box_xyxy_px[0])), size[0] - width)
    y = float(box_xyxy_px[1]) - height
    y = min(max(0.0, y if y >= 0 else float(box_xyxy_px[1])), size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=DETECTION_RGB)
    draw.text((x + 3 - left, y + 3 - top), text, fill=(0, 0, 0), font=font)


def _legend(
    draw: ImageDraw.ImageDraw,
    lines: list[tuple[str, tuple[int, int, int]]],
    *,
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
    boxes_xyxy_px: list[np.ndarray],
) -> None:
    """Write the lines in the corner where they cover the least of the boxes; the upper left one where that is equal."""
    if not lines:
        return
    extents = [draw.textbbox((0, 0), text, font=font) for text, _ in lines]
    step = max(extent[3] for extent in extents) + 4
    width, height = max(extent[2] for extent in extents) + 12, step * len(lines) + 6
    corners = [(x, y, x + width, y + height) for y in (0, size[1] - height) for x in (0, size[0] - width)]
    boxes = np.array(boxes_xyxy_px, np.float64).reshape(-1, 4)
    x, y, right, bottom = min(corners, key=lambda corner: iou(np.array([corner]), boxes).sum())
    draw.rectangle((x, y, right, bottom), fill=(0, 0, 0))
    for index, (text, colour) in enumerate(lines):
        draw.text((x + 6, y + 3 + step * index), text, fill=colour, font=font)
