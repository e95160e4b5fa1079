"""Radiographs on which ``tiny_export`` finds a bright square where it is, as DICOM, PNG and JPEG files."""

import numpy as np
from PIL import Image

from pneumodet.data import synthetic

SIDE, SQUARE, STEP = 96, 24, 6
"""Of a radiograph and its square, and of the grid of places that the model scores; px."""

DARK, BRIGHT = 40, 255


def draw(place=None):
    """Return (SIDE, SIDE) uint8 pixels, with a square whose left upper corner is ``place``, x and y in px."""
    pixels = np.full((SIDE, SIDE), DARK, np.uint8)
    if place is not None:
        x, y = place
        pixels[y : y + SQUARE, x : x + SQUARE] = BRIGHT
    return pixels


def box(place):
    return [place[0], place[1], place[0] + SQUARE, place[1] + SQUARE]


def write(path, place=None, *, patient_id=None):
    """Write a radiograph as a file of the kind that the suffix says; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = draw(place)
    if path.suffix == ".dcm":
        seed = int.from_bytes(path.name.encode()[-8:], "big")
        synthetic.write_dicom(path, pixels, patient_id=patient_id or path.stem, rng=np.random.default_rng(seed))
    else:
        Image.fromarray(pixels).save(path)
    return path


PLACES = {"left": (12, 24), "none": None, "right": (60, 30), "low": (36, 66), "empty": None, "top": (48, 6)}
"""Exam -> where its square is."""


def write_folder(folder):
    """Write ``PLACES`` as DICOM files; return the folder."""
    for name, place in PLACES.items():
        write(folder / f"{name}.dcm", place)
    return folder
