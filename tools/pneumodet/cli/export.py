"""Export a run's newest checkpoint as a SavedModel that needs no Object Detection API."""

from pneumodet.cli import app

EPILOG = """example:
  python tools/export.py --run my_first"""


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("export", __doc__, EPILOG)
    parser.add_argument("--run", required=True, help="name of the run: its folder in workspace/")
    parser.add_argument("--output-dir", type=app.path, help="new folder (default: export/ in the run's folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export once the new one is whole")
    return parser


def run(args) -> None:
    """Export, and say where it lies."""
    from pneumodet import run_folder

    folder = run_folder.find(args.run)
    output_dir = args.output_dir or folder / run_folder.EXPORT
    from pneumodet.detection import exporting

    card = exporting.export(folder, output_dir, overwrite=args.overwrite)
    if card["score_threshold"] is None:
        print(
            f"This checkpoint was not evaluated, so that the export has no score threshold. Run first: python tools/evaluate.py --run {args.run}"
        )
    print(
        f"Model:   {output_dir} ({card['checkpoint']})\nNext:    python tools/predict.py --model {output_dir} --dicom-dir … --output-dir …"
    )


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
