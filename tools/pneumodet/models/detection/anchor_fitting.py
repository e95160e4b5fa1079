"""Anchors fitted to the boxes of a training set: other scales and aspect ratios, the same number of anchors.

    fitted = fit(config, instances)                  # changes the config's anchor generator where that helps
    fitted.sentence()                                # "Anchors: recall at IoU 0.5 0.61 -> 0.83, …"

TensorFlow is not needed.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import optimize

from pneumodet.core.errors import DataError
from pneumodet.models.detection import anchors
from pneumodet.models.detection.odapi import Config, Message

FEWEST_BOXES = 20
"""Fewer say nothing of the sizes to come."""

MOST_BOXES = 500
"""Of more, as many are drawn for the search; what is reported is over all."""

JITTER = 0.15
"""Share by which sides and centres of boxes are changed at random in the search, as augmentation by scale and shift does."""

JITTERED_COPIES = 2
"""Of each box, so that the search does not learn one draw."""

SOFT = 0.05
"""Half-width in IoU of the ramp that stands for the step at the matcher's threshold, so that the search sees where to go."""

_POWELL = {"xtol": 0.01, "ftol": 1e-3, "maxiter": 10}
"""Of logarithms of scales and ratios, and of ``Cover.total``."""

RECALL_WEIGHT = 3.0
"""A box that reaches no anchor costs as much as three times its IoU: it is learned from one anchor at most, and from a poor one."""

LEAST_GAIN = 0.01
"""``Cover.total`` must rise by as much on boxes that were held back, or the anchors stay."""

RATIO_BOUNDS = (0.2, 5.0)
"""Aspect ratios, width to height, that are tried."""

SCALE_FACTOR = 4.0
"""Scales are tried up to as many times smaller or larger than the config's."""

_DECIMALS = 4
"""Of the scales and ratios that are written."""


@dataclasses.dataclass(frozen=True)
class Cover:
    """How well anchors cover boxes: the share of boxes that reach the matcher's threshold, and the mean of their best IoU."""

    recall: float
    mean_iou: float

    @classmethod
    def of(cls, best: np.ndarray, threshold: float) -> "Cover":
        """Sum up best IoUs, (N,)."""
        return cls(float((best >= threshold).mean()), float(best.mean()))

    @property
    def total(self) -> float:
        """Both in one number, by which anchors are compared."""
        return RECALL_WEIGHT * self.recall + self.mean_iou


@dataclasses.dataclass(frozen=True)
class Fitted:
    """How a fit changed the anchors, and what that gained.

    Attributes:
      changed: whether the config has other anchors now.
      threshold: the matcher's IoU.
      boxes: number of boxes.
      before, after: cover of all boxes; the same where nothing was changed.
      held_out_before, held_out_after: cover of each half of the images' boxes, where ``after`` is by anchors fitted to the other half.
      settings: field of the anchor generator -> its value now, of those that a fit may change.
    """

    changed: bool
    threshold: float
    boxes: int
    before: Cover
    after: Cover
    held_out_before: Cover
    held_out_after: Cover
    settings: dict[str, Any]

    def sentence(self) -> str:
        """Return what happened, for the user."""
        at = f"recall at IoU {self.threshold:g}"
        if not self.changed:
            return (
                f"Anchors: left as they are ({at} {self.before.recall:.2f}, mean best IoU {self.before.mean_iou:.2f} over {self.boxes} boxes); "
                "fitted ones do not cover boxes better that were held back."
            )
        return (
            f"Anchors: {at} {self.before.recall:.2f} -> {self.after.recall:.2f}, mean best IoU {self.before.mean_iou:.2f} -> "
            f"{self.after.mean_iou:.2f} over {self.boxes} boxes."
        )


def enough(config: Config, instances: Mapping[str, Any]) -> bool:
    """Return whether there are boxes enough to fit anchors to: ``FEWEST_BOXES``, in more than one image."""
    boxes, _, images = anchors.boxes_of(config, instances)
    return _enough(boxes, images)


def _enough(boxes: np.ndarray, images: np.ndarray) -> bool:
    return len(boxes) >= FEWEST_BOXES and len(np.unique(images)) > 1


def fit(config: Config, instances: Mapping[str, Any], *, jitter: float = JITTER, seed: int = 0) -> Fitted:
    """Give a config the scales and aspect ratios that cover the boxes of its training set best, by a search from its own ones.

    The number of anchors stays, and with it the heads' shapes and the speed. What is raised is recall at the matcher's threshold and mean
    best IoU (``Cover.total``), over the real positions of the anchors (in the spirit of YOLOv2's dimension clusters, Redmon and Farhadi 2017,
    arXiv:1612.08242, section 2, whose k-means on IoU does not fit generators that make anchors as a product of scales and ratios).
    The config is changed only where the search helps boxes that it was not fitted to: those of one half of the images when fitted to the
    other half's.

    Args:
      config: a TrainEvalPipelineConfig; its anchor generator is changed in place where ``Fitted.changed``.
      instances: COCO ground truth of the training split.
      jitter: as ``JITTER``; 0 for the boxes as they are.
      seed: of jitter and of the sample where there are more than ``MOST_BOXES``.

    Raises:
      ConfigError: the config has no anchors, or ones of a kind that is not known here.
      DataError: there are fewer than ``FEWEST_BOXES`` boxes, or all are in one image.
    """
    boxes_yxyx_px, input_hw, images = anchors.boxes_of(config, instances)
    if not _enough(boxes_yxyx_px, images):
        raise DataError(
            f"The training set has {len(boxes_yxyx_px)} boxes in {len(np.unique(images))} images, and anchors are fitted to {FEWEST_BOXES} or more "
            "of several images. Leave out --fit-anchors."
        )
    threshold = anchors.matched_threshold(config)
    rng = np.random.default_rng(seed)
    # by image, not by box: both boxes of one patient are of much the same size
    halves = np.isin(images, rng.permutation(np.unique(images))[::2])

    def cover(one: Config, mask: np.ndarray) -> np.ndarray:
        return anchors.coverage(anchors.grids(one, input_hw[mask]), boxes_yxyx_px[mask])

    everything = np.ones(len(boxes_yxyx_px), bool)
    before = cover(config, everything)
    unseen = before.copy()
    for half in (halves, ~halves):
        unseen[~half] = cover(_search(config, boxes_yxyx_px[half], input_hw[half], threshold, jitter, rng), ~half)
    better = _search(config, boxes_yxyx_px, input_hw, threshold, jitter, rng)
    after = cover(better, everything)
    cover_before, cover_after, cover_held_out = (Cover.of(best, threshold) for best in (before, after, unseen))
    # by both: boxes that were held back say whether the search generalizes, all boxes whether what is written is better
    changed = all(one.total >= cover_before.total + LEAST_GAIN for one in (cover_held_out, cover_after))
    if changed:
        anchors.generator(config).CopyFrom(anchors.generator(better))
    return Fitted(
        changed=changed,
        threshold=threshold,
        boxes=len(before),
        before=cover_before,
        after=cover_after if changed else cover_before,
        held_out_before=cover_before,
        held_out_after=cover_held_out,
        settings=_settings(anchors.generator(config)),
    )


