"""How well heatmaps localize findings: the pointing game and other metrics, with what chance gives and patient-clustered intervals.

    counts = measure(heatmaps, truth, sizes_hw, boxes, tolerance_px=15)          # figure -> Ratio
    table = compared({"grad-cam": counts, "centre": …}, patients)             # figure -> name -> value, low, high

Only exams with ground-truth boxes are counted; an empty heatmap localizes nothing.
- ``pointing``: share of exams whose hottest place lies in a box, or not farther from one than a tolerance (the pointing game: J. Zhang et al.,
  IJCV 2018, section 4.1).
- ``energy``: share of the heatmap's sum that lies in boxes, mean over exams (H. Wang et al., Score-CAM, CVPR workshops 2020, section 4.3).
- ``box_iou``: greatest IoU of a weak box with a ground-truth box, mean over these.
- ``area_iou``: IoU of all weak boxes together with all ground-truth boxes together, mean over exams.

What chance gives: a heatmap that is the same everywhere, and a point anywhere. It hits as often as boxes (and the tolerance around them) have area.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core.boxes import area_px, xyxy_px_to_yxyx_norm
from pneumodet.evaluation.classification.weak_boxes import GRID, best_overlaps, enlarged
from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.metrics.jackknife import Ratio
from pneumodet.models.inputs import images

FIGURES = ("pointing", "energy", "box_iou", "area_iou")
"""Names of the figures, in [0, 1]; more is better."""

TOLERANCE_PX = 15.0
"""The paper's tolerance, in px of the radiograph."""

_CENTRE_WIDTH = 0.25


Comparison = dict[str, dict[str, dict[str, Any]]]
"""Figure -> source -> ``value``, ``low``, ``high`` (``interval.of``), and ``above``, the same of a difference."""


def measure(
    heatmaps: Sequence[np.ndarray],
    truth_xyxy_px: Sequence[np.ndarray],
    sizes_hw: Sequence[tuple[int, int]],
    weak_xyxy_px: Sequence[np.ndarray],
    *,
    tolerance_px: float = TOLERANCE_PX,
) -> dict[str, Ratio]:
    """Return the figures of C heatmaps.

    Args:
      heatmaps: (h, w) >= 0 of each exam, over the whole radiograph, of any size and scale.
      truth_xyxy_px: (T, 4) ground-truth boxes of each exam.
      sizes_hw: height and width of each radiograph in px.
      weak_xyxy_px: (N, 4) weak boxes of each exam.
      tolerance_px: in px of the radiograph, at least 0.
    """
    rows = np.zeros((len(heatmaps), 4))
    for index, (heatmap, truth, size_hw, weak) in enumerate(zip(heatmaps, truth_xyxy_px, sizes_hw, weak_xyxy_px, strict=True)):
        # without a finding there is nothing to localize
        if not len(truth):
            continue
        point = hottest_xy_px(heatmap, size_hw)
        inside = box_mask(truth, size_hw)
        large = enlarged(heatmap)
        total = large.sum(dtype=np.float64)
        rows[index] = (
            point is not None and distance_px(np.array([point]), truth)[0] <= tolerance_px,
            large[inside].sum(dtype=np.float64) / total if total else 0.0,
            best_overlaps(truth, weak).sum(),
            _area_iou(inside, box_mask(weak, size_hw)),
        )
    return _ratios(rows, truth_xyxy_px)


def by_chance(
    truth_xyxy_px: Sequence[np.ndarray], sizes_hw: Sequence[tuple[int, int]], *, tolerance_px: float = TOLERANCE_PX
) -> dict[str, Ratio]:
    """Return the figures that the same heatmap everywhere, and a point anywhere, give on the average. Arguments as ``measure``."""
    rows = np.zeros((len(truth_xyxy_px), 4))
    for index, (truth, size_hw) in enumerate(zip(truth_xyxy_px, sizes_hw, strict=True)):
        if len(truth):
            share = box_mask(truth, size_hw).mean()
            # counted on the grid, since boxes enlarged by the tolerance overlap and have round corners
            near = distance_px(_grid_xy_px(size_hw), truth) <= tolerance_px
            rows[index] = near.mean(), share, area_px(truth).sum() / (size_hw[0] * size_hw[1]), share
    return _ratios(rows, truth_xyxy_px)


