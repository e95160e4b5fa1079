"""Turn a folder of DICOM radiographs and a CSV of boxes into TFRecords."""

import sys

from pneumodet import paths, progress
from pneumodet.cli import app

EPILOG = """example:
  python tools/make_tfrecords.py --dicom-dir data/rsna/stage_2_train_images \\
    --labels data/rsna/stage_2_train_labels.csv --class-info data/rsna/stage_2_detailed_class_info.csv \\
    --patient-map data/rsna/pneumonia-challenge-dataset-mappings_2018.json --output-dir workspace/data/rsna"""


def build_parser() -> app.Parser:
    """Return the command's parser."""
    parser = app.Parser("make_tfrecords", __doc__, EPILOG)
    parser.add_argument("--dicom-dir", type=app.existing_dir, required=True, help="folder of DICOM files, searched with its subfolders")
    parser.add_argument("--labels", type=app.existing_file, required=True, help="CSV with patientId,x,y,width,height,Target")
    parser.add_argument("--class-info", type=app.existing_file, help="CSV with patientId,class (RSNA's detailed class info)")
    parser.add_argument(
        "--patient-map", type=app.existing_file, help="which patient each exam is of: CSV patientId,patient or RSNA's mapping JSON"
    )
    parser.add_argument("--output-dir", type=app.path, required=True, help="new folder for the records")
    parser.add_argument("--val-fraction", type=app.fraction, default=0.2, help="share of patients for validation (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default %(default)s)")
    parser.add_argument(
        "--negatives",
        choices=("background", "full-image"),
        default="background",
        help="exams without pneumonia: no boxes, or one whole-image box of class 1 (default %(default)s)",
    )
    parser.add_argument("--label-map", type=app.existing_file, default=paths.DEFAULT_LABEL_MAP, help="(default label_maps/pneumonia.pbtxt)")
    parser.add_argument("--strict", action="store_true", help="stop at the first exam that cannot be used")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier record set in --output-dir once the new one is whole")
    return parser


def run(args) -> None:
    """Convert, and say what came out."""
    from pneumodet.data import conversion

    manifest = conversion.convert(
        args.dicom_dir,
        args.labels,
        args.output_dir,
        class_info=args.class_info,
        patient_map=args.patient_map,
        val_fraction=args.val_fraction,
        seed=args.seed,
        negatives=args.negatives,
        label_map_path=args.label_map,
        strict=args.strict,
        overwrite=args.overwrite,
        progress=lambda exams: progress.bar(exams, desc="converting", unit="exam"),
    )
    print(f"{'split':8}{'exams':>8}{'patients':>10}{'positive':>10}{'boxes':>8}{'shards':>8}")
    for name, split in manifest["splits"].items():
        numbers = (split["exams"], split["patients"], split["positive_exams"], split["boxes"], len(split["shards"]))
        print(f"{name:8}{numbers[0]:8}{numbers[1]:10}{numbers[2]:10}{numbers[3]:8}{numbers[4]:8}")
    counts = manifest["counts"]
    print(
        f"JPEG streams copied as they are: {counts.get('images_copied', 0)}, images decoded: {counts.get('images_decoded', 0)}, "
        f"boxes clipped at the edge: {counts.get('boxes_clipped', 0)}, repeated rows: {counts['duplicate_rows']}"
    )
    for reason, items in manifest["skipped"].items():
        print(f"skipped, {reason}: {len(items)} (first: {items[0]}); all are in {conversion.MANIFEST}")
    if manifest["split"]["by"] == conversion.BY_EXAM:
        print(
            "warning: split by patientId, which in RSNA's files is an exam; 4,355 of its patients have several exams, so that a patient may be in "
            "train and in val, and validation then flatters the model. Give --patient-map.",
            file=sys.stderr,
        )
    for name, split in manifest["splits"].items():
        if not split["positive_exams"]:
            print(f"warning: {name} has no exam with pneumonia.", file=sys.stderr)
    print(f"Records: {args.output_dir}\nNext:    python tools/train.py --config ssd_mobilenet --data {args.output_dir} --run my_first")


def main(argv=None) -> int:
    """Run the command; see ``app.run``."""
    return app.run(build_parser(), run, argv)