def _search(
    config: Config, boxes_yxyx_px: np.ndarray, input_hw: np.ndarray, threshold: float, jitter: float, rng: np.random.Generator
) -> Config:
    """Return a copy of the config with the anchors that cover some boxes best: Powell's method from the config's own ones."""
    chosen = rng.permutation(len(boxes_yxyx_px))[:MOST_BOXES]
    if jitter:
        chosen = np.repeat(chosen, JITTERED_COPIES)
    # the sample is drawn before the copies are made: both copies of a box are of the sample, each with a jitter of its own
    boxes, input_hw = boxes_yxyx_px[chosen], input_hw[chosen]
    if jitter:
        sizes, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        centres = centres + sizes * rng.uniform(-jitter, jitter, sizes.shape)
        sizes = sizes * rng.uniform(1 - jitter, 1 + jitter, sizes.shape)
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    # ``loss`` changes it at every try; the caller's config stays as it is
    tried = copy.deepcopy(config)
    made = anchors.generator(tried)
    fields = _settings(made)
    bounds = _bounds(made, fields)

    def loss(logarithms: np.ndarray) -> float:
        _set(made, fields, np.exp(logarithms))
        # a ramp instead of the matcher's step, which is flat almost everywhere: the search would not see which way leads to more matches
        best = anchors.coverage(anchors.grids(tried, input_hw), boxes)
        return -float(best.mean() + RECALL_WEIGHT * np.clip((best - threshold) / (2 * SOFT) + 0.5, 0, 1).mean())

    start = np.clip(np.concatenate([np.atleast_1d(value) for value in fields.values()]), bounds[:, 0], bounds[:, 1])
    # Powell needs no gradient, which the clipped IoU of the nearest anchor does not have everywhere; logarithms make steps relative
    optimum = optimize.minimize(loss, np.log(start), method="Powell", bounds=np.log(bounds), options=_POWELL)
    # rounded as the config's text has them, so that what is measured afterwards is what is written
    _set(made, fields, np.exp(optimum.x).round(_DECIMALS))
    return tried


def _settings(made: Message) -> dict[str, Any]:
    """Return field -> value, or list of values, of what a fit may change in a generator."""
    is_multiscale = made.DESCRIPTOR.name == "MultiscaleAnchorGenerator"
    fields = {"anchor_scale": made.anchor_scale} if is_multiscale else {"scales": list(made.scales)}
    fields["aspect_ratios"] = list(made.aspect_ratios)
    if made.DESCRIPTOR.name == "SsdAnchorGenerator":
        fields["scales"] = fields["scales"] or np.linspace(made.min_scale, made.max_scale, made.num_layers).tolist()
        if made.interpolated_scale_aspect_ratio > 0:  # otherwise there is no such anchor
            fields["interpolated_scale_aspect_ratio"] = made.interpolated_scale_aspect_ratio
    return {name: np.round(value, _DECIMALS).tolist() for name, value in fields.items()}


def _bounds(made: Message, fields: Mapping[str, Any]) -> np.ndarray:
    """Return (P, 2), the least and the largest of each value that is tried."""
    bounds: list[tuple[float, float]] = []
    for name, value in fields.items():
        for one in np.atleast_1d(value):
            largest = 1.0 if made.DESCRIPTOR.name == "SsdAnchorGenerator" else np.inf  # of the input's shorter side
            bounds.append(RATIO_BOUNDS if "ratio" in name else (one / SCALE_FACTOR, min(one * SCALE_FACTOR, largest)))
    return np.array(bounds)


def _set(made: Message, fields: Mapping[str, Any], values: np.ndarray) -> None:
    """Give a generator (P,) values for fields, those of a list in the order of size that the list had.

    So the larger scales stay with the coarser feature maps, and the weights of a restored head with the anchors most like their own.
    """
    start = 0
    for name, before in fields.items():
        of_field = values[start : start + np.size(before)]
        start += np.size(before)
        if isinstance(before, list):
            ranks = np.argsort(np.argsort(before, kind="stable"), kind="stable")
            getattr(made, name)[:] = np.sort(of_field)[ranks].tolist()
        else:
            setattr(made, name, of_field[0])
