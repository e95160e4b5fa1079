"""Find pneumonia on a folder of DICOM radiographs with an exported model, or with several that are fused."""

import sys

from pneumodet import progress
from pneumodet.cli import app

EPILOG = """examples:
  python tools/predict.py --model workspace/my_first/export --dicom-dir data/rsna/stage_2_test_images --output-dir workspace/predictions
  python tools/predict.py --model workspace/a/export --model workspace/b/export --recipe workspace/fused/recipe.json --dicom-dir … --output-dir …

For research; not a medical device."""


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("predict", __doc__, EPILOG)
    parser.add_argument(
        "--model", type=app.existing_dir, action="append", required=True, help="folder made by tools/export.py; again for each to fuse"
    )
    parser.add_argument(
        "--dicom-dir", "--image-dir", type=app.existing_path, required=True, help="folder or ZIP archive of DICOM, PNG or JPEG files"
    )
    parser.add_argument("--output-dir", type=app.path, required=True, help="new folder for detections.json, submission.csv and images/")
    parser.add_argument("--labels", type=app.existing_file, help="CSV as for make_tfrecords: draws the ground truth too")
    parser.add_argument("--recipe", type=app.existing_file, help="post-processing (and views) found by tools/postprocess.py")
    parser.add_argument("--tta", metavar="VIEWS", help="look at these views as well and fuse what is found: flip,scale=0.9 (0.5 to 1.5)")
    parser.add_argument("--gate", type=app.existing_file, help="image-level scores for the recipe: CSV patientId,score")
    parser.add_argument("--score-threshold", type=app.fraction, help="of submission and pictures (default: the one in the model)")
    parser.add_argument("--max-images", type=app.whole_number, default=100, help="pictures to draw at the most (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions once the new ones are whole")
    return parser


def run(args) -> None:
    """Predict, and say where the results lie."""
    from pneumodet.detection import prediction

    summary = prediction.predict(
        args.model,
        args.dicom_dir,
        args.output_dir,
        labels=args.labels,
        recipe=args.recipe,
        tta=args.tta,
        gate=args.gate,
        score_threshold=args.score_threshold,
        max_images=args.max_images,
        overwrite=args.overwrite,
        progress=lambda files: progress.bar(files, desc="predicting", unit="radiograph"),
    )
    if summary.threshold_source == prediction.ASSUMED:
        print(
            f"warning: the model has no score threshold of its own; {summary.score_threshold} was used. Evaluate the run, export again, or give "
            "--score-threshold.",
            file=sys.stderr,
        )
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)
    for name, reason in summary.refused[:5]:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if len(summary.refused) > 5:
        print(f"… and {len(summary.refused) - 5} more, all in predictions.json", file=sys.stderr)
    print(
        f"{summary.radiographs} radiographs, {summary.positive} with pneumonia at score {summary.score_threshold:.4f} or more "
        f"({summary.threshold_source}); {len(summary.refused)} files left out; {summary.milliseconds:.0f} ms a radiograph"
    )
    print(f"Results: {args.output_dir} (detections.json, submission.csv, scores.csv, images/)")
    if summary.sheet:
        print(f"Look at: {summary.sheet}")


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
