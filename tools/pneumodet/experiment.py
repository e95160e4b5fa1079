"""One experiment: a config, a record set and a run's folder brought together, checked, and trained.

    folder, outcome = train(Request(run="my_first", config="ssd_mobilenet", data=Path("workspace/records/rsna")))
    folder, outcome = train(Request(run="my_first", resume=True))

Everything that can be refused is refused before TensorFlow starts.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet import paths, preparation, pretrained, run_folder
from pneumodet.data import label_map
from pneumodet.data.record_sets import RecordSet
from pneumodet.detection import pipeline_config
from pneumodet.errors import ConfigError, DataError
from pneumodet.preparation import Request, Say
from pneumodet.training import learning_rate_finder, tf_config


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
      on_start: is told in a sentence what happens.
      on_progress: is told where training stands, a ``training.loop.Progress``.
      on_download: is told (bytes there, bytes in all or None) of a pretrained checkpoint.
      on_evaluation: is told (step, figures by name); False stops the run.

    Returns:
      (the run's folder, ``training.loop.Outcome``).

    Raises:
      PneumodetError: anything that the user can mend.
    """
    started = time.perf_counter()
    addresses, worker = tf_config.workers()
    folder = run_folder.find(request.run) if request.resume else paths.run_dir(request.run)
    with contextlib.ExitStack() as held:
        if worker == 0:
            if not request.resume:
                run_folder.refuse_used(folder, request.run, command="train")
            held.enter_context(run_folder.locked(folder))
            if request.resume:
                config, records, record = preparation.resumed(folder, request)
            else:
                config, records, record = preparation.new(folder, request, say=on_start, on_download=on_download)
                _write(folder, config, records, record)
            _say_start(folder, config, on_start)
        from pneumodet.training import cluster as clusters
        from pneumodet.training import start, watching

        if len(addresses) > 1:
            on_start(f"worker {worker} of {len(addresses)}: waiting for the others")
        cluster = held.enter_context(clusters.joined())
        if worker:
            config, records, record = _of_chief(folder)
        on_start(f"training on {start.device()}")
        about = {key: value for key, value in record["training"].items() if not isinstance(value, dict | list | tuple)}

        def observer(step: int) -> Any:
            if worker:
                return watching.loop.Observer()
            return watching.Watcher(
                folder,
                step=step,
                about=about | {"batch_size": config.train_config.batch_size, "config": record["config"]},
                on_progress=on_progress,
                on_note=on_start,
                on_evaluation=on_evaluation,
            )

        outcome = start.train(
            config,
            folder,
            records,
            start.Options.of(record["training"]),
            cluster=cluster,
            observer=observer,
            started=started,
        )
        if worker == 0:
            paths.write_json(folder / run_folder.RECORD, record | {"parameters": outcome.parameters})
    return folder, outcome


def _of_chief(folder: Path) -> tuple[Any, RecordSet, dict[str, Any]]:
    """Return (config, records, what run.json holds), which worker 0 has prepared for all."""
    if not (folder / run_folder.CONFIG).is_file():
        raise DataError(
            f"Worker 0 has prepared the run, but {folder / run_folder.CONFIG} is not here. All workers need one workspace: set PNEUMODET_WORKSPACE "
            "to a folder that all of them share, and give the same --run."
        )
    return preparation.resumed(folder, Request(run=str(folder), resume=True))


def find_rate(
    request: Request, *, steps: int, on_start: Say, on_download: pretrained.Progress, on_progress: Callable[[int], None]
) -> tuple[Any, Path]:
    """Train a run's model for a while at a rising learning rate, and draw the losses: ``learning_rate.png`` and ``.csv`` in the run's folder.

    The run itself is not begun.

    Returns:
      (``training.learning_rate_finder.Found``, its picture).

    Raises:
      PneumodetError: anything that the user can mend.
    """
    if tf_config.workers()[0]:
        raise ConfigError(
            "--find-lr trains on one machine; the rate that it finds holds for many with the same --batch-size. Unset TF_CONFIG."
        )
    folder = paths.run_dir(request.run)
    if steps < learning_rate_finder.FEWEST_STEPS:
        raise ConfigError(f"--find-lr-steps is {steps}; fewer than {learning_rate_finder.FEWEST_STEPS} cannot tell noise from descent.")
    run_folder.refuse_used(folder, request.run, command="train")
    with run_folder.locked(folder):
        config, records, record = preparation.new(folder, request, say=on_start, on_download=on_download)
        label_map.write_label_map(folder / run_folder.LABEL_MAP, records.label_map)
        on_start(f"{folder.name}: {steps} steps of {config.train_config.batch_size} images at rising learning rates; TensorFlow starts")
        from pneumodet.training import start

        return start.find_rate(
            config, folder, records, start.Options.of(record["training"]), steps=steps, on_note=on_start, on_progress=on_progress
        ), folder / start.RATES_PICTURE


def preview(request: Request, *, on_start: Say) -> Path:
    """Draw what augmentation makes of the first training radiographs with pneumonia: ``augmentation.png`` in the run's folder.

    Returns:
      The picture.

    Raises:
      PneumodetError: anything that the user can mend.
    """
    folder = paths.run_dir(request.run)
    run_folder.refuse_used(folder, request.run, command="train")
    with run_folder.locked(folder):
        without = dataclasses.replace(request, pretrained=None, fine_tune_checkpoint=None)
        config, records, record = preparation.new(folder, without, say=on_start, on_download=lambda *_: None)
        from pneumodet.training import start

        return start.preview(config, folder, records, start.Options.of(record["training"]))


def _say_start(folder: Path, config: Any, say: Say) -> None:
    say(f"{folder.name}: {config.train_config.num_steps} steps of {config.train_config.batch_size} images; TensorFlow starts")


def _write(folder: Path, config: Any, records: RecordSet, record: dict[str, Any]) -> None:
    run_folder.refuse_used(folder, folder.name, command="train")  # again, now that the lock is held
    label_map.write_label_map(folder / run_folder.LABEL_MAP, records.label_map)
    paths.write_json(folder / run_folder.RECORD, record)
    run_folder.check_space(folder)
    pipeline_config.save(config, folder / run_folder.CONFIG)  # last: a folder that has it is a run
