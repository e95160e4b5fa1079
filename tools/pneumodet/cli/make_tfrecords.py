"""Turn radiographs (DICOM and image files) and boxes (RSNA, CSV, Pascal VOC, COCO) into TFRecords: train, val and test, by patient."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumodet.cli import console
from pneumodet.core import json_fields, paths, processes
from pneumodet.core.errors import ConfigError

if TYPE_CHECKING:
    from pneumodet.api import Records
    from pneumodet.data.manifest import Manifest

EPILOG = """examples:
  python tools/make_tfrecords.py --dicom-dir data/rsna/stage_2_train_images \\
    --labels data/rsna/stage_2_train_labels.csv --class-info data/rsna/stage_2_detailed_class_info.csv \\
    --patient-map data/rsna/pneumonia-challenge-dataset-mappings_2018.json --output-dir workspace/records/rsna
  python tools/make_tfrecords.py --verify workspace/records/rsna

The same command resumes where an earlier one was killed or stopped."""

REQUIRED = ("dicom_dir", "labels", "output_dir")


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("make_tfrecords", __doc__, EPILOG)
    group = parser.add_argument_group("input")
    add = group.add_argument
    add(
        "--dicom-dir",
        "--image-dir",
        type=console.existing_path,
        help="folder (or ZIP archive) of DICOM, PNG, JPEG, TIFF, BMP or WebP files, searched throughout",
    )
    add(
        "--labels",
        type=console.existing_path,
        help="RSNA's CSV, an 8-column CSV, Pascal VOC XML, COCO JSON, YOLO's data.yaml, or the file or folder of another data set's labels",
    )
    add(
        "--label-format",
        choices=("auto", "rsna", "csv", "voc", "coco", "yolo", "nih", "vindr", "siim", "chexpert", "folders"),
        default="auto",
        help="(default: by content)",
    )
    add(
        "--readers",
        default="union",
        metavar="WHOSE",
        help="where several readers drew (VinDr-CXR): union, intersection, fused, or one's id (R8) (default %(default)s)",
    )
    add(
        "--uncertain",
        choices=("positive", "negative", "leave-out"),
        default="leave-out",
        help="what uncertain findings are (CheXpert, MIMIC-CXR-JPG) (default %(default)s)",
    )
    add(
        "--image-level",
        choices=("keep", "leave-out"),
        default="keep",
        help="positive exams without boxes: for classifiers, or left out, for detectors (default %(default)s)",
    )
    console.add_class_map(group)
    add("--class-info", type=console.existing_file, help="CSV with patientId,class (RSNA's detailed class info)")
    add(
        "--match",
        choices=("auto", "file-name", "patient-id", "sop-instance-uid"),
        default="auto",
        help="what of a file is the id that the labels use (default: its name, else PatientID, else SOPInstanceUID)",
    )
    add("--label-map", type=console.existing_file, default=paths.DEFAULT_LABEL_MAP, help="(default label_maps/pneumonia.pbtxt)")
    add(
        "--negatives",
        choices=("background", "full-image"),
        default="background",
        help="exams without pneumonia: no boxes, or one of class 1",
    )
    add(
        "--quality", choices=("off", "report", "exclude"), default="off", help="search for blank, inverted, non-frontal and repeated images"
    )

    group = parser.add_argument_group("split")
    add = group.add_argument
    patient = group.add_mutually_exclusive_group()
    patient.add_argument(
        "--patient-map", type=console.existing_file, help="which patient each exam is of: CSV patientId,patient or RSNA's JSON"
    )
    patient.add_argument("--patient-tag", action="store_true", help="the patient is the file's PatientID (not in RSNA's files)")
    patient.add_argument("--patient-regex", metavar="REGEX", help="the patient is what this finds in the exam's id, or its first group")
    add("--val-fraction", type=console.fraction, default=0.15, help="share of patients for validation (default %(default)s)")
    add(
        "--test-fraction",
        type=console.fraction,
        default=0.15,
        help="share of patients for the test at the end, on whom nothing is chosen; 0 for none (default %(default)s)",
    )
    add(
        "--own-split",
        choices=("keep", "ignore"),
        default="keep",
        help="a data set's own train, val and test (Kermany's folders, data.yaml, lists beside the labels): kept unless there is a --split-file, or dealt "
        "by patient (default %(default)s)",
    )
    add(
        "--folds",
        type=console.whole_number,
        default=0,
        metavar="K",
        help="K folds of patients instead of train and val, each with a record set of its own; test stands aside",
    )
    add("--stratify", default="", metavar="NAMES", help="same share of each class,view,sex (any of them, by commas) in every split")
    add(
        "--split-file",
        type=console.existing_file,
        help="CSV patientId,split, such as an earlier set's split.csv; it decides for whom it names",
    )
    add("--seed", type=int, default=0, help="another seed gives another split (default %(default)s)")

    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--output-dir", type=console.path, help="new folder for the records")
    size = group.add_mutually_exclusive_group()
    size.add_argument("--max-side", type=console.positive_int, metavar="PX", help="scale larger images down, so that training reads less")
    size.add_argument("--for", dest="for_config", metavar="CONFIG", help="--max-side of twice the config's input size, room for cropping")
    add("--normalize", choices=("none", "histogram", "clahe"), default="none", help="of gray values (default %(default)s)")
    add("--masks", action="store_true", help="write a mask of each box, for Mask R-CNN")
    add("--pseudonymize", type=console.path, metavar="KEYFILE", help="replace ids by keyed hashes; a key file that is missing is made")
    add("--shard-mb", type=console.positive_int, default=128, help="input files that go into a shard, in MiB (default %(default)s)")
    add("--strict", action="store_true", help="stop at the first exam that cannot be used")
    add("--overwrite", action="store_true", help="replace an earlier record set in --output-dir once the new one is whole")
    add("--workers", type=console.positive_int, default=processes.cpus(), help="processes (default: one a processor, %(default)s)")
    add("--runner", help="convert on Apache Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner …; paths may then be URLs")
    parser.add_argument("beam_flags", nargs="*", metavar="-- BEAM FLAGS", help="the runner's own flags, after --")
    add("--verify", type=console.existing_dir, metavar="DIR", help="only check every byte of a record set")
    return parser


def run(args: argparse.Namespace) -> int | None:
    """Convert, and say what came out; or verify."""
    from pneumodet.data import record_sets
    from pneumodet.data.manifest import WITHOUT_A_BOX

    # before the required flags are checked: verifying needs none of them
    if args.verify:
        if args.dicom_dir or args.labels or args.output_dir:
            raise ConfigError("--verify only checks a record set that is there. Leave out the input and output, or --verify.")
        return _verify(args)
    # not required=True, since argparse would ask for them with --verify as well
    missing = ["--" + name.replace("_", "-") for name in REQUIRED if getattr(args, name) is None]
    if missing:
        raise ConfigError(f"Missing: {', '.join(missing)}. Try --help.")
    # without a runner a URL would be taken for a file that does not exist
    for_beam = [value for value in vars(args).values() if isinstance(value, str) and "://" in value] + args.beam_flags
    if for_beam and not args.runner:
        raise ConfigError(f"{for_beam[0]!r} is for Apache Beam (URLs, and flags after --). Give --runner, such as --runner DirectRunner.")
    records = _convert(args)
    manifest = records.manifest
    _table(manifest)
    counts = manifest.counts
    console.out(
        f"JPEG streams copied as they are: {counts.get('images_copied', 0)}, images decoded: {counts.get('images_decoded', 0)}, "
        f"boxes clipped at the edge: {counts.get('boxes_clipped', 0)}, repeated rows: {counts['duplicate_rows']}"
    )
    for name, count in counts.items():
        if name.startswith(("image: ", "labels: ")):
            console.out(f"{name.removeprefix('image: ')}: {count}")
    # one line a reason: thousands of exams may be left out for the same one
    for reason, items in manifest.skipped.items():
        console.out(f"skipped, {reason}: {len(items)} (first: {items[0]}); all are in {record_sets.MANIFEST}")
    if args.split_file:
        console.out(f"The split file decides for {manifest.split.given} exams by name, and for others of their patients.")
    if own := manifest.split.own:
        moved = manifest.split.own_moved or 0
        console.out(
            f"The data set's own split is kept: {', '.join(own)} (--own-split ignore deals all patients)."
            + (f" {console.counted(moved, 'exam')} of patients in several of its splits moved to test, or else to val." if moved else "")
        )
    for caution in records.warnings:
        console.err(f"warning: {caution}")
    console.out(f"Records: {args.output_dir}")
    if args.quality != "off":
        # no picture is drawn on Beam
        drawn = " and quality.png" if manifest.flagged and not args.runner else ""
        console.out(f"Quality: {args.output_dir}/quality.json{drawn}: {_quality(args, manifest)}")
    # each fold is a record set of its own
    data = f"{args.output_dir}/fold-0" if args.folds else args.output_dir
    if args.folds or manifest.splits["train"].exams:
        # a detector would refuse them
        if counts.get(f"labels: {WITHOUT_A_BOX}"):
            words = ["python tools/train_classifier.py --data", console.quoted(data), "--run my_first"]
        else:
            words = ["python tools/train.py --config ssd_mobilenet --data", console.quoted(data), "--run my_first"]
        console.out(f"Next:    {' '.join(words)}")
    return None


def _table(manifest: "Manifest") -> None:
    """Print what is in each split, with its share of all patients, and the positive exams' share of its exams."""
    patients = sum(split.patients for split in manifest.splits.values())
    console.out(f"{'split':8}{'exams':>8}{'patients':>10}{'of all':>8}{'positive':>10}{'of exams':>10}{'boxes':>8}{'shards':>8}")
    for name, split in manifest.splits.items():
        of_all, of_exams = (
            f"{part / whole:.1%}" if whole else "–" for part, whole in ((split.patients, patients), (split.positive_exams, split.exams))
        )
        people, positive = f"{split.patients:10}{of_all:>8}", f"{split.positive_exams:10}{of_exams:>10}"
        console.out(f"{name:8}{split.exams:8}{people}{positive}{split.boxes:8}{len(split.shards):8}")


