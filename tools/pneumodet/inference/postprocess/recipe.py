"""Post-processing as a file: what is done, in a fixed order, with the values that were chosen.

    recipe = Recipe(nms="hard", nms_iou=0.3, box_scale=0.875, gate="drop", gate_threshold=0.2, score_threshold=0.31)
    save(folder / "recipe.json", recipe)
    detections = apply(load(path), [detections], gate_scores={"0004cfab": 0.93}, category_id=2)

The order: fusion of the sources, NMS, minimum size, number of boxes, box scale, gate, score threshold. Boxes are shrunk after NMS, whose IoU is
that of the detector's own boxes. A field that the file leaves out means that its step is not done.

The sources are sets of detections of the same exams: of every model each of the views (``inference.postprocess.views``), model after model.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import json_fields, json_text, paths, suggest
from pneumodet.core import seen as seen_exams
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.seen import Seen
from pneumodet.data import formats
from pneumodet.data.cases import Cases
from pneumodet.inference.postprocess import fusion, steps, views
from pneumodet.inference.postprocess.steps import Overlaps

VERSION = 1
"""Of the file; a reader refuses another one."""

_SEEN = "seen"  # the file's key
_NEXT = "Make one with tools/postprocess.py."

RECIPE = "recipe.json"
"""The file's usual name."""

FUSIONS = ("pool", "wbf")
"""Put detections together (an ensemble by NMS, where NMS follows), or weighted boxes fusion."""

NMS_KINDS = ("none", "hard", "linear", "gaussian")
"""Hard NMS, or one of the two forms of soft-NMS."""

GATES = ("none", "drop", "multiply")
"""Drop the boxes of exams whose image-level score is below the threshold, or multiply scores by it."""

GATE_HINT = (
    "Give the CSV (patientId,score) with --gate. A classifier's export makes it of the radiographs: python tools/predict.py --model CLASSIFIER "
    "--input FOLDER --output-dir SCORES writes SCORES/scores.csv."
)
"""The next step where a recipe gates and an exam has no image-level score."""

ABOVE_ALL = float(np.nextafter(np.float32(1), np.float32(2)))
"""A score threshold that no score reaches."""

