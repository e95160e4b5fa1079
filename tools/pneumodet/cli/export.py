"""Export a detector's or classifier's best checkpoint as SavedModel, ONNX or TensorFlow Lite, and prove each file equal to it on the validation records."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumodet.cli import console

if TYPE_CHECKING:
    from pneumodet.inference.parity import Comparison, Parity, Reference

EPILOG = """examples:
  python tools/export.py --run my_first
  python tools/export.py --run my_first --formats onnx,tflite,tflite-fp16,tflite-int8
  python tools/export.py --run my_classifier --formats onnx,tflite"""

FORMATS = ("savedmodel", "onnx", "tflite", "tflite-fp16", "tflite-int8", "tflite-task")


def formats(text: str) -> tuple[str, ...]:
    """argparse type: names of formats, with commas between them."""
    # each format once, in the order given
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    wrong = [name for name in names if name not in FORMATS]
    if wrong:
        raise argparse.ArgumentTypeError(f"there is no format {wrong[0]!r}; there are {', '.join(FORMATS)}")
    return names


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("export", __doc__, EPILOG)
    add = parser.add_argument
    add("--run", required=True, help="name of the run: its folder in workspace/")
    add("--formats", type=formats, default=("savedmodel",), metavar="A,B", help=f"some of {', '.join(FORMATS)} (default: savedmodel)")
    add("--output-dir", type=console.path, help="folder (default: export/ in the run's folder); formats that are there already stay")
    add("--data", type=console.existing_dir, help="folder of the records (default: those that the run was trained with)")
    add("--recipe", type=console.existing_file, help="recipe.json of python tools/postprocess.py, to go with the model")
    add("--limit", type=console.positive_int, metavar="N", help="compare on N validation records, by class and view (default: all)")
    add("--no-parity", action="store_true", help="do not compare the files with the checkpoint")
    add("--overwrite", action="store_true", help="replace formats that are there once the new ones are whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Export, and say what is where and how near it is."""
    from pneumodet.api import training
    from pneumodet.core import runs
    from pneumodet.core.deadline import Deadline

    with Deadline(_cut_off):
        outcome = training.export(
            training.Run(runs.find(args.run)),
            formats=args.formats,
            output=args.output_dir,
            data=args.data,
            recipe=args.recipe,
            limit=args.limit,
            parity=not args.no_parity,
            overwrite=args.overwrite,
            on_measured=_print,
        )
    output_dir = outcome.folder
    if untrained := runs.untrained(args.run, outcome.card.checkpoint):
        console.err(f"warning: {untrained}")
    # without a threshold of its own a model draws boxes at an assumed one: said here, not only when it predicts
    if outcome.card.score_threshold is None:
        again = "evaluate.py --run {}" if outcome.card.has_boxes else "train_classifier.py --run {} --resume"
        console.out(
            f"This checkpoint was not evaluated, so that the export has no score threshold. Run first: python tools/{again.format(args.run)}"
        )
    files = ", ".join(artefact.file for artefact in outcome.card.artefacts.values())
    console.out(f"Model:   {output_dir} ({outcome.card.checkpoint}: {files})")
    # where the guide puts the challenge's files, so that the next command can be copied as it is
    given = "data/rsna/stage_2_test_images" if Path("data/rsna/stage_2_test_images").is_dir() else "FOLDER_OF_RADIOGRAPHS"
    app = f"python tools/app.py --model {console.quoted(output_dir)}\n         " if outcome.card.has_boxes else ""
    console.out(
        f"Next:    {app}python tools/predict.py --model {console.quoted(output_dir)} --input {given} "
        f"--output-dir {console.quoted(output_dir.parent / 'predictions')}"
    )


def _cut_off() -> str:
    """Remove what is unfinished, and return what is said of it: a converter may run for minutes without letting Python's handlers run."""
    from pneumodet.core import folders

    folders.discard()
    return "export: stopped in the midst of a conversion; nothing was changed."


def _print(parity: "Parity") -> None:
    # a figure may be undefined on few records, and so may its change
    def changed(value: float | None, change: float | None) -> str:
        return "–" if value is None or change is None else f"{value:.4f} ({_signed(change)})"

    def fixed(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    base = parity.reference
    head = (
        "file",
        "images",
        "MB",
        "score: largest",
        "mean",
        "box px: largest",
        "mean",
        "alike",
        "AP50",
        "RSNA metric",
        "nearby",
        "ms",
        "p95",
    )
    rows = [head, ("checkpoint", str(base.images), *[""] * 6, fixed(base.ap50, 4), fixed(base.rsna_metric, 4), "", *_times(base))]
    for name, one in parity.artefacts.items():
        differences = (
            f"{one.score_largest:.2g}",
            f"{one.score_mean:.2g}",
            fixed(one.box_largest_px, 2),
            fixed(one.box_mean_px, 3),
        )
        figures = (
            f"{one.alike:.1%}",
            changed(one.ap50, one.ap50_change),
            changed(one.rsna_metric, one.rsna_metric_change),
            _signed(one.rsna_metric_nearby_change),
        )
        rows.append((name, str(one.images), f"{(one.bytes or 0) / 1e6:.1f}", *differences, *figures, *_times(one)))
    # what a model has nothing of is no column: a classifier has no boxes
    shown = [column for column in range(len(head)) if any(row[column].strip("–") for row in rows[1:])]
    rows = [tuple(row[column] for column in shown) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(shown))]
    console.out(f"Against the checkpoint, on records of the split {parity.split}:")
    for row in rows:
        console.out(
            "  "
            + "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    from pneumodet.export import card

    for note in (card.tolerance_note(parity), card.parity_note(parity) if parity.reference.rsna_metric is not None else ""):
        if note:
            console.out(f"  {note}")
    nearby = "nearby: mean change of the RSNA metric at thresholds around the model's; " if "nearby" in rows[0] else ""
    console.out(f"  {nearby}ms: an image on this machine, median and 95th percentile")


def _signed(value: float | None) -> str:
    # the sum of -0.0 and 0.0 is 0.0, which is not printed with a minus
    return "–" if value is None else f"{value + 0.0:+.4f}"


def _times(row: "Reference | Comparison") -> tuple[str, str]:
    return f"{row.milliseconds or 0:.1f}", f"{row.milliseconds_p95 or 0:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
