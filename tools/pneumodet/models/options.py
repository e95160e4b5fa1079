"""How a run is trained beside its config: when it evaluates, saves and stops; seed, order, augmentation. Defaults and choices stand here alone.

options = Options(plan=Plan(evaluate_every=200, patience=5), seed=1)
Options.of(options.to_json()) == options        # as run.json keeps them

No TensorFlow, so that a command can build its flags from these classes and answer --help at once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.json_fields import Fields
from pneumodet.models.detection.choices import PRECISIONS
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.inputs.augmentation_settings import RADIOGRAPH, Augmentation

EVALUATIONS = 10
"""Evaluations of a run where nothing else is asked for."""

DETECTOR_METRICS = ("rsna_metric", "coco.pneumonia.AP50", "coco.pneumonia.AP", "froc.mean_sensitivity", "image.roc_auc")
"""What the best checkpoint of a detector may be chosen by; more is better in all of them."""

FIND_LR_STEPS = 100
"""Steps of the learning-rate finder where nothing else is asked for."""

BATCH = 8
"""Images a step that suit most machines, for messages."""

TRACKERS = ("mlflow", "wandb")
"""Packages, not installed with pneumodet, that may take a run's figures besides; see ``training.trackers``."""

LARGEST_SEED = (1 << 32) - 1
"""TensorFlow takes no larger one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """When a run evaluates, saves and stops.

    Attributes:
      evaluate_every: steps from one evaluation on the validation records to the next; 0 for none.
      best_metric: figure by which the best checkpoint is kept, more is better; one of ``METRICS``.
      patience: evaluations without a better figure after which training stops; 0 to continue to the end.
      checkpoint_every: steps from one checkpoint to the next.
      keep: newest checkpoints that stay, beside the best.
    """

    evaluate_every: int = 0
    best_metric: str = DETECTOR_METRICS[0]
    patience: int = 0
    checkpoint_every: int = 500
    keep: int = 3

    METRICS: ClassVar[tuple[str, ...]] = DETECTOR_METRICS
    """What ``best_metric`` may be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a detector is trained, beside what its pipeline.config says.

    Attributes:
      plan: when it saves and evaluates.
      seed: of the initial weights, the order of the records and their augmentation.
      augmentation: how images are varied.
      positive_share: share of radiographs with pneumonia among the samples; None leaves it as it is in the records.
      freeze: patterns of variables that are not trained.
      skip_corrupt: leave corrupt records out, and count them.
      precision: one of ``PRECISIONS``.
    """

    plan: Plan = Plan()
    seed: int = 0
    augmentation: Augmentation = RADIOGRAPH
    positive_share: float | None = None
    freeze: tuple[str, ...] = ()
    skip_corrupt: bool = False
    precision: str = PRECISIONS[0]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Options":
        """Return the options that run.json keeps in its field ``training``.

        Raises:
          DataError: it lacks one of them, or one is wrong, which is named.
          ConfigError: a value of the augmentation is out of range.
        """
        hint = "It was made by another pneumodet; start a new run."
        fields = Fields(record, where="run.json, training", error=DataError, hint=hint)
        # a default in place of what the run was started with would change it
        for field in dataclasses.fields(Plan):
            if field.name not in fields:
                raise fields.wrong(field.name, "given")
        return cls(
            plan=fields.build(Plan),
            seed=fields.required("seed", int),
            augmentation=augmentation_settings.of_json("run.json: the augmentation", fields.required("augmentation", dict)),
            positive_share=fields.optional("positive_share", float),
            freeze=tuple(fields.texts("freeze")),
            skip_corrupt=fields.required("skip_corrupt", bool),
            precision=fields.choice("precision", PRECISIONS),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the options as ``of`` takes them."""
        # flat, beside the plan's own fields: the form that run.json has had from the start, and that older runs are read by
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "plan"}
        own |= {"augmentation": augmentation_settings.to_json(self.augmentation), "freeze": list(self.freeze)}
        return own | dataclasses.asdict(self.plan)


def ten_times(steps: int) -> int:
    """Return the steps from one evaluation to the next of a run that says nothing of it, at least 1."""
    return max(1, round(steps / EVALUATIONS))


def check_seed(seed: int, *, name: str = "--seed") -> None:
    """Check a seed.

    Raises:
      ConfigError: it is out of range.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"{name} is {seed}; it must be a whole number from 0 to 2^32 - 1.")


def check_batch(size: int, exams: int, *, asked: bool, say: Callable[[str], None]) -> None:
    """Check the images of a step against the training exams.

    Args:
      size: images a step.
      exams: training exams.
      asked: whether the user gave it; a config's own size is not refused, since small sets are tried with it.
      say: takes a warning.

    Raises:
      ConfigError: more images were asked for than there are exams.
    """
    if size <= exams:
        return
    if asked:
        raise ConfigError(
            f"--batch-size is {size}, but there are {exams} training exams: a step would take some of them twice. Give {min(exams, BATCH)} or so, at most "
            f"{exams}."
        )
    say(
        f"warning: A step takes {size} images, but there are {exams} training exams: it takes some of them twice. Give --batch-size {exams} or less."
    )


def check_share(share: float, *, name: str = "--positive-share") -> None:
    """Check the share of positives among the samples.

    Raises:
      ConfigError: it is out of range.
    """
    if not 0 < share < 1:
        raise ConfigError(f"{name} is {share:g}; it must lie between 0 and 1, or be 0 for the records as they are.")
