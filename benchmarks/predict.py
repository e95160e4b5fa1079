"""Prediction by each backend against the notebook way, in turn in one run, on the same DICOM files.

    python benchmarks/predict.py --model workspace/my_first/export --dicom-dir data/rsna_sample/stage_2_train_images --rounds 3

- ``notebook``: what most notebooks do: pydicom's pixel_array, three equal channels, the SavedModel, one image at a time;
- each format of the export (``savedmodel``, ``onnx``, ``tflite`` …): what ``tools/predict.py --max-images 0`` does, all its files written;
- ``openvino``: the same with ``--backend openvino``.

Every measurement is a process of its own; the files are in the page cache; starting, loading the model and the first images are not counted.

Printed are the medians over the rounds. ``end to end`` is wall time by number of images; ``median`` and ``p95`` are of the time from one result to the
next. ``model`` is the share of the threads' wall time that the model's call takes. ``alone`` is one image at a time, from its file to its boxes, with nothing
decoded ahead. Then how equal the detections are: boxes that score at least 0.05, matched by IoU, against the SavedModel on the same px, and against
the notebook, in which the model's own resizer takes one px of ten and finds somewhat other boxes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pneumodet.core import detections, processes  # noqa: E402
from pneumodet.core.boxes import iou  # noqa: E402
from pneumodet.core.detections import Detections  # noqa: E402
from pneumodet.data import detection_files, images  # noqa: E402
from pneumodet.inference import backends, detectors, exported, outputs  # noqa: E402

NOTEBOOK, SAVED_MODEL, OPENVINO = "notebook", "savedmodel", "openvino"

WARM = 5
"""First images, which are not counted."""

SCORE = 0.05
"""Detections that score less are not compared."""

MATCH_IOU = 0.5
"""Boxes of two ways that overlap more are the same one."""

GOAL_TIMES, GOAL_P95_MS = 3.0, 60.0
"""What is to be reached: so many times as fast as the notebook end to end, and the 95th percentile of ms an image."""


def notebook(model_dir: Path, files: Sequence[Path], found_path: Path) -> dict[str, Any]:
    """Predict as notebooks do; return seconds of each image and of the model's call in it."""
    import pydicom
    import tensorflow as tf

    model = tf.saved_model.load(str(model_dir / exported.FILES[SAVED_MODEL]))
    signature = model.signatures["serving_default"]
    whole, inner, of_exams = [], [], {}
    for path in files:
        start = time.perf_counter()
        pixels = pydicom.dcmread(path).pixel_array
        image = tf.constant(np.stack([pixels] * 3, axis=-1)[np.newaxis])
        called = time.perf_counter()
        answer = {name: value.numpy() for name, value in signature(input_tensor=image).items()}
        done = time.perf_counter()
        height, width = pixels.shape
        of_exams[path.stem] = outputs.from_outputs(answer, 0, height=height, width=width)
        whole.append(time.perf_counter() - start)
        inner.append(done - called)
    detections.write_coco_results(found_path, of_exams)
    return {"intervals": whole[WARM:], "model": inner[WARM:], "alone": whole[WARM:]}


class Timed:
    """A detector whose calls are timed."""

    def __init__(self, detector: detectors.Detector) -> None:
        """Take the detector."""
        self.seconds: list[float] = []
        self._detector = detector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect."""
        start = time.perf_counter()
        boxes = self._detector.detect(pixels)
        self.seconds.append(time.perf_counter() - start)
        return boxes


def ours(model: Path, backend: str, dicom_dir: Path, files: Sequence[Path], found_path: Path) -> dict[str, Any]:
    """Predict as tools/predict.py does, and then one image at a time."""
    from pneumodet.inference.predict import predicting, reading

    opened: list[Timed] = []
    real = detectors.open

    def timed(*args: Any, **more: Any) -> Timed:
        opened.append(Timed(real(*args, **more)))
        return opened[-1]

    detectors.open = timed
    stamps: list[float] = []
    output = found_path.with_suffix(".out")
    how = {"max_images": 0, "progress": lambda total, done: lambda: stamps.append(time.perf_counter())}
    predicting.predict([model], dicom_dir, output, backend=backend, trust=True, **how)
    (output / "detections.json").rename(found_path)
    inner, alone = [seconds / reading.threads_of_machine() for one in opened for seconds in one.seconds], []
    detector = real(model, backend=backend, trust=True)
    for path in files:
        start = time.perf_counter()
        detector.detect(images.read_pixels(path))
        alone.append(time.perf_counter() - start)
    return {"intervals": np.diff(stamps[WARM - 1 :]).tolist(), "model": inner, "alone": alone[WARM:]}


def compare(reference: dict[str, Detections], other: dict[str, Detections]) -> dict[str, float]:
    """Compare two sets of detections, by exam.

    Returns:
      ``boxes`` of the reference, ``unmatched`` of both, the largest and mean difference of ``score`` and the least ``iou`` of matched ones.
    """
    boxes, unmatched, scores, overlaps = 0, 0, [], [1.0]
    for exam in reference.keys() | other.keys():
        one, two = (of_way.get(exam, Detections.none()) for of_way in (reference, other))
        boxes += len(one.above(SCORE))
        free = np.ones(len(two), bool)
        for box, score, category in zip(one.boxes_xyxy_px, one.scores, one.classes, strict=True):
            near = iou(box[np.newaxis], two.boxes_xyxy_px)[0] * free * (two.classes == category) if len(two) else np.zeros(1)
            best = int(near.argmax())
            if near[best] > MATCH_IOU:
                free[best] = False
                if score >= SCORE:
                    scores.append(abs(float(score) - float(two.scores[best])))
                    overlaps.append(float(near[best]))
            elif score >= SCORE:
                unmatched += 1
        unmatched += int((free & (two.scores >= SCORE)).sum())
    return {
        "boxes": boxes,
        "unmatched": unmatched,
        "largest score difference": max(scores, default=0.0),
        "mean score difference": statistics.fmean(scores) if scores else 0.0,
        "least IoU": min(overlaps),
    }


def figures(measured: dict[str, Any]) -> dict[str, float]:
    """Return ms an image and the model's share of one measurement."""
    intervals = np.array(measured["intervals"]) * 1000
    return {
        "end to end": float(intervals.mean()),
        "median": float(np.median(intervals)),
        "p95": float(np.percentile(intervals, 95)),
        "model": 1000 * sum(measured["model"]) / float(intervals.sum()),
        "alone": float(np.median(measured["alone"])) * 1000,
        "alone p95": float(np.percentile(measured["alone"], 95)) * 1000,
    }


