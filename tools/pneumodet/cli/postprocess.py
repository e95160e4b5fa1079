"""Choose what is done with a detector's boxes (fusion, NMS, box scale, gate, thresholds) on validation detections, or apply what was chosen."""

from pneumodet import progress
from pneumodet.cli import app

EPILOG = """examples:
  python tools/postprocess.py --ground-truth instances_val.json --detections workspace/my_first/eval/detections.json \\
      --gate classifier.csv --output-dir workspace/my_recipe
  python tools/postprocess.py --recipe workspace/my_recipe/recipe.json --detections test.json --gate classifier_test.csv \\
      --output-dir workspace/my_test

Choosing writes recipe.json, table.json (what each step gains, on patients that had no part in the choice) and detections.json, in which each exam
was processed by what other patients gave, so that it may be evaluated on the same ground truth. Applying writes detections.json."""

OBJECTIVE_NAMES = {"rsna": "RSNA metric", "ap50": "AP50"}


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("postprocess", __doc__, EPILOG)
    parser.add_argument("--ground-truth", type=app.existing_path, help="instances.json or other labels; needed to choose")
    parser.add_argument(
        "--detections",
        type=app.existing_file,
        nargs="+",
        required=True,
        metavar="JSON",
        help="COCO results; several are fused (runs, folds)",
    )
    parser.add_argument(
        "--gate", type=app.existing_file, metavar="CSV", help="patientId,score: image-level scores from 0 to 1, of a classifier"
    )
    parser.add_argument("--output-dir", type=app.path, required=True, help="new folder")
    parser.add_argument("--recipe", type=app.existing_file, metavar="JSON", help="apply this recipe instead of choosing one")
    parser.add_argument("--objective", choices=tuple(OBJECTIVE_NAMES), default="rsna", help="what to make highest (default %(default)s)")
    parser.add_argument(
        "--rsna-rules",
        choices=("strict", "community"),
        default="strict",
        help="strict: hit at IoU > t; community: IoU >= t (default %(default)s)",
    )
    parser.add_argument(
        "--patient-map", type=app.existing_file, help="which patient each exam is of, as in make_tfrecords (default: each of its own)"
    )
    parser.add_argument(
        "--folds", type=app.positive_int, default=5, help="groups of patients to choose and report on (default %(default)s)"
    )
    parser.add_argument("--seed", type=app.whole_number, default=0, help="of folds and intervals (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in --output-dir once the new one is whole")
    return parser


def run(args) -> None:
    """Choose or apply, and say what came out."""
    from pneumodet.errors import ConfigError
    from pneumodet.postprocessing import files

    if args.recipe:
        counts = files.apply_only(
            args.recipe, args.detections, args.output_dir, ground_truth=args.ground_truth, gate=args.gate, overwrite=args.overwrite
        )
        print(
            f"Detections: {args.output_dir / files.DETECTIONS} ({counts['boxes_after']} of {counts['boxes_before']} boxes left, "
            f"in {counts['exams_with_boxes']} of {counts['exams']} exams)"
        )
        return
    if not args.ground_truth:
        raise ConfigError("Nothing can be chosen without ground truth. Give --ground-truth, or --recipe to apply what was chosen before.")
    with progress.bar(desc="choosing", unit="step") as bar:

        def start(total: int):
            bar.reset(total=total)
            return lambda step: bar.update()

        table = files.tune(
            args.ground_truth,
            args.detections,
            args.output_dir,
            gate=args.gate,
            patient_map=args.patient_map,
            objective=args.objective,
            rules=args.rsna_rules,
            folds=args.folds,
            seed=args.seed,
            overwrite=args.overwrite,
            on_start=start,
        )
    unit = "patients" if table["patient_map"] else "exams, each taken for a patient of its own"
    print(f"{table['patients']} {unit}; {table['positive_exams']} of {table['exams']} exams have pneumonia; {table['folds']} folds")
    print(f"  {'step':20}{OBJECTIVE_NAMES[table['objective']] + ' [95 %]':24}{'gain [95 %]':28}chosen on all patients")
    for row in table["rows"]:
        chosen = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row["chosen"].items()
        )
        gain = "" if row["gain"] is None else _interval(row["gain"], "+.4f")
        print(f"  {row['step']:20}{_interval(row['figure'], '.4f'):24}{gain:28}{chosen}".rstrip())
    print(f"  {'all steps':44}{_interval(table['total'], '+.4f')}")
    print(f"Recipe:  {args.output_dir / 'recipe.json'}\nTable:   {args.output_dir / files.TABLE}")
    print(f"Next:    python tools/postprocess.py --recipe {args.output_dir / 'recipe.json'} --detections … on other radiographs")


def _interval(one: dict, format: str) -> str:
    value = f"{one['value']:{format}}"
    return value if one["low"] is None else f"{value} [{one['low']:{format}}, {one['high']:{format}}]"


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
