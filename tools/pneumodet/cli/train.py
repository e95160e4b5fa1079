"""Train a detector on records made by make_tfrecords."""

import sys

from pneumodet import progress
from pneumodet.cli import app

EPILOG = """examples:
  python tools/train.py --config ssd_mobilenet --data workspace/data/rsna --run my_first
  python tools/train.py --config ssd_mobilenet --data workspace/data/rsna --run from_imagenet \\
    --fine-tune-checkpoint pretrained/mobilenet_v2/ckpt-1 --fine-tune-checkpoint-type classification
  python tools/train.py --run my_first --resume"""


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("train", __doc__, EPILOG)
    parser.add_argument("--config", help="name of a config in configs/, or path of a pipeline.config")
    parser.add_argument("--data", type=app.existing_dir, help="record set from make_tfrecords")
    parser.add_argument("--run", required=True, help="name of the run: its folder in workspace/")
    parser.add_argument("--steps", type=app.positive_int, help="train_config.num_steps; the learning-rate schedule is stretched with it")
    parser.add_argument("--batch-size", type=app.positive_int, help="train_config.batch_size; the learning rate is scaled with it")
    parser.add_argument("--learning-rate", type=app.positive_float, help="peak of the learning-rate schedule")
    parser.add_argument("--fine-tune-checkpoint", help="checkpoint to start from, up to and with ckpt-N")
    parser.add_argument(
        "--fine-tune-checkpoint-type",
        choices=("classification", "detection", "fine_tune", "full"),
        help="classification: a backbone; detection: a detector of other classes; full: of the same classes",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="any field of the config; may be repeated"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's newest checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default %(default)s)")
    parser.add_argument("--checkpoint-every", type=app.positive_int, default=500, metavar="STEPS", help="(default %(default)s)")
    return parser


def run(args) -> int:
    """Train, and say where the results lie."""
    from pneumodet import experiment

    with progress.TrainingBar() as bar:
        folder, outcome = experiment.train(args, on_start=bar.message, on_progress=bar.update)
    if outcome.restored:
        print(f"Started from {outcome.restored} variables of the fine-tune checkpoint.")
    if outcome.images_per_second:
        print(f"First step after {outcome.seconds_to_first_step:.0f} s; {outcome.images_per_second:.1f} images/s after it.")
    print(f"Run:     {folder} ({outcome.step} steps, checkpoint {outcome.checkpoint})")
    if not outcome.completed:
        print(f"Stopped before the end; nothing is lost. Go on: python tools/train.py --run {args.run} --resume", file=sys.stderr)
        return 130
    print(
        f"Next:    python tools/evaluate.py --run {args.run}\n"
        f"         python tools/export.py --run {args.run}\n"
        f"         tensorboard --logdir {folder}"
    )
    return 0


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
