"""The benchmark of prediction: what it computes of what was measured. Nothing is measured here."""

import benchmark_modules
import numpy as np
import pytest

from pneumodet.core.detections import Detections


@pytest.fixture(scope="module")
def benchmark():
    return benchmark_modules.load("predict")


def rows_of(*rows):
    boxes, scores = zip(*rows, strict=True)
    return Detections(np.array(boxes), np.array(scores), np.full(len(rows), 2))


def test_equal_detections(benchmark):
    one = {"a": rows_of(([0, 0, 10, 10], 0.9), ([20, 20, 40, 40], 0.3), ([0, 0, 5, 5], 0.01)), "b": Detections.none()}
    same = benchmark.compare(one, one)
    assert same == {"boxes": 2, "unmatched": 0, "largest score difference": 0, "mean score difference": 0, "least IoU": 1}


def test_differences_are_told(benchmark):
    one = {"a": rows_of(([0, 0, 10, 10], 0.9), ([20, 20, 40, 40], 0.3)), "c": rows_of(([0, 0, 9, 9], 0.04))}
    other = {"a": rows_of(([0, 0, 10, 8], 0.8), ([60, 60, 80, 80], 0.4)), "b": rows_of(([0, 0, 9, 9], 0.04))}
    different = benchmark.compare(one, other)
    assert (different["boxes"], different["unmatched"]) == (2, 2), "boxes of low score count on neither side"
    assert different["largest score difference"] == pytest.approx(0.1)
    assert different["least IoU"] == pytest.approx(0.8)


def measured(milliseconds, share):
    each = [milliseconds / 1000] * 100
    return {"intervals": each, "model": [share * one for one in each], "alone": each}


def test_table_and_goal(benchmark):
    rounds = {
        "notebook": [benchmark.figures(measured(ms, 0.6)) for ms in (80, 90, 70)],
        "onnx": [benchmark.figures(measured(ms, 0.8)) for ms in (20, 20, 20)],
        "tflite": [benchmark.figures(measured(ms, 0.5)) for ms in (40, 30, 40)],
    }
    text = benchmark.table(rounds)
    assert "| notebook | 80.0 | 80.0 | 80.0 | 60% | 80.0 | 80.0 | 1.00 |" in text
    assert "| onnx | 20.0 | 20.0 | 20.0 | 80% | 20.0 | 20.0 | 4.00 |" in text
    assert benchmark.goals(rounds) == "onnx: 4.00 times the notebook (to reach: 3), p95 20.0 ms (below 60): reached"
    del rounds["onnx"]
    assert benchmark.goals(rounds).endswith("NOT reached")


def test_one_slow_image_in_ten_shows_in_the_95th_percentile(benchmark):
    slow = {"intervals": [0.01] * 90 + [0.1] * 10, "model": [0.005] * 100, "alone": [0.01] * 100}
    one = benchmark.figures(slow)
    assert one["median"] == pytest.approx(10)
    assert one["p95"] == pytest.approx(100)
