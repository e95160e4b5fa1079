"""Settings of a U-Net's run, and what it is made of. No TensorFlow.

settings = load(SegmenterSettings, "unet_16_2conv_128", folder=paths.CONFIG_DIR / "segmentation")
settings.architecture
"""

import dataclasses
from typing import ClassVar

from pneumodet.core import aims, suggest
from pneumodet.core.errors import ConfigError
from pneumodet.models.settings import Settings, between, one_of

ENCODERS = ("plain", "resnet34")
"""What takes the image down to small maps of many filters."""

STAGES = (3, 4, 6, 3)
"""Residual blocks of ResNet34's stages (He et al., 2016, arXiv:1512.03385, table 1)."""

LOSSES = ("bce", "dice", "focal")
"""Parts of a loss."""

# The strided convolution and the pooling; of the stages after them, the first keeps the size.
_STEM_HALVINGS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a U-Net is made of.

    Attributes:
      convolutions: of 3 x 3, a block; in the ResNet34 encoder the blocks are the paper's, and this is of the rest.
      filters: of the first block; each level down has twice as many.
      depth: how often the plain encoder halves the image; ResNet34 does so five times, whatever this says.
      dropout: share of the filters that are left out at random between the convolutions of a block, in training only.
      batch_norm: batch normalization after each convolution.
      encoder: one of ``ENCODERS``.

    Raises:
      ConfigError: a value is out of range.
    """

    convolutions: int = 2
    filters: int = 16
    depth: int = 4
    dropout: float = 0.0
    batch_norm: bool = True
    encoder: str = "plain"

    def __post_init__(self) -> None:
        between("convolutions", self.convolutions, 1, 4)
        between("filters", self.filters, 1, 128)
        between("depth", self.depth, 1, 6)
        between("dropout", self.dropout, 0, 0.9)
        one_of("encoder", self.encoder, ENCODERS)

    @property
    def halvings(self) -> int:
        """How often the image is halved on the way down."""
        return self.depth if self.encoder == "plain" else _STEM_HALVINGS + len(STAGES) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmenterSettings(Settings):
    """Settings of a U-Net; those that all families have are ``Settings``'.

    Attributes:
      convolutions, filters, depth, dropout, batch_norm, encoder: as ``Architecture``.
      loss: one of ``LOSSES``, or a sum such as bce+dice.
      smallest_share: of the image's area; spots below it give no box.
      pretrained: none, run:NAME, a checkpoint's path up to and with ckpt-N, or a .weights.h5 or .keras file of a network with equal layers.
      aim: what the boxes' score threshold is chosen for.
    """

    image_size: int = 128
    best_metric: str = "segmentation.iou"
    aim: str = "rsna"
    convolutions: int = Architecture.convolutions
    filters: int = Architecture.filters
    depth: int = Architecture.depth
    dropout: float = Architecture.dropout
    batch_norm: bool = Architecture.batch_norm
    encoder: str = Architecture.encoder
    loss: str = "bce+dice"
    smallest_share: float = 0.003
    pretrained: str = "none"

    METRICS: ClassVar[tuple[str, ...]] = (
        "segmentation.iou",
        "segmentation.iou_per_positive",
        "rsna_metric",
        "coco.pneumonia.AP50",
        "froc.mean_sensitivity",
        "image.roc_auc",
        "image.pr_auc",
    )

    @property
    def architecture(self) -> Architecture:
        """The network's."""
        return Architecture(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Architecture)})

    def check(self) -> None:
        """See ``Settings.check``."""
        super().check()
        check_size(self.size_hw, self.architecture)
        loss_parts(self.loss)
        aims.parse_aim(self.aim)
        between("smallest_share", self.smallest_share, 0, 0.5)


def check_size(size_hw: tuple[int, int], architecture: Architecture) -> None:
    """Refuse an input size that cannot be halved as often as the network does.

    Raises:
      ConfigError: a side is no multiple of 2 ** halvings; the message names the nearest size.
    """
    step = 2**architecture.halvings
    if any(side < step or side % step for side in size_hw):
        near = " x ".join(str(max(step, round(side / step) * step)) for side in size_hw)
        raise ConfigError(
            f"An image of {size_hw[0]} x {size_hw[1]} px cannot be halved {architecture.halvings} times, as this network does: its sides must be "
            f"multiples of {step}. The nearest size is {near}."
        )


def loss_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a loss: "bce+dice" -> ("bce", "dice").

    Raises:
      ConfigError: a part is unknown, or named twice.
    """
    parts = tuple(part.strip() for part in name.split("+"))
    for part in parts:
        if part not in LOSSES:
            raise ConfigError(f"loss is {name!r}; there is no loss {part!r}. {suggest.sentence(part, LOSSES)} A sum is written bce+dice.")
    if len(set(parts)) < len(parts):
        raise ConfigError(f"loss is {name!r}; name each part once.")
    return parts
