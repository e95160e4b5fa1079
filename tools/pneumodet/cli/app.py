"""Serve a web page on this computer: drop radiographs, see boxes and scores, download them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumodet.cli import console
from pneumodet.core.errors import ConfigError
from pneumodet.inference import BACKENDS

EPILOG = """examples:
  python tools/app.py --model workspace/my_first/export
  python tools/app.py --model workspace/my_first/export --labels data/rsna/stage_2_train_labels.csv --port 8502

Open the address that it prints in a browser; Ctrl-C ends it. Only this computer reaches the page, and what is dropped there stays in memory.
For research; not a medical device."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("app", __doc__, EPILOG)
    parser.add_argument("--model", type=console.model, required=True, help="folder made by python tools/export.py, or the name of its run")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the model (default %(default)s)")
    console.add_trust(parser)
    parser.add_argument("--labels", type=_local_path, help="ground truth to draw: labels in any format that make_tfrecords reads")
    parser.add_argument(
        "--heatmap", type=console.existing_dir, help="folder with a PNG of each exam, 0004cfab.png, to lay over the radiograph"
    )
    parser.add_argument(
        "--address",
        type=_address,
        action="append",
        default=[],
        metavar="URL",
        help="address of a server of yours that passes requests on to the page, https://page.example; again for each (others are refused)",
    )
    parser.add_argument("--port", type=_port, default=8501, help="(default %(default)s)")
    return parser


def _local_path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; the page needs files of this computer")
    return Path(console.existing_path(text))


def _address(text: str) -> str:
    from pneumodet.apps.web import own_address

    try:
        own_address.addresses_of(0, [text])
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _port(text: str) -> int:
    value = console.positive_int(text)
    if value > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return value


def run(args: argparse.Namespace) -> None:
    """Check what was given, say where the page is, and serve it."""
    from pneumodet.apps.web import heatmaps, server, shared_model, truth
    from pneumodet.inference import detectors

    options = server.Options(args.model, args.backend, args.labels, args.heatmap, args.trust_model)
    # all that can be wrong is opened here first, so that it is one line on the terminal and no page of errors in a browser
    server.check_ready(args.port)
    shared_model.SharedModel(options.model)
    detectors.check_trusted(options.model, backend=options.backend, trust=options.trust)
    if options.labels:
        truth.of_file(options.labels)
    if options.heatmaps:
        heatmaps.Folder(options.heatmaps)
    # flushed, because serve blocks until Ctrl-C and a line in a buffer would not be seen before
    console.out(f"The page is at http://{server.LOOPBACK}:{args.port} (Ctrl-C ends it). For research; not for diagnosis.", flush=True)
    server.serve(options, port=args.port, addresses=args.address)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
