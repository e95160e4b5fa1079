"""Random cases that several tests of metrics share, and the same for pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pneumodet.data.cases import Cases


def random_cases(seed, count=30, *, most_boxes=3, most_detections=6, positives=0.6, patients=None, grid=20, skill=0.5):
    """Draw cases with coordinates that are whole px, so that no sum is rounded, and scores on a coarse grid, so that many are equal.

    A detection is near a box of its case with probability ``skill`` (then it scores more), elsewhere otherwise.
    """
    rng = np.random.default_rng(seed)
    truth_case = np.repeat(np.arange(count), np.where(rng.random(count) < positives, rng.integers(1, most_boxes + 1, count), 0))
    corner = rng.integers(0, 500, (len(truth_case), 2))
    truth = np.concatenate([corner, corner + rng.integers(40, 300, corner.shape)], axis=1).astype(float)
    box_case = np.repeat(np.arange(count), rng.integers(0, most_detections + 1, count))
    corner = rng.integers(0, 500, (len(box_case), 2))
    boxes = np.concatenate([corner, corner + rng.integers(40, 300, corner.shape)], axis=1).astype(float)
    scores = rng.integers(0, grid // 2 + 1, len(box_case)) / grid
    for index, case in enumerate(box_case):
        here = np.flatnonzero(truth_case == case)
        if len(here) and rng.random() < skill:
            boxes[index] = truth[rng.choice(here)] + rng.integers(-25, 26, 4)
            boxes[index, 2:] = np.maximum(boxes[index, 2:], boxes[index, :2] + 1)
            scores[index] = rng.integers(grid // 4, grid + 1) / grid
    order = np.lexsort((-scores, box_case))
    patients = np.arange(count) if patients is None else rng.integers(0, patients, count)
    names = tuple(f"exam {index}" for index in range(count))
    return Cases(names, patients, truth, truth_case, boxes[order], scores[order], box_case)


def coco_run(cases):
    """Return pycocotools' evaluator of the cases, to be run: images are numbered from 1, boxes and detections too, in their order."""

    def rows(boxes, case):
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
        return [{"id": i + 1, "image_id": int(c) + 1, "category_id": 1, "bbox": b} for i, (b, c) in enumerate(zip(xywh, case, strict=True))]

    truth, results = rows(cases.truth_xyxy_px, cases.truth_case), rows(cases.boxes_xyxy_px, cases.box_case)
    truth = [{**row, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0} for row in truth]
    results = [{**row, "score": float(score)} for row, score in zip(results, cases.scores, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i + 1} for i in range(len(cases))], "categories": [{"id": 1, "name": "x"}], "annotations": truth}
        coco.createIndex()
        return COCOeval(coco, coco.loadRes(results), "bbox")
