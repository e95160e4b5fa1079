"""What a config's image resizer makes of an image, in numbers, without TensorFlow.

size = of_config(config)
size.of((2500, 2048))          # (height, width) in px that the model looks at
"""

import dataclasses

from google.protobuf.message import Message

from pneumodet.detection import pipeline_config
from pneumodet.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Size:
    """How a model sizes images.

    Attributes:
      fixed_hw: all images get this size, whatever their shape; None where the shape is kept.
      least: where the shape is kept: the shorter side in px …
      most: … unless the longer one would then exceed this.
      padded: images are padded at the right and below to (most, most).
    """

    fixed_hw: tuple[int, int] | None
    least: int = 0
    most: int = 0
    padded: bool = False

    @property
    def canvas_hw(self) -> tuple[int, int] | None:
        """Height and width in px of what the model takes, padding included; None where it varies."""
        return (self.most, self.most) if self.padded else self.fixed_hw

    def of(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return what an image of (height, width) becomes, without padding; as the API's ``preprocessor.resize_to_range`` does."""
        if self.fixed_hw:
            return self.fixed_hw
        scale = min(self.least / min(image_hw), self.most / max(image_hw))
        return max(1, round(image_hw[0] * scale)), max(1, round(image_hw[1] * scale))


def of_config(config: Message) -> Size:
    """Return how a config's model sizes images.

    Raises:
      ConfigError: the resizer is of another kind than the two in common use, or pads with another value than 0.
    """
    resizer = pipeline_config.architecture(config).image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    if kind == "fixed_shape_resizer":
        return Size((resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width))
    if kind == "keep_aspect_ratio_resizer":
        keep = resizer.keep_aspect_ratio_resizer
        if any(keep.per_channel_pad_value):
            raise ConfigError("The config's image resizer has a per_channel_pad_value; pneumodet pads with 0. Remove it.")
        return Size(None, keep.min_dimension, keep.max_dimension, keep.pad_to_max_dimension)
    raise ConfigError(f"The config's image resizer is {kind}; pneumodet trains with fixed_shape_resizer and keep_aspect_ratio_resizer.")
