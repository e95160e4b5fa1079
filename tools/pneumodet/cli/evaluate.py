"""Measure a run, an exported model, several that are fused, or detections of any framework: metrics.json and report.html; any run on test."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pneumodet.cli import console, outcomes
from pneumodet.core import runs, split_use

if TYPE_CHECKING:
    from pneumodet.api import evaluating

EPILOG = """examples:
  python tools/evaluate.py --run my_first
  python tools/evaluate.py --run my_first --split test
  python tools/evaluate.py --model workspace/my_first/export --data workspace/records/other --output-dir workspace/on_other
  python tools/evaluate.py --run fold_0 --run fold_1 --data workspace/records/held_out --recipe workspace/fused/recipe.json --output-dir …
  python tools/evaluate.py --ground-truth instances.json --detections detections.json --output-dir workspace/evaluated

Ground truth may also be RSNA's label CSV, and detections a Kaggle submission."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("evaluate", __doc__, EPILOG)
    group = parser.add_argument_group("what is measured")
    add = group.add_argument
    add(
        "--run",
        action="append",
        help="name of a run: its best checkpoint (without one, its newest) on its validation records; again for each to fuse",
    )
    add("--model", type=console.model, action="append", help="an exported model, or the name of its run, on --data; again for each to fuse")
    console.add_trust(group)
    add("--data", type=console.existing_dir, help="record set (for --run by default the one that it was trained with)")
    add(
        "--split",
        default="val",
        help="of the record set: val, on which the checkpoint was chosen, or once at the end test (default %(default)s)",
    )
    add("--ground-truth", type=console.existing_path, help="labels in any format of make_tfrecords, or a record set (and --split)")
    add("--detections", type=console.existing_file, help="COCO results JSON, or a submission CSV; .gz and .zip, too")
    console.add_class_map(group)
    add("--class-name", default="pneumonia", help="the class that is evaluated (default %(default)s)")

    add = parser.add_argument_group("how").add_argument
    add("--rsna-rules", choices=("strict", "community"), default="strict", help="hit at IoU > t, or >= t (default %(default)s)")
    add("--score-threshold", type=console.fraction, help="chosen on other data (default: chosen for --aim on other patients of these data)")
    add("--aim", default="rsna", help='rsna, f1, "sensitivity>=0.9" or "fp_per_image<=0.5" (default %(default)s)')
    add("--compare", type=console.existing_file, help="another model's detections of the same images")
    add("--recipe", type=console.existing_file, help="post-processing (and views) chosen by python tools/postprocess.py")
    add("--tta", metavar="VIEWS", help="run on these views as well and fuse the detections: flip,scale=0.9 (0.5 to 1.5)")
    add("--gate", type=console.existing_file, help="image-level scores for the recipe: CSV patientId,score")
    add("--patient-map", type=console.existing_file, help="which patient each image is of (record sets know it themselves)")
    add("--facts", type=console.existing_file, help="CSV patientId,view_position,sex,age,rsna_class (any of them): slices")
    add("--class-info", type=console.existing_file, help="RSNA's detailed class info, with RSNA's label CSV")
    add(
        "--resamples",
        type=console.positive_int,
        default=1000,
        help="groups of patients left out in turn, and resamples, that intervals are made of (default %(default)s)",
    )
    add("--seed", type=int, default=0, help="of folds and resamples (default %(default)s)")

    add = parser.add_argument_group("output").add_argument
    add(
        "--output-dir",
        type=console.path,
        help="new folder for the results (for one --run by default its eval/, of the test split eval_test/; eval_processed/ with --recipe or --tta; "
        "eval_on_NAME/ on --data NAME that it was not trained with)",
    )
    add("--radiographs", type=console.existing_path, help="folder of images for the gallery, with --detections")
    add("--overwrite", action="store_true", help="replace earlier results in --output-dir")
    return parser


