"""Radiograph-like DICOMs with boxes, for the demo and for tests: an RSNA data set in everything but its patients.

    make_dataset("workspace/demo/source", exams=150, seed=0)

Lung fields, ribs, spine, heart and diaphragm at random sizes, poses and exposures; positives have one or two fuzzy opacities, negatives
have what is mistaken for them: small nodules, tubes, side markers, a large heart. A model that learns these has learned nothing about patients.
"""

import csv
import dataclasses
import functools
import io
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFilter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from pneumodet.core.given import Given
from pneumodet.core.processes import Pool

WORK = 256
"""Side in px at which anatomy is drawn; it is smooth, and enlarged to the final size."""

MIN_BOX, MAX_BOX = (0.14, 0.20), (0.30, 0.46)
"""(width, height) of the smallest and largest opacity, as a share of the side; RSNA's median box is 0.21 x 0.29."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Where a synthetic data set lies: the same files as RSNA's, and a patient map."""

    dicom_dir: Path
    labels: Path
    class_info: Path
    patient_map: Path


def make_dataset(
    output_dir: Given,
    *,
    exams: int = 150,
    seed: int = 0,
    size: int = 1024,
    positive_fraction: float = 0.55,
    workers: int = 1,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> Dataset:
    """Write an RSNA-like data set.

    Args:
      output_dir: gets ``stage_2_train_images/``, ``stage_2_train_labels.csv``, ``stage_2_detailed_class_info.csv`` and ``patient_map.csv``.
      exams: number of DICOM files; on average every third patient has two or three.
      seed: the same seed gives the same data set.
      size: rows and columns in px.
      positive_fraction: expected share of exams with opacities.
      workers: processes that draw; the data set is the same with any number.
      progress: wraps the exams, as they are drawn, to show how far it is.

    Returns:
      The paths.
    """
    output_dir = Path(output_dir).expanduser()
    dataset = Dataset(
        output_dir / "stage_2_train_images",
        output_dir / "stage_2_train_labels.csv",
        output_dir / "stage_2_detailed_class_info.csv",
        output_dir / "patient_map.csv",
    )
    dataset.dicom_dir.mkdir(parents=True, exist_ok=True)
    make = functools.partial(_make_exam, dataset.dicom_dir, seed=seed, size=size, positive_fraction=positive_fraction)
    with Pool(workers) as pool:
        made = sorted(progress(pool.run(make, range(exams))), key=lambda one: one.index)
    labels, classes, patients = [], [], []
    patient = 0
    for one in made:
        patient += one.new_patient
        patients.append((one.exam, f"SYN{patient:05d}"))
        labels += [(one.exam, *(f"{value:.1f}" for value in box), 1) for box in one.boxes_xywh_px] or [(one.exam, "", "", "", "", 0)]
        classes += [(one.exam, one.rsna_class)] * max(1, len(one.boxes_xywh_px))
    for path, header, rows in (
        (dataset.labels, ("patientId", "x", "y", "width", "height", "Target"), labels),
        (dataset.class_info, ("patientId", "class"), classes),
        (dataset.patient_map, ("patientId", "patient"), patients),
    ):
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    return dataset


@dataclasses.dataclass(frozen=True)
class _Exam:
    """What the tables say of an exam."""

    index: int
    exam: str
    new_patient: bool
    boxes_xywh_px: np.ndarray
    rsna_class: str


def _make_exam(folder: Path, index: int, *, seed: int, size: int, positive_fraction: float) -> _Exam:
    """Write the DICOM file of an exam."""
    rng = np.random.default_rng([seed, index])  # of its own: the first 50 exams are the same in a set of 50 and of 150
    new_patient = index == 0 or rng.random() > 0.35
    exam = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    positive = rng.random() < positive_fraction
    pixels, boxes_xywh_px = draw_radiograph(rng, positive=positive, size=size)
    write_dicom(folder / f"{exam}.dcm", pixels, patient_id=exam, rng=rng)
    if positive:
        return _Exam(index, exam, new_patient, boxes_xywh_px, "Lung Opacity")
    return _Exam(index, exam, new_patient, boxes_xywh_px, "Normal" if rng.random() < 0.45 else "No Lung Opacity / Not Normal")


def draw_radiograph(rng: np.random.Generator, *, positive: bool, size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Draw one frontal radiograph.

    Args:
      rng: the source of everything random.
      positive: with one or two opacities; without, with distractors.
      size: rows and columns in px.

    Returns:
      ((size, size) uint8 pixels, dark air; (N, 4) float64 boxes_xywh_px, each round one opacity).
    """
    y, x = np.mgrid[0:WORK, 0:WORK].astype(np.float32) / WORK
    center = 0.5 + rng.normal(0, 0.015)
    body = _ellipse(x, y, center, 0.62, rng.uniform(0.42, 0.50), rng.uniform(0.60, 0.68), 14)
    image = 0.06 + 0.62 * body
    image += 0.10 * body * _ellipse(x, y, center, 1.05, 0.6, 0.45, 6)  # abdomen and diaphragm are dense
    lungs: list[tuple[float, ...]] = []
    for side in (-1, 1):
        lung = (
            center + side * rng.uniform(0.18, 0.205),
            rng.uniform(0.43, 0.48),
            rng.uniform(0.13, 0.16),
            rng.uniform(0.31, 0.37),
        )
        lungs.append(lung)
        image -= rng.uniform(0.36, 0.44) * _ellipse(x, y, *lung, 16)
    image += 0.14 * np.exp(-(((x - center) / 0.035) ** 2)) / (1 + np.exp(-(y - 0.06) * 60))  # spine
    heart_size = rng.uniform(0.8, 1.15) if positive or rng.random() < 0.7 else rng.uniform(1.2, 1.45)  # a large heart is a distractor
    image += 0.20 * _ellipse(x, y, center + 0.05, 0.66, 0.11 * heart_size, 0.13 * heart_size, 10)
    spacing = rng.uniform(0.055, 0.07)
    for lung_x, lung_y, width, height in lungs:
        inside = _ellipse(x, y, lung_x, lung_y, width * 1.15, height * 1.1, 10)
        wave = np.sin(2 * np.pi * ((y + 0.9 * (x - lung_x) ** 2 * 4) / spacing) + rng.uniform(0, 6.28))
        image += 0.045 * inside * np.clip(wave, 0, 1)  # ribs
    image += 0.035 * _smooth_noise(rng, 10) * body + 0.02 * _smooth_noise(rng, 40) * body  # soft tissue and vessels

    opacities = []
    if positive:
        chosen = [0, 1] if rng.random() < 0.45 else [int(rng.integers(2))]
        for side in chosen:
            opacities.append(_add_opacity(rng, image, x, y, lungs[side]))
    else:
        _add_distractors(rng, image, x, y, lungs)

    large = np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC))
    half = (size + 1) // 2
    # noise of 2 x 2 px, as detectors' is: that of single px would be lost to JPEG
    large = large + rng.normal(0, 0.012, (half, half)).astype(np.float32).repeat(2, 0).repeat(2, 1)[:size, :size]
    exposure, gamma = rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.2)
    pixels = (255 * np.clip(large * exposure, 0, 1) ** gamma).astype(np.uint8)
    return _add_marker(rng, pixels), np.array(opacities, np.float64).reshape(-1, 4) * size


def _ellipse(
    x: np.ndarray, y: np.ndarray, center_x: float, center_y: float, radius_x: float, radius_y: float, sharpness: float
) -> np.ndarray:
    """Return a soft-edged superellipse, 1 inside and 0 outside."""
    distance = np.abs((x - center_x) / radius_x) ** 2.4 + np.abs((y - center_y) / radius_y) ** 2.4
    inside: np.ndarray = 1 / (1 + np.exp(np.clip(sharpness * (distance - 1), -30, 30)))  # clipped: exp overflows float32 above 88
    return inside


def _smooth_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((WORK, WORK), Image.Resampling.BICUBIC))


def _add_opacity(
    rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray, lung: tuple[float, ...]
) -> tuple[float, float, float, float]:
    """Brighten a cloudy part of a lung field and return its box as xywh in shares of the side."""
    width, height = (rng.uniform(low, high) for low, high in zip(MIN_BOX, MAX_BOX, strict=True))
    width = min(width, 2 * lung[2] * 0.95)
    center_x = lung[0] + rng.uniform(-0.25, 0.25) * lung[2]
    center_y = lung[1] + rng.uniform(-0.35, 0.55) * lung[3]
    center_y = min(center_y, lung[1] + lung[3] - height * 0.4)
    shape = _ellipse(x, y, center_x, center_y, width / 2, height / 2, 4)
    texture = np.clip(1 + 0.35 * _smooth_noise(rng, 24), 0.3, 1.6)
    image += rng.uniform(0.20, 0.32) * shape * texture
    return center_x - width / 2, center_y - height / 2, width, height


def _add_distractors(rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray, lungs: list[tuple[float, ...]]) -> None:
    """Add what is mistaken for an opacity: up to three small nodules, and sometimes a tube."""
    for _ in range(int(rng.integers(0, 4))):
        lung = lungs[int(rng.integers(2))]
        radius = rng.uniform(0.008, 0.02)
        image += rng.uniform(0.1, 0.25) * _ellipse(
            x, y, lung[0] + rng.uniform(-0.6, 0.6) * lung[2], lung[1] + rng.uniform(-0.6, 0.6) * lung[3], radius, radius, 3
        )
    if rng.random() < 0.35:
        tube = 0.5 + rng.uniform(-0.12, 0.12) + 0.04 * np.sin(y * rng.uniform(3, 8))
        image += 0.3 * np.exp(-(((x - tube) / 0.004) ** 2)) * (y < rng.uniform(0.4, 0.7))


def _add_marker(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Draw the lead letter that marks the patient's side."""
    image = Image.fromarray(pixels)
    size = len(pixels)
    where = (int(size * rng.uniform(0.04, 0.1)), int(size * rng.uniform(0.03, 0.12)))
    draw = ImageDraw.Draw(image)
    box = (*where, where[0] + size // 28, where[1] + size // 20)
    draw.rectangle(box, outline=225, width=max(1, size // 340))
    draw.line(
        (where[0] + size // 90, where[1] + size // 100, where[0] + size // 90, where[1] + size // 26), fill=235, width=max(1, size // 200)
    )
    return np.asarray(image.filter(ImageFilter.BoxBlur(0.6)))


def write_dicom(path: Path | BinaryIO, pixels: np.ndarray, *, patient_id: str, rng: np.random.Generator) -> None:
    """Write pixels as RSNA's files are: JPEG Baseline, 8 bit, MONOCHROME2, secondary capture headers with nobody's name.

    Args:
      path: the new file, or a file object.
      pixels: (H, W) uint8.
      patient_id: for PatientID (0010,0020) and PatientName.
      rng: chooses age, sex, view position and UIDs.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    uids = [f"2.25.{uuid.UUID(bytes=rng.bytes(16), version=4).int}" for _ in range(3)]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uids[0]
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, uids[0]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids[1], uids[2]
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.Modality, dataset.BodyPartExamined, dataset.ConversionType = "CR", "CHEST", "WSD"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = patient_id, patient_id, ""
    dataset.PatientAge, dataset.PatientSex = f"{int(rng.integers(18, 90)):03d}Y", str(rng.choice(["F", "M"]))
    dataset.ViewPosition = str(rng.choice(["AP", "PA"]))
    dataset.SeriesDescription = f"view: {dataset.ViewPosition}"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = (
        "19010101",
        "000000",
        "",
        "",
        "",
    )
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.PixelSpacing = [0.168, 0.168]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.PixelData = encapsulate([buffer.getvalue()])
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
