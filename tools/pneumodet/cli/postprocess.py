"""Choose what is done with a detector's boxes (fusion, NMS, box scale, gate, thresholds) on validation detections, or apply what was chosen."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import formatting, progress
from pneumodet.core.errors import ConfigError

EPILOG = """examples:
  python tools/postprocess.py --ground-truth instances_val.json --detections workspace/my_first/eval/detections.json \\
      --gate classifier.csv --output-dir workspace/my_recipe
  python tools/postprocess.py --run fold_0 --run fold_1 --data workspace/records/held_out --tta flip,scale=0.9 --output-dir workspace/fused
  python tools/postprocess.py --recipe workspace/my_recipe/recipe.json --detections test.json --gate classifier_test.csv \\
      --output-dir workspace/my_test

Choosing writes recipe.json, table.json (what each step gains, on patients that had no part in the choice) and detections.json, in which each exam
was processed by what other patients gave, so that it may be evaluated on the same ground truth. Applying writes detections.json."""

FUSED = {"fusion": "fusing several models is", "views fused": "running on several views is"}

SMALLEST_LOSS = 5e-5
"""Of the objective: less is 0 in the table."""

OBJECTIVE_NAMES = {"rsna": "RSNA metric", "ap50": "AP50"}


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("postprocess", __doc__, EPILOG)
    parser.add_argument(
        "--ground-truth",
        type=console.existing_path,
        help="labels in any format of make_tfrecords, or a record set (and --split); needed to choose by --detections",
    )
    parser.add_argument(
        "--detections",
        type=console.existing_file,
        nargs="+",
        metavar="FILE",
        help="COCO results or submission CSVs; several are fused (runs, folds)",
    )
    parser.add_argument(
        "--run", action="append", help="instead: a run, whose best checkpoint (without one, its newest) detects; again for each to fuse"
    )
    parser.add_argument(
        "--tta", metavar="VIEWS", help="views that each --run detects on as well and that are fused: flip,scale=0.9 (0.5 to 1.5)"
    )
    console.add_class_map(parser)
    parser.add_argument("--data", type=console.existing_dir, help="record set for --run (default: the one that it was trained with)")
    parser.add_argument("--split", default="val", help="of the record set (default %(default)s)")
    parser.add_argument(
        "--gate", type=console.existing_file, metavar="CSV", help="patientId,score: image-level scores from 0 to 1, of a classifier"
    )
    parser.add_argument("--output-dir", type=console.path, required=True, help="new folder")
    parser.add_argument("--recipe", type=console.existing_file, metavar="JSON", help="apply this recipe instead of choosing one")
    parser.add_argument("--objective", choices=tuple(OBJECTIVE_NAMES), default="rsna", help="what to make highest (default %(default)s)")
    parser.add_argument(
        "--rsna-rules",
        choices=("strict", "community"),
        default="strict",
        help="strict: hit at IoU > t; community: IoU >= t (default %(default)s)",
    )
    parser.add_argument(
        "--patient-map", type=console.existing_file, help="which patient each exam is of, as in make_tfrecords (default: each of its own)"
    )
    parser.add_argument(
        "--folds", type=console.positive_int, default=5, help="groups of patients to choose and report on (default %(default)s)"
    )
    parser.add_argument("--seed", type=console.whole_number, default=0, help="of folds and intervals (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in --output-dir once the new one is whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Choose or apply, and say what came out."""
    _check(args)
    from pneumodet.data import class_map
    from pneumodet.evaluation import postprocess_files

    classes = class_map.parse(args.class_map)
    if args.recipe:
        counts = postprocess_files.apply_only(
            args.recipe,
            args.detections,
            args.output_dir,
            ground_truth=args.ground_truth,
            gate=args.gate,
            split=args.split,
            class_map=classes,
            overwrite=args.overwrite,
        )
        console.out(
            f"Detections: {args.output_dir / postprocess_files.DETECTIONS} ({counts['boxes_after']} of {console.counted(counts['boxes_before'], 'box')} left, "
            f"in {counts['exams_with_boxes']} of {console.counted(counts['exams'], 'exam')})"
        )
        return
    # what both ways of choosing take, by files and by runs
    how = {name: getattr(args, name) for name in ("gate", "patient_map", "objective", "folds", "seed", "overwrite")}
    with progress.counting("choosing", "step") as start:
        how |= {"rules": args.rsna_rules, "on_start": start}
        table = (
            _by_runs(args, how)
            if args.run
            else postprocess_files.tune(args.ground_truth, args.detections, args.output_dir, split=args.split, class_map=classes, **how)
        )
    _print(args, table)


