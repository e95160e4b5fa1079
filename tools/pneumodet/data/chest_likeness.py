"""How much an image resembles a frontal chest radiograph, without a trained model.

    upright, negative, turned = measure(Image.fromarray(pixels))

The image is correlated with chests drawn from ellipses and edges: a trunk with neck and shoulders, two dark lungs, a bright mediastinum, a
bright abdomen. It cannot tell a lateral chest or a spine from a frontal chest.
"""

import functools
import itertools
from typing import Any

import numpy as np
from PIL import Image

_SIDE_PX = 32
"""Of the image and the drawn chests when they are compared."""

_LUNG_WEIGHT, _NEAR_BEST = 0.5, 0.08
"""Weight of the lungs in the likeness, and how far below the best a drawn chest's correlation may be to count for them."""


def ranks(image: Image.Image, side_px: int) -> np.ndarray:
    """Return (side_px, side_px) float32: an image made small, each pixel the mean rank of its gray level, 0 in the middle.

    Ranks are the same at any brightness, contrast and gamma.
    """
    small = np.asarray(image.resize((side_px, side_px), Image.Resampling.BOX))
    histogram = np.bincount(small.ravel(), minlength=256)
    rank_of = (histogram.cumsum() - histogram / 2 - small.size / 2).astype(np.float32)
    return np.asarray(rank_of[small])


def measure(image: Image.Image) -> tuple[float, float, float]:
    """Return the likeness of an image, of its negative, and the largest of the three turned ones, to a drawn frontal chest.

    Likeness is the largest correlation with chests drawn at 320 places and sizes, plus ``_LUNG_WEIGHT`` times the partial correlation with
    the lungs alone, given trunk and abdomen. Gray levels count by their rank, so that exposure does not matter.
    """
    small = ranks(image, _SIDE_PX)
    length = float(np.linalg.norm(small))
    if length == 0:
        return 0.0, 0.0, 0.0
    turns = np.stack([np.rot90(small, turn).ravel() for turn in range(4)], axis=1) / length
    whole, lungs, *plain = _drawn_chests() @ turns  # each (chests, turns)
    rest = np.sqrt(np.maximum(1 - sum(part**2 for part in plain), 1e-4))
    lungs = lungs / rest

    def likeness(whole: np.ndarray, lungs: np.ndarray) -> Any:
        best = whole.max(axis=0)
        # the lungs of all drawings that fit nearly as well: which one is the very best is chance
        return best + _LUNG_WEIGHT * np.where(whole >= best - _NEAR_BEST, lungs, -np.inf).max(axis=0)

    upright, *turned = (round(float(value), 3) for value in likeness(whole, lungs))
    return upright, round(float(likeness(-whole[:, :1], -lungs[:, :1])[0]), 3), max(turned)


@functools.cache
def _drawn_chests() -> np.ndarray:
    """Return (5, chests, _SIDE_PX ** 2) float32 rows of length 1: chest, its lungs, and an orthonormal base of constant, trunk, abdomen."""
    half_widths, heights = (0.25, 0.31, 0.38, 0.45), (0.38, 0.5, 0.62, 0.75)
    centers, tops = (0.4, 0.46, 0.5, 0.54, 0.6), (0.05, 0.13, 0.21, 0.3)
    chests = [_draw_chest(*one) for one in itertools.product(half_widths, heights, centers, tops)]
    return np.ascontiguousarray(np.stack(chests, axis=1), np.float32)


def _draw_chest(half_width: float, height: float, center: float, top: float) -> np.ndarray:
    """Return one chest's (5, _SIDE_PX ** 2) float64 rows of ``_drawn_chests``; width, height and place are shares of the side."""
    y, x = (np.mgrid[0:_SIDE_PX, 0:_SIDE_PX] + 0.5) / _SIDE_PX
    across, down = (x - center) / half_width, (y - top) / height  # -1 to 1 over the rib cage, 0 to 1 over the lungs
    aside, depth = np.abs(across), np.clip(down, 0, 1)

    def edge(distance: np.ndarray, softness: float) -> np.ndarray:
        return 1 / (1 + np.exp(np.clip(-distance / softness, -30, 30)))

    shoulders = edge(down + 0.25 - 0.25 * across**2, 0.06) * edge(1.32 - aside, 0.06)
    trunk = np.maximum(shoulders, edge(0.42 - aside, 0.06))  # with the neck
    abdomen = shoulders * edge(down - 1.02, 0.06)
    lungs = edge(1 - ((aside - 0.42 - 0.16 * depth) / (0.27 + 0.08 * depth)) ** 2, 0.25) * edge(down, 0.05) * edge(1 - down, 0.08)
    mediastinum = edge(0.2 + 0.15 * depth - aside, 0.06) * edge(down, 0.1)
    chest = (np.maximum(0.45 * trunk - 0.5 * lungs + 0.25 * mediastinum, -0.1) + 0.35 * abdomen).ravel()
    plain, _ = np.linalg.qr(np.stack([np.ones(x.size), trunk.ravel(), abdomen.ravel()], axis=1))
    dark = -lungs.ravel() + plain @ (plain.T @ lungs.ravel())
    chest = chest - chest.mean()
    return np.stack([chest / np.linalg.norm(chest), dark / np.linalg.norm(dark), *plain.T])
