"""IoU and F1 of masks, over all px and for each image, with intervals by patient and a threshold that other patients chose.

    pixels = Pixels.of([count(probabilities, truth) for …])
    index = cross_fitted(pixels, folds)                 # of THRESHOLDS, for each image
    result = intervals(pixels, index, patients=cases.patients)
    result["segmentation.iou"]                           # {"value": 0.21, "low": 0.17, "high": 0.25}

F1 of px is what segmentation calls Dice. An image without opacity on which nothing was marked has IoU and F1 1, one with any mark 0: a model that
marks nothing at all has the share of images without opacity as its mean an image, so that the mean over images with opacity stands beside it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pneumodet.evaluation.metrics import bootstrap

THRESHOLDS = 1 / (1 + np.exp(-np.linspace(-6, 4, 81)))
"""(81,) float64 rising probabilities from 0.0025 to 0.982 of which the threshold is chosen; even steps of log-odds, since networks that see little
opacity give low probabilities."""

KEYS = tuple(
    f"segmentation.{name}"
    for name in ("iou", "f1", "precision", "recall", "iou_per_image", "f1_per_image", "iou_per_positive", "f1_per_positive")
)
"""Figures: the first four of all px together, the others means over images, all of them or those with opacity."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Numbers of px of N images.

    Attributes:
      hit: (N, T) int64, px with opacity that are marked at each of ``THRESHOLDS``.
      marked: (N, T) int64, px that are marked.
      truth: (N,) int64, px with opacity.
    """

    hit: np.ndarray
    marked: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, counted: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> "Pixels":
        """Put together what ``count`` returned for each image."""
        hit, marked, truth = zip(*counted, strict=True)
        return cls(np.stack(hit), np.stack(marked), np.array(truth, np.int64))


def count(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Count one image's px.

    Args:
      probabilities: (h, w) float in [0, 1]; a px is marked at a threshold that it reaches.
      truth: (h, w) bool.

    Returns:
      ((T,) int64 hits, (T,) int64 marked, px with opacity).
    """
    # how many thresholds each px reaches: one pass in place of one for each of them
    reached = np.searchsorted(THRESHOLDS, probabilities.ravel(), side="right")
    with_truth = np.bincount(reached[truth.ravel()], minlength=len(THRESHOLDS) + 1)
    all_px = np.bincount(reached, minlength=len(THRESHOLDS) + 1)
    return _at_least(with_truth), _at_least(all_px), int(truth.sum())


def best(pixels: Pixels, rows: np.ndarray | None = None) -> int:
    """Return the index in ``THRESHOLDS`` with the highest IoU over all px of some images, (N,) bool; the highest of equal ones."""
    rows = np.ones(len(pixels.truth), bool) if rows is None else rows
    hit, marked, truth = pixels.hit[rows].sum(axis=0), pixels.marked[rows].sum(axis=0), pixels.truth[rows].sum()
    iou = _share(hit, marked + truth - hit)
    # the highest of equal ones marks the fewest px
    return len(iou) - 1 - int(np.argmax(iou[::-1]))


def cross_fitted(pixels: Pixels, folds: np.ndarray) -> np.ndarray:
    """Return the (N,) int64 index in ``THRESHOLDS`` of each image: ``best`` of the images of all other folds.

    Args:
      pixels: of N images.
      folds: (N,) int64, no patient in two; as of ``operating_point.patient_folds``.
    """
    index = np.empty(len(folds), np.int64)
    for fold in np.unique(folds):
        index[folds == fold] = best(pixels, folds != fold)
    return index


