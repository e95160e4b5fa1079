"""A made-up detector on made-up radiographs."""

import numpy as np

from pneumodet.core.detections import image_id
from pneumodet.evaluation import inputs

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def instances(exams=120, *, positives=0.4, seed=0, facts=True):
    """Return a COCO object: two exams a patient, 0 to 2 boxes, and facts, without which no slices are evaluated: two thirds of the time."""
    rng = np.random.default_rng(seed)
    images, rows = [], []
    for index in range(exams):
        name = f"exam-{index}"
        known = {"view_position": str(rng.choice(["AP", "PA"])), "sex": str(rng.choice(["F", "M"])), "age": int(rng.integers(5, 95))}
        images.append(
            {"id": image_id(name), "file_name": name, "width": 512, "height": 512, "patient": index // 2, **(known if facts else {})}
        )
        if rng.random() < positives:
            for _ in range(rng.integers(1, 3)):
                x, y, w, h = (int(value) for value in (*rng.integers(0, 300, 2), *rng.integers(60, 200, 2)))
                rows.append({"id": len(rows) + 1, "image_id": images[-1]["id"], "category_id": 2, "bbox": [x, y, w, h], "area": w * h})
    return {"images": images, "annotations": rows, "categories": CATEGORIES}


def results(truth, *, sensitivity=0.7, seed=1):
    """Return COCO results: most boxes, shifted, and false ones of lower score."""
    rng = np.random.default_rng(seed)
    rows = []

    def add(image, bbox, score):
        rows.append({"image_id": image, "category_id": 2, "bbox": [round(float(value), 2) for value in bbox], "score": float(score)})

    for one in truth["annotations"]:
        if rng.random() < sensitivity:
            add(one["image_id"], np.maximum(np.array(one["bbox"]) + rng.normal(0, 8, 4), 0), rng.beta(4, 3))
    for image in truth["images"]:
        for _ in range(rng.poisson(1.5)):
            add(image["id"], (*rng.uniform(0, 300, 2), *rng.uniform(40, 200, 2)), rng.beta(1.5, 5))
    return rows


def loaded(exams=120, *, positives=0.4, sensitivity=0.7, seed=1, facts=True):
    """Return both, as ``inputs.load`` does."""
    truth = instances(exams, positives=positives, facts=facts)
    rows = results(truth, sensitivity=sensitivity, seed=seed)
    return inputs.assemble(truth, lambda images, category: rows)
