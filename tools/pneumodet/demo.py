"""The whole workflow on radiographs that it makes itself: every step by the command that a user would type.

run(FULL)
run(FAST)               # smaller, and only to the evaluation, for a first look
"""

import dataclasses
import itertools
import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import invocation, paths, processes
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.core.formatting import counted
from pneumodet.models.detection import choices

NAME = "demo"
"""The demo's run, and so its folder in the workspace."""

MARKER = "demo.json"
"""A folder that has it was made by the demo, which may replace it."""

LEARNING_RATE = 0.05
"""Peak learning rate: higher than the config's, which is meant to start from a backbone."""

VAL_FRACTION = 0.25

TEST_FRACTION = 0.15

TESTED_EXAMS = 100
"""From so many radiographs on there is a test split at all: of fewer it would have a few patients, and training would miss them."""

SETTING = "model.ssd.image_resizer.fixed_shape_resizer"
"""What the demo changes in configs/ssd_mobilenet.config: smaller images, so that two processors are enough."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """How much the demo does.

    Attributes:
      exams: radiographs that are made.
      side_px: their height and width.
      input_px: height and width of the model's input.
      steps: of training.
      evaluations: on the way.
      compared: validation exams on which the export is compared with the checkpoint; 0 for no export and no prediction.
      minutes: that all of it takes on two processors that nothing else uses.
    """

    exams: int
    side_px: int
    input_px: int
    steps: int
    evaluations: int
    compared: int
    minutes: int


FULL = Scale(exams=160, side_px=640, input_px=160, steps=280, evaluations=2, compared=8, minutes=4)
FAST = Scale(exams=64, side_px=512, input_px=128, steps=200, evaluations=1, compared=0, minutes=2)


def run(
    scale: Scale,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> dict[str, Path]:
    """Make data, convert, train, evaluate, export and predict.

    Args:
      scale: how much of each.
      seed: of everything random.
      say: is called with what comes next, and with each command before it runs.
      progress: wraps the radiographs as they are made.

    Returns:
      What to open: "Report", "Picture" of predictions, "Test" report; the latter two where the scale has them.

    Raises:
      DataError: workspace/demo is something else than an earlier demo.
      PneumodetError: a command failed; it has said why.
      KeyboardInterrupt: Ctrl-C; the command has said what is kept.
    """
    from pneumodet.data import synthetic  # with pydicom, which --help does not need

    folder = _short(paths.run_dir(NAME))
    if folder.exists():
        # what is not an earlier demo's could be somebody's run of the same name, and the next line removes the folder
        if any(folder.iterdir()) and not (folder / MARKER).is_file():
            raise DataError(f"{folder} is not an earlier demo's folder (it has no {MARKER}). Rename it.")
        shutil.rmtree(folder)
    # first, so that a demo that is stopped halfway is still known as one and can be replaced
    paths.write_json(folder / MARKER, dataclasses.asdict(scale) | {"seed": seed})
    tested = scale.exams >= TESTED_EXAMS
    steps = 4 + 2 * bool(scale.compared) + tested
    say(f"{steps} steps, about {counted(scale.minutes, 'minute')} on two processors that nothing else uses. All files: {folder}")
    numbers = itertools.count(1)

    def step(title: str, name: str, *arguments: object) -> None:
        line = list(map(str, arguments))
        say(f"\n{next(numbers)}. {title}\n$ {invocation.command(name)} {shlex.join(line)}")
        command(name, line)

    say(f"\n{next(numbers)}. Data: {scale.exams} synthetic radiographs as DICOM files, and a CSV of boxes")
    source = synthetic.make_dataset(
        folder / "source", exams=scale.exams, seed=seed, size=scale.side_px, workers=processes.cpus(), progress=progress
    )
    labels = ("--labels", source.labels)
    records = folder / "records"
    step(
        f"Records: radiographs and boxes as TFRecords; each patient goes to {'training, validation or test' if tested else 'training or validation'}",
        "make_tfrecords",
        *("--dicom-dir", source.dicom_dir, *labels, "--class-info", source.class_info, "--patient-map", source.patient_map),
        # twice the input, as --for CONFIG would have it: training decodes each image many times
        *("--output-dir", records, "--val-fraction", VAL_FRACTION, "--test-fraction", TEST_FRACTION if tested else 0),
        *("--max-side", 2 * scale.input_px),
    )
    settings = [f"{SETTING}.{side}={scale.input_px}" for side in ("height", "width")]
    # a third of the channels learn drawings from nothing in half the time
    settings.append("model.ssd.feature_extractor.depth_multiplier=0.35")
    # from random weights everything changes fast in so few steps, and averages lag behind
    settings += choices.NO_AVERAGES
    step(
        "Training: a detector from random weights, which do for drawings; with your own data leave out --pretrained none",
        "train",
        *("--config", "ssd_mobilenet", "--data", records, "--run", NAME, "--pretrained", "none", "--fit-anchors", "--seed", seed),
        *("--steps", scale.steps, "--evaluate-every", -(-scale.steps // scale.evaluations), "--learning-rate", LEARNING_RATE),
        *(part for setting in settings for part in ("--set", setting)),
    )
    step("Evaluation: its best checkpoint on the validation patients, which chose it, and a threshold for it", "evaluate", "--run", NAME)
    made = {"Report": folder / "eval" / "report.html"}
    if scale.compared:
        step(
            "Export: the model as a folder of its own, compared with the checkpoint on some exams",
            "export",
            *("--run", NAME, "--limit", scale.compared),
        )
        # only exams that training has not seen, so that the pictures show what the detector can do
        validation = _copy_validation(source.dicom_dir, records, folder / "validation")
        predictions = folder / "predictions"
        step(
            "Prediction: the exported model on the validation patients' DICOM files; --labels only draws the truth beside",
            "predict",
            *("--model", folder / "export", "--input", validation, *labels, "--output-dir", predictions),
        )
        made["Picture"] = predictions / "overview.png"
    if tested:
        step(
            "Test: once, at the end, on patients that nothing was chosen on: the figures to report",
            "evaluate",
            "--run",
            NAME,
            "--split",
            "test",
        )
        made["Test"] = folder / "eval_test" / "report.html"
    return made


def command(name: str, arguments: Sequence[str]) -> None:
    """Run another command.

    Raises:
      PneumodetError: it failed, and has said why.
      KeyboardInterrupt: Ctrl-C; it has said what is kept.
    """
    # a process of its own, as a user's would be: TensorFlow's memory and settings do not pass from one step to the next
    with subprocess.Popen([*invocation.process(name), *arguments]) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C has reached the command, too, which says what is kept
            raise
    # the second while it imports
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise PneumodetError(f"The demo stopped because python tools/{name}.py failed (exit code {code}). Run 'python tools/doctor.py'.")


def _short(path: Path) -> Path:
    """Return a path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _copy_validation(dicom_dir: Path, records: Path, target: Path) -> Path:
    target.mkdir()
    images = json.loads((records / "instances_val.json").read_text(encoding="utf-8"))["images"]
    for image in images:
        shutil.copyfile(dicom_dir / f"{image['file_name']}.dcm", target / f"{image['file_name']}.dcm")
    return target