def _quality(args: argparse.Namespace, manifest: "Manifest") -> str:
    """Return how many images are suspicious, and why; of a set that lies elsewhere only how many."""
    report = Path(args.output_dir) / "quality.json"
    # on Beam the output may be a URL, where the report is not read back
    if not report.is_file():
        return f"something found in {console.counted(manifest.flagged or 0, 'image')}"
    quality = json_fields.of_file(report, what="the report on quality", hint="Make the records again.")
    images = console.counted(quality.required("exams", int), "image")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in (quality.typed("counts", dict[str, int]) or {}).items() if count)
    return f"something found in {quality.required('suspicious', int):,} of {images} ({kinds})" if kinds else f"nothing found in {images}"


def _convert(args: argparse.Namespace) -> "Records":
    from pneumodet.api import converting
    from pneumodet.data import class_map

    return converting.convert(
        args.dicom_dir,
        labels=args.labels,
        output=args.output_dir,
        class_info=args.class_info,
        patient_map=args.patient_map,
        split_file=args.split_file,
        label_map=args.label_map,
        pseudonymize=args.pseudonymize,
        for_config=args.for_config,
        overwrite=args.overwrite,
        workers=args.workers,
        runner=args.runner,
        beam_flags=args.beam_flags,
        label_format=args.label_format,
        readers=args.readers,
        uncertain=args.uncertain,
        image_level=args.image_level,
        class_map=class_map.parse(args.class_map),
        match=args.match,
        patient_tag=args.patient_tag,
        patient_regex=args.patient_regex,
        val_fraction=args.val_fraction,
        test_fraction=args.test_fraction,
        own_split=args.own_split,
        folds=args.folds,
        stratify=[name.strip() for name in args.stratify.split(",") if name.strip()],
        seed=args.seed,
        negatives=args.negatives,
        max_side=args.max_side,
        normalize=args.normalize,
        masks=args.masks,
        quality=args.quality,
        shard_mb=args.shard_mb,
        strict=args.strict,
    )


def _verify(args: argparse.Namespace) -> int:
    from pneumodet.data import verification

    problems = verification.verify(args.verify, workers=args.workers)
    for problem in problems:
        console.err(f"make_tfrecords: {problem}")
    console.out(f"{args.verify} is {'damaged: make it again.' if problems else 'whole: every checksum is right.'}")
    return 2 if problems else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
