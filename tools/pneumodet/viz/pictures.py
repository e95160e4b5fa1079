"""Radiographs with boxes: ground truth and detections in two colours, and sheets of many.

    picture = draw_boxes(pixels, truth_xyxy_px=truth, detections=detections, names={2: "pneumonia"}, title="0004cfab")
    save(folder / "0004cfab.png", picture)
    sheet = contact_sheet(many, columns=4, captions=[("0004cfab", "truth 1, found 2"), ...])      # of pictures drawn with panel=False
    save(folder / "sheet.png", with_key(sheet, solid="found"))

Pillow alone; nothing is drawn that is not given, so that no header value of a radiograph gets into a picture by itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pneumodet.core import paths
from pneumodet.core.boxes import iou
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError, EnvironmentProblem

TRUTH_RGB = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette: bright on gray and on black, distinct from ``DETECTION_RGB`` with every kind of colour vision."""

DETECTION_RGB = (230, 159, 0)
"""Orange of Okabe and Ito's palette (https://jfly.uni-koeln.de/color/)."""

_LINE_PX_PER_PX = 5 / 1024
_THINNEST_LINE_PX = 3  # a thinner line is lost between its two black rims
_FONT_PX_PER_PX = 26 / 1024
_SMALLEST_FONT_PX = 10
_DASHES = 24
"""Ground truth is dashed besides: colour alone does not distinguish it from a detection in a black-and-white print."""

_TINT = 0.3
"""Opacity of a mask: what it covers has to be seen, too."""

_CAPTION_PX_PER_PX = 15 / 384
_SMALLEST_CAPTION_PX = 13
_KEY_FONT_PX = 18
_SAMPLE_WH = (44, 20)
"""Width and height in px of a piece of box in the key of a sheet."""

_PAPER, _INK = (0, 0, 0), (255, 255, 255)


def draw_boxes(
    image: np.ndarray,
    *,
    truth_xyxy_px: np.ndarray | None = None,
    detections: Detections | None = None,
    names: Mapping[int, str] | None = None,
    title: str = "",
    panel: bool = True,
) -> Image.Image:
    """Draw boxes on a radiograph.

    Args:
      image: (H, W) or (H, W, 3) uint8, RGB; it is not changed.
      truth_xyxy_px: (N, 4) ground-truth boxes, dashed and blue; None where nothing is known (the legend then leaves it out).
      detections: in px of ``image``, solid and orange, each with its score, the most confident on top; masks are tinted.
      names: class id -> name to write before the score; needed only where there are several classes.
      title: first line of the legend, which stands in the corner that the boxes leave most free.
      panel: whether title and legend are drawn; not where the text stands beside the picture, or in a strip above it (``captioned``).

    Returns:
      An RGB picture of the radiograph's size.

    Raises:
      DataError: the image is no uint8 (H, W) or (H, W, 3) array.
    """
    picture = _to_rgb(image)
    if detections is not None and detections.masks is not None:
        picture = _tinted(picture, detections)
    draw = ImageDraw.Draw(picture)
    size = max(picture.size)
    width = max(_THINNEST_LINE_PX, round(size * _LINE_PX_PER_PX))
    font = _font(max(_SMALLEST_FONT_PX, round(size * _FONT_PX_PER_PX)))
    legend = []
    if truth_xyxy_px is not None:
        truth = np.asarray(truth_xyxy_px, np.float64).reshape(-1, 4)
        legend.append((f"ground truth ({len(truth)})", TRUTH_RGB))
        for box in truth:
            _dashed(draw, box, width=width)
    if detections is not None:
        legend.append((f"detections ({len(detections)})", DETECTION_RGB))
        # rising scores, so that the most confident one is drawn last
        for index in np.argsort(detections.scores, kind="stable"):
            _rectangle(draw, detections.boxes_xyxy_px[index], width=width)
        for index in np.argsort(detections.scores, kind="stable"):  # after all boxes, so that no line runs through a label
            name = (names or {}).get(int(detections.classes[index]), "")
            score = float(detections.scores[index])
            text = (
                f"{name} {score:.2f}" if score >= 0.1 else f"{name} {score:.3f}"
            )  # the scores of a model that was hardly trained would all be written 0.0x
            _label(draw, text.strip(), detections.boxes_xyxy_px[index], font=font, size=picture.size)
    if panel:
        covered = [] if truth_xyxy_px is None else list(truth)
        covered += [] if detections is None else list(detections.boxes_xyxy_px)
        _legend(draw, ([(title, _INK)] if title else []) + legend, font=font, size=picture.size, boxes_xyxy_px=covered)
    return picture


def _tinted(picture: Image.Image, detections: Detections) -> Image.Image:
    """Return a picture with the masks of detections in their colour, which lets the radiograph through."""
    size_hw = picture.height, picture.width
    inside = np.zeros(size_hw, bool)
    for index in range(len(detections)):
        inside |= detections.mask(index, size_hw=size_hw)
    opacity = Image.fromarray((inside * round(255 * _TINT)).astype(np.uint8))
    return Image.composite(Image.new("RGB", picture.size, DETECTION_RGB), picture, opacity)