def _by_runs(args: argparse.Namespace, how: dict) -> dict:
    from pneumodet.core import runs
    from pneumodet.inference.postprocess import views

    # before TensorFlow is imported: a wrong name of a view or run is refused at once
    names = views.parse(args.tta) if args.tta else views.ONLY_IDENTITY
    folders = [runs.find(name, family=runs.DETECTION) for name in args.run]
    from pneumodet.evaluation import detecting

    with progress.counting("detecting", "image") as start:
        return detecting.tune(folders, args.output_dir, views=names, data_dir=args.data, split=args.split, progress=start, **how)


def _check(args: argparse.Namespace) -> None:
    if bool(args.detections) == bool(args.run):
        raise ConfigError("Say whose boxes they are: one of --detections (files) and --run (runs, which then detect).")
    if args.run and len(set(args.run)) < len(args.run):
        raise ConfigError("A run is named twice. Name each run once.")
    if args.run and args.recipe:
        raise ConfigError(
            "--recipe applies to --detections. To run the detector and apply a recipe, use python tools/evaluate.py --run … --recipe."
        )
    if args.class_map and not args.ground_truth:
        raise ConfigError("--class-map is for the labels of --ground-truth; a record set has its classes already. Leave it out.")
    if args.run and args.ground_truth:
        raise ConfigError("--ground-truth does not go with --run: the record set has its own. Choose one by --data and --split.")
    if args.detections and (args.tta or args.data):
        flag = "--tta" if args.tta else "--data"
        raise ConfigError(f"{flag} goes with --run: detections in files are made already.")
    if args.detections and not args.recipe and not args.ground_truth:
        raise ConfigError("Nothing can be chosen without ground truth. Give --ground-truth, or --recipe to apply what was chosen before.")


def _print(args: argparse.Namespace, table: dict) -> None:
    from pneumodet.evaluation import postprocess_table

    counted = console.counted
    of = (
        counted(table["patients"], "patient")
        if table["patient_map"]
        else f"{counted(table['exams'], 'exam')}, each taken for a patient of its own"
    )
    console.out(f"{of}; {table['positive_exams']} of {counted(table['exams'], 'exam')} have pneumonia; {table['folds']} folds")
    wide = max(20, 2 + max(len(row["step"]) for row in table["rows"]))
    console.out(f"  {'step':{wide}}{OBJECTIVE_NAMES[table['objective']] + ' [95 %]':24}{'gain [95 %]':28}chosen on all patients")
    for row in table["rows"]:
        chosen = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row["chosen"].items()
        )
        gain = "" if row["gain"] is None else formatting.figure(row["gain"], form="+.4f")
        console.out(f"  {row['step']:{wide}}{formatting.figure(row['figure'], form='.4f'):24}{gain:28}{chosen}".rstrip())
    console.out(f"  {'all steps':{wide + 24}}{formatting.figure(table['total'], form='+.4f')}")
    console.out(postprocess_table.HELD_FIXED)
    for row in table["rows"]:
        # fusion is no choice: who gives several models or views gets them fused, whether or not it pays
        if row["step"] in FUSED and (row["gain"]["low"] is None or row["gain"]["low"] <= 0):
            console.out(
                f"note: that {FUSED[row['step']]} better is not shown by these exams; the recipe has it all the same, since it was asked for"
            )
    # steps that lose on held-out patients stay, since the recipe is the one that was measured; but they are named
    worse = [
        f"{row['step']} ({row['gain']['value']:+.4f})" for row in table["rows"] if row["gain"] and row["gain"]["value"] < -SMALLEST_LOSS
    ]
    if worse:
        falls = f"the {OBJECTIVE_NAMES[table['objective']]} falls with {', '.join(worse)}"
        console.out(f"note: {falls} on patients that had no part in the choice; the recipe has it all the same")
    for warning in table.get("warnings", ()):
        console.err(f"warning: {warning}")
    recipe = args.output_dir / "recipe.json"
    console.out(f"Recipe:  {recipe}\nTable:   {args.output_dir / 'table.json'}")
    if args.run:
        console.out(
            f"Next:    python tools/evaluate.py or python tools/predict.py with --recipe {console.quoted(recipe)} on other radiographs; views come with it"
        )
    else:
        gate = " and --gate SCORES.csv" if args.gate else ""
        console.out(
            f"Next:    on other radiographs: python tools/postprocess.py --recipe {console.quoted(recipe)} with "
            f"--detections DETECTIONS.json{gate}, --output-dir NEW"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
