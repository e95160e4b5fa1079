"""A U-Net's maps of probability -> boxes and figures: within training, and at its end with intervals.

    evaluator = MaskEvaluator(records.val, size_hw=(128, 128), smallest_share=0.003)
    result = evaluator.within_training(runner.batches())          # what loop.Run takes
    evaluated = evaluator(runner.batches())
    metrics = summarize(evaluated, prior_mask=spatial_prior(records.train, (128, 128)), aim="rsna", class_name="pneumonia")      # for metrics.json

The threshold from which a px counts is never chosen on the patients on whom it is reported: each exam has the one that gave the highest IoU on
other patients. The score threshold of the boxes is chosen likewise, by ``evaluation.summary``.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core import selection
from pneumodet.core.boxes import xyxy_px_to_yxyx_norm
from pneumodet.core.detections import Detections, to_coco
from pneumodet.core.errors import DataError
from pneumodet.data.record_sets import Split
from pneumodet.evaluation import checks, inputs, summary
from pneumodet.evaluation.inputs import Loaded
from pneumodet.evaluation.metrics import interval, jackknife, operating_point, uncertainty
from pneumodet.evaluation.runner import Evaluation, Seen
from pneumodet.evaluation.segmentation import figures, sheet
from pneumodet.evaluation.segmentation.figures import THRESHOLDS, Pixels
from pneumodet.models.inputs import images
from pneumodet.models.segmentation import masks
from pneumodet.viz.pictures import captioned

PICTURES = 4
"""Exams that are drawn for TensorBoard in each evaluation."""

ON_THEMSELVES = "The threshold of px was chosen on these same images, so that figures at it are optimistic: too few patients for folds."
"""Warning."""


@dataclasses.dataclass(frozen=True, eq=False)
class MaskEvaluation:
    """What a network gives on N exams.

    Attributes:
      loaded: ground truth and boxes.
      pixels: numbers of px at each threshold.
      index: (N,) int64, the index in ``figures.THRESHOLDS`` of each exam.
      maps: (N, h, w) float16 probabilities.
      truth: (N, h, w) bool masks of the boxes.
      detections: exam -> boxes, in px of the radiograph.
      threshold: for new data, chosen on all of these exams, or the one that was given.
      folds: (N,) int64, or None where there were too few patients.
      given: whether it was given, and ``index`` is the same for all.
    """

    loaded: Loaded
    pixels: Pixels
    index: np.ndarray
    maps: np.ndarray
    truth: np.ndarray
    detections: dict[str, Detections]
    threshold: float
    folds: np.ndarray | None
    given: bool = False

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64 image-level scores: the highest of an exam's boxes, 0 where it has none."""
        return self.loaded.cases.case_scores


class MaskEvaluator:
    """The ground truth of a split at a network's size; evaluates what a network makes of it."""

    def __init__(
        self, split: Split, *, size_hw: tuple[int, int], smallest_share: float, seed: int = 0, pixel_threshold: float | None = None
    ) -> None:
        """Draw the masks.

        Args:
          split: N exams.
          size_hw: of the network's input and output.
          smallest_share: as ``masks.to_detections``.
          seed: of the folds of patients.
          pixel_threshold: from which a px counts, chosen on other exams; without it each exam has the one that other patients gave.
        """
        self._split, self._smallest_share, self._seed = split, smallest_share, seed
        self._given = None if pixel_threshold is None else int(np.abs(THRESHOLDS - pixel_threshold).argmin())
        self._category = inputs.category_of(split)
        self.truth = np.empty((len(split), *size_hw), bool)
        for number, mask in enumerate(_masks(split, size_hw)):
            self.truth[number] = mask
        # folds need exams and patients only, and are the same for every evaluation
        without = inputs.assemble(split.instances, lambda _, __: [], class_name=split.class_name, source=checks.NONE).cases
        self._folds: np.ndarray | None = None
        with contextlib.suppress(DataError):  # too few patients; ``summarize`` says so
            self._folds = operating_point.patient_folds(without, seed=seed)

    def __call__(self, batches: Iterable[Seen]) -> MaskEvaluation:
        """Evaluate a network by what it made of all exams."""
        maps = np.empty(self.truth.shape, np.float16)
        for seen in batches:
            logits = np.asarray(seen.outputs["mask"], np.float64)[..., 0]
            # clipped, since exp overflows in float64 from about 710 on and warns of it
            maps[seen.numbers] = 1 / (1 + np.exp(-logits.clip(-50, 50)))
            maps[seen.numbers[~seen.read]] = 0  # a network finds something in black pixels, too
        pixels = Pixels.of([figures.count(one, truth) for one, truth in zip(maps, self.truth, strict=True)])
        whole = figures.best(pixels)
        if self._given is not None:
            index = np.full(len(maps), self._given)
        else:
            index = np.full(len(maps), whole) if self._folds is None else figures.cross_fitted(pixels, self._folds)
        detections = {
            name: masks.to_detections(
                one, image_hw=image_hw, threshold=threshold, smallest_share=self._smallest_share, category_id=self._category
            )
            for name, one, image_hw, threshold in zip(
                self._split.names, maps, self._split.sizes_hw, THRESHOLDS[index].tolist(), strict=True
            )
        }
        loaded = inputs.assemble(
            self._split.instances, lambda _, __: to_coco(detections), class_name=self._split.class_name, source=checks.MASKS
        )
        used = THRESHOLDS[whole if self._given is None else self._given]
        return MaskEvaluation(loaded, pixels, index, maps, self.truth, detections, float(used), self._folds, given=self._given is not None)

    def within_training(self, batches: Iterable[Seen]) -> Evaluation:
        """Return figures without intervals, and pictures of some exams with pneumonia."""
        kept: dict[int, np.ndarray] = {}
        wanted = set(np.flatnonzero(self._split.positive)[:PICTURES].tolist())

        def watched() -> Iterable[Seen]:
            for seen in batches:
                # of a pass over all exams only the inputs that are drawn, or all would stay in memory
                kept.update({number: seen.images[row] for row, number in enumerate(seen.numbers.tolist()) if number in wanted})
                yield seen

        evaluated = self(watched())
        of_pixels = figures.moves(evaluated.pixels, evaluated.index, patients=evaluated.loaded.cases.patients)
        of_masks = {key: None if np.isnan(one.value) else one.value for key, one in of_pixels.items()}
        shown = sorted(kept.items())
        pictures = [captioned(self.drawn(evaluated, number, pixels[..., 0]), *self.caption(evaluated, number)) for number, pixels in shown]
        headline = summary.headline(evaluated.loaded, class_name=self._split.class_name, seed=self._seed)

        def moves(key: str) -> np.ndarray | None:
            return jackknife.by_groups(of_pixels[key].moved, groups=selection.GROUPS) if key in of_pixels else headline.moves(key)

        return Evaluation(of_masks | headline.figures, pictures, moves=moves)

    def drawn(self, evaluated: MaskEvaluation, number: int, pixels: np.ndarray) -> Image.Image:
        """Return a picture of an exam by its number: (h, w) uint8 pixels, true boxes, probability, and the boxes at the threshold."""
        return sheet.tile(
            pixels,
            evaluated.maps[number],
            truth_xyxy_px=self._split.boxes_xyxy_px[number],
            detections=self._shown(evaluated, number),
            image_hw=self._split.sizes_hw[number],
        )

    def caption(self, evaluated: MaskEvaluation, number: int) -> tuple[str, str]:
        """Return what stands above the picture of an exam: its id, and how many boxes there are and are detected."""
        return self._split.names[number], f"truth {len(self._split.boxes_xyxy_px[number])}, found {len(self._shown(evaluated, number))}"

    def _shown(self, evaluated: MaskEvaluation, number: int) -> Detections:
        return evaluated.detections[self._split.names[number]].above(float(THRESHOLDS[evaluated.index[number]]))


