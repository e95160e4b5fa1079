"""The suspicious radiographs of a data set on one sheet, to be seen by a person.

findings = quality.evaluate(measures, patients=patients)
save(folder / "quality.png", findings, read_pixels=lambda exam: images.read_pixels(files[exam]))
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data import quality
from pneumodet.viz import pictures

MAX_TILES = 60
"""Radiographs on a sheet; with 6 a row it has 1,920 x 3,200 px."""

COLUMNS, TILE_PX = 6, 320


def save(path: Path, findings: Mapping[str, Sequence[quality.Finding]], *, read_pixels: Callable[[str], np.ndarray]) -> None:
    """Write the sheet to a ``.png`` or ``.jpg``; without findings no file is written. Arguments and errors as ``draw``."""
    sheet = draw(findings, read_pixels=read_pixels)
    if sheet is not None:
        pictures.save(path, sheet)


def draw(findings: Mapping[str, Sequence[quality.Finding]], *, read_pixels: Callable[[str], np.ndarray]) -> Image.Image | None:
    """Draw one tile an exam, the most severe first; an exam that copies another one has that one on its right.

    Args:
      findings: as ``quality.evaluate`` returns them.
      read_pixels: exam -> (H, W) uint8; it is called for one exam after the other, and only a tile of each is kept.

    Returns:
      An RGB picture of ``MAX_TILES`` tiles at the most, the last of which then says how many more there are; None without findings.

    Raises:
      DataError: whatever ``read_pixels`` raises.
    """
    # the report's order; dict.fromkeys keeps the place of an exam's most severe finding
    exams = list(dict.fromkeys(row["exam"] for row in quality.report(findings, exams=len(findings))["findings"]))
    if not exams:
        return None
    shown = exams if len(exams) <= MAX_TILES else exams[: MAX_TILES - 1]
    tiles = [_tile(exam, findings[exam], read_pixels) for exam in shown]
    if len(shown) < len(exams):
        nothing = np.zeros((TILE_PX, TILE_PX), np.uint8)
        tiles.append(pictures.draw_boxes(nothing, title=f"and {len(exams) - len(shown)} more:\nsee the report"))
    return pictures.contact_sheet(tiles, columns=COLUMNS, tile_px=TILE_PX)


def _tile(exam: str, findings: Sequence[quality.Finding], read_pixels: Callable[[str], np.ndarray]) -> Image.Image:
    ordered = sorted(findings, key=lambda one: quality.SEVERITIES.index(one.severity))
    radiographs = [_small(read_pixels(one)) for one in dict.fromkeys([exam, *(one.other for one in ordered if one.other)])]
    if len(radiographs) > 1:
        radiographs = [pictures.contact_sheet(radiographs[:2], columns=2, tile_px=TILE_PX // 2)]
    frame = Image.new("L", (TILE_PX, TILE_PX))  # a narrow strip would leave the title no room
    width, height = radiographs[0].size
    frame.paste(radiographs[0].convert("L"), ((TILE_PX - width) // 2, (TILE_PX - height) // 2))
    # a patientId of 36 characters and a kind are wider than a tile
    return pictures.draw_boxes(np.asarray(frame), title="\n".join([f"{exam}:", *(f"{one.kind} ({one.severity})" for one in ordered)]))


def _small(pixels: np.ndarray) -> Image.Image:
    """Return an image that fits into a tile.

    Raises:
      DataError: it is no (H, W) uint8 array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise DataError(f"A sheet is drawn of (H, W) uint8 pixels, but got {pixels.shape} {pixels.dtype}.")
    image = Image.fromarray(pixels)
    scale = TILE_PX / max(image.size)
    width, height = (max(1, round(px * scale)) for px in image.size)
    return image.resize((width, height), Image.Resampling.BOX)
