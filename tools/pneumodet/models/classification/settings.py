"""What a classifier is and how it is trained, as TOML files in configs/classification/ say it. No TensorFlow.

settings = load(ClassifierSettings, "mobilenetv2", folder=paths.CONFIG_DIR / "classification")
"""

import dataclasses
from pathlib import Path

from pneumodet.core import aims, paths
from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.data.annotations import RSNA_CLASSES
from pneumodet.models.detection import checkpoint_files
from pneumodet.models.settings import Settings, between, one_of

SCRATCH = "resnet-scratch"

SMALLEST_SIDE = {
    "resnet50": 32,
    "inceptionv3": 75,
    "vgg16": 32,
    "vgg19": 32,
    "mobilenetv2": 32,
    "efficientnetv2b0": 32,
    SCRATCH: 32,
}
"""Backbone -> smallest side in px of its input."""

PNEUMONIA, THREE_CLASS, BOTH = "pneumonia", "three-class", "both"
TASKS = (PNEUMONIA, THREE_CLASS, BOTH)
"""Pneumonia or not; RSNA's three classes; one head for each, trained together (as the challenge's winners did)."""

CLASSES = RSNA_CLASSES
"""Of the three-class task, in the order of its outputs; the last one is pneumonia."""

CLASS_WEIGHTS, FOCAL, BALANCED, NO_BALANCE = "class-weights", "focal", "balanced", "none"
IMBALANCES = (CLASS_WEIGHTS, FOCAL, BALANCED, NO_BALANCE)
"""What is done about rare positives: weights in the loss, focal loss, as many positives as negatives among the samples, nothing."""

IMAGENET, NO_WEIGHTS = "imagenet", "none"
FILES = (".h5", ".keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierSettings(Settings):
    """A classifier.

    Attributes:
      backbone: a key of ``SMALLEST_SIDE``.
      pretrained: what the backbone starts from: imagenet (a download of keras.applications), none, an .h5 or .keras file, or for mobilenetv2 a
        checkpoint's path up to and with ckpt-N.
      task: one of ``TASKS``.
      class_info: RSNA's stage_2_detailed_class_info.csv, for three classes; empty takes what the records know.
      imbalance: one of ``IMBALANCES``.
      focal_gamma: exponent of the focal loss.
      head_steps: first steps, in which the backbone is frozen; without pretrained weights there are none.
      fine_tune_rate: peak of the learning rate after them.
      fine_tune: share of the backbone's layers, from its end, that are trained then; 0 trains the head alone throughout.
      freeze_batch_norm: keep the statistics and weights of a pretrained backbone's batch normalizations.
      dropout: before the head.
      metadata: give the model age, sex and view position besides.
    """

    backbone: str = "mobilenetv2"
    pretrained: str = IMAGENET
    task: str = PNEUMONIA
    class_info: str = ""
    imbalance: str = CLASS_WEIGHTS
    focal_gamma: float = 2.0
    head_steps: int = 200
    fine_tune_rate: float = 1e-4
    fine_tune: float = 1.0
    freeze_batch_norm: bool = True
    dropout: float = 0.2
    metadata: bool = False

    def check(self) -> None:
        """See ``Settings``.

        Raises:
          ConfigError: a value is out of range, or two do not go together.
        """
        super().check()
        one_of("backbone", self.backbone, SMALLEST_SIDE)
        one_of("task", self.task, TASKS)
        one_of("imbalance", self.imbalance, IMBALANCES)
        between("image_size", self.image_size, SMALLEST_SIDE[self.backbone])
        between("focal_gamma", self.focal_gamma, 0, 10)
        between("head_steps", self.head_steps, 0)
        between("fine_tune_rate", self.fine_tune_rate, 1e-9, 10)
        between("fine_tune", self.fine_tune, 0, 1)
        between("dropout", self.dropout, 0, 0.9)
        aims.check_image_aim(self.aim)
        if self.pretrained == IMAGENET and self.backbone == SCRATCH:
            raise ConfigError(f"There are no ImageNet weights for {SCRATCH}. Set pretrained=none.")
        if self.starts_trained and self.fine_tune and self.head_steps >= self.steps:
            raise ConfigError(
                f"head_steps is {self.head_steps} and steps {self.steps}, which leaves no step for fine-tuning. Set fewer head_steps, or fine_tune=0 "
                "to train the head alone."
            )
        if self.class_info and self.task == PNEUMONIA:
            raise ConfigError("class_info is for task three-class or both; this is pneumonia. Leave one of them out.")

    @property
    def files(self) -> dict[str, Path]:
        """See ``Settings``."""
        return {"class_info": Path(self.class_info)} if self.class_info else {}

    @property
    def starts_trained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.pretrained != NO_WEIGHTS

    @property
    def share(self) -> float | None:
        """Share of positives among the samples; None leaves it as it is."""
        balanced = (1 / len(CLASSES) if self.task == THREE_CLASS else 0.5) if self.imbalance == BALANCED else 0.0
        return self.positive_share or balanced or None


def check_weights(pretrained: str, backbone: str) -> None:
    """Check what ``pretrained`` names, without TensorFlow; once a run has checkpoints, its files may be gone.

    Raises:
      CheckpointError: there is no such file, or it is of another kind.
    """
    if pretrained in (NO_WEIGHTS, IMAGENET):
        return
    path = Path(pretrained).expanduser()
    if path.suffix in FILES:
        if not paths.is_file(path):
            raise CheckpointError(f"There is no file {path}. Give imagenet, none, or the path of an .h5 or .keras file.")
        return
    if backbone != "mobilenetv2":
        raise CheckpointError(
            f"{path} is no .h5 or .keras file; a TensorFlow checkpoint is taken for mobilenetv2 only, not for {backbone}."
        )
    roots = checkpoint_files.roots(checkpoint_files.check_object_based(checkpoint_files.find(path)))
    if "feature_extractor" not in roots:
        raise CheckpointError(f"{path} holds no MobileNetV2 backbone (feature_extractor), but {', '.join(sorted(roots))}.")
