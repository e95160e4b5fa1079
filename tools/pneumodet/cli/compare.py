"""Put runs of any kind into one table: the same exams, the same figures, intervals by patient and paired differences; and combine them."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.cli import console
from pneumodet.core import formatting, progress
from pneumodet.core.errors import ConfigError

EPILOG = """examples:
  python tools/compare.py --runs my_first my_unet my_classifier
  python tools/compare.py --runs my_first my_unet my_classifier --combine my_first --gate my_classifier --fuse my_unet --output-dir workspace/combined
  python tools/compare.py --runs my_first yolo=detections.json other=scores.csv --truth workspace/records/rsna --baseline yolo --overwrite

A run is named, or given as NAME=FOLDER; NAME=FILE is COCO results, a Kaggle submission, or a CSV patientId,score.
Writes comparison.html, comparison.md and comparison.json; --combine also writes combination/ with recipe.json for python tools/postprocess.py."""

COLUMNS = (("rsna_metric", "RSNA"), ("coco.pneumonia.AP50", "AP50"), ("image.roc_auc", "ROC AUC"), ("image.pr_auc", "PR AUC"))
"""Figures that are printed -> their short names."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("compare", __doc__, EPILOG)
    group = parser.add_argument_group("what is compared")
    add = group.add_argument
    add("--runs", nargs="+", required=True, metavar="RUN", help="names of evaluated runs, or NAME=PATH of a run's folder or a file")
    add(
        "--truth",
        type=console.existing_path,
        help="record set, or labels in any format of make_tfrecords (default: the records of the first run that knows its own)",
    )
    add("--split", default="val", help="of record sets (default %(default)s)")
    console.add_class_map(group)
    add("--patient-map", type=console.existing_file, help="which patient each exam is of (record sets know it themselves)")
    add("--common", action="store_true", help="where runs have different exams, compare on those that all have")
    add("--baseline", metavar="RUN", help="the run that the others are compared with (default: the first)")
    add(
        "--resamples",
        type=console.positive_int,
        default=1000,
        help="groups of patients left out in turn, and resamples, that intervals are made of (default %(default)s)",
    )
    add("--seed", type=console.whole_number, default=0, help="of folds and resamples (default %(default)s)")

    add = parser.add_argument_group("combination").add_argument
    add("--combine", metavar="DETECTOR", help="one of --runs: its boxes are post-processed, gated and fused, step by step")
    add("--gate", metavar="RUN", help="one of --runs, whose image-level scores gate the detector's boxes")
    add("--fuse", nargs="+", default=[], metavar="RUN", help="those of --runs whose boxes are fused with the detector's")
    add("--folds", type=console.positive_int, default=5, help="groups of patients to choose and report on (default %(default)s)")

    add = parser.add_argument_group("output").add_argument
    add("--output-dir", type=console.path, help="new folder (default: comparison/ in the workspace)")
    add("--overwrite", action="store_true", help="replace an earlier comparison in --output-dir once the new one is whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Compare, and print a table."""
    # console's path types let URLs through, which only the conversion on Beam can read
    remote = next((one for one in (args.truth, args.patient_map, args.output_dir) if isinstance(one, str)), None)
    if remote:
        raise ConfigError(f"{remote} is not on this machine. Copy it here, and name a file or folder.")
    if args.class_map and not args.truth:
        raise ConfigError("--class-map is for the labels of --truth; a record set has its classes already. Leave it out.")
    from pneumodet.core import paths
    from pneumodet.data import class_map
    from pneumodet.evaluation.compare import comparing

    output_dir = args.output_dir or paths.workspace_dir() / "comparison"
    request = comparing.Request(
        runs=tuple(args.runs),
        output_dir=output_dir,
        truth=args.truth,
        split=args.split,
        patient_map=args.patient_map,
        class_map=class_map.parse(args.class_map),
        baseline=args.baseline,
        common=args.common,
        detector=args.combine,
        gate=args.gate,
        fused=tuple(args.fuse),
        folds=args.folds,
        resamples=args.resamples,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    with progress.counting("comparing", "step") as start:
        result = comparing.compare(request, progress=start)
    _print(result)
    console.out(f"Written: {output_dir / comparing.PAGE}, {comparing.MARKDOWN}, {comparing.RESULT}")
    # what to do next: apply the recipe, or, where nothing was combined, try a gate
    if result["combination"]:
        from pneumodet.evaluation.compare import combining

        _print_recipe(result["combination"], output_dir / combining.FOLDER)
    else:
        with_boxes = [one["name"] for one in result["runs"] if "rsna_metric" in one["figures"]]
        others = [one for one in result["runs"] if with_boxes and one["name"] != with_boxes[0]]
        if others:
            # a gate ranks whole images, so that the run of the highest ROC AUC is proposed
            gate = max(others, key=lambda one: one["figures"]["image.roc_auc"]["value"] or 0)["name"]
            console.out(
                f"Next:    what a gate gains: {_again(args)} --combine {with_boxes[0]} --gate {gate} --output-dir "
                + console.quoted(f"{output_dir}_combined")
            )


def _print_recipe(combination: Mapping[str, Any], folder: Path) -> None:
    """Print where the recipe lies, and recommend what measured best: all steps, those of an earlier one, or none."""
    from pneumodet.evaluation.compare import combining

    recipe, best, last = folder / "recipe.json", combination["best_step"], len(combination["rows"]) - 1
    console.out(f"Recipe:  {recipe} (takes the boxes of {', '.join(combination['sources'])}, in this order)")
    if not best:
        console.out(f"Next:    use the boxes of {combination['detector']} as they are: no step of the combination pays on these exams")
        return
    # all steps are in recipe.json, with the boxes of all sources; fewer are in a file of their own, with the detector's alone
    chosen = recipe if best == last else folder / combining.BEST_RECIPE
    row = combination["rows"][best]
    gate = " and --gate SCORES.csv" if row["chosen"].get("gate", "none") != "none" else ""
    several = " ".join(f"{name}.json" for name in (combination["sources"] if best == last else [combination["detector"]]))
    console.out(
        f"Next:    on other radiographs: python tools/postprocess.py --recipe {console.quoted(chosen)} with --detections {several}{gate}, --output-dir NEW"
    )


def _again(args: argparse.Namespace) -> str:
    """Return the command that was given, as far as it says what is compared."""
    flags = {"--truth": args.truth, "--patient-map": args.patient_map, "--baseline": args.baseline}
    # a default is left out, so that the command stays short enough to copy
    flags |= {"--split": args.split if args.split != "val" else None}
    given = [part for flag, value in flags.items() if value for part in (flag, str(value))]
    given += [part for one in args.class_map for part in ("--class-map", one)]
    return shlex.join(["python", "tools/compare.py", "--runs", *args.runs, *given, *(["--common"] if args.common else [])])


def _print(result: dict) -> None:
    from pneumodet.evaluation.compare import sentences

    console.out(sentences.data(result))
    wide = max(len("run"), *(len(one["name"]) for one in result["runs"])) + 2
    console.out(f"  {'run':{wide}}" + "".join(f"{name + ' [95 %]':26}" for _, name in COLUMNS).rstrip())
    for one in result["runs"]:
        cells = (one["figures"].get(key) or {} for key, _ in COLUMNS)
        console.out(
            f"  {one['name']:{wide}}" + "".join(f"{formatting.figure(cell, form='.4f', undefined='–'):26}" for cell in cells).rstrip()
        )
    for line in sentences.without_interval(result, [key for key, _ in COLUMNS]):
        console.out(f"  {line}")
    for sentence in sentences.conclusions(result):
        console.out(sentence)
    for note in result["notes"]:
        console.out(f"note: {note}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
