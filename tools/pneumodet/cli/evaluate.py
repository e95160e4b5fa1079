"""Measure a run's newest checkpoint on its validation records."""

from pneumodet import progress
from pneumodet.cli import app

EPILOG = """example:
  python tools/evaluate.py --run my_first"""

ROWS = ("coco.pneumonia.AP", "coco.pneumonia.AP50", "coco.pneumonia.AP75", "coco.pneumonia.AR100", "coco.AP", "rsna_metric")


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("evaluate", __doc__, EPILOG)
    parser.add_argument("--run", required=True, help="name of the run: its folder in workspace/")
    parser.add_argument("--data", type=app.existing_dir, help="record set (default: the one that the run was trained with)")
    parser.add_argument(
        "--rsna-rules",
        choices=("strict", "community"),
        default="strict",
        help="strict: hit at IoU > t; community: IoU >= t (default %(default)s)",
    )
    parser.add_argument("--score-threshold", type=app.fraction, help="of the RSNA metric (default: the best one on these images)")
    return parser


def run(args) -> None:
    """Evaluate, and print a table."""
    from pneumodet import run_folder

    folder = run_folder.find(args.run)
    from pneumodet.detection import evaluation

    with progress.bar(desc="evaluating", unit="image") as bar:

        def start(total: int):
            bar.reset(total=total)
            return bar.update

        metrics = evaluation.evaluate(
            folder, data_dir=args.data, rules=args.rsna_rules, score_threshold=args.score_threshold, on_start=start
        )
    print(
        f"{metrics['images']} validation images, {metrics['positive_images']} with pneumonia, {metrics['boxes']} boxes; step {metrics['step']}"
    )
    for key in ROWS:
        value = metrics[key]
        print(f"  {key:24}{'  no boxes' if value is None else f'{value:10.4f}'}")
    threshold = metrics["rsna_threshold"]
    print(f"  {'at score threshold':24}{'         –' if threshold is None else f'{threshold:10.4f}'}  ({metrics['rsna_threshold_source']})")
    print(f"  {'highest score':24}{metrics['highest_score']:10.4f}")
    print(f"Metrics: {folder / run_folder.EVAL / run_folder.METRICS}\nNext:    python tools/export.py --run {args.run}")


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
