"""Export a run: a SavedModel with the API's standard signature, and beside it what it is.

export(Path("workspace/my_first"), Path("workspace/my_first/export"))
"""

import contextlib
import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

from pneumodet import paths, run_folder
from pneumodet.data import folders
from pneumodet.detection import checkpoints, inference, odapi, pipeline_config, resizing
from pneumodet.errors import CheckpointError, DataError, first_line


def export(folder: Path, output_dir: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Export the best checkpoint of a run, or its newest where it has no best one.

    Writes ``saved_model/`` (uint8 ``input_tensor`` (1, H, W, 3) in; ``detection_boxes`` yxyx_norm, ``detection_scores``,
    ``detection_classes`` from 1, ``num_detections`` out), ``checkpoint/``, ``pipeline.config``, ``label_map.pbtxt`` and ``model.json``.
    The folder appears whole or not at all.

    Args:
      folder: the run.
      output_dir: the new folder.
      overwrite: replace an export that is there; it stays until the new one is whole.

    Returns:
      What model.json holds.

    Raises:
      DataError: ``output_dir`` is in use, or the disk is full.
      CheckpointError: the run has no checkpoint, or it does not fit its config.
    """
    config = pipeline_config.load(str(folder / run_folder.CONFIG))
    checkpoint = checkpoints.of_run(folder)
    card = _model_card(folder, config, checkpoint)
    api = odapi.load()
    import tensorflow as tf

    tf.keras.backend.clear_session()
    try:
        with folders.new_folder(output_dir, marker=inference.MODEL_CARD, overwrite=overwrite) as new:
            with contextlib.redirect_stdout(io.StringIO()):  # the API prints
                api.exporter.export_inference_graph("image_tensor", config, str(Path(checkpoint).parent), str(new))
            shutil.copyfile(folder / run_folder.LABEL_MAP, new / inference.LABEL_MAP)
            paths.write_json(new / inference.MODEL_CARD, card)
    except (AssertionError, IndexError, ValueError) as error:  # upstream's restore: not all matched, cut off, another shape
        raise CheckpointError(f"Checkpoint {checkpoint} is damaged or does not fit the run's config: {first_line(error)}.") from error
    except tf.errors.OpError as error:
        raise DataError(f"Cannot write {output_dir}: {first_line(error)}. Free some disk space or choose another folder.") from error
    return card


def _model_card(folder: Path, config: Any, checkpoint: str) -> dict[str, Any]:
    record = paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Train the run again.")
    card = {
        "format": "pneumodet-model",
        "version": 1,
        "run": folder.name,
        "checkpoint": Path(checkpoint).name,
        "architecture": config.model.WhichOneof("model"),
        "input": dataclasses.asdict(resizing.of_config(config)),
        "config": record["config"],
        "data": record["data"],
        "trained": record["provenance"],
        "exported": run_folder.provenance(),
        "metrics": None,
        "score_threshold": None,
        "calibrator": None,
    }
    metrics_path = folder / run_folder.EVAL / run_folder.METRICS
    if metrics_path.is_file():
        metrics = paths.read_json(metrics_path, what="the run's metrics", hint="Evaluate the run again.")
        if metrics["checkpoint"] == card["checkpoint"]:  # metrics of another checkpoint say nothing about this one
            short = ("intervals", "bootstrap", "operating_point")
            card["metrics"] = {key: value for key, value in metrics.items() if key in short or not isinstance(value, dict | list)}
            card["score_threshold"] = metrics["rsna_threshold"]
            card["calibrator"] = metrics.get("calibrator")
    return card
