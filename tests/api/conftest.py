"""A folder as a user of the API has it: data, records, a workspace with an export, radiographs, a submission. Nothing of it needs TensorFlow."""

import csv

import numpy as np
import pytest
import tiny_export
from PIL import Image

import pneumodet
from pneumodet.core import runs
from pneumodet.core.run_record import RunRecord
from pneumodet.data import synthetic as synthetic_data

SQUARE_PX = (64, 128)
"""First and last edge of the bright square in ``radiograph.png``, which the tiny model finds."""


def radiograph(*, square=True):
    """Return a dark radiograph of 256 px, with a bright square or without."""
    pixels = np.full((256, 256), 40, np.uint8)
    if square:
        first, last = SQUARE_PX
        pixels[first:last, first:last] = 255
    return pixels


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Return the folder."""
    folder = tmp_path_factory.mktemp("place")
    source = synthetic_data.make_dataset(folder / "data", exams=12, size=256)
    # without test exams, which would be missing in training and validation
    shares = {"val_fraction": 0.2, "test_fraction": 0}
    pneumodet.convert(
        source.dicom_dir, labels=source.labels, patient_map=source.patient_map, output=folder / "records", workers=1, **shares
    )
    tiny_export.make(folder / "workspace" / "first" / "export")
    (folder / "workspace" / "my_classifier").mkdir()
    runs.write(folder / "workspace" / "my_classifier", RunRecord(family=runs.CLASSIFICATION))
    (folder / "radiographs").mkdir()
    Image.fromarray(radiograph()).save(folder / "radiograph.png")
    Image.fromarray(radiograph()).save(folder / "radiographs" / "square.png")
    Image.fromarray(radiograph(square=False)).save(folder / "radiographs" / "dark.png")
    (folder / "radiographs" / "torn.dcm").write_bytes(b"cut off")
    boxes = {}
    with open(source.labels, newline="") as file:
        for row in csv.DictReader(file):
            texts = boxes.setdefault(row["patientId"], [])
            if row["Target"] == "1":
                texts.append(f"0.9 {row['x']} {row['y']} {row['width']} {row['height']}")
    lines = ["patientId,PredictionString", *(f"{exam},{' '.join(texts)}" for exam, texts in boxes.items())]
    (folder / "submission.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    """Make the folder the current one, with its workspace, and return it."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(place / "workspace"))
    return place
