"""Small folders of runs of every family, as their own commands leave them, on made-up radiographs."""

import csv
import json

import numpy as np

from pneumodet.core import paths
from pneumodet.core.detections import image_id
from pneumodet.evaluation import inputs, summary

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def instances(exams=80, *, seed=0, first=0, positives=0.4):
    """Return a COCO object: two exams a patient, 0 to 2 boxes; the same exam has the same boxes whatever ``first``."""
    images, rows = [], []
    for index in range(first, first + exams):
        rng = np.random.default_rng([seed, index])
        images.append(
            {"id": image_id(f"e{index:03d}"), "file_name": f"e{index:03d}", "width": 512, "height": 512, "patient": f"p{index // 2:03d}"}
        )
        for _ in range(rng.integers(1, 3) if rng.random() < positives else 0):
            x, y, w, h = (int(value) for value in (*rng.integers(0, 300, 2), *rng.integers(60, 200, 2)))
            rows.append({"id": len(rows) + 1, "image_id": images[-1]["id"], "category_id": 2, "bbox": [x, y, w, h], "area": w * h})
    return {"images": images, "annotations": rows, "categories": CATEGORIES}


def records(folder, truth, *, split="val"):
    """Write a record set without shards, and return its folder."""
    folder.mkdir(parents=True)
    name = f"instances_{split}.json"
    (folder / name).write_text(json.dumps(truth))
    about = {"annotations": name, "annotations_sha256": paths.sha256_file(folder / name), "exams": len(truth["images"]), "shards": []}
    about |= {"patients": len(truth["images"]) // 2, "positive_exams": 1, "boxes": len(truth["annotations"])}
    manifest = {"format": "pneumodet-records", "version": 2, "label_map": {"no-pneumonia": 1, "pneumonia": 2}, "splits": {split: about}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def detections(truth, *, sensitivity=0.7, jitter=8, false=1.5, seed=1):
    """Return COCO results: most boxes, shifted, and false ones of lower score."""
    rng = np.random.default_rng(seed)
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    rows = []

    def add(image, bbox, score):
        box = [round(float(value), 2) for value in bbox]
        rows.append({"image_id": image, "file_name": names[image], "category_id": 2, "bbox": box, "score": float(score)})

    for one in truth["annotations"]:
        if rng.random() < sensitivity:
            add(one["image_id"], np.maximum(np.array(one["bbox"]) + rng.normal(0, jitter, 4), 0), rng.beta(4, 3))
    for image in truth["images"]:
        for _ in range(rng.poisson(false)):
            add(image["id"], (*rng.uniform(0, 300, 2), *rng.uniform(40, 200, 2)), rng.beta(1.5, 5))
    return rows


def scores(truth, *, apart=1.5, seed=2):
    """Return exam -> probability: positives lie ``apart`` standard deviations above negatives; to two decimals, so that some are equal."""
    rng = np.random.default_rng(seed)
    positive = {row["image_id"] for row in truth["annotations"]}
    logits = [rng.normal(apart * (image["id"] in positive), 1) for image in truth["images"]]
    return {image["file_name"]: round(float(1 / (1 + np.exp(-x))), 2) for image, x in zip(truth["images"], logits, strict=True)}


def write_scores(path, score_of):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("patientId", "score"), *score_of.items()])


def detection_run(folder, data, detections, *, split="val", seen=None):
    """Write what train.py and evaluate.py leave; returns metrics.json's content. ``seen`` is a ``Seen``; without, the run is one of an earlier release."""
    truth = json.loads((data / f"instances_{split}.json").read_text())
    (folder / "eval").mkdir(parents=True)
    manifest = paths.sha256_file(data / "manifest.json")
    record = {"config": "ssd_mobilenet", "data": {"folder": str(data), "manifest_sha256": manifest}}
    (folder / "run.json").write_text(json.dumps(record | ({"seen": seen.to_json()} if seen else {})))
    (folder / "metrics.csv").write_text("step,kind,wall_seconds,best\n1,train,2.5,\n2,train,75.250,\n")
    loaded = inputs.assemble(truth, lambda *_: detections)
    metrics = summary.summarize(loaded, resamples=100) | {"split": split, "manifest_sha256": manifest}
    (folder / "eval" / "metrics.json").write_text(json.dumps(metrics))
    (folder / "eval" / "detections.json").write_text(json.dumps(detections))
    return metrics


def other_run(folder, data, score_of, *, family="classification", boxes=None, point=None):
    """Write what train_classifier.py leaves, or with boxes train_segmenter.py."""
    (folder / "evaluation").mkdir(parents=True)
    (folder / "best").mkdir()
    (folder / "metrics.csv").write_text("step,kind,wall_seconds,best\n1,validation,2.5,1\n2,validation,3,0\n3,validation,4,0\n")
    manifest = paths.sha256_file(data / "manifest.json")
    record = {"family": family, "parameters": 2_260_546, "training_seconds": 3900.0}
    (folder / "run.json").write_text(json.dumps(record | {"data": {"folder": str(data), "manifest_sha256": manifest}}))
    metrics = {"split": "val", "manifest_sha256": manifest, "milliseconds_an_image": 12.34, "operating_point": point or {"aim": "f1"}}
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    write_scores(folder / "evaluation" / "scores.csv", score_of)
    if boxes is not None:
        (folder / "evaluation" / "detections.json").write_text(json.dumps(boxes))
