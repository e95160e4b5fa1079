"""Train a classifier of whole radiographs: pneumonia or not, RSNA's three classes, or both; its scores are what the gate of postprocess takes."""

import argparse

from pneumodet import progress
from pneumodet.cli import console
from pneumodet.errors import ConfigError

EPILOG = """examples:
  python tools/train_classifier.py --config mobilenetv2 --data workspace/records/rsna --run my_classifier
  python tools/train_classifier.py --backbone resnet50 --data workspace/records/rsna --run mine --pretrained resnet50_notop.h5
  python tools/train_classifier.py --config two_heads --data workspace/records/rsna --run both --class-info data/rsna/stage_2_detailed_class_info.csv
  python tools/train_classifier.py --run my_classifier --resume

Ctrl-C ends after the step at hand with a checkpoint; --resume goes on exactly there.
In the run's folder: evaluation/ with metrics.json, scores.csv, roc.png, confusion.png; curves.png, metrics.csv, best/, train/."""

BACKBONES = ("resnet50", "inceptionv3", "vgg16", "vgg19", "mobilenetv2", "efficientnetv2b0", "resnet-scratch")

METRICS = ("image.roc_auc", "image.pr_auc")

FLAGS = (
    "pretrained",
    "task",
    "class_info",
    "imbalance",
    "steps",
    "head_steps",
    "batch_size",
    "learning_rate",
    "augmentation",
    "seed",
    *console.PAUSES,
)
"""Flags that are settings of the same name."""

FIGURES = {
    "image.roc_auc": "ROC AUC",
    "image.pr_auc": "PR AUC",
    "image.sensitivity": "recall",
    "image.specificity": "specificity",
    "image.precision": "precision",
    "image.f1": "F1",
    "classes.accuracy": "accuracy of 3 classes",
    "classes.macro_f1": "mean F1 of 3 classes",
}


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("train_classifier", __doc__, EPILOG)
    add = parser.add_argument_group("what").add_argument
    add("--config", help="name of a config in configs/classification/, or path of a .toml file")
    add("--backbone", choices=BACKBONES, help="the config of this name; beside --config, its backbone")
    add("--data", type=console.existing_dir, help="record set from make_tfrecords")
    add("--run", required=True, help="name of the run: its folder in workspace/")
    add("--resume", action="store_true", help="go on from the run's newest checkpoint, exactly where it was")
    add("--task", choices=("pneumonia", "three-class", "both"), help="pneumonia or not; Normal, Not Normal, Lung Opacity; a head for each")
    add("--class-info", type=console.existing_file, help="stage_2_detailed_class_info.csv, where the records do not know the classes")
    add("--metadata", action="store_true", help="give the model age, sex and view position besides")

    add = parser.add_argument_group("where it starts from").add_argument
    add(
        "--pretrained",
        metavar="FROM",
        help="imagenet (a download), none, an .h5 or .keras file, or for mobilenetv2 a path up to and with ckpt-N",
    )

    add = parser.add_argument_group("how it trains").add_argument
    add("--imbalance", choices=("class-weights", "focal", "balanced", "none"), help="what is done about rare positives")
    add("--steps", type=console.positive_int, help="in all")
    add("--head-steps", type=console.whole_number, help="first steps, in which the backbone is frozen")
    add("--batch-size", type=console.positive_int, help="images a step")
    add("--learning-rate", type=console.positive_float, help="peak of the schedule of the head; of the backbone: --set fine_tune_rate=…")
    add("--augmentation", metavar="NAME", help="radiograph, none, or a .json file with ranges")
    add("--seed", type=console.whole_number, help="of weights, order and augmentation")
    add("--skip-corrupt", action="store_true", help="leave corrupt records out, and count them")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="any key of the config; repeatable")
    console.add_pauses(parser, METRICS)
    return parser


def overrides(args: argparse.Namespace) -> tuple[str, ...]:
    """Return KEY=VALUE of the flags that were given, and of --set."""
    given = [f"{name}={getattr(args, name)}" for name in FLAGS if getattr(args, name) is not None]
    given += [f"{name}=true" for name in ("metadata", "skip_corrupt") if getattr(args, name)]
    if args.backbone and args.config:
        given.append(f"backbone={args.backbone}")
    return (*given, *args.settings)


def run(args: argparse.Namespace) -> int:
    """Train, judge, and say where the results lie."""
    from pneumodet.classification.family import Classifier
    from pneumodet.learning import experiment, runs

    if args.resume and args.backbone:
        raise ConfigError("--backbone does not go with --resume: the run goes on as it was started.")
    config = args.config or (args.backbone and args.backbone.replace("-", "_"))
    request = experiment.Request(run=args.run, config=config, data=args.data, overrides=overrides(args), resume=args.resume)
    with progress.TrainingBar() as bar:
        folder, outcome, metrics = experiment.train(Classifier(), request, on_start=bar.message, on_progress=bar.update)
    if not console.print_trained(outcome, folder, go_on=f"python tools/train_classifier.py --run {args.run} --resume"):
        return 130
    console.print_judged(metrics, FIGURES)
    print(f"  {metrics['operating_point']['source']}")
    into = folder / runs.EVALUATION
    print(
        f"Results: {into / 'metrics.json'}\n         {into / 'roc.png'}, {into / 'confusion.png'}\n"
        f"         {into / 'scores.csv'} (for the gate: tools/postprocess.py --gate)\n"
        f"Next:    python tools/grad_cam.py --run {args.run}\n"
        f"         tensorboard --logdir {folder}"
    )
    return 0


def main(argv=None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