def spatial_prior(often: np.ndarray, images: int) -> np.ndarray:
    """Return the one mask, (h, w) bool, that has the highest IoU over all px of some images without regard to them.

    Args:
      often: (h, w) int64, in how many of the images each px has opacity; at least one px in one image.
      images: how many there are, those without opacity among them.
    """
    rising = np.sort(often, axis=None)
    # px with less than the best level lower the IoU, so that only the distinct counts need be tried
    levels = np.unique(rising[rising > 0])
    first = np.searchsorted(rising, levels)
    hits = rising.sum() - np.concatenate([[0], np.cumsum(rising)])[first]
    iou = hits / ((rising.size - first) * images + rising.sum() - hits)
    return often >= levels[np.argmax(iou)]


def prior(truth: np.ndarray, mask: np.ndarray) -> tuple[Pixels, np.ndarray]:
    """Return what one fixed mask gives, (h, w) bool, on (N, h, w) bool truth: (pixels at a single threshold, (N,) int64 zeros), for ``intervals``."""
    hit = np.array([(one & mask).sum() for one in truth])
    marked = np.full(len(truth), mask.sum())
    return Pixels(hit[:, None], marked[:, None], truth.sum(axis=(1, 2))), np.zeros(len(truth), np.int64)


class Figures:
    """``KEYS`` of N images at the thresholds given: prepared once, then asked for many weightings of the images (bootstrap)."""

    def __init__(self, pixels: Pixels, index: np.ndarray) -> None:
        rows = np.arange(len(index))
        hit, marked, truth = pixels.hit[rows, index], pixels.marked[rows, index], pixels.truth
        self._sums = np.stack([hit, marked, truth]).astype(np.float64)
        images = np.stack([_share(hit, marked + truth - hit), _share(2 * hit, marked + truth)])
        positive = truth > 0
        self._means = np.concatenate([images, images * positive])
        self._positive = positive.astype(np.float64)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> (B,) float64 for (N, B) float64 weights >= 0; NaN where a figure is undefined."""
        hit, marked, truth = self._sums @ weights
        means = self._means @ weights
        everything, positives = weights.sum(axis=0), self._positive @ weights
        values = (
            _share(hit, marked + truth - hit),
            _share(2 * hit, marked + truth),
            bootstrap.ratio(hit, marked),
            bootstrap.ratio(hit, truth),
            *(bootstrap.ratio(one, everything) for one in means[:2]),
            *(bootstrap.ratio(one, positives) for one in means[2:]),
        )
        return dict(zip(KEYS, values, strict=True))


def intervals(
    pixels: Pixels,
    index: np.ndarray,
    *,
    patients: np.ndarray,
    less: tuple[Pixels, np.ndarray] | None = None,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, float | str | None]]:
    """Return ``KEYS`` with their intervals: percentiles of resamples of patients, thresholds held fixed, as ``evaluation.metrics.bootstrap`` has them.

    Args:
      pixels: of N images.
      index: (N,) int64 in ``THRESHOLDS``.
      patients: (N,) int64, the same number for the images of one patient.
      less: other pixels and index of the same images; the differences to these are returned then, each resample's within itself.
      resamples: of the bootstrap.
      seed: of the draws.

    Returns:
      key -> ``value``, ``low``, ``high``; None where the figure is undefined, or the interval, for there is one patient only or more than
      ``bootstrap.MOST_UNDEFINED`` of the resamples have no value.
    """
    models = [Figures(pixels, index)] + ([Figures(*less)] if less else [])

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        ours, *theirs = (model(weights) for model in models)
        return {key: value - theirs[0][key] if theirs else value for key, value in ours.items()}

    value, drawn = bootstrap.resampled(of, patients, resamples=resamples, seed=seed)
    return {key: bootstrap.interval(value[key], drawn[key], patients) for key in value}


def _at_least(counts: np.ndarray) -> np.ndarray:
    """Return (T,) sums of the counts of px that reach each threshold, of (T + 1,) counts by the number of thresholds reached."""
    return np.cumsum(counts[::-1])[::-1][1:]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, 1 where both are empty."""
    return np.divide(part, whole, out=np.ones(np.shape(whole), np.float64), where=np.asarray(whole) > 0)
