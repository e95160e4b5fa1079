"""What tests of several folders make, and read of what a run wrote: record sets of synthetic exams, and the losses of training."""

import csv
import json

from pneumodet.cli import make_tfrecords
from pneumodet.data import synthetic


def records(tmp_path_factory, *, exams, seed, size=128, val_fraction=0.4, test_fraction=0, classes=False):
    """Return (record folder, the synthetic data set that it was made of by the command that a user types); RSNA's classes where asked for.

    There is no test split unless it is asked for: of a few exams it would leave too few for what is tested.
    """
    source = synthetic.make_dataset(tmp_path_factory.mktemp("source"), exams=exams, seed=seed, size=size)
    shares = {"val_fraction": val_fraction, "test_fraction": test_fraction}
    return records_of(source, tmp_path_factory.mktemp("data") / "records", **shares, classes=classes), source


def records_of(source, folder, *, val_fraction=0.4, test_fraction=0, classes=False, patients=True):
    """Return the folder of the records that the command makes of a synthetic data set, split by patient or else by exam."""
    flags = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--output-dir", folder]
    flags += ["--val-fraction", val_fraction, "--test-fraction", test_fraction]
    # starting two processes takes longer than converting so few exams
    flags += ["--workers", 1]
    flags += ["--patient-map", source.patient_map] if patients else []
    flags += ["--class-info", source.class_info] if classes else []
    assert make_tfrecords.main([*map(str, flags)]) == 0
    return folder


def losses(folder):
    """Return step -> total loss, from metrics.csv."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "train"]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps)), "each step once"
    return dict(zip(steps, (float(row["Loss/total_loss"]) for row in rows), strict=True))


def manifest(folder):
    """Write the manifest of a record set without any records into a folder, and return it: a study reads no more."""
    split = {
        "shards": [],
        "annotations": "instances.json",
        "annotations_sha256": "",
        "exams": 1,
        "patients": 1,
        "positive_exams": 1,
        "boxes": 1,
    }
    manifest = {"format": "pneumodet-records", "version": 2, "splits": {"train": split, "val": split}, "label_map": {"pneumonia": 1}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "instances.json").write_text("{}")
    return folder
