"""Do intervals hold the truth as often as they say, and do comparisons of equal models call a difference no oftener than they may?

    nice python benchmarks/coverage.py --out workspace/coverage --sets 400
    python benchmarks/coverage.py --out workspace/coverage --table                  # Markdown, for docs/results.md

Sets are drawn (``coverage_sets``): 25, 60, 200 and 1,000 patients, 5, 20 and 50 % of them positive, a weak and a strong detector, one exam a patient
or several. Two detectors of the same quality are evaluated on each by the library's own code, at their true best threshold (``fixed``) and at cross-fitted
ones (``fitted``), and compared. The truth is one very large set; of cross-fitted thresholds it is the mean over sets of what these thresholds truly give.

What is done is appended to ``OUT/CELL.jsonl``, a block of 50 sets a line, and not done again. Blocks have seeds of their own, so that their order and the
number of processes make no difference.
"""

import argparse
import dataclasses
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

from coverage_sets import IOU_THRESHOLDS, Cell, World, draw  # noqa: E402
from coverage_table import table  # noqa: E402

from pneumodet.core import paths  # noqa: E402
from pneumodet.core.errors import DataError  # noqa: E402
from pneumodet.data.cases import Cases  # noqa: E402
from pneumodet.evaluation.metrics import headline, operating_point, uncertainty  # noqa: E402
from pneumodet.evaluation.metrics.interval import Moved, Spread  # noqa: E402
from pneumodet.evaluation.metrics.refitted import KEYS, Refitted  # noqa: E402

PATIENTS = (25, 60, 200, 1000)
POSITIVE = (0.05, 0.2, 0.5)
BLOCK = 50
"""Sets a line of the output."""

AIM = "rsna"

CURVES = ("coco.pneumonia.AP50", "froc.mean_sensitivity", "froc.sensitivity_at_0.5", "image.roc_auc", "image.pr_auc")


def cells() -> list[Cell]:
    """Return all cells, those of small sets first."""
    return [
        Cell(patients, positive, detector, several)
        for patients in PATIENTS
        for several in (False, True)
        for detector in ("strong", "weak")
        for positive in POSITIVE
    ]


def moves(cases: Cases, threshold: float, *, resamples: int) -> tuple[dict[str, Moved], dict[str, Moved], np.ndarray | None]:
    """Return the figures at the fixed threshold, those at cross-fitted ones, and these, one a fold; nothing of these where there are too few patients."""
    fixed = headline.Figures(cases, score_threshold=threshold, iou_thresholds=IOU_THRESHOLDS)
    at_fixed = uncertainty.curve_moves(fixed, cases.patients, resamples=resamples) | uncertainty.ratio_moves(fixed.ratios, cases)
    at_fixed = {key: at_fixed[key] for key in (*CURVES, *KEYS)}
    try:
        folds = operating_point.patient_folds(cases)
    except DataError:
        return at_fixed, {}, None
    # the same as operating_point.cross_fitted gives (a test compares them), in a tenth of its time
    thresholds = Refitted(cases, AIM, folds=folds, candidates=len(cases.scores) + 1).thresholds()
    ratios = headline.at_threshold(cases, thresholds[folds][cases.box_case])
    return (
        at_fixed,
        uncertainty.ratio_moves(ratios, cases, uncertainty.Choice(AIM, folds), roc_auc=at_fixed["image.roc_auc"], resamples=resamples),
        thresholds,
    )


def one_set(rng: np.random.Generator, cell: Cell, world: World, *, resamples: int) -> dict[str, dict[str, list]]:
    """Return way -> figure -> the spread of two equal detectors and of their difference, and the true figures of their very thresholds where fitted."""
    a, b = (moves(cases, world.threshold, resamples=resamples) for cases in draw(rng, cell, models=2))
    done = {"fixed": {key: [_row(a[0][key]), _row(b[0][key]), _row(b[0][key].less(a[0][key])), None, None] for key in a[0]}}
    if a[2] is not None and b[2] is not None:
        true = [{key: float(np.mean(one)) for key, one in world.at(thresholds).items()} for thresholds in (a[2], b[2])]
        done["fitted"] = {
            key: [_row(a[1][key]), _row(b[1][key]), _row(b[1][key].less(a[1][key])), true[0][key], true[1][key]] for key in KEYS
        }
    return done


def _row(figure: Moved | Spread) -> list:
    spread = figure.spread if isinstance(figure, Moved) else figure
    return [None if isinstance(one, float) and np.isnan(one) else one for one in dataclasses.astuple(spread)]


def block(cell: Cell, number: int, *, world: World, resamples: int, sets: int = BLOCK) -> dict:
    """Return the line of one block."""
    rng = np.random.default_rng([*cell.name.encode(), number])
    start = time.process_time()
    rows = [one_set(rng, cell, world, resamples=resamples) for _ in range(sets)]
    return {"cell": cell.name, "block": number, "seconds": round(time.process_time() - start, 1), "sets": rows}


def run(cell: Cell, out: Path, *, sets: int, resamples: int, patients: int) -> None:
    """Do what is missing of a cell."""
    path = out / f"{cell.name.replace('/', '-')}.jsonl"
    done = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    if done * BLOCK >= sets:
        return
    world = World(cell, patients=patients)
    truth = {**world.curves(), **{key: float(one[0]) for key, one in world.at(np.array([world.threshold])).items()}}
    paths.write_json(path.with_suffix(".truth.json"), truth)
    for number in range(done, -(-sets // BLOCK)):
        line = block(cell, number, world=world, resamples=resamples)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{cell.name}: block {number}, {line['seconds']} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=400, help="a cell (default %(default)s)")
    parser.add_argument("--resamples", type=int, default=200, help="in which thresholds are chosen again (default %(default)s)")
    parser.add_argument("--world", type=int, default=100_000, help="patients of the set that is the truth (default %(default)s)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="cells by name, such as 60/0.2/weak/one", default=[])
    parser.add_argument("--table", action="store_true", help="print what is done")
    args = parser.parse_args()
    if args.table:
        print(table(args.out))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = [cell for cell in cells() if not args.only or cell.name in args.only]
    how = {"sets": args.sets, "resamples": args.resamples, "patients": args.world}
    if args.processes == 1:
        for cell in wanted:
            run(cell, args.out, **how)
        return
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for task in [pool.apply_async(run, (cell, args.out), how) for cell in wanted]:
            task.get()


if __name__ == "__main__":
    main()
