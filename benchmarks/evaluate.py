"""Time and memory of the metrics on a set of the challenge's size: COCO by several evaluators on the same input in turn, and everything else.

    python benchmarks/evaluate.py --exams 26684 --detections 100 --rounds 1
    python benchmarks/evaluate.py --only stock pycocotools coco_metrics        # against the evaluator of the Object Detection API itself
    python benchmarks/evaluate.py --only command                               # the whole command

Ground truth and detections are drawn by a fixed seed: as many positive exams and boxes as the challenge's labels have, detections of which
some are near a box, scores of a detector. Every measurement is a process of its own, in turn:

- ``pycocotools``, ``hotcoco``, and ``faster-coco-eval`` where it is installed: from COCO dicts in memory to the 12 numbers;
- ``stock``: the API's own ``CocoDetectionEvaluator``, fed with arrays image by image as its ``eval_continuously`` does, and its ``evaluate``;
  importing TensorFlow is not counted. Only where ``--only`` names it, for it takes minutes;
- ``coco_metrics``: ours by hotcoco, checks of the input and numbers for every class included;
- ``matching``, ``rsna``, ``froc``, ``average precision``, ``intervals``, ``compare``: on Cases;
- ``command``: the whole of ``tools/evaluate.py --ground-truth … --detections …``, report included, as a process of its own, on files with patients, view
  position, sex and age in them. Seconds, CPU seconds and the most memory are the process's, imports included. Only where ``--only`` names it;
  ``--keep FOLDER`` keeps the files and the results.

Printed are the median of seconds, the time against pycocotools, the most memory that the process held beyond its input, and COCO's numbers,
which have to agree; ``apart`` is their largest difference from the first evaluator's.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pneumodet.data.cases import Cases  # noqa: E402
from pneumodet.evaluation.metrics import average_precision, coco, froc, image_level, matching, rsna, uncertainty  # noqa: E402

BOXES_AN_EXAM = (0.775, 0.098, 0.1225, 0.0045)
"""Shares of exams with 0, 1, 2 and 3 boxes in the challenge's labels, rounded."""

CATEGORIES = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]


def draw(exams: int, detections: int, *, seed: int = 0) -> Cases:
    """Draw ``exams`` cases of 1024 px with ``detections`` each; 3 of 4 exams are of a patient of their own."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice(4, exams, p=BOXES_AN_EXAM)
    truth_case = np.repeat(np.arange(exams), sizes)
    corner = rng.integers(0, 600, (len(truth_case), 2))
    truth = np.concatenate([corner, corner + rng.integers(80, 420, corner.shape)], axis=1).astype(np.float64)
    box_case = np.repeat(np.arange(exams), detections)
    corner = rng.uniform(0, 700, (len(box_case), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(50, 320, corner.shape)], axis=1)
    scores = rng.beta(0.6, 8, len(box_case))
    near = truth_case * detections + rng.integers(0, detections, len(truth_case))
    boxes[near] = truth + rng.normal(0, 30, truth.shape)
    boxes[near, 2:] = np.maximum(boxes[near, 2:], boxes[near, :2] + 1)
    scores[near] = rng.beta(3, 4, len(near))
    order = np.lexsort((-scores, box_case))
    patients = rng.integers(0, exams * 3 // 4 + 1, exams)
    return Cases(tuple(f"{index:06d}" for index in range(exams)), patients, truth, truth_case, boxes[order], scores[order], box_case)


def as_coco(cases: Cases) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return COCO's instances and results, as parsed from JSON."""

    def rows(boxes_xyxy_px: np.ndarray, case: np.ndarray) -> list[dict[str, Any]]:
        xywh = np.concatenate([boxes_xyxy_px[:, :2], boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]], axis=1)
        return [{"image_id": c + 1, "category_id": 2, "bbox": box} for c, box in zip(case.tolist(), xywh.tolist(), strict=True)]

    annotations = rows(cases.truth_xyxy_px, cases.truth_case)
    for index, row in enumerate(annotations):
        row |= {"id": index + 1, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
    results = rows(cases.boxes_xyxy_px, cases.box_case)
    for row, score in zip(results, cases.scores.tolist(), strict=True):
        row["score"] = score
    images = [{"id": index + 1, "file_name": name, "width": 1024, "height": 1024} for index, name in enumerate(cases.names)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}, results


def by_pycocotools(instances: dict, results: list) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = instances
        truth.createIndex()
        return _summary(COCOeval(truth, truth.loadRes(results), "bbox"))


def by_faster_coco_eval(instances: dict, results: list) -> list[float]:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(instances)
        return _summary(COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=lambda *_: None))


