"""The whole workflow on radiographs that it makes itself: every step by the command that a user would type.

run(exams=240, steps=450)
"""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pneumodet.core import invocation, paths
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.data import synthetic

NAME = "demo"
"""The demo's run, and so its folder in the workspace."""

MARKER = "demo.json"
"""A folder that has it was made by the demo, which may replace it."""

INPUT_PX = 224
"""Height and width of the input: smaller than the config's 320, so that a laptop is done in minutes."""

SETTINGS = (
    f"model.ssd.image_resizer.fixed_shape_resizer.height={INPUT_PX}",
    f"model.ssd.image_resizer.fixed_shape_resizer.width={INPUT_PX}",
)
"""What the demo changes in configs/ssd_mobilenet.config: it learns from nothing, without a backbone, in few steps."""

LEARNING_RATE = 0.05
"""Peak learning rate: higher than the config's, which is meant to start from a backbone."""


def run(
    *,
    exams: int = 240,
    steps: int = 500,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> Path:
    """Make data, convert, train, evaluate, export and predict.

    Args:
      exams: radiographs to make.
      steps: of training.
      seed: of everything random.
      say: is called with each command before it runs.
      progress: wraps the radiographs that are made.

    Returns:
      The picture to open.

    Raises:
      DataError: workspace/demo is something else than an earlier demo.
      PneumodetError: a command failed; it has said why.
    """
    folder = paths.run_dir(NAME)
    if folder.exists():
        # what is not an earlier demo's could be somebody's run of the same name, and the next line removes the folder
        if any(folder.iterdir()) and not (folder / MARKER).is_file():
            raise DataError(f"{folder} is not an earlier demo's folder (it has no {MARKER}). Rename it.")
        shutil.rmtree(folder)
    # first, so that a demo that is stopped halfway is still known as one and can be replaced
    paths.write_json(folder / MARKER, {"exams": exams, "steps": steps, "seed": seed})
    say(f"{exams} synthetic radiographs -> {folder / 'source'}")
    source = synthetic.make_dataset(folder / "source", exams=exams, seed=seed, progress=progress)

    def command(name: str, *arguments: object) -> None:
        line = list(map(str, arguments))
        say(f"\n$ {invocation.command(name)} {shlex.join(line)}")
        # a process of its own, as a user's would be: TensorFlow's memory and settings do not pass from one step to the next
        code = subprocess.run([*invocation.process(name), *line], check=False).returncode
        # Ctrl-C reaches the command first, which has said what is kept
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise PneumodetError(
                f"The demo stopped because python tools/{name}.py failed (exit code {code}). Run 'python tools/doctor.py'."
            )

    labels = ("--labels", source.labels)
    records = folder / "records"
    command(
        "make_tfrecords",
        *("--dicom-dir", source.dicom_dir, *labels, "--class-info", source.class_info),
        *("--patient-map", source.patient_map, "--output-dir", records, "--val-fraction", 0.25),
    )
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command(
        "train",
        *("--config", "ssd_mobilenet", "--data", records, "--run", NAME, "--steps", steps, "--seed", seed),
        *("--learning-rate", LEARNING_RATE, *settings),
    )
    command("evaluate", "--run", NAME)
    command("export", "--run", NAME)
    # only exams that training has not seen, so that the pictures show what the detector can do
    validation = _copy_validation(source.dicom_dir, records, folder / "validation")
    predictions = folder / "predictions"
    command("predict", "--model", folder / "export", "--dicom-dir", validation, *labels, "--output-dir", predictions)
    return predictions / "overview.png"


def _copy_validation(dicom_dir: Path, records: Path, target: Path) -> Path:
    target.mkdir()
    images = json.loads((records / "instances_val.json").read_text(encoding="utf-8"))["images"]
    for image in images:
        shutil.copyfile(dicom_dir / f"{image['file_name']}.dcm", target / f"{image['file_name']}.dcm")
    return target
