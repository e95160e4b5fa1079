"""Download the RSNA Pneumonia Detection Challenge from Kaggle: 26,684 training and 3,000 test radiographs with labels, unpacked and checked."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console
from pneumodet.core import progress

EPILOG = """example:
  export KAGGLE_API_TOKEN=…           # made at https://www.kaggle.com/settings/api
  python tools/download_rsna.py --output-dir data/rsna

The client of Kaggle comes with the extra [kaggle]. The competition's rules must have been accepted once, in the browser: https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge/rules
The same command resumes where an earlier one was cut off, and does nothing where all is there. An archive that was downloaded in the browser is
taken, without credentials, where it lies beside --output-dir as rsna-pneumonia-detection-challenge.zip. Other files in --output-dir, such as RSNA's
list of patients, stay there. About 8 GB of disk are needed."""

MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
"""RSNA's list of which patient each exam is of."""

MAPPING_PAGE = "https://www.rsna.org/artificial-intelligence/ai-image-challenge/rsna-pneumonia-detection-challenge-2018"
"""Page on which RSNA publishes it."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("download_rsna", __doc__, EPILOG)
    parser.add_argument("--output-dir", type=console.path, required=True, help="folder for the files, such as data/rsna")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result that is no longer whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Download, and say what is there."""
    from pneumodet.data.kaggle import archive, fetching

    with progress.Download() as downloading, progress.bar(desc="unpacking", unit="B", unit_scale=True, delay=1) as unpacking:

        def unpacked(done: int, total: int) -> None:
            unpacking.total = total
            # the progress bar takes differences, the download counts from its start
            unpacking.update(done - unpacking.n)

        try:
            dataset = fetching.fetch(args.output_dir, overwrite=args.overwrite, on_download=downloading.update, on_unpack=unpacked)
        # Ctrl-C is no loss here, which the user should know before giving up on 8 GB
        except KeyboardInterrupt:
            raise KeyboardInterrupt("What has arrived is kept; the same command resumes from there.") from None
    for name, count in dataset.counts.images.items():
        console.out(f"{args.output_dir / name}: {count:,} DICOM files")
    console.out(f"{args.output_dir / fetching.LABELS}: {dataset.counts.label_rows:,} rows")
    if dataset.was_whole:
        console.out("All was there already; nothing was downloaded.")
    if dataset.archive:
        console.out(
            f"Archive: {dataset.archive} ({archive.gigabytes(dataset.archive.stat().st_size)}; no longer needed, you may remove it)"
        )
    mapping = args.output_dir / MAPPING
    # RSNA publishes the map on its own page, so that no download from Kaggle brings it
    if not mapping.is_file():
        console.out(
            f"The patient map, without which a split leaks, is not on Kaggle: take {MAPPING} from {MAPPING_PAGE} and put it into {args.output_dir}"
        )
    files = {
        "--dicom-dir": args.output_dir / "stage_2_train_images",
        "--labels": args.output_dir / fetching.LABELS,
        "--class-info": args.output_dir / "stage_2_detailed_class_info.csv",
        "--patient-map": mapping,
    }
    given = " ".join(f"{flag} {console.quoted(path)}" for flag, path in files.items())
    console.out(f"Next:    python tools/make_tfrecords.py {given} --output-dir workspace/records/rsna")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
