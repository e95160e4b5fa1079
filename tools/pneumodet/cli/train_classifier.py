"""Train a classifier of whole radiographs: pneumonia or not, RSNA's three classes, or both; its scores are what the gate of postprocess takes."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console, outcomes, train_flags
from pneumodet.core import progress
from pneumodet.core.errors import ConfigError
from pneumodet.models.classification.settings import IMBALANCES, SMALLEST_SIDE, TASKS, ClassifierSettings

EPILOG = """examples:
  python tools/train_classifier.py --config mobilenetv2 --data workspace/records/rsna --run my_classifier
  python tools/train_classifier.py --backbone resnet50 --data workspace/records/rsna --run mine --pretrained resnet50_notop.h5
  python tools/train_classifier.py --config two_heads --data workspace/records/rsna --run both --class-info data/rsna/stage_2_detailed_class_info.csv
  python tools/train_classifier.py --run my_classifier --resume

Ctrl-C ends after the step at hand with a checkpoint; --resume continues exactly there.
In the run's folder: evaluation/ with metrics.json, scores.csv, roc.png, confusion.png; curves.png, metrics.csv, best/, train/."""

OWN = ("task", "class_info", "imbalance", "head_steps", "metadata")
"""Flags beside those of all training commands that are settings of the same name."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("train_classifier", __doc__, EPILOG)
    defaults = ClassifierSettings()
    groups = train_flags.add(
        parser,
        ClassifierSettings,
        configs="configs/classification/, or path of a .toml file",
        pretrained=f"imagenet (a download), none, an .h5 or .keras file, or for mobilenetv2 a path up to and with ckpt-N (default {defaults.pretrained})",
    )
    add = groups.what.add_argument
    add("--backbone", choices=tuple(SMALLEST_SIDE), help="the config of this name; beside --config, its backbone")
    add("--task", choices=TASKS, help=f"pneumonia or not; Normal, Not Normal, Lung Opacity; a head for each (default {defaults.task})")
    add("--class-info", type=console.existing_file, help="stage_2_detailed_class_info.csv, where the records do not know the classes")
    add("--metadata", action="store_true", help="give the model age, sex and view position besides")
    add = groups.how.add_argument
    add("--imbalance", choices=IMBALANCES, help=f"what is done about rare positives (default {defaults.imbalance})")
    add(
        "--head-steps",
        type=console.whole_number,
        help=f"first steps, in which the backbone is frozen; after them the peak is --set fine_tune_rate=… (default {defaults.head_steps})",
    )
    return parser


def overrides(args: argparse.Namespace) -> tuple[str, ...]:
    """Return KEY=VALUE of the flags that were given, and of --set."""
    given = train_flags.given(args, (*train_flags.SHARED, *OWN))
    # alone, --backbone names the config, which has the backbone in it
    if args.backbone and args.config:
        given.append(f"backbone={args.backbone}")
    return (*given, *args.settings)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, and say where the results lie."""
    if not args.resume:
        console.say_where(args.run)
    from pneumodet.core import runs
    from pneumodet.training.families.classification import Classifier
    from pneumodet.training.keras import experiment

    # other weights than the checkpoint has could not be restored
    if args.resume and args.backbone:
        raise ConfigError("--backbone does not go with --resume: the run continues as it was started.")
    config = args.config or (args.backbone and args.backbone.replace("-", "_"))
    request = experiment.Request(
        run=args.run, config=config, data=args.data, overrides=overrides(args), resume=args.resume, log_to=args.log_to
    )
    with progress.TrainingBar() as bar:
        folder, outcome, metrics = experiment.train(Classifier(), request, on_start=bar.message, on_progress=bar.update)
    # as by Ctrl-C, so that a script does not take scores of a run that is not done
    if not outcomes.print_trained(outcome, folder, resume=f"python tools/train_classifier.py --run {args.run} --resume") or metrics is None:
        return 130
    outcomes.print_evaluation(metrics)
    console.out(f"  {metrics['operating_point']['source']}")
    into = folder / runs.EVALUATION
    console.out(
        f"Results: {into / 'metrics.json'}\n         {into / 'roc.png'}, {into / 'confusion.png'}\n"
        f"         {into / 'scores.csv'} (for the gate: python tools/postprocess.py --gate)\n"
        + "\n         ".join(
            [
                f"Next:    python tools/grad_cam.py --run {args.run}",
                *outcomes.test_commands(args.run, metrics),
                f"tensorboard --logdir {console.quoted(folder)}",
            ]
        )
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