LARGEST_SCALE = 2.0
"""Largest ``box_scale``; a larger one is a typing error (percent)."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is done with detections of one class.

    Attributes:
      sources: how many sets of detections it takes, which are fused: models times views.
      views: what each model is run on, by name; ``identity`` is the first.
      exams_sha256: ``fingerprint`` of the exams that it was tuned on, or None where that is not known.
      fusion: one of ``FUSIONS``.
      fusion_iou: IoU above which weighted boxes fusion joins boxes, in [0, 1].
      nms: one of ``NMS_KINDS``.
      nms_iou: IoU of hard NMS and of linear soft-NMS, in [0, 1].
      nms_sigma: of Gaussian soft-NMS, above 0.
      min_side_px: boxes with a shorter side are dropped; px of the radiograph, before scaling.
      max_boxes: how many boxes an exam keeps at most; None for all.
      box_scale: factor on width and height, above 0.
      gate: one of ``GATES``.
      gate_threshold: of ``drop``, in [0, 1].
      score_threshold: boxes that score less are dropped; the score is that after soft-NMS, fusion and gate.

    Raises:
      ConfigError: a value is of another type or out of range.
    """

    sources: int = 1
    views: tuple[str, ...] = views.ONLY_IDENTITY
    exams_sha256: str | None = None
    fusion: str = "pool"
    fusion_iou: float = 0.55
    nms: str = "none"
    nms_iou: float = 0.5
    nms_sigma: float = 0.5
    min_side_px: float = 0.0
    max_boxes: int | None = None
    box_scale: float = 1.0
    gate: str = "none"
    gate_threshold: float = 0.0
    score_threshold: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (("fusion", FUSIONS), ("nms", NMS_KINDS), ("gate", GATES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} of the recipe is {getattr(self, name)!r}, must be one of {', '.join(allowed)}.")
        for name, least in (("sources", 1), ("max_boxes", 1)):
            value = getattr(self, name)
            # type and not isinstance: JSON's true is an int for Python
            if not (type(value) is int and value >= least) and not (name == "max_boxes" and value is None):
                raise ConfigError(f"{name} of the recipe is {value!r}, must be a whole number of at least {least}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if type(value) not in (int, float) or not low <= value <= high:  # False for NaN, too
                raise ConfigError(f"{name} of the recipe is {value!r}, must be a number from {low:g} to {high:g}.")
        if not isinstance(self.views, tuple) or not self.views or not all(type(name) is str for name in self.views):
            raise ConfigError(f"views of the recipe are {self.views!r}, must be a list of names. Leave them out for the radiograph alone.")
        # in the form of parse: equal views have equal recipes
        if views.parse(",".join(self.views)) != self.views:
            raise ConfigError(f"views of the recipe are {', '.join(self.views)}; {views.IDENTITY!r} must be the first, and 0.9 not 0.90.")
        if self.sources % len(self.views):
            raise ConfigError(f"The recipe has {self.sources} sources and {len(self.views)} views; sources are models times views.")
        if type(self.exams_sha256) not in (str, type(None)):
            raise ConfigError(f"exams_sha256 of the recipe is {self.exams_sha256!r}, must be a text. Leave it out where it is not known.")

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe of ``dataclasses.asdict`` that went through JSON.

        Raises:
          ConfigError: a key is unknown, or a value is of another type or out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values.keys() - set(names):
            raise ConfigError(f"The recipe has the unknown key {key!r}. {suggest.sentence(key, names, otherwise='Keys')}")
        # JSON has no tuple, and a list would make equal recipes differ
        listed = values.get("views")
        return cls(**{**values, **({"views": tuple(listed)} if isinstance(listed, list) else {})})

    @property
    def models(self) -> int:
        """How many models (or runs, or folds) it takes."""
        return self.sources // len(self.views)

    @property
    def cuts(self) -> bool:
        """Whether detections of low score are dropped, so that a curve over all scores ends early."""
        return self.score_threshold > 0 or self.gate == "drop"


_SMALLEST = 1e-6  # of what must be above 0
_LARGEST = sys.float_info.max  # infinity is no size, and no JSON

_RANGES = {
    "fusion_iou": (0, 1),
    "nms_iou": (0, 1),
    "nms_sigma": (_SMALLEST, _LARGEST),
    "min_side_px": (0, _LARGEST),
    "box_scale": (_SMALLEST, LARGEST_SCALE),
    "gate_threshold": (0, 1),
    "score_threshold": (0, ABOVE_ALL),
}


def save(path: Path, recipe: Recipe, *, seen: Seen | None = None) -> None:
    """Write a recipe as JSON.

    Args:
      path: of the file.
      recipe: what is done.
      seen: the exams that it was tuned on, and what the models have seen whose detections it is for; None where that is not known.

    Raises:
      DataError: the file cannot be written.
    """
    # beside the steps and no field of them: it says nothing of what is done, and may have a megabyte
    paths.write_json(path, {"version": VERSION, **dataclasses.asdict(recipe), **({_SEEN: seen.to_json()} if seen else {})})


def load(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
      DataError: the file is missing or no JSON.
      ConfigError: it is of another version, has an unknown key, or a value is out of range.
    """
    content = json_text.read(path, what="the recipe", hint=_NEXT)
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise ConfigError(
            f'{path} is no recipe of version {VERSION}: its "version" is {version!r}. Make it again with tools/postprocess.py.'
        )
    try:
        return Recipe.of_json({key: value for key, value in content.items() if key not in ("version", _SEEN)})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def seen_of(path: Path) -> Seen | None:
    """Return the exams that a recipe's file says it was tuned on, with what its models have seen; None where it says nothing of them.

    Raises:
      DataError: the file is missing or no JSON.
      ConfigError: what it says of them is malformed, or of a newer pneumodet.
    """
    part = json_fields.of_file(path, what="the recipe", hint=_NEXT, error=ConfigError).part(_SEEN)
    if part is None:
        return None
    part.version(seen_exams.VERSION)
    return part.build(Seen)


def fingerprint(exams: Iterable[str]) -> str:
    """Return the SHA-256, in hex, of the sorted exams, by which a recipe knows those that it was tuned on; folders and suffixes do not count."""
    return hashlib.sha256("\n".join(sorted(map(formats.exam_id, exams))).encode()).hexdigest()


def fused(recipe: Recipe, sources: Sequence[Cases]) -> Cases:
    """Do the first step of a recipe: make one set of detections of its sources.

    Raises:
      DataError: there are other than ``recipe.sources`` of them, or they are not of the same cases.
    """
    if len(sources) != recipe.sources:
        raise DataError(f"The recipe takes {recipe.sources} sets of detections, but got {len(sources)}. Give as many as it was made with.")
    return fusion.pool(sources) if recipe.fusion == "pool" else fusion.weighted_boxes(sources, iou_threshold=recipe.fusion_iou)


def suppressed(recipe: Recipe, cases: Cases, *, overlaps: Overlaps | None = None) -> Cases:
    """Do the second step: NMS on fused cases. ``overlaps`` are theirs, where they are there already."""
    if recipe.nms == "none":
        return cases
    if recipe.nms == "hard":
        return steps.hard_nms(cases, recipe.nms_iou, overlaps=overlaps)
    if recipe.nms == "linear":
        return steps.soft_nms(cases, iou_threshold=recipe.nms_iou, overlaps=overlaps)
    return steps.soft_nms(cases, sigma=recipe.nms_sigma, overlaps=overlaps)


def finished(recipe: Recipe, cases: Cases, gate: np.ndarray | None) -> Cases:
    """Do all steps after NMS.

    Args:
      recipe: what is done.
      cases: C cases after NMS.
      gate: (C,) float64 image-level scores in [0, 1], or None.

    Raises:
      DataError: the recipe gates, but there is no gate, or it does not fit.
    """
    # sizes are those of the detector, so that this comes before boxes are scaled
    if recipe.min_side_px:
        cases = steps.keep_large(cases, recipe.min_side_px)
    if recipe.max_boxes is not None:
        cases = steps.keep_first(cases, recipe.max_boxes)
    if recipe.box_scale != 1:
        cases = steps.scale_boxes(cases, recipe.box_scale)
    if recipe.gate != "none":
        if gate is None:
            raise DataError(f"The recipe gates by an image-level score, but there is none. {GATE_HINT}")
        drops = recipe.gate == "drop"
        cases = steps.gate_drop(cases, gate, recipe.gate_threshold) if drops else steps.gate_multiply(cases, gate)
    # last: the threshold was chosen on scores after soft-NMS, fusion and gate
    return cases.above(recipe.score_threshold)


def apply_to_cases(recipe: Recipe, sources: Sequence[Cases], *, gate: np.ndarray | None = None) -> Cases:
    """Do all steps of a recipe on cases.

    Args:
      recipe: what is done.
      sources: ``recipe.sources`` sets of detections on the same C cases.
      gate: (C,) float64 image-level scores in [0, 1], where the recipe gates.

    Raises:
      DataError: sources or gate do not fit.
    """
    return finished(recipe, suppressed(recipe, fused(recipe, sources)), gate)


def apply(
    recipe: Recipe,
    sources: Sequence[Mapping[str, Detections]],
    *,
    category_id: int,
    gate_scores: Mapping[str, float] | None = None,
) -> dict[str, Detections]:
    """Do all steps of a recipe on the detections of one class; those of other classes are passed on from the first source as they are.

    Args:
      recipe: what is done.
      sources: ``recipe.sources`` times exam -> Detections, of the same exams.
      category_id: label-map id of the class.
      gate_scores: exam -> image-level score in [0, 1], of these exams and possibly more.

    Returns:
      exam -> Detections, in the order of the first source.

    Raises:
      DataError: the exams of the sources differ, an exam has no image-level score, or as in ``apply_to_cases``.
    """
    exams = list(sources[0]) if sources else []
    # an exam that one source lacks would pass for one without a detection
    for other in sources[1:]:
        if differ := other.keys() ^ set(exams):
            raise DataError(
                f"{len(differ)} exams are in one set of detections only, for example {min(differ)}. Give sets of the same exams."
            )
    cases = [steps.to_cases({exam: one[exam] for exam in exams}, category_id=category_id) for one in sources]
    gate = None if gate_scores is None else gate_of(gate_scores, exams)
    processed = steps.from_cases(apply_to_cases(recipe, cases, gate=gate), category_id=category_id)
    masked = {exam: _with_masks(processed[exam], sources[0][exam], category_id) for exam in exams} if len(sources) == 1 else processed
    return {exam: _joined(masked[exam], sources[0][exam], category_id) for exam in exams}


def gate_of(gate_scores: Mapping[str, float], exams: Sequence[str]) -> np.ndarray:
    """Return the (C,) float64 image-level scores of exams.

    Raises:
      DataError: an exam has none.
    """
    missing = [exam for exam in exams if exam not in gate_scores]
    if missing:
        raise DataError(f"{len(missing)} of {len(exams)} exams have no image-level score, for example {missing[0]}. {GATE_HINT}")
    return np.array([gate_scores[exam] for exam in exams], np.float64)


def _with_masks(processed: Detections, before: Detections, category_id: int) -> Detections:
    """Return detections with the masks that they had before; without any where a box was moved, since a mask belongs to its box."""
    if before.masks is None:
        return processed
    mine = before.of_class(category_id)
    place = {box.tobytes(): index for index, box in enumerate(mine.boxes_xyxy_px)}
    places = [place.get(box.tobytes()) for box in processed.boxes_xyxy_px]
    known = [index for index in places if index is not None]
    if mine.masks is None or len(known) < len(places):
        return processed
    return dataclasses.replace(processed, masks=mine.masks[np.array(known, np.int64)])


def _joined(processed: Detections, before: Detections, category_id: int) -> Detections:
    # a recipe is tuned on one class; boxes of the others have neither its gate nor its threshold
    other = before.classes != category_id
    return Detections(
        np.concatenate([processed.boxes_xyxy_px, before.boxes_xyxy_px[other]]),
        np.concatenate([processed.scores, before.scores[other]]),
        np.concatenate([processed.classes, before.classes[other]]),
        None if processed.masks is None or before.masks is None else np.concatenate([processed.masks, before.masks[other]]),
    )
