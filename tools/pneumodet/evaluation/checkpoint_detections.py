"""Run a checkpoint over records.

sets, checkpoint = detect_run_views(Path("workspace/my_first"), RecordSet.open(data_dir).split("val"), views=("identity", "flip"))
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet.core import runs
from pneumodet.core.detections import Detections
from pneumodet.data.examples import Example, Examples
from pneumodet.data.record_sets import Split
from pneumodet.inference.outputs import from_outputs
from pneumodet.inference.postprocess.views import ONLY_IDENTITY, View, view_of
from pneumodet.models.detection import checkpoints, pipeline_config, running

BATCH = 8
"""Images a batch where the config resizes all images to one size; 1 otherwise."""


def detect_records(
    config: Any, checkpoint: str, records: Split | Examples, *, on_image: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, Detections]]:
    """As ``detect_views``, of the radiographs as they are.

    Yields:
      (patientId, detections in px of the record's image), in the records' order.
    """
    return ((exam, detections) for exam, (detections,) in detect_views(config, checkpoint, records, on_image=on_image))


def detect_views(
    config: Any,
    checkpoint: str,
    records: Split | Examples,
    *,
    views: Sequence[str] = ONLY_IDENTITY,
    on_image: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, list[Detections]]]:
    """Run a checkpoint over records.

    Args:
      config: the run's TrainEvalPipelineConfig.
      checkpoint: its prefix.
      records: what to run it on.
      views: names of V views; each image is decoded once for all of them.
      on_image: is called after every image.

    Yields:
      (patientId, the detections of each view in px of the record's image), in the records' order.

    Raises:
      CheckpointError: the checkpoint does not fit the config.
      DataError: a record cannot be read.
    """
    runner = running.of_checkpoint(config, checkpoint)
    view_steps = [view_of(name) for name in views]
    # images that keep their aspect ratio have different sizes and cannot be stacked
    size = BATCH if runner.size.canvas_hw else 1
    for first in range(0, len(records), size):
        read = [_read(records.read(number), runner, view_steps) for number in range(first, min(first + size, len(records)))]
        by_view = [
            runner.detect(*(np.stack([seen[view][part] for _, _, seen in read]) for part in (0, 1))) for view in range(len(view_steps))
        ]
        for index, (exam, (height, width), _) in enumerate(read):
            each = [from_outputs(outputs, index, height=height, width=width) for outputs in by_view]
            # back to px of the record's image, the only frame in which views can be fused
            yield exam, [view.detections_back(one, size_hw=(height, width)) for view, one in zip(view_steps, each, strict=True)]
            on_image()


def _read(
    example: Example, runner: running.DetectorRunner, view_steps: Sequence[View]
) -> tuple[str, tuple[int, int], list[tuple[np.ndarray, np.ndarray]]]:
    """Return (exam, height and width in px, what the model takes of each view) of a record."""
    pixels = example.pixels()  # whole, as exports and predict see it
    return example.record.patient_id, example.image_hw, [runner.prepared(view.seen(pixels)) for view in view_steps]


def detect_run_views(
    folder: Path,
    split: Split,
    *,
    views: Sequence[str] = ONLY_IDENTITY,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[dict[str, Detections]], str]:
    """Run a run's best checkpoint, or its newest where it has no best one, over a split of a record set.

    Args:
      folder: the run.
      split: of a record set.
      views: names of V views.
      on_image: is called after every image.

    Returns:
      (for each view patientId -> detections in px of the record's image, the checkpoint's prefix).

    Raises:
      CheckpointError: the run has no checkpoint, or it does not fit.
      DataError: a record cannot be read.
    """
    config = pipeline_config.load(str(folder / runs.CONFIG))
    checkpoint = checkpoints.of_run(folder)
    by_view: list[dict[str, Detections]] = [{} for _ in views]
    for exam, sets in detect_views(config, checkpoint, split, views=views, on_image=on_image):
        for of_view, one in zip(by_view, sets, strict=True):
            of_view[exam] = one
    return by_view, checkpoint


def write_scalars(folder: Path, step: int, scalars: Mapping[str, float]) -> None:
    """Write figures for TensorBoard, as of one step."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()
