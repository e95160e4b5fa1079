"""The report's pictures: examples of each class with boxes, one radiograph with and without equalization, and what training makes of some.

drawer = Drawer(material)
pictures = drawer.examples()             # those that cannot be read are counted in drawer.unreadable
pictures = drawer.equalized(); sheet, why_not = drawer.augmented()
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pneumodet.core import boxes, installation
from pneumodet.core.errors import DataError
from pneumodet.data import annotations, equalizing, images
from pneumodet.exploration.gathering import Material
from pneumodet.viz import pictures

EXAMPLES = 3
"""Radiographs of each class."""

TRIED = 20
"""Files of a class that are opened at the most to have so many that can be read."""

SEED = 0
"""Of the choice of examples and of the augmentation's random values."""

AUGMENTATION = "radiograph"
"""The preset that training uses by default."""

AUGMENTED, AUGMENTED_HW = 3, (256, 256)
"""Radiographs on the sheet, and the size of its tiles."""

PICTURE_PX = 480
"""Longer side of examples."""

GRAY_BINS = 32

TITLES = {"none": "as it is", "histogram": "histogram equalization", "clahe": "CLAHE"}
"""Normalization -> what it is called."""

_NO_TENSORFLOW = "The sheet of augmented radiographs is left out, because TensorFlow is not installed: {install}."


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Attributes:
      title: short.
      text: what else is to be said.
      image: the picture.
      gray_shares: (``GRAY_BINS``,) share of the pixels in each bin of gray; of equalized radiographs only.
    """

    title: str
    text: str
    image: Image.Image
    gray_shares: tuple[float, ...] = ()


class Drawer:
    """Draws the pictures of a data set.

    Attributes:
      unreadable: exam -> why its pixels cannot be read, of those that were to be shown.
    """

    def __init__(self, material: Material) -> None:
        """Take the data set; nothing is read before pictures are asked for."""
        self.unreadable: dict[str, str] = {}
        self._material = material
        self._index = {exam: index for index, exam in enumerate(material.exams.ids)}
        self._shown: dict[str, np.ndarray] = {}

    def examples(self) -> list[Picture]:
        """Return ``EXAMPLES`` radiographs of each class, chosen at random but always the same."""
        names = self._material.exams.class_names
        order = [name for name in annotations.RSNA_CLASSES if (names == name).any()]
        order += sorted(set(names.tolist()) - set(order))
        shown = []
        for name in order:
            # kept for the other two pictures, so that no file is decoded twice
            for exam, pixels in self._readable(np.flatnonzero(names == name)):
                self._shown[exam] = pixels
                view = self._material.exams.view[self._index[exam]]
                text = f"{exam}" + (f", {view} view" if view else "") + (f", boxes {count}" if (count := len(self._boxes(exam))) else "")
                shown.append(Picture(name, text, self._with_boxes(exam, pixels)))
        return shown

    def equalized(self) -> list[Picture]:
        """Return one radiograph three times: as it is, after histogram equalization, after CLAHE; nothing where none can be read.

        It is the first positive one of the examples, else the first. What has more than 8 bits was brought to 8 by its window before.
        """
        exam = self._first()
        if exam is None:
            return []
        pixels, bits = self._shown[exam], self._material.files[exam].bits
        text = exam if bits == 8 else f"{exam}; stored with {bits} bits, brought to 8 by its window before"
        versions = []
        for normalization in equalizing.NORMALIZATIONS:
            gray = equalizing.equalized(pixels, normalization)
            shares = np.histogram(gray, GRAY_BINS, (0, 256))[0] / gray.size
            versions.append(Picture(TITLES[normalization], text, Image.fromarray(gray), tuple(float(one) for one in shares)))
        return versions

    def augmented(self) -> tuple[Image.Image | None, str]:
        """Return (the sheet of the examples as training varies them, "") or (None, a sentence why there is none)."""
        # boxes show whether augmentation moves them with the image
        chosen = [exam for exam in self._shown if len(self._boxes(exam))] or list(self._shown)
        if not chosen:
            return None, "There is no radiograph to augment."
        try:
            from pneumodet.models.inputs import augmentation_settings, augmentation_sheet
        # exploring works without TensorFlow: one picture less is no reason for an error
        except ImportError:
            return None, _NO_TENSORFLOW.format(install=installation.command("train"))
        exams = chosen[:AUGMENTED]
        yxyx = []
        for exam in exams:
            height, width = self._shown[exam].shape
            clipped = boxes.clip_xyxy_px(self._boxes(exam), height=height, width=width)
            yxyx.append(boxes.xyxy_px_to_yxyx_norm(clipped, height=height, width=width))
        settings = augmentation_settings.load(AUGMENTATION)
        images_ = [self._shown[exam] for exam in exams]
        return augmentation_sheet.preview(images_, yxyx, settings, seed=SEED, output_hw=AUGMENTED_HW), ""

    def _with_boxes(self, exam: str, pixels: np.ndarray) -> Image.Image:
        """Return a small picture: lines that are drawn before an image is made smaller get too thin to be seen."""
        height, width = pixels.shape
        image = Image.fromarray(pixels)
        image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX)
        factors = np.array([image.width / width, image.height / height] * 2)
        return pictures.draw_boxes(np.asarray(image), truth_xyxy_px=self._boxes(exam) * factors, panel=False)

    def _first(self) -> str | None:
        positive = (exam for exam in self._shown if len(self._boxes(exam)))
        return next(positive, next(iter(self._shown), None))

    def _boxes(self, exam: str) -> np.ndarray:
        return self._material.labels.exams[exam].boxes_xyxy_px

    def _readable(self, indices: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (exam, (H, W) uint8) of up to ``EXAMPLES`` of the exams that have a file."""
        exams = [self._material.exams.ids[index] for index in indices if self._material.exams.ids[index] in self._material.sources]
        left = EXAMPLES
        # a limit, since in a damaged folder every file of a class may fail
        for index in np.random.default_rng(SEED).permutation(len(exams))[:TRIED]:
            exam = exams[index]
            source = self._material.sources[exam]
            try:
                pixels = images.read_pixels(source)
            except DataError as error:
                # without its folder, which may show who works where
                self.unreadable[exam] = str(error).replace(str(source), source.name)
                continue
            yield exam, pixels
            left -= 1
            if not left:
                return
