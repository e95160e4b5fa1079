"""Explain a classifier: heatmaps by Grad-CAM or Grad-CAM++, weak boxes from them, and whether they lie where the findings are."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import formatting, progress

EPILOG = """examples:
  python tools/grad_cam.py --run my_classifier
  python tools/grad_cam.py --run my_classifier --data workspace/records/other --method grad-cam++ --output-dir workspace/explained

Into the output folder go heatmaps/PATIENTID.png (as python tools/app.py --heatmap takes them), overlays.jpg, detections.json (boxes around its large values,
which python tools/evaluate.py evaluates) and pointing.json. Figures are of exams with boxes, with 95 % intervals by patient, beside those of a heatmap that
is the same everywhere (chance), around the centre, and where exams of the other split have their boxes (spatial prior)."""

NAMES = {
    "pointing": "maximum in a box",
    "energy": "share inside boxes",
    "box_iou": "IoU of a box",
    "area_iou": "IoU of all boxes",
}

METHODS = ("grad-cam", "grad-cam++")


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("grad_cam", __doc__, EPILOG)
    parser.add_argument("--run", required=True, help="name of a run of python tools/train_classifier.py: its best checkpoint")
    parser.add_argument("--data", type=console.existing_dir, help="record set (default: the one that the run was trained with)")
    parser.add_argument("--split", choices=("val", "train", "test"), default="val", help="of the record set (default %(default)s)")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="(default %(default)s)")
    parser.add_argument(
        "--threshold",
        type=_share,
        help="share of a heatmap's maximum from which on it is inside a box, chosen on other data (default: for each exam on other patients)",
    )
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        default=15.0,
        metavar="PX",
        help="by which the maximum may miss a box, in px of the radiograph (default %(default)g)",
    )
    parser.add_argument("--resamples", type=console.positive_int, default=1000, help="of no effect any more: intervals are exact")
    parser.add_argument("--seed", type=console.whole_number, default=0, help="of folds (default %(default)s)")
    parser.add_argument("--output-dir", type=console.path, help="new folder (default: grad_cam or grad_cam_plus_plus in the run's folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result once the new one is whole")
    return parser


def _share(text: str) -> float:
    value = console.fraction(text)
    # every pixel reaches 0, so that the box would always be the whole image
    if value == 0:
        raise argparse.ArgumentTypeError("0 is not above 0: a threshold is a share of the maximum")
    return value


def _tolerance(text: str) -> float:
    # 0 is a tolerance too: the maximum itself must lie in the box
    return 0.0 if text == "0" else console.positive_float(text)


def run(args: argparse.Namespace) -> None:
    """Explain, and print a table."""
    from pneumodet.evaluation.classification import grad_cam_files

    options = grad_cam_files.Options(
        method=args.method,
        split=args.split,
        share=args.threshold,
        tolerance_px=args.tolerance,
        seed=args.seed,
    )
    with progress.bar(desc="explaining", unit="exam") as bar:

        def start(total: int):
            bar.reset(total=total)
            return bar.update

        outcome = grad_cam_files.explain(args.run, args.data, args.output_dir, options=options, overwrite=args.overwrite, progress=start)
    _print(outcome.report)
    folder = outcome.folder
    console.out(f"Written: {folder}: {', '.join((grad_cam_files.HEATMAPS, *grad_cam_files.FILES))}")
    console.out(
        f"Next:    python tools/evaluate.py --ground-truth {console.quoted(outcome.ground_truth)} "
        f"--detections {console.quoted(folder / grad_cam_files.DETECTIONS)} "
        f"--output-dir {console.quoted(f'{folder}_evaluated')}\n"
        f"         python tools/app.py --model workspace/MY_DETECTOR/export --heatmap {console.quoted(folder / grad_cam_files.HEATMAPS)}"
    )


def _print(report: dict) -> None:
    height, width = report["feature_map_hw"]
    console.out(
        f"{report['method']} of layer {report['layer']} ({height} x {width}); {console.counted(report['exams'], 'exam')} of "
        f"{console.counted(report['patients'], 'patient')}, {report['positive_exams']} with {console.counted(report['boxes'], 'box')}"
    )
    _print_table(report["figures"], report["method"])
    share, none = report["share"], report["without_heat"]
    low, high = share["lowest"], share["highest"]
    console.out(
        f"Weak boxes: {report['weak_boxes']}, cut off at {low:g}{'' if low == high else f' to {high:g}'} of the maximum ({share['source']})."
    )
    for warning in report["seen"]["warnings"]:
        console.err(f"warning: {warning}")
    if report["not_read"]:
        console.err(f"warning: {report['not_read']} records could not be read; they count as exams of which nothing is known.")
    if none["exams"]:
        exams = console.counted(none["exams"], "exam")
        console.out(
            f"Nothing speaks for pneumonia in {exams}, {none['positive_exams']} of them positive: such have an empty heatmap and no box."
        )


def _print_table(figures: dict, method: str) -> None:
    # the baselines that need no model: chance, centre, spatial prior
    others = [name for name in next(iter(figures.values())) if name != method]
    head = "".join(f"{name:13}{'method above it':25}" for name in others)
    console.out(f"  {'':24}{method + ' [95 %]':25}{head}".rstrip())
    for key, name in NAMES.items():
        row = figures[key]
        cells = "".join(
            f"{formatting.with_interval(row[other]['value'], None):13}{formatting.figure(row[other]['above'], form='+.3f'):25}"
            for other in others
        )
        console.out(f"  {name:24}{formatting.figure(row[method]):25}{cells}".rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
