"""A spot of two opacities that touch -> one piece each.

labels = split(spot, smallest_px=49)      # (h, w) int32: 0 outside, then 1, 2, …

The depth of a px is its distance to the spot's edge. Opacities that touch are two peaks of depth with a neck between them, and the watershed of the
depth parts them there (L. Vincent and P. Soille, IEEE PAMI 13, 1991, section V-B). A ragged edge makes many peaks; those that count are at least so
much deeper than their neck (the h-maxima of morphology, here by ratio: P. Soille, Morphological Image Analysis, 2nd edition, section 6.3.4).
"""

import cv2
import numpy as np

NECK = 0.6
"""A peak is a piece of its own where its neck to a deeper one is at most this share of its own depth; measured on shapes in docs/results.md."""

_AROUND = np.ones((3, 3), np.uint8)
_STEP = 1e-3
"""Px of depth; no two depths of px are as near to one another."""


def split(spot: np.ndarray, *, smallest_px: float = 1, neck: float = NECK) -> np.ndarray:
    """Part a spot where it is narrow.

    Args:
      spot: (h, w) bool, connected.
      smallest_px: a piece of fewer px stays with its neighbour.
      neck: as ``NECK``.

    Returns:
      (h, w) int32: 0 outside of the spot, and the number of its piece, from 1, for each px of it.
    """
    padded = np.pad(np.uint8(spot), 1)  # the edge of the map is the edge of what lies there
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    flat = _grow(neck * depth, depth)
    count, peaks = cv2.connectedComponents(np.uint8((flat - _grow(flat - _STEP, flat) > _STEP / 2) & (padded > 0)), connectivity=8)
    while True:
        labels = _flood(peaks, depth)[1:-1, 1:-1] if count > 2 else spot.astype(np.int32)
        there, sizes = np.unique(labels[spot], return_counts=True)
        if len(there) == 1 or sizes.min() >= smallest_px:
            return (np.searchsorted(there, labels) + 1).astype(np.int32) * spot
        peaks[peaks == there[np.argmin(sizes)]] = 0  # in the next round what touches it takes its px


def _flood(peaks: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return (h, w) int32 labels: each px of a depth above 0 has that of the peak whose flood reaches it first, from the deepest level on."""
    labels = peaks.astype(np.float32)  # what cv2.dilate takes, and exact for any number of peaks
    for level in np.unique(np.ceil(depth[depth > 0]))[::-1] - 1:
        while True:
            # of two floods that meet in a px the one of the larger number has it
            grown = np.where((labels == 0) & (depth > level), cv2.dilate(labels, _AROUND), labels)
            if np.array_equal(grown, labels):
                break
            labels = grown
    return labels.astype(np.int32)


def _grow(seed: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the reconstruction of ``limit`` by dilation of ``seed``, both (h, w) float64."""
    while True:
        grown = np.minimum(cv2.dilate(seed, _AROUND), limit)
        if np.array_equal(grown, seed):
            return seed
        seed = grown