def captioned(image: Image.Image, left: str, right: str = "") -> Image.Image:
    """Return an RGB picture with a line of text in a strip above it, where it hides nothing.

    Args:
      image: of any size; it is not changed.
      left: flush left; shortened in its middle where it has no room beside ``right``, since ids differ at either end.
      right: flush right.
    """
    font = _font(max(_SMALLEST_CAPTION_PX, round(image.width * _CAPTION_PX_PER_PX)))
    gap = max(2, round(font.size / 3))
    ascent, descent = font.getmetrics()
    height = ascent + descent + gap
    whole = Image.new("RGB", (image.width, height + image.height), _PAPER)
    whole.paste(image, (0, height))
    draw = ImageDraw.Draw(whole)
    taken = font.getlength(right) + 2 * gap if right else 0
    draw.text((gap, gap / 2), _shortened(left, font, image.width - 2 * gap - taken), fill=_INK, font=font)
    draw.text((image.width - gap - font.getlength(right), gap / 2), right, fill=_INK, font=font)
    return whole


def with_key(
    sheet: Image.Image, *, truth: bool = True, solid: str = "", scale: Image.Image | None = None, scale_name: str = ""
) -> Image.Image:
    """Return a sheet with a strip above it that says what lines and colours mean.

    Args:
      sheet: of pictures.
      truth: whether they have ground truth, which is dashed; something must be named.
      solid: what solid boxes are; none are named where it is empty.
      scale: a picture of a heatmap's colours, as ``heatmap.scale`` returns it.
      scale_name: what these are.
    """
    samples = [(_sample(dashed=True), "ground truth")] if truth else []
    samples += [(_sample(dashed=False), solid)] if solid else []
    samples += [(scale, scale_name)] if scale is not None else []
    font = _font(_KEY_FONT_PX)
    row, gap = _SAMPLE_WH[1] + 12, 10
    # places first: the strip is as high as the rows that they need
    places, x, y = [], gap, 0
    for sample, text in samples:
        width = sample.width + gap + font.getlength(text)
        if x > gap and x + width + gap > sheet.width:  # a new row
            x, y = gap, y + row
        places.append((x, y))
        x += round(width) + 3 * gap
    whole = Image.new("RGB", (sheet.width, y + row + sheet.height), _PAPER)
    whole.paste(sheet, (0, y + row))
    draw = ImageDraw.Draw(whole)
    for (sample, text), (left, top) in zip(samples, places, strict=True):
        whole.paste(sample, (left, top + (row - sample.height) // 2))
        draw.text((left + sample.width + gap, top + row / 2), text, fill=_INK, font=font, anchor="lm")
    return whole


def contact_sheet(
    images: Sequence[Image.Image], *, columns: int, tile_px: int = 384, captions: Sequence[tuple[str, str]] = ()
) -> Image.Image:
    """Lay pictures out on a sheet, row by row; each is fitted into a square tile and keeps its proportions.

    Args:
      images: at least one picture.
      columns: tiles a row, at least 1.
      tile_px: width and height of a tile.
      captions: of each picture, left and right, in a strip above its tile as ``captioned`` draws it; no strips where there are none.

    Returns:
      An RGB picture of columns * tile_px by rows * (tile_px and the strip); tiles without a picture are black.

    Raises:
      DataError: there is no picture, ``columns`` or ``tile_px`` is below 1, or there are not as many captions as pictures.
    """
    if not images or columns < 1 or tile_px < 1:
        raise DataError(f"A contact sheet needs pictures, columns and a tile size, but got {len(images)}, {columns} and {tile_px} px.")
    if captions and len(captions) != len(images):
        raise DataError(f"A contact sheet needs a caption for each picture or none at all, but got {len(captions)} for {len(images)}.")
    columns = min(columns, len(images))
    tiles = []
    for index, image in enumerate(images):
        scale = tile_px / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        tile = Image.new("RGB", (tile_px, tile_px))
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        tile.paste(small, ((tile_px - width) // 2, (tile_px - height) // 2))
        tiles.append(captioned(tile, *captions[index]) if captions else tile)
    sheet = Image.new("RGB", (columns * tile_px, -(-len(images) // columns) * tiles[0].height))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet.paste(tile, (column * tile_px, row * tile.height))
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
    # convert makes a copy, of RGB, too: drawing must not reach the caller's array
    return Image.fromarray(image).convert("RGB")


def _font(size_px: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font at a size, so that pictures are the same on every machine.

    Raises:
      EnvironmentProblem: Pillow was built without FreeType, so that its font has one size only.
    """
    font = ImageFont.load_default(size=size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise EnvironmentProblem(
            "Pillow was built without FreeType, which text in pictures needs. Run: pip install --force-reinstall pillow"
        )
    return font


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text that fits into so many px: itself, or its two ends."""
    if font.getlength(text) <= width:
        return text
    pieces = (f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}" for kept in range(len(text) - 1, 0, -1))
    return next((piece for piece in pieces if font.getlength(piece) <= width), "")


def _sample(*, dashed: bool) -> Image.Image:
    """Return a small box as it is drawn: that of ground truth, or that of a detection."""
    width, height = _SAMPLE_WH
    sample = Image.new("RGB", _SAMPLE_WH, (96, 96, 96))
    draw, box = ImageDraw.Draw(sample), np.array([3.0, 3.0, width - 5.0, height - 5.0])
    _dashed(draw, box, width=_THINNEST_LINE_PX) if dashed else _rectangle(draw, box, width=_THINNEST_LINE_PX)
    return sample


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
    # min keeps the first of equal ones, which is the upper left corner
    x, y, right, bottom = min(corners, key=lambda corner: iou(np.array([corner]), boxes).sum())
    draw.rectangle((x, y, right, bottom), fill=(0, 0, 0))
    for index, (text, colour) in enumerate(lines):
        draw.text((x + 6, y + 3 + step * index), text, fill=colour, font=font)
