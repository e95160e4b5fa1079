"""Runs of detectors: ``training.experiment`` with the Object Detection API, and what is tried before a run begins.

    folder, outcome = train(Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")))
    folder, outcome = train(Request(run="my_first", resume=True))

What is checked of a request: ``families.detection_request``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet.core import paths, runs
from pneumodet.core.deadline import Deadline
from pneumodet.core.errors import ConfigError
from pneumodet.core.run_record import RunRecord
from pneumodet.data import label_map
from pneumodet.models import pretrained
from pneumodet.models.detection import pipeline_config
from pneumodet.models.options import Options
from pneumodet.training import engine, experiment, learning_rate_finder, tf_config
from pneumodet.training.engine import Hooks, Parts, Prepared, Say
from pneumodet.training.families import detection_request
from pneumodet.training.families.detection_request import Request


class DetectorEngine(engine.Engine):
    """Detectors of the Object Detection API; see ``training.engine.Engine``."""

    family = runs.DETECTION
    many_machines = True

    def new(self, folder: Path, request: Request, hooks: Hooks) -> Prepared:
        """See ``Engine``."""
        return detection_request.new(folder, request, say=hooks.on_start, on_download=hooks.on_download)

    def resumed(self, folder: Path, request: Request, record: RunRecord) -> Prepared:
        """See ``Engine``."""
        return detection_request.resumed(folder, request, record)

    def save(self, folder: Path, prepared: Prepared) -> None:
        """See ``Engine``."""
        label_map.write_label_map(folder / runs.LABEL_MAP, prepared.data.label_map)
        pipeline_config.save(prepared.config, folder / runs.CONFIG)

    def assemble(self, prepared: Prepared, *, fresh: bool, cluster: Any, say: Say) -> Parts:
        """See ``Engine``."""
        from pneumodet.training import start

        return start.parts(prepared, fresh=fresh, cluster=cluster)


def train(
    request: Request,
    *,
    on_start: Say = lambda text: None,
    on_progress: Callable[[Any], None] = lambda progress: None,
    on_download: pretrained.Progress = lambda done, total: None,
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None] = lambda step, figures: None,
) -> tuple[Path, Any]:
    """Start or resume a run.

    Args:
      request: what is asked for.
      on_start, on_progress, on_download, on_evaluation: as ``training.engine.Hooks``.

    Returns:
      (the run's folder, ``training.progress.Outcome``).

    Raises:
      PneumodetError: anything that the user can fix.
    """
    hooks = Hooks(on_start=on_start, on_progress=on_progress, on_download=on_download, on_evaluation=on_evaluation)
    trained = experiment.train(DetectorEngine(), request, hooks)
    return trained.folder, trained.outcome


def find_rate(
    request: Request, *, steps: int, on_start: Say, on_download: pretrained.Progress, on_progress: Callable[[int], None]
) -> tuple[Any, Path]:
    """Train a run's model for a while at a rising learning rate, and draw the losses: ``learning_rate.png`` and ``.csv`` in the run's folder.

    The run itself is not begun.

    Returns:
      (``training.learning_rate_finder.Suggestion``, its picture).

    Raises:
      PneumodetError: anything that the user can fix.
    """
    if tf_config.workers()[0]:
        raise ConfigError(
            "--find-lr trains on one machine; the rate that it suggests holds for many with the same --batch-size. Unset TF_CONFIG."
        )
    folder = paths.run_dir(request.run)
    if steps < learning_rate_finder.FEWEST_STEPS:
        raise ConfigError(f"--find-lr-steps is {steps}; fewer than {learning_rate_finder.FEWEST_STEPS} cannot separate noise from descent.")
    runs.refuse_used(folder, request.run, family=runs.DETECTION)
    with runs.locked(folder), Deadline(lambda: "Stopped; of --find-lr nothing is kept."):
        prepared = detection_request.new(folder, request, say=on_start, on_download=on_download)
        label_map.write_label_map(folder / runs.LABEL_MAP, prepared.data.label_map)
        on_start(f"{folder.name}: {steps} steps of {prepared.batch_size} images at rising learning rates; TensorFlow starts")
        from pneumodet.training import start

        options = Options.of(prepared.record.training or {})
        return start.find_rate(
            prepared.config, folder, prepared.data, options, steps=steps, on_note=on_start, on_progress=on_progress
        ), folder / start.RATES_PICTURE


def preview(request: Request, *, on_start: Say) -> Path:
    """Draw what augmentation makes of the first training radiographs with pneumonia: ``augmentation.png`` in the run's folder.

    Returns:
      The picture.

    Raises:
      PneumodetError: anything that the user can fix.
    """
    folder = paths.run_dir(request.run)
    runs.refuse_used(folder, request.run, family=runs.DETECTION)
    with runs.locked(folder):
        # a picture of the images needs no weights, which may be a download of minutes
        prepared = detection_request.new(folder, request, say=on_start, on_download=lambda *_: None, weights=False)
        from pneumodet.training import start

        return start.preview(prepared.config, folder, prepared.data, Options.of(prepared.record.training or {}))
