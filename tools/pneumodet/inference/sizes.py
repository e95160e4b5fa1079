"""What a model takes of a radiograph: its size, and how it is reduced to it. One rule for training, evaluation and prediction.

A model's own resizer samples bilinearly, which takes four px for each px it makes and leaves out all others: of a radiograph of 1024 px at 320 px it
loses most, and what is left is noisy. Images are first reduced by averaging, by the largest power of two that leaves them no smaller
than the model's input (``data.scaling``). Of what 3 would reach, the resize takes the rest: radiographs of 1024 px at 320 px come closer to an
average over areas so.

Where a model was trained on gray values that were made even, so are those that it is given, between the two.

size = Size(fixed_hw=(320, 320))
image = prepared(pixels, size)          # (320, 320) uint8
"""

import dataclasses

import numpy as np

from pneumodet.core.image_limits import MAX_SIDE_PX
from pneumodet.core.json_fields import Fields
from pneumodet.data import equalizing
from pneumodet.data.scaling import reduce, resize


@dataclasses.dataclass(frozen=True)
class Size:
    """How a model sizes images.

    Attributes:
      fixed_hw: all images get this size, whatever their shape; None where the shape is kept.
      least: where the shape is kept: the shorter side in px …
      most: … unless the longer one would then exceed this.
      padded: images are padded at the right and below to (most, most).
      normalization: what is done to gray values, one of ``equalizing.NORMALIZATIONS``.
    """

    fixed_hw: tuple[int, int] | None
    least: int = 0
    most: int = 0
    padded: bool = False
    normalization: str = "none"

    @classmethod
    def of_fields(cls, fields: Fields) -> "Size":
        """Return the size of ``dataclasses.asdict`` that went through JSON; other keys are left alone.

        Raises:
          PneumodetError: a field is missing or wrong.
        """
        least, most, padded = fields.required("least", int), fields.required("most", int), fields.required("padded", bool)
        fixed = fields.optional("fixed_hw", list)
        # of an export of an earlier release there is none
        named = fields.optional("normalization", str) is not None
        normalization = fields.choice("normalization", equalizing.NORMALIZATIONS) if named else "none"
        if fixed is None:
            for name, value in (("least", least), ("most", most)):
                if not 1 <= value <= MAX_SIDE_PX:
                    raise fields.wrong(name, f"a whole number from 1 to {MAX_SIDE_PX} where fixed_hw is null")
            return cls(None, least, most, padded, normalization)
        if len(fixed) != 2 or not all(type(one) is int and 0 < one <= MAX_SIDE_PX for one in fixed):
            raise fields.wrong("fixed_hw", f"null, or a list of height and width, whole numbers from 1 to {MAX_SIDE_PX}")
        if padded:
            raise fields.wrong("padded", "false where fixed_hw is given")
        return cls((fixed[0], fixed[1]), least, most, padded, normalization)

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

    def on_canvas(self, pixels: np.ndarray) -> np.ndarray:
        """Return (h, w) uint8 pixels of a size as from ``of``, padded with 0 at the right and below where the model pads."""
        height, width = self.canvas_hw or pixels.shape
        return np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1])))


def prepared(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Return (h, w) uint8, what a model of this size takes of (H, W) uint8 pixels, without padding."""
    target_hw = size.of(pixels.shape)
    # averaged down first: bilinear resizing alone reads the px next to a point, and skips the rest
    return resize(equalizing.equalized(reduce(pixels, target_hw), size.normalization), target_hw)