def _ratios(rows: np.ndarray, truth_xyxy_px: Sequence[np.ndarray]) -> dict[str, Ratio]:
    number = np.array([len(truth) for truth in truth_xyxy_px], np.float64)
    # box_iou is a mean over boxes, the others are means over exams
    return {name: Ratio(rows[:, column], number if name == "box_iou" else np.sign(number)) for column, name in enumerate(FIGURES)}


def compared(sources: Mapping[str, Mapping[str, Ratio]], patients: np.ndarray) -> Comparison:
    """Return each figure of each source with its interval, and how much the first source is above each other one, patient by patient.

    Args:
      sources: name -> ``measure`` or ``by_chance`` of the same C exams.
      patients: (C,) int64, the same number for the exams of one patient.

    Returns:
      Figure -> source -> ``value``, ``low``, ``high`` (95 %; None where there are too few patients), and for all but the first
      source ``above``, the same three of the difference first - other.
    """
    first = next(iter(sources))
    table: Comparison = {}
    for figure in FIGURES:
        moved = {name: ratios[figure].moved(patients) for name, ratios in sources.items()}
        table[figure] = {name: interval.of(one) for name, one in moved.items()}
        for name in sources:
            if name != first:
                table[figure][name]["above"] = interval.of(moved[first].less(moved[name]))
    return table


def hottest_xy_px(heatmap: np.ndarray, size_hw: tuple[int, int]) -> tuple[float, float] | None:
    """Return the centre of the hottest cell of a (h, w) heatmap in px of the radiograph; None where it is empty.

    The cell's, since bilinear enlarging makes a plateau of a maximum at the edge, whose first px would be the radiograph's corner.
    """
    heatmap = np.asarray(heatmap)
    if not heatmap.max() > 0:
        return None
    row, column = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    return float((column + 0.5) * size_hw[1] / heatmap.shape[1]), float((row + 0.5) * size_hw[0] / heatmap.shape[0])


def distance_px(points_xy_px: np.ndarray, boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Return the (P,) distances of (P, 2) points from the nearest of (N, 4) boxes, N >= 1; 0 inside."""
    x, y = (points_xy_px[:, axis, np.newaxis] for axis in (0, 1))
    aside = np.maximum(np.maximum(boxes_xyxy_px[:, 0] - x, x - boxes_xyxy_px[:, 2]), 0)
    above = np.maximum(np.maximum(boxes_xyxy_px[:, 1] - y, y - boxes_xyxy_px[:, 3]), 0)
    return np.hypot(aside, above).min(axis=1)


def box_mask(boxes_xyxy_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return (GRID, GRID) bool over a radiograph: whether a px's centre lies in a box."""
    return images.box_mask(xyxy_px_to_yxyx_norm(boxes_xyxy_px, height=size_hw[0], width=size_hw[1]), (GRID, GRID)).astype(bool)


def centre_heatmap() -> np.ndarray:
    """Return (GRID, GRID) float64, a heatmap around the centre of a radiograph, the same for all: a Gaussian of a quarter of its sides."""
    offset = (_centres(1.0) - 0.5) / _CENTRE_WIDTH
    return np.exp(-(offset[:, np.newaxis] ** 2 + offset**2) / 2)


def spatial_prior(truth_xyxy_px: Sequence[np.ndarray], sizes_hw: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Return (GRID, GRID) float64 in [0, 1], how many exams have a box at a place; None without boxes.

    Of training exams it is what can be known of the place of a finding without regard to the radiograph.
    """
    masks = [box_mask(truth, size_hw) for truth, size_hw in zip(truth_xyxy_px, sizes_hw, strict=True) if len(truth)]
    return np.mean(masks, axis=0) if masks else None


def _area_iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def _grid_xy_px(size_hw: tuple[int, int]) -> np.ndarray:
    """Return (GRID * GRID, 2) centres of the grid in px of the radiograph."""
    x, y = np.meshgrid(_centres(size_hw[1]), _centres(size_hw[0]))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _centres(side: float) -> np.ndarray:
    return (np.arange(GRID) + 0.5) * side / GRID