def by_hotcoco(instances: dict, results: list) -> list[float]:
    from hotcoco import COCO, COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(instances)
        return _summary(COCOeval(truth, truth.load_res(results), "bbox"))


def _summary(run: Any) -> list[float]:
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [float(value) for value in run.stats[:12]]


def as_images(cases: Cases) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Return ground truth and detections of each image under the API's own keys, boxes as (N, 4) float64 yxyx px."""
    from pneumodet.models.detection import odapi  # here, because it brings TensorFlow, which no other measurement should hold

    odapi.load()

    def rows(prefix: str, boxes_xyxy_px: np.ndarray, case: np.ndarray, **more: np.ndarray) -> list[dict[str, np.ndarray]]:
        columns = {"boxes": boxes_xyxy_px[:, [1, 0, 3, 2]], "classes": np.full(len(case), 2), **more}
        ends = np.searchsorted(case, np.arange(len(cases) + 1))
        return [
            {f"{prefix}_{key}": values[start:end] for key, values in columns.items()} for start, end in zip(ends, ends[1:], strict=False)
        ]

    truth = rows("groundtruth", cases.truth_xyxy_px, cases.truth_case)
    return truth, rows("detection", cases.boxes_xyxy_px, cases.box_case, scores=cases.scores)


def by_stock(truth: list[dict[str, np.ndarray]], detections: list[dict[str, np.ndarray]]) -> list[float]:
    from object_detection.metrics.coco_evaluation import CocoDetectionEvaluator  # works once as_images has loaded the API

    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = CocoDetectionEvaluator(CATEGORIES)
        for number, (one, other) in enumerate(zip(truth, detections, strict=True), start=1):
            evaluator.add_single_ground_truth_image_info(number, one)
            evaluator.add_single_detected_image_info(number, other)
        return [float(value) for value in evaluator.evaluate().values()]  # in the order of COCO's summary


def by_coco_metrics(instances: dict, results: list) -> list[float]:
    metrics = coco.coco_metrics(instances, results)
    return [-1.0 if value is None else value for key, value in metrics.items() if key.startswith("coco.pneumonia.")]


STOCK, COMMAND = "stock", "command"
EVALUATORS: dict[str, Callable[[Any, list], list[float]]] = {
    STOCK: by_stock,
    "pycocotools": by_pycocotools,
    "faster-coco-eval": by_faster_coco_eval,
    "hotcoco": by_hotcoco,
    "coco_metrics": by_coco_metrics,
}
ON_CASES: dict[str, Callable[[Cases], Any]] = {
    "matching": lambda cases: matching.match(cases).hit.sum(),
    "rsna": lambda cases: np.nanmean(rsna.case_scores(cases, score_threshold=0.3)),
    "rsna threshold": rsna.case_threshold,
    "froc": lambda cases: froc.froc(cases)["froc.mean_sensitivity"],
    "image level": lambda cases: image_level.image_level(cases, score_threshold=0.3)["image.roc_auc"],
    "average precision": average_precision.average_precision,
    "intervals": lambda cases: uncertainty.intervals(cases, score_threshold=0.3)["figures"]["coco.pneumonia.AP50"]["high"],
    "compare": lambda cases: uncertainty.compare(cases, cases, thresholds=(0.3, 0.3))["figures"]["coco.pneumonia.AP50"]["high"],
}


def files_in(folder: Path) -> tuple[Path, Path]:
    """Return where the command's ground truth and detections are."""
    return folder / "instances.json", folder / "detections.json"