def run(args: argparse.Namespace) -> None:
    """Evaluate, and print a table."""
    from pneumodet.api import evaluating

    request = evaluating.Request(
        runs=args.run or (),
        models=args.model or (),
        ground_truth=args.ground_truth,
        detections=args.detections,
        radiographs=args.radiographs,
        data=args.data,
        output=args.output_dir,
        overwrite=args.overwrite,
    )
    # before the evaluation is imported, which takes a second
    request.check(tta=args.tta, class_map=args.class_map)
    from pneumodet.data import class_map
    from pneumodet.evaluation import chosen_on
    from pneumodet.evaluation.results import Options

    options = Options(
        threshold=args.score_threshold,
        aim=args.aim,
        rules=args.rsna_rules,
        resamples=args.resamples,
        seed=args.seed,
        compare=args.compare,
        recipe=args.recipe,
        tta=args.tta,
        gate=args.gate,
        patient_map=args.patient_map,
        facts=args.facts,
        class_info=args.class_info,
        class_map=class_map.parse(args.class_map),
        class_name=args.class_name,
        split=args.split,
        trust=args.trust_model,
    )
    result = evaluating.measured(request, options, say=console.err)
    if result.report is None:
        outcomes.print_evaluation(result.metrics)
        console.out(f"Results: {result.folder / runs.METRICS}")
        return
    _print(result)
    if args.run and args.data and not args.output_dir and chosen_on.ON_OTHERS in result.folder.name:
        console.out(
            f"         These records are not the run's own, so that the results have a folder of their own. The run's own figures stay in {runs.EVAL}/."
        )
    if args.run and len(args.run) == 1:
        _print_next(args, result)


def _print_next(args: argparse.Namespace, result: "evaluating.Result") -> None:
    # who exports an untrained model, or spends the test split on one, gains nothing
    if runs.untrained(args.run[0], result.metrics["checkpoint"]):
        console.out(f"Next:    python tools/train.py --run {args.run[0]} --resume")
        return
    tested = split_use.is_test(result.metrics)
    # the test changes nothing of what was exported before
    exported = tested and (runs.find(args.run[0]) / runs.EXPORT).is_dir()
    lines = [] if exported or result.metrics["postprocessing"] else [f"python tools/export.py --run {args.run[0]}"]
    # of the records that it was trained with
    if not tested:
        more = [f"--recipe {console.quoted(args.recipe)}"] if args.recipe else [f"--tta {args.tta}"] if args.tta else []
        lines += outcomes.test_commands(args.run[0], result.metrics, more)
    if lines:
        console.out("Next:    " + "\n         ".join(lines))


def _print(result: "evaluating.Result") -> None:
    from pneumodet.evaluation import leaks

    metrics, counted = result.metrics, console.counted
    console.out(
        f"{counted(metrics['images'], 'image')} of {counted(metrics['patients'], 'patient')}, {metrics['positive_images']:,} with findings, "
        f"{counted(metrics['boxes'], 'box')}, {counted(metrics['detections'], 'detection')}"
        + (f"; step {metrics['step']}" if "step" in metrics else "")
    )
    outcomes.print_figures_on(metrics)
    for name, value in result.rows():
        console.out(f"  {name:26}{value}")
    for line in result.without_interval():
        console.out(f"  {line}")
    threshold = metrics["rsna_threshold"]
    # below all of the folds it would seem an error
    below = "  (a little below the score that it was chosen by)" if metrics["operating_point"].get("threshold_is") else ""
    console.out(f"  {'threshold for new data':26}{'none' if threshold is None else f'{threshold:.4f}{below}'}")
    console.out(f"Operating point: {metrics['rsna_threshold_source']}")
    worst = metrics["slices"]["worst"]
    if worst:
        console.out(worst["sentence"])
    if metrics["comparison"]:
        console.out(f"RSNA metric: {metrics['comparison']['figures']['rsna_metric']['sentence']}")
    if statement := leaks.statement(metrics):
        console.out(statement)
    for warning in metrics["warnings"]:
        console.err(f"warning: {warning}")
    console.out(f"Report:  {result.report}\nMetrics: {result.folder / runs.METRICS}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
