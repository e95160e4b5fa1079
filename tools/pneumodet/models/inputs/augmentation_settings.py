"""How much training images are varied: presets, and JSON files with the same fields. No TensorFlow, so that a wrong file is refused at once.

augmentation = load("radiograph")
augmentation = load("mild.json")     # {"rotation_degrees": 3, "scale": [0.9, 1.1]}; a field that is left out does nothing
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from pneumodet.core import json_text, suggest
from pneumodet.core.errors import ConfigError

_LIMITS = {
    "flip": (0, 1),
    "scale": (0.25, 4),
    "shift": (0, 0.5),
    "rotation_degrees": (0, 45),
    "shear_degrees": (0, 30),
    "brightness": (0, 1),
    "contrast": (0.1, 10),
    "gamma": (0.1, 10),
    "blur": (0, 1),
    "blur_sigma_px": (0.1, 1.5),
    "sharpen": (0, 1),
    "sharpen_amount": (0, 4),
    "crop": (0, 1),
    "crop_area": (0.01, 1),
    "crop_aspect": (0.1, 10),
    "crop_holds": (0, 1),
}
"""Field -> smallest and largest value. Beyond 45 degrees a box's sides change places; the blur's kernel of 7 px reaches two of its largest sigmas."""

_NUMBER = (int, float)  # exactly: True is an int by inheritance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much is varied at most; every image gets its own random values within. The default of each field leaves the image as it is.

    Attributes:
      flip: probability of mirroring left and right.
      scale: (low, high) zoom about the image's middle, log-uniform; above 1 the patient gets larger.
      shift: largest shift to either side, as a share of the image's width and of its height.
      rotation_degrees: largest rotation about the image's middle to either side.
      shear_degrees: largest lean of a vertical line to either side.
      brightness: largest shift of the gray values to either side, as a share of 255.
      contrast: (low, high) factor on the distance of gray values from the middle gray, log-uniform.
      gamma: (low, high) exponent of gray values in [0, 1], log-uniform; below 1 the image gets brighter.
      blur: probability of a Gaussian blur.
      blur_sigma_px: (low, high) sigma of it in px of the model's input, uniform.
      sharpen: probability of an unsharp mask (sigma 1 px of the model's input); an image is blurred or sharpened, never both.
      sharpen_amount: largest weight of the mask; uniform from 0.
      crop: probability of taking a part of the image in the whole's place, before all else; it fills the model's input, whatever its shape.
      crop_area: (low, high) area of the part, as a share of the image's, uniform.
      crop_aspect: (low, high) width of the part over its height, uniform.
      crop_holds: shares of which one is drawn for each part: the part holds so much of one box at least, and a box of which it holds less is dropped.

    Raises:
      ConfigError: a value is of another type or out of range.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotation_degrees: float = 0.0
    shear_degrees: float = 0.0
    brightness: float = 0.0
    contrast: tuple[float, float] = (1.0, 1.0)
    gamma: tuple[float, float] = (1.0, 1.0)
    blur: float = 0.0
    blur_sigma_px: tuple[float, float] = (0.5, 1.0)
    sharpen: float = 0.0
    sharpen_amount: float = 1.0
    crop: float = 0.0
    crop_area: tuple[float, float] = (0.1, 1.0)
    crop_aspect: tuple[float, float] = (0.5, 2.0)
    crop_holds: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low, high = _LIMITS[field.name]
            if field.name == "crop_holds":
                shares = tuple(value) if isinstance(value, (list, tuple)) else ()
                if not shares or any(type(one) not in _NUMBER or not low <= one <= high for one in shares):
                    raise ConfigError(f"crop_holds of the augmentation is {value!r}, must be a list of numbers from {low:g} to {high:g}.")
                object.__setattr__(self, field.name, shares)
            elif isinstance(field.default, tuple):
                pair = tuple(value) if isinstance(value, (list, tuple)) else ()
                if len(pair) != 2 or any(type(one) not in _NUMBER for one in pair) or not low <= pair[0] <= pair[1] <= high:
                    wanted = f"two numbers, low and high, from {low:g} to {high:g}"
                    raise ConfigError(f"{field.name} of the augmentation is {value!r}, must be {wanted}.")
                object.__setattr__(self, field.name, pair)  # a list is what JSON has
            elif type(value) not in _NUMBER or not low <= value <= high:
                raise ConfigError(f"{field.name} of the augmentation is {value!r}, must be a number from {low:g} to {high:g}.")
        if self.blur + self.sharpen > 1:
            raise ConfigError(
                f"blur and sharpen of the augmentation are {self.blur:g} and {self.sharpen:g}, must be at most 1 together: no image gets both."
            )

    @property
    def moves(self) -> bool:
        """Whether anything but gray values changes."""
        return bool(self.flip or self.crop or self.shift or self.rotation_degrees or self.shear_degrees or self.scale != (1, 1))


NONE = Augmentation()
"""Leaves the image as it is but for its size."""

RADIOGRAPH = Augmentation(
    flip=0.0,
    scale=(0.85, 1.2),
    shift=0.06,
    rotation_degrees=6.0,
    shear_degrees=4.0,
    brightness=0.08,
    contrast=(0.8, 1.25),
    gamma=(0.8, 1.25),
    blur=0.15,
    blur_sigma_px=(0.4, 1.0),
    sharpen=0.15,
    sharpen_amount=1.0,
)
"""What differs between radiographs of one patient, and no more.