def spatial_prior(split: Split, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the (h, w) bool mask that fits a split's exams best without regard to the image; of training exams it needs no patient that is evaluated."""
    often = np.zeros(size_hw, np.int64)
    for mask in _masks(split, size_hw):
        often += mask
    return figures.spatial_prior(often, len(split))


def _masks(split: Split, size_hw: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the (h, w) uint8 mask of each exam's boxes."""
    for boxes, (height, width) in zip(split.boxes_xyxy_px, split.sizes_hw, strict=True):
        yield images.box_mask(xyxy_px_to_yxyx_norm(boxes, height=height, width=width), size_hw)


def summarize(
    evaluated: MaskEvaluation,
    *,
    prior_mask: np.ndarray,
    aim: str,
    class_name: str,
    threshold: float | None = None,
    resamples: int = uncertainty.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return all figures with intervals, for metrics.json.

    Args:
      evaluated: what a network gives.
      prior_mask: (h, w) bool, the mask of other exams that the network has to beat; of ``spatial_prior``.
      aim: of the boxes' score threshold, as ``aims.parse_aim``.
      class_name: in the keys of COCO's figures.
      threshold: of the boxes' scores, chosen on validation; without it each exam has the one that other patients gave.
      resamples: in which thresholds are chosen again.
      seed: of folds and resamples.

    Returns:
      As ``summary.summarize``, and ``segmentation.…`` (``figures.KEYS``), also in ``intervals``; ``segmentation.prior``: the same of the fixed mask
      ``prior_mask``, and ``segmentation.gain``: by how much the network's figures are above those; ``pixel_threshold``.
    """
    how: dict[str, Any] = {"aim": aim, "class_name": class_name, "resamples": resamples, "seed": seed}
    metrics = summary.summarize(evaluated.loaded, threshold=threshold, threshold_source=summary.OF_VALIDATION, **how)
    patients = evaluated.loaded.cases.patients
    moved = figures.moves(evaluated.pixels, evaluated.index, patients=patients, folds=evaluated.folds, resamples=resamples, seed=seed)
    of_masks = interval.as_intervals(moved)
    metrics |= {key: one["value"] for key, one in of_masks.items()}
    metrics["intervals"] |= {key: [one["low"], one["high"]] for key, one in of_masks.items() if one["low"] is not None}
    reasons = {key: one["undefined"] for key, one in of_masks.items() if one["low"] is None and one["value"] is not None}
    metrics["intervals_undefined"] |= reasons
    used = np.unique(THRESHOLDS[evaluated.index])
    metrics["pixel_threshold"] = {"new_data": evaluated.threshold, "lowest": float(used[0]), "highest": float(used[-1])}
    if evaluated.folds is None and not evaluated.given:
        metrics["warnings"].append(ON_THEMSELVES)
    # findings have typical places: a network has to be better than the one mask that knows these
    prior = figures.moves(*figures.prior(evaluated.truth, prior_mask), patients=patients)
    metrics["segmentation.prior"] = interval.as_intervals(prior)
    metrics["segmentation.gain"] = {key: interval.of(one.less(prior[key])) for key, one in moved.items()}
    return metrics
