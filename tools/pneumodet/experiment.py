"""One experiment: a config, a record set and a run's folder brought together, checked, and trained.

Everything that can be refused is refused before TensorFlow starts.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet import paths, run_folder
from pneumodet.data import label_map, record_sets
from pneumodet.detection import pipeline_config
from pneumodet.errors import ConfigError, DataError


def train(
    args: argparse.Namespace,
    *,
    on_start: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[Any], None] = lambda progress: None,
) -> tuple[Path, Any]:
    """Start or resume a run.

    Args:
      args: as from ``cli.train``: run, config, data, steps, batch_size, learning_rate, fine_tune_checkpoint, fine_tune_checkpoint_type,
        settings, resume, seed, checkpoint_every.
      on_start: is told in a sentence what happens next.
      on_progress: is told where training stands.

    Returns:
      (the run's folder, training.Outcome).

    Raises:
      PneumodetError: anything that the user can mend.
    """
    folder = paths.run_dir(args.run)
    if args.resume:
        folder = run_folder.find(args.run)
        refused = [name for name in ("config", "data", "fine_tune_checkpoint", "batch_size", "learning_rate") if getattr(args, name)]
        if refused or args.settings:
            flag = "--set" if args.settings else "--" + refused[0].replace("_", "-")
            raise ConfigError(f"{flag} does not go with --resume: the run goes on as its pipeline.config says. Only --steps may change.")
    else:
        _refuse_used(folder, args.run)
        if not args.config or not args.data:
            missing = "--config" if not args.config else "--data"
            raise ConfigError(
                f"{missing} is missing. Configs: {', '.join(pipeline_config.names())}. --data is a folder made by make_tfrecords."
            )
    config, manifest = _resume(folder, args) if args.resume else resolve(args, folder)
    seed = _record(folder)["seed"] if args.resume else args.seed
    with run_folder.locked(folder):
        if not args.resume:
            _write(folder, config, manifest, args)
        elif args.steps:
            pipeline_config.save(config, folder / run_folder.CONFIG)
        on_start(f"{folder.name}: {config.train_config.num_steps} steps of {config.train_config.batch_size} images; TensorFlow starts")
        from pneumodet.detection import training

        on_start(f"training on {training.device()}")
        outcome = training.train(config, folder, seed=seed, checkpoint_every=args.checkpoint_every, on_progress=on_progress)
    return folder, outcome


def resolve(args: argparse.Namespace, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return (config, manifest): the named config patched for a record set, a run and its flags, and checked.

    Raises:
      ConfigError: config and flags do not fit together.
      DataError: the record set cannot be used.
    """
    config = pipeline_config.load(args.config)
    manifest = record_sets.load_manifest(args.data)
    if "train" not in manifest["splits"]:
        raise DataError(f"The record set {args.data} has folds. Train on one of them: --data {args.data / 'fold-0'}.")
    if not manifest["splits"]["train"]["exams"]:
        raise DataError(f"The record set {args.data} has no training exams. Make it again with a smaller --val-fraction.")
    reference = {"reference_steps": config.train_config.num_steps, "reference_batch": config.train_config.batch_size}
    pipeline_config.use_records(config, manifest, args.data.resolve(), label_map_path=folder.resolve() / run_folder.LABEL_MAP)
    train = config.train_config
    if args.fine_tune_checkpoint:
        train.fine_tune_checkpoint = str(Path(args.fine_tune_checkpoint).expanduser().resolve())
        train.fine_tune_checkpoint_version = 2  # V2, object-based: the only kind that TensorFlow 2 restores
        if not args.fine_tune_checkpoint_type and not train.fine_tune_checkpoint_type:
            raise ConfigError(
                "--fine-tune-checkpoint needs --fine-tune-checkpoint-type: classification for a backbone, detection for a detector."
            )
    if args.fine_tune_checkpoint_type:
        train.fine_tune_checkpoint_type = args.fine_tune_checkpoint_type
    if args.steps:
        train.num_steps = args.steps
    if args.batch_size:
        train.batch_size = args.batch_size
    keys = pipeline_config.override(config, args.settings)
    pipeline_config.scale_schedule(config, **reference, overridden=keys)
    if args.learning_rate:
        pipeline_config.set_peak_rate(config, args.learning_rate)
    pipeline_config.check(config, manifest["label_map"])
    return config, manifest


def _record(folder: Path) -> dict[str, Any]:
    return paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Start a new run.")


def _resume(folder: Path, args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    config = pipeline_config.load(str(folder / run_folder.CONFIG))
    record = _record(folder)
    manifest = record_sets.load_manifest(Path(record["data"]["folder"]))
    if paths.sha256_file(Path(record["data"]["folder"]) / record_sets.MANIFEST) != record["data"]["manifest_sha256"]:
        raise DataError(f"The record set {record['data']['folder']} is another one than the run was started with. Start a new run.")
    if args.steps:
        before = config.train_config.num_steps
        config.train_config.num_steps = args.steps
        pipeline_config.scale_schedule(config, reference_steps=before, reference_batch=config.train_config.batch_size, overridden=())
    pipeline_config.check(config, manifest["label_map"])
    return config, manifest


def _refuse_used(folder: Path, name: str) -> None:
    if (folder / run_folder.CONFIG).exists() or (folder / run_folder.TRAIN).exists():
        raise DataError(
            f"The run folder {folder} is in use. Go on with it: python tools/train.py --run {name} --resume; or choose another --run name."
        )


def _write(folder: Path, config: Any, manifest: dict[str, Any], args: argparse.Namespace) -> None:
    _refuse_used(folder, args.run)  # again, now that the lock is held
    label_map.write_label_map(folder / run_folder.LABEL_MAP, manifest["label_map"])
    paths.write_json(
        folder / run_folder.RECORD,
        {
            "config": args.config,
            "settings": args.settings,
            "seed": args.seed,
            "steps": config.train_config.num_steps,
            "batch_size": config.train_config.batch_size,
            "fine_tune_checkpoint_type": config.train_config.fine_tune_checkpoint_type or None,
            "data": {
                "folder": str(args.data.resolve()),
                "manifest_sha256": paths.sha256_file(args.data / record_sets.MANIFEST),
                "train_exams": manifest["splits"]["train"]["exams"],
                "val_exams": manifest["splits"]["val"]["exams"],
                "split_by": manifest["split"]["by"],
            },
            "provenance": run_folder.provenance(),
        },
    )
    if shutil.disk_usage(folder).free < 1 << 30:
        raise DataError(f"Less than 1 GiB is free for {folder}; checkpoints need it. Free some disk space.")
    pipeline_config.save(config, folder / run_folder.CONFIG)  # last: a folder that has it is a run
