"""Find pneumonia on radiographs with an exported model, or with several that are fused: a folder of DICOMs, one file, or a PACS.

A classifier's export gives scores.csv, which is a gate for the boxes of a detector."""

import argparse
import collections
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.inference import BACKENDS

EPILOG = """examples:
  python tools/predict.py --model workspace/my_first/export --input data/rsna/stage_2_test_images --output-dir workspace/predictions
  python tools/predict.py --model workspace/a/export --model workspace/b/export --recipe workspace/fused/recipe.json --input … --output-dir …
  python tools/predict.py --model workspace/my_first/export --input "https://pacs.example/dicom-web/studies?StudyDate=20260101-" --output-dir …

The input: a folder, a ZIP archive, one DICOM or image file (PNG, JPEG, TIFF, BMP, WebP), or a DICOMweb URL that ends in /studies,
/studies/UID, /studies/UID/series/UID or /studies/UID/series/UID/instances/UID. Credentials come from the environment: PNEUMODET_PACS_USER and
PNEUMODET_PACS_PASSWORD, or PNEUMODET_PACS_TOKEN; PNEUMODET_PACS_CA names a file of certificates to trust. Radiographs are called by their
file names without suffix, by their paths below the input where a name occurs more than once, and as --labels call them.

A model of somebody else: take its ONNX or TFLite file, which only computes. A SavedModel is a program, and runs only with --trust-model or
where it was exported in your workspace (docs/security.md).

For research; not a medical device."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("predict", __doc__, EPILOG)
    parser.add_argument(
        "--model",
        type=console.model,
        action="append",
        required=True,
        help="folder made by python tools/export.py, one of the models in it, or the name of its run; again for each to fuse",
    )
    parser.add_argument(
        "--input",
        "--dicom-dir",
        "--image-dir",
        dest="input",
        metavar="INPUT",
        type=console.existing_path,
        required=True,
        help="folder, ZIP archive, one DICOM or image file, or DICOMweb URL",
    )
    parser.add_argument(
        "--output-dir", type=console.path, required=True, help="new folder for detections.json, submission.csv, images/ and more"
    )
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the model (default: the fastest that is installed)")
    console.add_trust(parser)
    parser.add_argument("--labels", type=console.existing_path, help="labels in any format of make_tfrecords: draws the ground truth too")
    parser.add_argument("--recipe", type=console.existing_file, help="post-processing (and views) chosen by python tools/postprocess.py")
    parser.add_argument("--tta", metavar="VIEWS", help="run on these views as well and fuse the detections: flip,scale=0.9 (0.5 to 1.5)")
    parser.add_argument("--gate", type=console.existing_file, help="image-level scores for the recipe: CSV patientId,score")
    parser.add_argument("--score-threshold", type=console.fraction, help="of tables, pictures and reports (default: the one in the model)")
    parser.add_argument(
        "--max-images",
        type=console.whole_number,
        default=100,
        help="pictures at the most, highest scores first (default %(default)s)",
    )
    parser.add_argument("--dicom-sr", action="store_true", help="write a DICOM structured report of each DICOM file")
    parser.add_argument("--gsps", action="store_true", help="write a DICOM presentation state: boxes that viewers lay over the radiograph")
    parser.add_argument("--dicom-sc", action="store_true", help="write a DICOM secondary capture: the radiograph with boxes burned in")
    parser.add_argument("--dicom-seg", action="store_true", help="write a DICOM segmentation: the masks of a model that has some")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions once the new ones are whole")
    parser.add_argument("--resume", action="store_true", help="resume where a killed or stopped command with the same options was")
    return parser


def run(args: argparse.Namespace) -> None:
    """Predict, and say where the results lie."""
    from pneumodet.api import predicting

    wanted = (("sr", args.dicom_sr), ("gsps", args.gsps), ("sc", args.dicom_sc), ("seg", args.dicom_seg))
    dicom = [kind for kind, asked in wanted if asked]
    summary = predicting.detected(
        args.model,
        args.input,
        args.output_dir,
        backend=args.backend,
        trust=args.trust_model,
        labels=args.labels,
        recipe=args.recipe,
        tta=args.tta,
        gate=args.gate,
        score_threshold=args.score_threshold,
        max_images=args.max_images,
        dicom=dicom,
        overwrite=args.overwrite,
        resume=args.resume,
    ).summary
    for caution in predicting.cautions(summary):
        console.err(f"warning: {caution}")
    for note in summary.notes:
        console.err(f"note: {note}")
    counted = console.counted
    for what, noted in summary.images.items():
        console.err(f"note: {counted(noted.radiographs, 'radiograph')}: {what} (the first: {noted.first})")
    for files, what in ((summary.refused, "left out"), (summary.problems, "without report")):
        # a folder of thousands of other files must not fill the terminal
        for name, reason in files[:5]:
            console.err(f"{what}: {name}: {reason}")
        if len(files) > 5:
            # by reason: a radiograph that cannot be read must not vanish among the files of a CD's viewer
            reasons = collections.Counter(reason for _, reason in files[5:]).most_common()
            counts = "; ".join(f"{count:,} x {reason.removesuffix('.')}" for reason, count in reasons[:5])
            console.err(f"… and {len(files) - 5} more, all in predictions.json: {counts}{'; …' if len(reasons) > 5 else ''}")
    resumed = f" ({summary.resumed} of them before)" if summary.resumed else ""
    console.out(
        f"{counted(summary.radiographs, 'radiograph')}{resumed}, {summary.positive} with pneumonia at score {summary.score_threshold:.4f} or more "
        f"({summary.threshold_source}); {counted(len(summary.refused), 'file')} left out; {summary.milliseconds:.0f} ms a radiograph by "
        f"{' and '.join(dict.fromkeys(summary.backends))}, reading and drawing included"
    )
    objects = ", dicom/" if dicom else ""
    console.out(f"Results: {args.output_dir} ({', '.join(summary.tables)}, images/, gallery.html{objects})")
    if summary.sheet:
        console.out(f"Picture: {summary.sheet}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
