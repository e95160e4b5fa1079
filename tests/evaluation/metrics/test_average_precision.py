"""AP and AR on Cases against pycocotools, and weights against copies."""

import contextlib
import io

import numpy as np
import pytest
from random_cases import coco_run, random_cases

from pneumodet.evaluation.metrics.average_precision import PrecisionRecall, average_precision


def by_pycocotools(cases):
    """Return (AP at each of COCO's IoU thresholds, [AR1, AR10, AR100])."""
    run = coco_run(cases)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.eval["precision"][:, :, 0, 0, -1].mean(axis=1), run.stats[6:9]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="few"),
        pytest.param({"most_detections": 40, "skill": 0.9}, id="many"),
        pytest.param({"most_detections": 160, "count": 6, "grid": 1000}, id="more than 100 a case"),
        pytest.param({"positives": 0.1}, id="mostly negative"),
        pytest.param({"skill": 0.0}, id="hardly a hit"),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_equals_pycocotools(seed, given):
    cases = random_cases(seed, **given)
    ones = np.ones((len(cases), 1))
    ap, ar = by_pycocotools(cases)
    ours = PrecisionRecall(cases)
    assert ours.average_precision(ones)[:, 0] == pytest.approx(ap, abs=1e-9)
    assert ours.average_recall(ones)[:, 0] == pytest.approx(ar, abs=1e-9)
    assert average_precision(cases) == pytest.approx(ap[0], abs=1e-9)
    assert average_precision(cases, iou_threshold=0.75) == pytest.approx(ap[5], abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_weight_is_as_good_as_so_many_copies(seed):
    cases = random_cases(seed, grid=10**6)
    weights = np.random.default_rng(seed).integers(0, 4, (len(cases), 3))
    ours = PrecisionRecall(cases)
    for column in range(3):
        copies = cases.take(np.repeat(np.arange(len(cases)), weights[:, column]))
        ap, ar = by_pycocotools(copies)
        assert ours.average_precision(weights.astype(float))[:, column] == pytest.approx(ap, abs=1e-9)
        assert ours.average_recall(weights.astype(float))[:, column] == pytest.approx(ar, abs=1e-9)


def test_without_ground_truth_there_is_no_value():
    cases = random_cases(1, positives=0.0)
    assert average_precision(cases) is None
    assert np.isnan(PrecisionRecall(cases).average_recall(np.ones((len(cases), 1)))).all()


def test_without_detections_it_is_zero():
    cases = random_cases(1)
    assert average_precision(cases.above(2.0)) == 0.0


def test_a_weighting_without_ground_truth_has_no_value_although_others_have():
    cases = random_cases(1)
    weights = np.stack([np.ones(len(cases)), ~cases.positive], axis=1).astype(float)
    values = PrecisionRecall(cases).average_precision(weights)
    assert np.isnan(values).tolist() == [[False, True]] * 10