def table(rounds: dict[str, list[dict[str, float]]]) -> str:
    """Return the table of all ways, each with the figures of its rounds."""
    lines = [
        "| way | end to end, ms | median | p95 | model | alone, ms | alone p95 | times the notebook |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, each in rounds.items():
        row = {name: statistics.median(one[name] for one in each) for name in each[0]}
        times = statistics.median(slow["end to end"] / fast["end to end"] for slow, fast in zip(rounds[NOTEBOOK], each, strict=True))
        lines.append(
            f"| {way} | {row['end to end']:.1f} | {row['median']:.1f} | {row['p95']:.1f} | {row['model']:.0%} | {row['alone']:.1f} | "
            f"{row['alone p95']:.1f} | {times:.2f} |"
        )
    return "\n".join(lines)


def goals(rounds: dict[str, list[dict[str, float]]]) -> str:
    """Return a sentence on what is to be reached, by the fastest way."""
    best = min((way for way in rounds if way != NOTEBOOK), key=lambda way: statistics.median(one["end to end"] for one in rounds[way]))
    times = statistics.median(slow["end to end"] / fast["end to end"] for slow, fast in zip(rounds[NOTEBOOK], rounds[best], strict=True))
    p95 = statistics.median(one["p95"] for one in rounds[best])
    reached = "reached" if times >= GOAL_TIMES and p95 < GOAL_P95_MS else "NOT reached"
    return f"{best}: {times:.2f} times the notebook (to reach: {GOAL_TIMES:g}), p95 {p95:.1f} ms (below {GOAL_P95_MS:g}): {reached}"


def run_one(args: argparse.Namespace, way: str, target: Path) -> dict[str, Any]:
    """Measure one way in a process of its own; return what it measured."""
    command = [sys.executable, __file__, "--model", args.model, "--dicom-dir", args.dicom_dir, "--one", way, "--target", target]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    return json.loads(target.with_suffix(".times.json").read_text())


def parser() -> argparse.ArgumentParser:
    """Return the benchmark's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", type=Path, required=True, help="folder made by tools/export.py, with a SavedModel")
    made.add_argument("--dicom-dir", type=Path, required=True, help="folder of gray 8-bit DICOM files, as RSNA's are")
    made.add_argument("--ways", nargs="+", help="formats to measure, and openvino (default: all of the export but int8)")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--json", type=Path, help="gets all figures")
    made.add_argument("--one", help=argparse.SUPPRESS)
    made.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    return made


def main(say: Callable[[str], None] = print) -> None:
    """Run and print."""
    args = parser().parse_args()
    files = sorted(args.dicom_dir.rglob("*.dcm"))
    if len(files) <= WARM:
        sys.exit(f"{args.dicom_dir} has {len(files)} files; more than {WARM} are needed.")
    for path in files:
        path.read_bytes()
    if args.one:
        model, openvino = exported.read(args.model), args.one == OPENVINO
        measured = (
            notebook(args.model, files, args.target)
            if args.one == NOTEBOOK
            else ours(model.path("onnx" if openvino else args.one), "openvino" if openvino else "auto", args.dicom_dir, files, args.target)
        )
        args.target.with_suffix(".times.json").write_text(json.dumps(measured))
        return
    there = list(exported.read(args.model).artefacts)
    more = [OPENVINO] if "onnx" in there and backends.available(OPENVINO) else []
    ways = [NOTEBOOK, *(args.ways or [*(name for name in there if "int8" not in name), *more])]
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    of_ways: dict[str, dict[str, Detections]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(args.rounds):
            for way in ways:
                target = Path(name) / f"{way}-{number}.json"
                rounds[way].append(figures(run_one(args, way, target)))
                of_ways[way] = detection_files.by_exam(target)
    say(f"{len(files)} files, medians of {args.rounds} rounds, {processes.cpus()} processors\n\n{table(rounds)}\n\n{goals(rounds)}\n")
    equal = {}
    for reference in (SAVED_MODEL, NOTEBOOK):
        for way in ways:
            if way != reference and reference in of_ways:
                equal[f"{way} against {reference}"] = one = compare(of_ways[reference], of_ways[way])
                say(
                    f"{way} against {reference}: {one['boxes']} boxes, {one['unmatched']} unmatched; scores differ by {one['mean score difference']:.5f} "
                    f"in the mean and {one['largest score difference']:.5f} at the most; least IoU {one['least IoU']:.4f}"
                )
    if args.json:
        args.json.write_text(json.dumps({"rounds": rounds, "equal": equal}, indent=1))


if __name__ == "__main__":
    main()
