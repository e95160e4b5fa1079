"""Run the whole workflow on radiographs made for it: DICOMs, records, training, metrics, export, detections, pictures."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import progress

EPILOG = """example:
  python tools/demo.py

It uses workspace/demo and replaces what an earlier demo left there."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("demo", __doc__, EPILOG)
    parser.add_argument("--exams", type=console.positive_int, default=240, help="radiographs to make (default %(default)s)")
    parser.add_argument("--steps", type=console.positive_int, default=500, help="of training (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the demo, and name the picture to open."""
    from pneumodet import demo

    picture = demo.run(
        exams=args.exams,
        steps=args.steps,
        seed=args.seed,
        # flushed: the commands write to the same terminal from processes of their own
        say=lambda text: print(text, flush=True),
        progress=lambda items: progress.bar(items, desc="drawing", unit="radiograph"),
    )
    print(f"\nThe detector has learned synthetic opacities, nothing about patients. Open this picture:\n{picture}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
