"""Where the boxes are and how large: centres, sizes and the density of opacities, by view and by age.

figures = boxes(material.exams)
figures["groups"]["AP"]["width"]         # quartiles, as shares of the image's width
figures["density"]["all"]                # rows from the top: share of the positive exams of which a box covers the cell
"""

from typing import Any

import numpy as np

from pneumodet.exploration import counting
from pneumodet.exploration.gathering import Exams

CELLS = 24
"""Rows and columns of the maps of density; a median box covers 5 x 7 of them."""

CENTER_CELLS = 12
"""Rows and columns of the maps of centres, of which there are fewer than covered cells."""

SIZE_EDGES = tuple(round(0.05 * index, 2) for index in range(15))
"""Bins of the histogram of sizes, root of the box's area by the image's."""

ALL = "all"

_QUARTILES = (0.25, 0.5, 0.75)


def boxes(exams: Exams) -> dict[str, Any] | None:
    """Return figures of boxes, all as shares of the image's width and height; None where there is no box.

    Returns:
      ``groups``: ``all``, each view and each group of ages -> ``exams`` and ``boxes`` (of exams with boxes), quartiles of ``width``,
      ``height``, ``area``, ``center_x``, ``center_y``, and ``left_half``, the share of the centres in the image's left half, where the
      patient's right lung is. Under the same names ``centers`` (``CENTER_CELLS`` rows from the top, counts), ``density`` (``CELLS`` rows from
      the top, shares of the exams of which a box covers the middle of the cell) and ``sizes`` (counts by ``size_edges``). ``views`` and
      ``ages``: which of the names are that.
    """
    # all boxes in one array, each with its exam, so that no loop over 26,684 exams is needed
    of_box = np.repeat(np.arange(len(exams)), [len(one) for one in exams.boxes_xyxy_px])
    if not len(of_box):
        return None
    height, width = exams.size_hw[of_box].T
    xyxy = np.concatenate(exams.boxes_xyxy_px) / np.stack([width, height, width, height], axis=1)
    groups = _groups(exams)
    figures: dict[str, Any] = {"groups": {}, "centers": {}, "density": {}, "sizes": {}, "size_edges": list(SIZE_EDGES)}
    for name, member in groups.items():
        chosen = member[of_box]
        if not chosen.any():
            continue
        of_group = xyxy[chosen]
        # a positive exam without a box would be one of another format than RSNA's
        count = len(np.unique(of_box[chosen]))
        figures["groups"][name] = {"exams": count, "boxes": len(of_group), **_sizes(of_group)}
        figures["centers"][name] = _centers(of_group)
        figures["density"][name] = _density(of_group, of_box[chosen])
        figures["sizes"][name] = _size_histogram(of_group)
    # groups without boxes were passed over, so that these are not simply all views
    figures["views"] = [name for name in figures["groups"] if name in set(exams.view)]
    figures["ages"] = [name for name, _, _ in counting.age_groups() if name in figures["groups"]]
    return figures


def _groups(exams: Exams) -> dict[str, np.ndarray]:
    """Return name -> (N,) bool, of all exams, views and ages, whether or not they have boxes."""
    groups = {ALL: np.ones(len(exams), bool)}
    groups |= {str(view): exams.view == view for view in sorted(set(exams.view) - {""})}
    return groups | {name: (exams.age_years >= low) & (exams.age_years < high) for name, low, high in counting.age_groups()}


def _sizes(xyxy: np.ndarray) -> dict[str, Any]:
    sizes, centers = xyxy[:, 2:] - xyxy[:, :2], (xyxy[:, :2] + xyxy[:, 2:]) / 2
    columns = {
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "area": sizes.prod(axis=1),
        "center_x": centers[:, 0],
        "center_y": centers[:, 1],
    }
    quartiles = {name: [float(one) for one in np.quantile(values, _QUARTILES)] for name, values in columns.items()}
    return quartiles | {"left_half": float((centers[:, 0] < 0.5).mean())}


def _centers(xyxy: np.ndarray) -> list[list[int]]:
    center_x, center_y = ((xyxy[:, :2] + xyxy[:, 2:]) / 2).T
    counts, _, _ = np.histogram2d(np.clip(center_y, 0, 1), np.clip(center_x, 0, 1), bins=CENTER_CELLS, range=((0, 1), (0, 1)))
    return counts.astype(int).tolist()


def _density(xyxy: np.ndarray, of_exam: np.ndarray) -> list[list[float]]:
    """Return the share of exams of which at least one box covers the middle of each cell; boxes are sorted by exam."""
    middles = (np.arange(CELLS) + 0.5) / CELLS
    # the middle of a cell and not any part of it, so that small boxes do not cover more than their area
    across = (middles >= xyxy[:, :1]) & (middles < xyxy[:, 2:3])
    down = (middles >= xyxy[:, 1:2]) & (middles < xyxy[:, 3:])
    covered = down[:, :, None] & across[:, None, :]
    # several boxes of an exam count once: the map is of exams
    starts = np.flatnonzero(np.r_[True, of_exam[1:] != of_exam[:-1]])
    share = np.logical_or.reduceat(covered, starts, axis=0).mean(axis=0)
    return [[round(float(value), 4) for value in row] for row in share]


def _size_histogram(xyxy: np.ndarray) -> list[int]:
    sizes = np.sqrt(np.prod(np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0), axis=1))
    # larger boxes are counted in the last bin, not lost
    return np.histogram(np.minimum(sizes, SIZE_EDGES[-1] - 1e-9), SIZE_EDGES)[0].tolist()
