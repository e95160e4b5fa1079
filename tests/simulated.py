"""Ground truth and a detector of known faults: boxes too large, off their place, found several times, and false ones on every exam."""

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.inference.postprocess import steps

SIDE_PX = 1024


def truth(exams: int, *, seed: int = 0, positive: float = 0.4) -> dict[str, np.ndarray]:
    """Return exam -> boxes_xyxy_px; a positive exam has one or two."""
    rng = np.random.default_rng(seed)
    counts = np.where(rng.random(exams) < positive, rng.integers(1, 3, exams), 0)
    found = {}
    for number, count in enumerate(counts):
        corner = rng.uniform(50, 550, (count, 2))
        found[f"exam-{number:05d}"] = np.concatenate([corner, corner + rng.uniform(120, 380, (count, 2))], axis=1)
    return found


def detect(
    boxes_xyxy_px: dict[str, np.ndarray],
    *,
    seed: int = 0,
    too_large: float = 1.1,
    jitter: float = 0.06,
    repeats: int = 3,
    false: int = 10,
    patients: np.ndarray | None = None,
) -> Cases:
    """Return cases in which each ground-truth box is found ``repeats`` times, and each exam has ``false`` boxes of lower scores by and large.

    Args:
      boxes_xyxy_px: exam -> ground truth.
      seed: of everything random.
      too_large: factor on the sides of boxes found.
      jitter: standard deviation of centre and of the logarithm of the sides, as a share of the side.
      repeats: detections of each ground-truth box.
      false: detections of nothing, an exam.
      patients: (C,) int64; each exam is of its own without.
    """
    rng = np.random.default_rng(seed)
    count = len(boxes_xyxy_px)
    all_truth = np.concatenate([np.zeros((0, 4)), *boxes_xyxy_px.values()])
    truth_case = np.repeat(np.arange(count), [len(boxes) for boxes in boxes_xyxy_px.values()])
    suspect = rng.normal(0, 1.2, count)  # of the exam, whether or not there is something: what a gate can mend
    repeated = np.repeat(all_truth, repeats, axis=0)
    center, half = (repeated[:, :2] + repeated[:, 2:]) / 2, (repeated[:, 2:] - repeated[:, :2]) / 2 * too_large
    center = center + rng.normal(0, jitter, half.shape) * 2 * half
    half = half * np.exp(rng.normal(0, jitter, half.shape))
    corner = rng.uniform(0, 600, (count * false, 2))
    nothing = np.concatenate([corner, corner + rng.uniform(40, 400, corner.shape)], axis=1)
    boxes = np.concatenate([center - half, center + half], axis=1)
    boxes, case = np.concatenate([boxes, nothing]), np.concatenate([np.repeat(truth_case, repeats), np.repeat(np.arange(count), false)])
    logit = np.concatenate([rng.normal(0.2, 1, len(repeated)), rng.normal(-2.5, 1, len(nothing))]) + suspect[case]
    empty = Cases(
        tuple(boxes_xyxy_px),
        np.arange(count) if patients is None else patients,
        all_truth,
        truth_case,
        np.zeros((0, 4)),
        np.zeros(0),
        np.zeros(0, np.int64),
    )
    return steps.replaced(empty, boxes, 1 / (1 + np.exp(-logit)), case)


def gate(cases: Cases, *, seed: int = 0, apart: float = 3.0) -> np.ndarray:
    """Return (C,) image-level scores in [0, 1]: positives lie ``apart`` standard deviations above negatives."""
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-(rng.normal(0, 1, len(cases)) + apart * (cases.positive - 0.5))))
