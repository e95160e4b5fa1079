"""What prediction does with each radiograph: models, post-processing, threshold, calibration; settled before anything is read.

plan = planned([Path("workspace/my_first/export")], recipe=None, tta=None, gate=None, score_threshold=None)
plan.rules.score_threshold, plan.threshold_source
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pneumodet.core import runs
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import label_map
from pneumodet.inference import detectors, dicom_reports, exported
from pneumodet.inference.postprocess import ensembles
from pneumodet.inference.postprocess import gates as image_gates
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.predict import outputs
from pneumodet.inference.predict.outputs import Rules
from pneumodet.inference.probability import rests_on

DEFAULT_THRESHOLD = 0.5
"""Used where neither the command nor the model has a threshold."""

GIVEN, FROM_MODEL, FROM_RECIPE, ASSUMED = "given", "the model's own", "the recipe's own", "assumed"
BEFORE_FUSION = "the mean of the models' own, which were chosen before anything was fused"
"""Where the score threshold is from."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done with each radiograph.

    Attributes:
      models: the exported models.
      steps: post-processing.
      gate_scores: exam -> image-level score, where the recipe gates.
      rules: how detections become results.
      threshold_source: where the score threshold is from.
      notes: what the user should know, a sentence each.
    """

    models: list[exported.Exported]
    steps: recipes.Recipe
    gate_scores: Mapping[str, float] | None
    rules: Rules
    threshold_source: str
    notes: list[str]

    def reporter(self, opened: Sequence[detectors.Detector]) -> dicom_reports.Reporter:
        """Return what makes DICOM objects of the detections of the models, run as ``opened``."""
        numerics = [detectors.numerics_of(one) for one in opened]
        return dicom_reports.Reporter(dicom_reports.algorithm_of(self.models, self.steps, numerics=numerics), self.rules.score_threshold)


def planned(
    model_dirs: Sequence[Path],
    *,
    recipe: Path | None,
    tta: str | None,
    gate: Path | None,
    score_threshold: float | None,
    dicom: Sequence[str] = (),
) -> Plan:
    """Read models and recipe, and choose threshold and calibration; arguments as ``predict`` takes them."""
    models = exported.read_all(model_dirs, boxes=False)
    _refuse_what_needs_boxes(models[0], {"--recipe": recipe, "--tta": tta, "--gate": gate, "a DICOM object": dicom})
    classes = models[0].label_map
    if label_map.PNEUMONIA not in classes:
        raise DataError(f"The model in {model_dirs[0]} has no class 'pneumonia'; its classes are {', '.join(classes)}.")
    steps = ensembles.planned(recipe, models=len(model_dirs), tta=tta)
    gate_scores = image_gates.gate_for(steps, gate)
    threshold, source = (score_threshold, GIVEN) if score_threshold is not None else _threshold(steps, models, by_recipe=recipe is not None)
    # it was fitted to this model's own scores: after any step a score means something else
    calibrator = models[0].card.calibrator if steps == recipes.Recipe() else None
    notes = [sentence for model in models if (sentence := runs.untrained(model.card.run, model.card.checkpoint))]
    notes += [ensembles.untuned(steps)] if recipe is None and steps.sources > 1 else []
    if calibrator is None and any(model.card.calibrator for model in models):
        notes.append(
            f"{outputs.SCORES} has no probabilities: the model was calibrated for its own scores, not for those after post-processing."
        )
    if calibrator:
        notes.append(
            f"Probabilities are rough. They rest on {rests_on(models[0].card.metrics)}; other patients may be ill more or less often."
        )
    rules = Rules(classes[label_map.PNEUMONIA], threshold, calibrator, scored={} if models[0].card.has_boxes else classes)
    return Plan(models, steps, gate_scores, rules, source, notes)


def _refuse_what_needs_boxes(model: exported.Exported, given: Mapping[str, object]) -> None:
    """Refuse of a classifier what is about boxes.

    Raises:
      ConfigError: something of it is given.
    """
    asked = next((name for name, value in given.items() if value), None)
    if asked is not None and not model.card.has_boxes:
        raise ConfigError(f"{model.model_dir} is a classifier's, which has no boxes, and {asked} is about boxes. Leave it out.")


def _threshold(steps: recipes.Recipe, models: Sequence[exported.Exported], *, by_recipe: bool) -> tuple[float, str]:
    """Return the score threshold that nobody gave, and where it is from."""
    if by_recipe:
        return steps.score_threshold, FROM_RECIPE
    own = [model.card.score_threshold for model in models if model.card.score_threshold is not None]
    # a mean of some of the models' thresholds would pass for one of all
    if len(own) < len(models):
        return DEFAULT_THRESHOLD, ASSUMED
    return float(np.mean(own)), FROM_MODEL if steps.sources == 1 else BEFORE_FUSION
