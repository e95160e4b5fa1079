"""IoU and F1 of masks, over all px and for each image, with intervals by patient and a threshold that other patients chose.

    pixels = Pixels.of([count(probabilities, truth) for …])
    index = cross_fitted(pixels, folds)                 # of THRESHOLDS, for each image
    moved = moves(pixels, index, patients=cases.patients, folds=folds)
    interval.of(moved["segmentation.iou"])              # {"value": 0.21, "low": 0.17, "high": 0.25}

F1 of px is what segmentation calls Dice. An image without opacity on which nothing was marked has IoU and F1 1, one with any mark 0: a model that
marks nothing at all has the share of images without opacity as its mean an image, so that the mean over images with opacity stands beside it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pneumodet.evaluation.metrics import jackknife, refitted, uncertainty
from pneumodet.evaluation.metrics.interval import Moved
from pneumodet.evaluation.metrics.jackknife import Ratio

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
    """Return what one fixed mask gives, (h, w) bool, on (N, h, w) bool truth: (pixels at a single threshold, (N,) int64 zeros), for ``moves``."""
    hit = np.array([(one & mask).sum() for one in truth])
    marked = np.full(len(truth), mask.sum())
    return Pixels(hit[:, None], marked[:, None], truth.sum(axis=(1, 2))), np.zeros(len(truth), np.int64)


def moves(
    pixels: Pixels,
    index: np.ndarray,
    *,
    patients: np.ndarray,
    folds: np.ndarray | None = None,
    resamples: int = uncertainty.RESAMPLES,
    seed: int = 0,
) -> dict[str, Moved]:
    """Return ``KEYS`` of N images with what each patient moves them by.

    Args:
      pixels: of N images.
      index: (N,) int64 in ``THRESHOLDS``.
      patients: (N,) int64, the same number for the images of one patient.
      folds: (N,) int64, where ``index`` was chosen by ``cross_fitted``: it is chosen again in each resample of patients then.
      resamples: how often it is.
      seed: of the draws.
    """
    rows = np.arange(len(index))
    wholes = _sums(pixels.hit[rows, index], pixels.marked[rows, index], pixels.truth)
    drawn = {} if folds is None else _refitted(pixels, folds, patients, resamples=resamples, seed=seed)
    result = {}
    for key, (part, whole) in wholes.items():
        moved = Ratio(part, whole).moved(patients, refitted=drawn.get(key))
        # exams without opacity on which nothing is marked are right, together as each by itself
        right = key in KEYS[:2] and not whole.any()
        result[key] = moved if not right else dataclasses.replace(moved, value=1.0, moved=np.zeros(len(moved.moved)))
    return result


def _sums(hit: np.ndarray, marked: np.ndarray, truth: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the figures of ``KEYS`` as sums over images, part and whole, for arrays of which the first axis is images."""
    hit, marked, truth = (one.astype(np.float64) for one in (hit, marked, truth))
    iou, f1 = _share(hit, marked + truth - hit), _share(2 * hit, marked + truth)
    ones, positive = np.ones_like(hit), (truth > 0) * np.ones_like(hit)
    sums = (
        (hit, marked + truth - hit),
        (2 * hit, marked + truth),
        (hit, marked),
        (hit, truth * ones),
        (iou, ones),
        (f1, ones),
        (iou * positive, positive),
        (f1 * positive, positive),
    )
    return dict(zip(KEYS, sums, strict=True))


def _refitted(pixels: Pixels, folds: np.ndarray, patients: np.ndarray, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return key -> (R,) figures on resamples of patients, with the thresholds that the other folds give in each of them."""
    sums = _sums(pixels.hit, pixels.marked, pixels.truth[:, None])
    of_folds = [folds == fold for fold in np.unique(folds)]
    drawn: dict[str, list[np.ndarray]] = {key: [] for key in KEYS}
    for weights in refitted.resampled_weights(patients, resamples=resamples, seed=seed):
        # (fold, key, part or whole, T, B)
        tables = np.array([[[one[inside].T @ weights[inside] for one in sums[key]] for key in KEYS] for inside in of_folds])
        every, total = tables.sum(axis=0), np.zeros((len(KEYS), 2, weights.shape[1]))
        for table in tables:
            iou = _share(*(every - table)[0])
            # the highest of equal ones, as ``best`` takes it
            place = len(iou) - 1 - np.argmax(iou[::-1], axis=0)
            total += np.take_along_axis(table, place[None, None, None], axis=2)[:, :, 0]
        for key, (part, whole) in zip(KEYS, total, strict=True):
            drawn[key].append(jackknife.ratio(part, whole))
    return {key: np.concatenate(parts) for key, parts in drawn.items()}


def _at_least(counts: np.ndarray) -> np.ndarray:
    """Return (T,) sums of the counts of px that reach each threshold, of (T + 1,) counts by the number of thresholds reached."""
    return np.cumsum(counts[::-1])[::-1][1:]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, 1 where both are empty."""
    return np.divide(part, whole, out=np.ones(np.shape(whole), np.float64), where=np.asarray(whole) > 0)
