"""U-Nets of the reports' variants: gray radiograph in, log-odds of opacity for every px out.

    model = unet((128, 128), Architecture(convolutions=2, filters=16))
    logits = model({"image": images}, training=False)["mask"]          # (B, 128, 128, 1) uint8 -> (B, 128, 128, 1) float32

Ronneberger et al., U-Net, 2015, arXiv:1505.04597, with padded convolutions, so that the mask is as large as the image, and batch normalization
(Ioffe and Szegedy, 2015, arXiv:1502.03167). The ResNet34 encoder is that of He et al., 2016, arXiv:1512.03385, table 1, with `filters` in place of
64. Keras 3, never the legacy Keras of the detectors.
"""

import math

import keras
import numpy as np

from pneumodet.models.segmentation.settings import STAGES, Architecture, check_size

PRIOR = 0.03
"""Probability of opacity that an untrained network gives each px: boxes cover about that share of the px of RSNA's exams. Without it, the first
hundreds of steps only learn that most px are none (Lin et al., 2017, arXiv:1708.02002, section 3.3)."""

_MOST_FILTERS = 1024


def unet(size_hw: tuple[int, int], architecture: Architecture, *, seed: int = 0) -> keras.Model:
    """Make a U-Net with new weights.

    Args:
      size_hw: height and width in px of its input and output.
      architecture: what it is made of.
      seed: of the weights and of dropout.

    Returns:
      A model from ``image`` (B, h, w, 1) uint8 to ``mask`` (B, h, w, 1) float32 log-odds.

    Raises:
      ConfigError: the size does not fit.
    """
    check_size(size_hw, architecture)
    parts = _Parts(architecture, seed)
    image = keras.Input((*size_hw, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(image)
    # seeds are drawn in the order in which layers are made: a change of it changes the weights of a seed
    skips, x = (parts.plain_encoder if architecture.encoder == "plain" else parts.residual_encoder)(x)
    for level, skip in reversed(list(enumerate(skips))):
        x = parts.up(x, skip, level)
    # Lin et al., 2017, section 4.1; the sums of many residual blocks are large as long as batch normalization has no statistics
    first = {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01, seed=parts.next_seed())}
    first["bias_initializer"] = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
    logits = keras.layers.Conv2D(1, 1, dtype="float32", name="logits", **first)(x)
    return keras.Model({"image": image}, {"mask": logits}, name="unet")


class _Parts:
    """Layers of one network; each has a name, so that weights files say which layer does not fit, and a seed of its own."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        self._of, self._seed, self._made = architecture, seed, 0

    def initializer(self) -> keras.initializers.Initializer:
        """Return that of He et al., 2015, arXiv:1502.01852."""
        return keras.initializers.HeNormal(seed=self.next_seed())

    def next_seed(self) -> int:
        """Return another number each time, the same ones for the same seed."""
        self._made += 1
        return int(np.random.SeedSequence((self._seed, self._made)).generate_state(1)[0] >> 1)  # Keras takes 31 bits

    def plain_encoder(self, x: keras.KerasTensor) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
        """Return (maps to join again, from the largest down; the smallest map)."""
        skips = []
        for level in range(self._of.depth):
            x = self._block(x, self._filters(level), f"down{level}")
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
        return skips, self._block(x, self._filters(self._of.depth), "bottom")

    def residual_encoder(self, x: keras.KerasTensor) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
        """As ``plain_encoder``, by ResNet34; the largest map, of the image's own size, is one plain block of half the filters."""
        skips = [self._block(x, max(1, self._of.filters // 2), "down0")]
        x = self._convolution(x, self._filters(0), "stem", kernel=7, strides=2)
        skips.append(x)
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
        for stage, blocks in enumerate(STAGES):
            for block in range(blocks):
                # the stem's pooling has halved the map for the first stage; each later one halves it in its first block
                x = self._residual(x, self._filters(stage), f"stage{stage}_block{block}", strides=2 if stage and not block else 1)
            skips.append(x)
        # the last map is the bottom itself, which has nothing to be joined with
        return skips[:-1], x

    def up(self, x: keras.KerasTensor, skip: keras.KerasTensor, level: int) -> keras.KerasTensor:
        """Double a map, join the one of that size from the way down, and convolve both."""
        filters = skip.shape[-1]
        # 2 x 2 with a stride of 2, as in the paper: every px of the larger map comes of one px of the smaller
        x = keras.layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=self.initializer(), name=f"up{level}_double")(x)
        x = keras.layers.Concatenate(name=f"up{level}_join")([skip, x])
        return self._block(x, filters, f"up{level}")

    def _filters(self, level: int) -> int:
        return min(_MOST_FILTERS, self._of.filters << level)

    def _block(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        for number in range(self._of.convolutions):
            if number and self._of.dropout:
                x = keras.layers.SpatialDropout2D(self._of.dropout, seed=self.next_seed(), name=f"{name}_dropout{number}")(x)
            x = self._convolution(x, filters, f"{name}_conv{number}")
        return x

    def _convolution(
        self, x: keras.KerasTensor, filters: int, name: str, *, kernel: int = 3, strides: int = 1, active: bool = True
    ) -> keras.KerasTensor:
        bias = not self._of.batch_norm  # the normalization has one
        x = keras.layers.Conv2D(
            filters, kernel, strides=strides, padding="same", use_bias=bias, kernel_initializer=self.initializer(), name=name
        )(x)
        if self._of.batch_norm:
            # Keras' momentum of 0.99 needs hundreds of steps to forget where it began; runs on two cores have no more than that
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x) if active else x

    def _residual(self, x: keras.KerasTensor, filters: int, name: str, *, strides: int) -> keras.KerasTensor:
        """Two convolutions and the input added; a 1 x 1 convolution fits the input where size or filters change (option B of the paper)."""
        y = self._convolution(x, filters, f"{name}_conv0", strides=strides)
        y = self._convolution(y, filters, f"{name}_conv1", active=False)
        if strides != 1 or x.shape[-1] != filters:
            x = self._convolution(x, filters, f"{name}_fit", kernel=1, strides=strides, active=False)
        return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))
