"""Report what is in a data set before anything is trained: classes, boxes, views, ages, issues, pictures."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import processes

EPILOG = """examples:
  python tools/explore.py --labels data/rsna/stage_2_train_labels.csv --class-info data/rsna/stage_2_detailed_class_info.csv \\
    --dicom-dir data/rsna/stage_2_train_images --patient-map data/rsna/pneumonia-challenge-dataset-mappings_2018.json
  python tools/explore.py --labels stage_2_train_labels.csv --headers stage_2_train_dicom_headers.csv.gz

The labels are enough for a report; each other file adds to it. All but DICOM files may be packed (.gz, .zip)."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("explore", __doc__, EPILOG)
    add = parser.add_argument
    add(
        "--labels",
        type=console.existing_path,
        required=True,
        help="RSNA's stage_2_train_labels.csv, or labels in any format of make_tfrecords",
    )
    add("--class-info", type=console.existing_file, help="RSNA's stage_2_detailed_class_info.csv: Normal, Not Normal, Lung Opacity")
    console.add_class_map(parser)
    add("--dicom-dir", type=console.existing_path, help="folder (or ZIP archive) of DICOM files: headers, pictures, identical pixels")
    add(
        "--headers", type=console.existing_file, help="CSV of header values (PatientID, PatientAge, PatientSex, ViewPosition, PixelSpacing)"
    )
    add("--patient-map", type=console.existing_file, help="which patient each exam is of: CSV patientId,patient or RSNA's JSON")
    add("--output-dir", type=console.path, help="new folder for the report (default workspace/exploration)")
    add("--overwrite", action="store_true", help="replace an earlier report in --output-dir once the new one is whole")
    add("--workers", type=console.positive_int, default=processes.cpus(), help="processes (default: one a processor, %(default)s)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Explore, and say what follows."""
    from pneumodet.api import exploring
    from pneumodet.data import class_map

    explored = exploring.explore(
        args.labels,
        class_info=args.class_info,
        images=args.dicom_dir,
        headers=args.headers,
        patient_map=args.patient_map,
        output=args.output_dir,
        class_map=class_map.parse(args.class_map),
        overwrite=args.overwrite,
        workers=args.workers,
    )
    figures = explored.figures
    counts = figures["classes"]
    rows, exams, boxes = (console.counted(counts[key], what) for key, what in (("rows", "row"), ("exams", "exam"), ("boxes", "box")))
    console.out(f"{rows}, {exams}, {counts['positive_exams']:,} with pneumonia, {boxes}")
    for sentence in explored.conclusions:
        console.out(f"- {sentence}")
    if figures["files"] and figures["files"]["faulty"]:
        console.out(f"Damaged: {console.counted(len(figures['files']['faulty']), 'DICOM file')}, listed in the report")
    console.out(f"Report:  {explored.report}\nNumbers: {explored.numbers}")
    console.out(f"Next:    {_next(args)}")


# conversion takes the same files, so that the next command can be written out
def _next(args: argparse.Namespace) -> str:
    flags = {
        "--dicom-dir": args.dicom_dir or "FOLDER",
        "--labels": args.labels,
        "--class-info": args.class_info,
        "--patient-map": args.patient_map,
    }
    flags_given = [(flag, value) for flag, value in flags.items() if value] + [("--class-map", one) for one in args.class_map]
    given = " ".join(f"{flag} {console.quoted(value)}" for flag, value in flags_given)
    return f"python tools/make_tfrecords.py {given} --output-dir workspace/records/rsna"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
