"""Train a detector on records made by make_tfrecords, evaluate it on the way, and keep the best checkpoint."""

import argparse
import sys

from pneumodet import progress
from pneumodet.cli import console
from pneumodet.errors import ConfigError

EPILOG = """examples:
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --pretrained coco
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --resume
  python tools/train.py --config faster_rcnn_resnet50 --data workspace/records/rsna --run other --batch-size auto --patience 5
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --find-lr"""

METRICS = ("rsna_metric", "coco.pneumonia.AP50", "coco.pneumonia.AP", "froc.mean_sensitivity", "image.roc_auc")


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("train", __doc__, EPILOG)
    add = parser.add_argument_group("what").add_argument
    add("--config", help="name of a config in configs/ (configs/README.md), or path of a pipeline.config")
    add("--data", type=console.existing_dir, help="record set from make_tfrecords (default: the records that the config itself names)")
    add("--run", required=True, help="name of the run: its folder in workspace/")
    add("--resume", action="store_true", help="go on from the run's newest checkpoint, exactly where it was")

    add = parser.add_argument_group("where it starts from").add_argument
    add(
        "--pretrained",
        metavar="FROM",
        help="coco, imagenet, none, a name of pretrained/registry.json, run:NAME, or a checkpoint's path (default: what the config names; those of configs/ "
        "name none)",
    )
    add("--fine-tune-checkpoint", metavar="PATH", help="the same, as a path up to and with ckpt-N")
    add(
        "--fine-tune-checkpoint-type",
        choices=("classification", "detection", "fine_tune", "full"),
        help="classification: a backbone; detection: a detector of other classes; full: of the same classes (default: found out)",
    )
    add(
        "--freeze",
        action="append",
        default=[],
        metavar="PATTERN",
        help="do not train: stem, early (to stride 8), backbone, or a pattern of names; repeatable",
    )

    add = parser.add_argument_group("how it trains").add_argument
    add("--steps", type=console.positive_int, help="train_config.num_steps; the learning-rate schedule is stretched with it")
    add(
        "--batch-size",
        type=_batch_size,
        help="train_config.batch_size, or auto: what fits into memory; the learning rate is scaled with it",
    )
    add("--learning-rate", type=console.positive_float, help="peak of the learning-rate schedule")
    add("--augmentation", metavar="NAME", help="radiograph (default), none, or a .json file with ranges")
    add(
        "--positive-share", type=console.fraction, help="share of radiographs with pneumonia among the samples (default: as in the records)"
    )
    add("--fit-anchors", action="store_true", help="fit the anchors' scales and aspect ratios to the training set's boxes")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="any field of the config; repeatable")
    add(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the computation, on GPUs that have it (default %(default)s)",
    )
    add("--seed", type=int, default=0, help="of weights, order and augmentation (default %(default)s)")
    add("--skip-corrupt", action="store_true", help="leave corrupt records out, and count them")

    add = parser.add_argument_group("when it evaluates, saves and stops").add_argument
    add("--evaluate-every", type=console.whole_number, metavar="STEPS", help="0 for never (default: ten times a run)")
    add("--best-metric", choices=METRICS, default=METRICS[0], help="by which the best checkpoint is kept (default %(default)s)")
    add(
        "--patience",
        type=console.whole_number,
        default=0,
        metavar="N",
        help="stop after N evaluations without a better one (default: never)",
    )
    add("--checkpoint-every", type=console.positive_int, default=500, metavar="STEPS", help="(default %(default)s)")
    add(
        "--keep",
        type=console.positive_int,
        default=3,
        metavar="N",
        help="newest checkpoints that stay, beside the best (default %(default)s)",
    )

    add = parser.add_argument_group("look first").add_argument
    add("--find-lr", action="store_true", help="do not train; try rising learning rates and draw the losses")
    add("--find-lr-steps", type=console.positive_int, default=100, metavar="N", help="(default %(default)s)")
    add("--preview-augmentation", action="store_true", help="do not train; draw what augmentation does")
    return parser


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else console.positive_int(text)


def run(args: argparse.Namespace) -> int:
    """Train, and say where the results lie."""
    from pneumodet import experiment

    fields = {field: getattr(args, field) for field in experiment.Request.__dataclass_fields__}
    request = experiment.Request(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    if args.find_lr and args.preview_augmentation:
        raise ConfigError("--find-lr and --preview-augmentation are two things; ask for one of them.")
    if args.resume and (args.find_lr or args.preview_augmentation):
        raise ConfigError("--find-lr and --preview-augmentation look before a run begins; leave --resume out, and give another --run name.")
    if args.preview_augmentation:
        print(f"Picture: {experiment.preview(request, on_start=_say)}")
        return 0
    if args.find_lr:
        return _find_rate(args, request)
    with progress.TrainingBar() as bar, progress.Download() as download:
        folder, outcome = experiment.train(request, on_start=bar.message, on_progress=bar.update, on_download=download.update)
    if not console.print_trained(outcome, folder, go_on=f"python tools/train.py --run {args.run} --resume"):
        return 130
    print(
        f"Next:    python tools/evaluate.py --run {args.run}\n"
        f"         python tools/export.py --run {args.run}\n"
        f"         tensorboard --logdir {folder}"
    )
    return 0


def _find_rate(args: argparse.Namespace, request) -> int:
    from pneumodet import experiment

    with progress.bar(total=args.find_lr_steps, desc="finding the learning rate", unit="step") as bar, progress.Download() as download:
        more = {"on_start": _say, "on_download": download.update, "on_progress": bar.update}
        found, picture = experiment.find_rate(request, steps=args.find_lr_steps, **more)
    print(found.reason)
    print(f"Curve:   {picture}")
    if found.suggested is not None:
        print(f"Next:    the same command with --learning-rate {found.suggested:.3g} instead of --find-lr")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main(argv=None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
