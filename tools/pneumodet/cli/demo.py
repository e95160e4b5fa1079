"""Run the whole workflow on radiographs made for it: DICOMs, records, training, metrics, export, detections, pictures."""

import argparse
import dataclasses
import time
from collections.abc import Sequence

from pneumodet import demo
from pneumodet.cli import console
from pneumodet.core import progress

EPILOG = f"""examples:
  python tools/demo.py             {demo.FULL.minutes} minutes on two processors
  python tools/demo.py --fast      as far as the evaluation, in about {demo.FAST.minutes}

It uses workspace/demo and replaces what an earlier demo left there."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    full, fast = demo.FULL, demo.FAST
    parser = console.Parser("demo", __doc__, EPILOG)
    parser.add_argument(
        "--fast", action="store_true", help="fewer, smaller radiographs, fewer steps of training, no export and no prediction"
    )
    parser.add_argument("--exams", type=console.positive_int, help=f"radiographs to make (default {full.exams}, with --fast {fast.exams})")
    parser.add_argument("--steps", type=console.positive_int, help=f"of training (default {full.steps}, with --fast {fast.steps})")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the demo, and name what to open."""
    started = time.monotonic()
    given = {name: value for name in ("exams", "steps") if (value := getattr(args, name))}
    scale = dataclasses.replace(demo.FAST if args.fast else demo.FULL, **given)
    made = demo.run(
        scale,
        seed=args.seed,
        # flushed: the commands write to the same terminal from processes of their own
        say=lambda text: console.out(text, flush=True),
        progress=lambda made: progress.bar(made, total=scale.exams, desc="drawing", unit="radiograph"),
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.out(f"\nDone in {minutes} min {seconds} s. The detector has learned synthetic opacities, nothing about patients. To open:")
    for name, path in made.items():
        console.out(f"{name + ':':<9}{path.absolute()}")  # to be opened by another program
    if args.fast:
        console.out("Next:    python tools/demo.py, which exports, predicts and tests as well")
        return
    console.out("Next:    the same with radiographs of patients: docs/guide/README.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
