"""How well heatmaps localize findings, beside what would be reached without regard to the radiographs.

cut = shares(heatmaps, split, folds)                         # where each heatmap is cut off: chosen on other patients
table = compared_with_priors("grad-cam", heatmaps, cut, split, other=training_split, patients=patients, folds=folds)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pneumodet.data.record_sets import Split
from pneumodet.evaluation.classification import localization, weak_boxes
from pneumodet.evaluation.metrics.jackknife import Ratio

CHANCE, CENTRE, SPATIAL_PRIOR = "chance", "centre", "spatial prior"  # keys of pointing.json, which users may read
"""What a method is compared with: the same heatmap everywhere, a heatmap around the radiograph's centre, and where exams of other patients have boxes."""

GIVEN = "given"
CROSS_FITTED = "of each exam, the one that gave the greatest IoU on other patients"
TOO_FEW = f"{weak_boxes.DEFAULT_SHARE:g}: there are too few patients to choose one on others"
"""Where shares are from."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shares:
    """Where heatmaps are cut off.

    Attributes:
      of_exams: (C,) float64, share of each heatmap's maximum.
      for_new_data: the share that all patients together give.
      source: one of ``GIVEN``, ``CROSS_FITTED``, ``TOO_FEW``.
    """

    of_exams: np.ndarray
    for_new_data: float
    source: str


def shares(heatmaps: Sequence[np.ndarray], split: Split, folds: np.ndarray | None, *, given: float | None = None) -> Shares:
    """Choose the shares for C heatmaps.

    Args:
      heatmaps: (h, w) >= 0 of each exam.
      split: the C exams.
      folds: (C,) int64 of ``operating_point.patient_folds``; None where there are too few patients for any.
      given: the share, where it was chosen on other data.
    """
    # a share that was chosen on other data is used as it is: choosing again would waste it
    if given is not None or folds is None:
        share, source = (weak_boxes.DEFAULT_SHARE, TOO_FEW) if given is None else (given, GIVEN)
        return Shares(np.full(len(heatmaps), share), share, source)
    overlaps = np.zeros((len(heatmaps), len(weak_boxes.SHARES)))
    seen: np.ndarray | None = None
    pieces: list[np.ndarray] = []
    for row in np.flatnonzero(split.positive & ~split.image_level).tolist():
        if heatmaps[row] is not seen:  # a prior is the same for all
            seen, pieces = heatmaps[row], weak_boxes.boxes_by_share(heatmaps[row])
        overlaps[row] = weak_boxes.overlaps_by_share(pieces, split.boxes_xyxy_px[row], image_hw=split.sizes_hw[row])
    return Shares(weak_boxes.cross_fitted(overlaps, folds), weak_boxes.chosen(overlaps), CROSS_FITTED)


def compared_with_priors(
    method: str,
    heatmaps: Sequence[np.ndarray],
    cut: Shares,
    split: Split,
    *,
    other: Split,
    patients: np.ndarray,
    folds: np.ndarray | None,
    tolerance_px: float = localization.TOLERANCE_PX,
) -> localization.Comparison:
    """Return the figures of a method, of chance, and of heatmaps that are the same for all exams; see ``localization.compared``.

    Args:
      method: its name.
      heatmaps: (h, w) >= 0 of each of C exams.
      cut: of ``heatmaps``. The shares of the other heatmaps are chosen in the same way.
      split: the C exams.
      other: exams of other patients, which show where findings are most often.
      patients: (C,) int64.
      folds: as ``shares``.
      tolerance_px: of the pointing game.
    """
    given = cut.for_new_data if cut.source == GIVEN else None
    prior = localization.spatial_prior(other.boxes_xyxy_px, other.sizes_hw)
    prior_heatmaps = {
        CENTRE: localization.centre_heatmap(),
        SPATIAL_PRIOR: np.zeros((weak_boxes.GRID, weak_boxes.GRID)) if prior is None else prior,  # without boxes there is nothing to expect
    }
    counts = {method: _measured(heatmaps, cut, split, tolerance_px)}
    counts[CHANCE] = localization.by_chance(split.boxes_xyxy_px, split.sizes_hw, tolerance_px=tolerance_px)
    for name, heatmap in prior_heatmaps.items():
        # one object for all exams, by which ``shares`` sees that it needs its pieces only once
        same = [heatmap] * len(split)
        counts[name] = _measured(same, shares(same, split, folds, given=given), split, tolerance_px)
    return localization.compared(counts, patients)


def _measured(heatmaps: Sequence[np.ndarray], cut: Shares, split: Split, tolerance_px: float) -> dict[str, Ratio]:
    weak = [np.zeros((0, 4))] * len(split)
    for row in np.flatnonzero(split.positive).tolist():
        detections = weak_boxes.weak_boxes(heatmaps[row], share=cut.of_exams[row], image_hw=split.sizes_hw[row], probability=1.0)
        weak[row] = detections.boxes_xyxy_px
    return localization.measure(heatmaps, split.boxes_xyxy_px, split.sizes_hw, weak, tolerance_px=tolerance_px)
