"""Train a detector on records made by make_tfrecords, evaluate it on the way, and keep the best checkpoint."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pneumodet.cli import console, outcomes, train_flags
from pneumodet.core import progress
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import choices
from pneumodet.models.options import FIND_LR_STEPS, Options, Plan

if TYPE_CHECKING:
    from pneumodet.training.families import detection

EPILOG = """examples:
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --pretrained coco
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --resume
  python tools/train.py --config faster_rcnn_resnet50 --data workspace/records/rsna --run other --batch-size auto --patience 5
  python tools/train.py --config ssd_mobilenet --data workspace/records/rsna --run my_first --find-lr"""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("train", __doc__, EPILOG)
    groups = train_flags.add(
        parser,
        Plan,
        configs="configs/ (configs/README.md), or path of a pipeline.config",
        data="record set from make_tfrecords (default: the records that the config itself names)",
        pretrained="coco, imagenet, none, a name of pretrained/registry.json, run:NAME (a detector's, or a classifier's for its backbone), or a "
        "checkpoint's path (default: what the config names, else coco, or imagenet where the zoo has no such detector)",
        batch_size=_batch_size,
        batch_help="images a step, or auto: what fits into memory; the learning rate is scaled with it",
        defaults_of_config=False,
    )
    add = groups.start.add_argument
    add("--fine-tune-checkpoint", metavar="PATH", help="the same, as a path up to and with ckpt-N")
    add(
        "--fine-tune-checkpoint-type",
        choices=choices.CHECKPOINT_TYPES,
        help="classification: a backbone; detection: a detector of other classes; full: of the same classes (default: by its variables)",
    )
    train_flags.add_freezing(groups.start)
    train_flags.add_anchors(groups.how)
    train_flags.add_recipe(groups.how)
    add = groups.how.add_argument
    add("--precision", choices=choices.PRECISIONS, help=f"of the computation, on GPUs that have it (default {Options.precision})")

    add = parser.add_argument_group("before a run").add_argument
    add("--find-lr", action="store_true", help="do not train; try rising learning rates and draw the losses")
    add("--find-lr-steps", type=console.positive_int, default=FIND_LR_STEPS, metavar="N", help="(default %(default)s)")
    add("--preview-augmentation", action="store_true", help="do not train; draw what augmentation does")
    return parser


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else console.positive_int(text)


def run(args: argparse.Namespace) -> int:
    """Train, and say where the results lie."""
    if not args.resume:
        console.say_where(args.run)
    from pneumodet.api import training
    from pneumodet.training.families import detection

    request = _request(args)
    # both take the place of training
    if args.find_lr and args.preview_augmentation:
        raise ConfigError("--find-lr and --preview-augmentation cannot be had at once; give one of them.")
    if args.resume and (args.find_lr or args.preview_augmentation):
        raise ConfigError(
            "--find-lr and --preview-augmentation belong before a run begins; leave --resume out, and give another --run name."
        )
    if args.preview_augmentation:
        console.out(f"Picture: {detection.preview(request, on_start=console.err)}")
        return 0
    if args.find_lr:
        return _find_rate(args, request)
    trained = training.started(request)
    folder, outcome = trained.folder, trained.outcome
    # as by Ctrl-C, so that a script does not evaluate a run that is not done
    if not outcomes.print_trained(outcome, folder, resume=f"python tools/train.py --run {args.run} --resume"):
        return 130
    console.out(
        f"Next:    python tools/evaluate.py --run {args.run}\n"
        f"         python tools/export.py --run {args.run}\n"
        f"         tensorboard --logdir {console.quoted(folder)}"
    )
    return 0


def _request(args: argparse.Namespace) -> "detection.Request":
    """Return what the flags ask for; each is written out, so that a flag without a field, or a field of another type, is an error of mypy."""
    from pneumodet.training.families import detection

    return detection.Request(
        run=args.run,
        config=args.config,
        data=args.data,
        resume=args.resume,
        log_to=args.log_to,
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        recipe=args.recipe,
        pretrained=args.pretrained,
        fine_tune_checkpoint=args.fine_tune_checkpoint,
        fine_tune_checkpoint_type=args.fine_tune_checkpoint_type,
        freeze=None if args.freeze is None else tuple(args.freeze),
        settings=tuple(args.settings),
        fit_anchors=args.fit_anchors,
        augmentation=args.augmentation,
        positive_share=args.positive_share,
        precision=args.precision,
        seed=args.seed,
        evaluate_every=args.evaluate_every,
        best_metric=args.best_metric,
        patience=args.patience,
        checkpoint_every=args.checkpoint_every,
        keep=args.keep,
        skip_corrupt=args.skip_corrupt,
    )


def _find_rate(args: argparse.Namespace, request: "detection.Request") -> int:
    from pneumodet.training.families import detection

    with progress.bar(total=args.find_lr_steps, desc="finding the learning rate", unit="step") as bar, progress.Download() as download:

        def advance(count: int) -> None:
            bar.update(count)

        rate, picture = detection.find_rate(
            request, steps=args.find_lr_steps, on_start=console.err, on_download=download.update, on_progress=advance
        )
    console.out(rate.reason)
    console.out(f"Curve:   {picture}")
    if rate.suggested is not None:
        console.out(f"Next:    the same command with --learning-rate {rate.suggested:.3g} instead of --find-lr")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
