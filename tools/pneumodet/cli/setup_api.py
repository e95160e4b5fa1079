"""``pneumodet setup-api``: install the TensorFlow Object Detection API, with requirements that are true."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumodet.cli import console


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser(
        "setup-api",
        "Install the TensorFlow Object Detection API, which pip alone cannot install here: fetch its release from the package index (4 MB), check the "
        "bytes, pack it with the requirements that it has today, and install that. Training, evaluation and export of detectors need it; prediction "
        "does not.",
    )
    parser.add_argument(
        "--wheel-dir",
        type=Path,
        metavar="DIR",
        help="write the wheel here and install nothing: for a machine without network, where 'pip install --no-deps FILE' installs it",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Fetch, pack and install; say what comes next."""
    import tempfile

    from pneumodet.models.detection import odapi_wheel

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        console.out("Fetching " + ", ".join(f"{one.name} {one.version}" for one in odapi_wheel.ARCHIVES) + " …", flush=True)
        wheel = odapi_wheel.build(odapi_wheel.fetch(folder), args.wheel_dir or folder)
        if args.wheel_dir:
            console.out(f"Wheel:  {wheel}\nNext:   pip install --no-deps {wheel}")
            return
        console.out(f"Installing {wheel.name} …", flush=True)
        odapi_wheel.install(wheel)
    console.out(f"The Object Detection API is installed ({odapi_wheel.DISTRIBUTION} {odapi_wheel.VERSION}).\nNext:   pneumodet doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