def write_files(cases: Cases, folder: Path, *, seed: int = 0) -> None:
    """Write the ground truth with what is known of exams, and the detections."""
    instances, results = as_coco(cases)
    rng = np.random.default_rng(seed)
    views, sexes = (rng.choice(values, len(cases)).tolist() for values in (["AP", "PA"], ["F", "M"]))
    ages = rng.integers(10, 95, len(cases)).tolist()
    for image, patient, view, sex, age in zip(instances["images"], cases.patients.tolist(), views, sexes, ages, strict=True):
        image |= {"patient": f"p{patient}", "view_position": view, "sex": sex, "age": age}
    folder.mkdir(parents=True, exist_ok=True)
    for path, value in zip(files_in(folder), (instances, results), strict=True):
        path.write_text(json.dumps(value))


def time_command(exams: int, detections: int, folder: Path, *, rounds: int) -> None:
    """Print what the command takes on the files of a folder, round by round; where they are not there, they are written first."""
    truth, results = files_in(folder)
    if not (truth.exists() and results.exists()):
        # in a process of its own, whose memory is not counted
        size = ["--exams", str(exams), "--detections", str(detections)]
        subprocess.run([sys.executable, __file__, "--write", str(folder), *size], check=True)
    given = ["--ground-truth", str(truth), "--detections", str(results)]
    command = [sys.executable, str(ROOT / "tools" / "evaluate.py"), *given, "--output-dir", str(folder / "results"), "--overwrite"]
    for _ in range(rounds):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone
        seconds, cpu, mib = time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        if status:
            raise SystemExit(f"The command ended with {os.waitstatus_to_exitcode(status)}.")
        metrics = json.loads((folder / "results" / "metrics.json").read_text())
        figures = f"{metrics['rsna_metric']} {metrics['coco.pneumonia.AP50']}"
        print(f"{COMMAND}: {seconds:.1f} s, {cpu:.1f} CPU s, {mib:.0f} MiB; {figures}", flush=True)


def measure(name: str, exams: int, detections: int) -> dict[str, Any]:
    """Run one measurement in this process."""
    given: tuple = (draw(exams, detections),)
    if name in EVALUATORS:
        given = as_images(given[0]) if name == STOCK else as_coco(given[0])
    run = EVALUATORS.get(name) or ON_CASES[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = run(*given)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "result": np.ravel(result).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exams", type=int, default=26_684)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", choices=[*EVALUATORS, *ON_CASES, COMMAND], default=[name for name in (*EVALUATORS, *ON_CASES) if name != STOCK]
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the command's files and results, which are used again")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_files(draw(args.exams, args.detections), args.write)
        return
    if COMMAND in args.only:
        with tempfile.TemporaryDirectory() as made:
            time_command(args.exams, args.detections, args.keep or Path(made), rounds=args.rounds)
        args.only = [name for name in args.only if name != COMMAND]
        if not args.only:
            return
    if args.one:
        print(json.dumps(measure(args.one, args.exams, args.detections)))
        return
    timed: dict[str, list[dict]] = {name: [] for name in args.only}
    for _ in range(args.rounds):
        for name in args.only:
            size = ["--exams", str(args.exams), "--detections", str(args.detections)]
            done = subprocess.run([sys.executable, __file__, "--one", name, *size], capture_output=True, text=True)
            if done.returncode:
                print(f"{name}: {(done.stderr.splitlines() or ['no message'])[-1]}", flush=True)
                continue
            timed[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {timed[name][-1]['seconds']:.2f} s", flush=True)
    base = statistics.median(one["seconds"] for one in timed["pycocotools"]) if timed.get("pycocotools") else None
    numbers = [runs[0]["result"] for name, runs in timed.items() if runs and name in EVALUATORS]
    print("| what | s | faster than pycocotools | MiB more | apart | result |\n| --- | ---: | ---: | ---: | ---: | --- |")
    for name, runs in timed.items():
        if runs:
            seconds, mib = (statistics.median(one[key] for one in runs) for key in ("seconds", "mib"))
            result = runs[0]["result"]
            ratio = f"{base / seconds:.1f}" if base and name in EVALUATORS else ""
            apart = f"{np.abs(np.subtract(result, numbers[0])).max():.1e}" if name in EVALUATORS else ""
            print(f"| {name} | {seconds:.2f} | {ratio} | {mib:.0f} | {apart} | {' '.join(f'{value:.9f}' for value in result)} |")


if __name__ == "__main__":
    main()
