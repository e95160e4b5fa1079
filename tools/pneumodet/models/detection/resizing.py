"""What a config's image resizer makes of an image, in numbers, without TensorFlow.

size = of_config(config)
size.of((2500, 2048))          # (height, width) in px that the model takes
"""

from pneumodet.core.errors import ConfigError
from pneumodet.inference.sizes import Size
from pneumodet.models.detection import pipeline_config
from pneumodet.models.detection.odapi import Config


def of_config(config: Config) -> Size:
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
        # zeros are what the feed and the exported detectors pad with; another value would make them differ from the API's own tools
        if any(keep.per_channel_pad_value):
            raise ConfigError("The config's image resizer has a per_channel_pad_value; pneumodet pads with 0. Remove it.")
        return Size(None, keep.min_dimension, keep.max_dimension, keep.pad_to_max_dimension)
    raise ConfigError(f"The config's image resizer is {kind}; pneumodet trains with fixed_shape_resizer and keep_aspect_ratio_resizer.")
