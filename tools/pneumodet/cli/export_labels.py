"""Write the labels of a record set, and its images, in a format that other tools read."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import progress

EPILOG = """example:
  python tools/export_labels.py --data workspace/records/rsna --format voc --images --output-dir workspace/voc"""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("export_labels", __doc__, EPILOG)
    parser.add_argument("--data", type=console.existing_dir, required=True, help="folder of records, as make_tfrecords writes it")
    parser.add_argument(
        "--format",
        choices=("coco", "voc", "yolo", "csv", "rsna"),
        required=True,
        help="COCO instances, Pascal VOC, YOLO (with --images), the Object Detection API's classic CSV, or RSNA's CSV",
    )
    parser.add_argument("--output-dir", type=console.path, required=True, help="new folder for the labels")
    parser.add_argument("--images", action="store_true", help="write the images of the records too")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in --output-dir once the new one is whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Export, and say where the labels lie."""
    from pneumodet.data import label_export

    card = label_export.export_labels(
        args.data,
        args.output_dir,
        format=args.format,
        images=args.images,
        overwrite=args.overwrite,
        progress=lambda exams: progress.bar(exams, desc="reading records", unit="exam"),
    )
    labels = args.output_dir / card["labels"]
    exams, boxes, negatives = (
        console.counted(card[key], what) for key, what in (("exams", "exam"), ("boxes", "box"), ("negatives", "exam"))
    )
    console.out(f"Labels:  {labels} ({exams}, {boxes}, {negatives} without a finding)")
    if card["images"]:
        console.out(f"Images:  {args.output_dir / card['images']}")
    splits = args.output_dir / label_export.SPLIT
    console.out(f"Splits:  {splits}")
    images = args.output_dir / card["images"] if card["images"] else None
    # with the splits, or records made from these labels would be split anew
    again = f"--labels {console.quoted(labels)} --split-file {console.quoted(splits)} --output-dir {console.quoted(f'{args.output_dir}_records')}"
    way = (
        f"python tools/make_tfrecords.py --image-dir {console.quoted(images)} {again}"
        if images
        else f"python tools/make_tfrecords.py, with their images and {again}"
    )
    console.out(f"Next:    open the labels in another tool; records of them again: {way}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
