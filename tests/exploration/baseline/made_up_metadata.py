"""Labels and headers of made-up exams in which AP views have more opacities, as files and as a table."""

import csv
import gzip
from pathlib import Path

import numpy as np

AP_POSITIVE, PA_POSITIVE = 0.6, 0.15
"""Share of positive exams by view."""


def write(folder: Path, *, patients: int = 150, seed: int = 0, gz: bool = False) -> dict[str, Path]:
    """Write labels, headers and patient map; every patient has one to three exams, all of one sex."""
    rng = np.random.default_rng(seed)
    labels, headers, patient_map = [], [], []
    for patient in range(patients):
        sex = "FM"[int(rng.integers(2))]
        for number in range(int(rng.integers(1, 4))):
            exam = f"exam-{patient:04d}-{number}"
            view = "AP" if rng.random() < 0.45 else "PA"
            positive = rng.random() < (AP_POSITIVE if view == "AP" else PA_POSITIVE)
            boxes = rng.integers(20, 300, (int(rng.integers(1, 3)), 4)) if positive else []
            labels += [(exam, *(str(value) for value in box), "1") for box in boxes] or [(exam, "", "", "", "", "0")]
            headers.append((exam, str(int(rng.integers(18, 90))), sex, view, "0.168" if rng.random() < 0.5 else "0.143"))
            patient_map.append((exam, f"P{patient:04d}"))
    result = {name: folder / f"{name}.csv" for name in ("labels", "headers", "patient_map")}
    if gz:
        result = {name: path.with_name(f"{path.name}.gz") for name, path in result.items()}
    save(result["labels"], ("patientId", "x", "y", "width", "height", "Target"), labels)
    save(result["headers"], ("patientId", "PatientAge", "PatientSex", "ViewPosition", "PixelSpacing"), headers)
    save(result["patient_map"], ("patientId", "patient"), patient_map)
    return result


def save(path: Path, header: tuple, rows: list[tuple]) -> Path:
    """Write a CSV, packed where its name says so."""
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