No flip: heart, stomach bubble and aortic arch are not symmetric, and consolidation behind the heart is unlike its mirror image; measured on three
folds of 258 radiographs it gained nothing that could be shown (docs/results.md). Scale:
distance, collimation, children and large adults; within these values both lungs stay in view. Shift, rotation: positioning, most of all of
bedridden patients (AP); beyond some 6 degrees upright boxes no longer fit what they hold. Shear: oblique incidence. Brightness, contrast,
gamma: exposure and the window that the maker's software chose. Blur, sharpen: breathing, and the maker's edge enhancement. No noise: at the
model's input size each px is a mean of ten or more detector px, in which quantum noise is gone.
"""

PRESETS = {"none": NONE, "radiograph": RADIOGRAPH, "radiograph-flip": dataclasses.replace(RADIOGRAPH, flip=0.5)}
"""Name -> augmentation."""

DEFAULT = "radiograph"
"""Used where nobody asks for another one."""


def load(name_or_path: str | Path) -> Augmentation:
    """Return a preset by its name, or what JSON says.

    Args:
      name_or_path: a key of ``PRESETS``, a file whose name ends in .json, an object with fields of ``Augmentation``, or such an object as a text.

    Raises:
      ConfigError: there is no such preset, the file cannot be read, has an unknown key, or a value is out of range.
    """
    name = str(name_or_path)
    if name in PRESETS:
        return PRESETS[name]
    # before the file's name is examined: a run keeps the text, and its file may be gone
    if name.startswith("{"):
        return of_json("The augmentation", _parsed(name))
    if not name.lower().endswith(".json"):
        raise ConfigError(f"There is no augmentation {name!r}. {suggest.sentence(name, PRESETS)} Or give a .json file.")
    return of_json(
        name, json_text.read(Path(name_or_path), what="the augmentation", hint=f"Presets: {', '.join(PRESETS)}.", error=ConfigError)
    )


def of_json(name: str, values: Any) -> Augmentation:
    """Return the augmentation of an object as JSON has it.

    Args:
      name: of it, for messages.
      values: fields of ``Augmentation``; one that is left out does nothing.

    Raises:
      ConfigError: it is no object, has an unknown key, or a value is out of range.
    """
    if not isinstance(values, dict):
        raise ConfigError(f'{name} is no augmentation: it must be an object such as {{"rotation_degrees": 3}}.')
    fields = [field.name for field in dataclasses.fields(Augmentation)]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{name} has the unknown key {key!r}. {suggest.sentence(key, fields)}")
    try:
        return Augmentation(**values)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _parsed(text: str) -> Any:
    try:
        return json_text.loads(text)
    except ValueError as error:
        raise ConfigError(f"The augmentation {text!r} is not valid JSON ({error}).") from error


def inlined(name_or_path: str) -> str:
    """Return a preset's name as it is, and for a file its text, which ``load`` takes as well: what a run keeps, whatever becomes of the file.

    Raises:
      ConfigError: as ``load``.
    """
    return name_or_path if name_or_path in PRESETS else json.dumps(to_json(load(name_or_path)))


def to_json(augmentation: Augmentation) -> dict[str, Any]:
    """Return all fields as JSON has them; ``load`` of a file with it gives an equal augmentation."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(augmentation).items()}
