"""Train a U-Net on masks of the boxes: where is pneumonia, px by px; or all variants of the reports, in one table."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console, outcomes, train_flags
from pneumodet.core import formatting, progress
from pneumodet.core.errors import ConfigError
from pneumodet.models.segmentation.settings import SegmenterSettings

EPILOG = """examples:
  python tools/train_segmenter.py --config unet_16_2conv_128 --data workspace/records/rsna --run my_unet
  python tools/train_segmenter.py --run my_unet --resume
  python tools/train_segmenter.py --config unet_16_2conv_128 --data workspace/records/rsna --run mine --set dropout=0.3 --set loss=focal+dice
  python tools/train_segmenter.py --table --data workspace/records/rsna --run reports
  python tools/train_segmenter.py --table unet_16_2conv_128 unet_resnet34_128 --data workspace/records/rsna --run two

Ctrl-C ends after the step at hand with a checkpoint; --resume, or the same --table command, continues exactly there.
In the run's folder: evaluation/ with metrics.json, masks.png, scores.csv and detections.json (boxes of the masks); curves.png, metrics.csv, best/, train/."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("train_segmenter", __doc__, EPILOG)
    groups = train_flags.add(
        parser,
        SegmenterSettings,
        configs="configs/segmentation/, or path of a .toml file",
        pretrained="run:NAME of a segmenter, a checkpoint's path, or a .weights.h5 file (default: new weights)",
        run="name of the run, its folder in workspace/; of a table's runs, it is the first part",
    )
    groups.what.add_argument(
        "--table",
        nargs="*",
        metavar="VARIANT",
        help="train all configs of configs/segmentation/, or those named, that are not yet; write table.md",
    )
    return parser


def overrides(args: argparse.Namespace) -> tuple[str, ...]:
    """Return KEY=VALUE of the flags that were given, and of --set."""
    return (*train_flags.given(args, train_flags.SHARED), *args.settings)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, and say where the results lie."""
    if not args.resume:
        console.say_where(args.run)
    # an empty list is --table without names: all variants
    if args.table is not None:
        return _table(args)
    from pneumodet.core import runs
    from pneumodet.training.families.segmentation import DETECTIONS, SHEET, Segmenter
    from pneumodet.training.keras import experiment

    request = experiment.Request(
        run=args.run, config=args.config, data=args.data, overrides=overrides(args), resume=args.resume, log_to=args.log_to
    )
    with progress.TrainingBar() as bar:
        folder, outcome, metrics = experiment.train(Segmenter(), request, on_start=bar.message, on_progress=bar.update)
    if not outcomes.print_trained(outcome, folder, resume=f"python tools/train_segmenter.py --run {args.run} --resume") or metrics is None:
        return 130
    outcomes.print_evaluation(metrics)
    _print_gain(metrics)
    into, data = folder / runs.EVALUATION, runs.read(folder).records().folder
    console.out(
        f"Results: {into / 'metrics.json'}\n         {into / SHEET} (truth dashed, detections solid, probability as heatmap)\n"
        f"         {into / 'scores.csv'} (for the gate: python tools/postprocess.py --gate)\n"
        f"Next:    python tools/evaluate.py --ground-truth {console.quoted(f'{data}/instances_val.json')} "
        f"--detections {console.quoted(into / DETECTIONS)} --output-dir {console.quoted(folder / 'evaluated')}\n         "
        + "\n         ".join([*outcomes.test_commands(args.run, metrics), f"tensorboard --logdir {console.quoted(folder)}"])
    )
    return 0


def _print_gain(metrics: dict) -> None:
    gain, prior = metrics["segmentation.gain"]["segmentation.iou"], metrics["segmentation.prior"]["segmentation.iou"]
    # lungs lie where they lie: an IoU means something only against a mask that sees no image
    if gain["low"] is not None:
        above = "above" if gain["low"] > 0 else "not shown to be above"
        difference = formatting.figure(gain)
        console.out(f"  IoU is {above} that of one fixed mask of the training exams, {prior['value']:.3f} (difference {difference}).")


def _table(args: argparse.Namespace) -> int:
    if args.config or args.resume:
        raise ConfigError("--table trains the configs that are named after it, and resumes by itself; leave --config and --resume out.")
    if args.data is None:
        raise ConfigError("--data is missing: a folder made by make_tfrecords.")
    from pneumodet.training.families import segmentation_table

    with progress.TrainingBar() as bar:
        folder, rows, complete = segmentation_table.run(
            args.run, data=args.data, variants=args.table, overrides=overrides(args), on_start=bar.message, on_progress=bar.update
        )
    if rows:
        console.out(segmentation_table.markdown(rows))
        console.out(f"Table:   {folder / segmentation_table.MARKDOWN}\n         {folder / segmentation_table.TABLE}")
    if not complete:
        console.err("Stopped before the end; nothing is lost. The same command resumes it.")
        return 130
    # the table has no paired differences between variants
    console.out(f"Next:    python tools/compare.py --runs {' '.join(row.folder.name for row in rows)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
