"""``pneumodet COMMAND …``, or ``python -m pneumodet COMMAND …``: hands over to the command's own module.

main(["train", "--config", "ssd_mobilenet", "--data", "records", "--run", "first"])
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import pneumodet
from pneumodet.core import invocation, suggest

COMMANDS = {
    "download-rsna": "download the RSNA Pneumonia Detection Challenge from Kaggle",
    "explore": "a report of what is in a data set: classes, boxes, views, ages, issues, pictures",
    "make-tfrecords": "convert DICOMs and a CSV of boxes to TFRecords",
    "train": "train a detector on the records",
    "train-classifier": "train an image classifier on the records: ResNet, Inception, VGG, MobileNet, EfficientNet",
    "grad-cam": "explain a classifier by heatmaps, weak boxes and how well they localize",
    "train-segmenter": "train a U-Net on masks of the boxes, or the table of all its variants",
    "metadata-baseline": "what age, sex, view and spacing alone predict: the figure that every model has to beat",
    "tune": "search for the best optimizer, loss, learning rate, batch size or other fields",
    "evaluate": "measure a trained detector on the validation records: COCO AP and the RSNA metric",
    "export-labels": "write the labels of a record set as COCO, Pascal VOC or CSV",
    "compare": "put runs of any kind into one table, with intervals and paired differences",
    "postprocess": "choose box scale, NMS, fusion and gate on validation detections, or apply them",
    "export": "write a trained detector as SavedModel, ONNX or TensorFlow Lite, each proven equal",
    "predict": "detect on radiographs: COCO results, Kaggle submission, pictures, DICOM reports",
    "app": "serve a web page: drop radiographs, see boxes and scores, download them",
    "pacs-worker": "watch a PACS, predict new chest radiographs, store reports back",
    "demo": "run all of these on made-up radiographs",
    "setup-api": "install the Object Detection API, which training, evaluation and export need",
    "doctor": "show what is installed, what works, and how to fix what does not",
}
"""Name -> what it does; the module is the name with underscores. Only the chosen one is imported."""


def usage() -> str:
    """Return the text of ``--help``."""
    rows = "\n".join(f"  {name:<18}{text}" for name, text in COMMANDS.items())
    called = invocation.MODULE if invocation.form() == invocation.MODULE else invocation.PROGRAM
    return f"usage: {called} COMMAND [OPTIONS]\n\ncommands:\n{rows}\n\n{called} COMMAND --help lists a command's options."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; underscores and dashes are the same.

    Returns:
      The command's exit code; 2 where there is no such command.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv:
        print(usage(), file=sys.stderr)
        return 2
    name, rest = argv[0], argv[1:]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"pneumodet {pneumodet.__version__} ({Path(pneumodet.__file__).parent})")
        return 0
    # the scripts in tools/ have underscores in their names: both spellings work
    command = name.replace("_", "-")
    if command not in COMMANDS:
        hint = suggest.sentence(command, COMMANDS, otherwise="Commands")
        print(f"pneumodet: error: there is no command {name!r}. {hint}", file=sys.stderr)
        return 2
    # imported only now: TensorFlow alone takes seconds, and most commands do not need it
    return importlib.import_module(f"pneumodet.cli.{command.replace('-', '_')}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
