"""Run a checkpoint over validation records and measure what it found.

metrics = evaluate(Path("workspace/my_first"))
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pneumodet import paths, results, run_folder
from pneumodet.data import boxes, record_sets, tf_example
from pneumodet.data import label_map as label_maps
from pneumodet.detection import checkpoints, inference, models, pipeline_config
from pneumodet.errors import DataError, first_line
from pneumodet.metrics import coco, rsna
from pneumodet.results import Detections

DETECTIONS = "detections.json"

BATCH = 8
"""Images a batch where the config resizes all images to one size; 1 otherwise."""


def detect_records(
    config: Any, checkpoint: str, shards: list[str], *, on_image: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, Detections]]:
    """Run a checkpoint over records.

    Args:
      config: the run's TrainEvalPipelineConfig.
      checkpoint: its prefix.
      shards: paths of TFRecord files with the API's keys.
      on_image: is called after every image.

    Yields:
      (patientId, detections in px of the record's image), in the records' order.

    Raises:
      CheckpointError: the checkpoint does not fit the config.
      DataError: a record cannot be read.
    """
    model = models.build(config, is_training=False)
    checkpoints.restore({"model": model}, checkpoint, hint="Was it written by this run's pipeline.config?")
    features = {
        tf_example.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
        tf_example.SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
    }

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_single_example(record, features)
        image = tf.io.decode_image(example[tf_example.IMAGE_ENCODED], channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        prepared, true_shape = model.preprocess(tf.cast(image, tf.float32)[tf.newaxis])
        return prepared[0], true_shape[0], example[tf_example.SOURCE_ID], tf.shape(image)

    @tf.function(reduce_retracing=True)
    def run(images: tf.Tensor, true_shapes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model.postprocess(model.predict(images, true_shapes), true_shapes)
        wanted = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
        return {key: tf.cast(found[key], tf.float32) for key in wanted}

    size = models.input_size(config)
    dataset = tf.data.TFRecordDataset(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH if size else 1)
    try:
        for images, true_shapes, ids, shapes in dataset.prefetch(2):
            outputs = {key: value.numpy() for key, value in run(images, true_shapes).items()}
            outputs["detection_classes"] += 1  # the API counts from 0 here, and from 1 in the label map
            for index, (source_id, shape) in enumerate(zip(ids.numpy(), shapes.numpy(), strict=True)):
                yield source_id.decode(), inference.from_outputs(outputs, index, height=int(shape[0]), width=int(shape[1]))
                on_image()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        raise DataError(f"The records cannot be read: {first_line(error)}. Make them again with tools/make_tfrecords.py.") from error


def evaluate(
    folder: Path,
    *,
    data_dir: Path | None = None,
    rules: str = "strict",
    score_threshold: float | None = None,
    on_start: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> dict[str, Any]:
    """Measure the newest checkpoint of a run on its validation records.

    Writes ``eval/detections.json`` (COCO results) and ``eval/metrics.json`` in the run's folder.

    Args:
      folder: the run.
      data_dir: the record set; by default the one that the run was trained with.
      rules: of the RSNA metric, ``strict`` or ``community``.
      score_threshold: of the RSNA metric; by default the best one on these images, which flatters the model, as metrics.json says.
      on_start: is told the number of images, and returns what to call after each.

    Returns:
      What metrics.json holds.

    Raises:
      DataError: records, ground truth or label map do not fit.
      CheckpointError: the run has no checkpoint, or it does not fit.
    """
    record = paths.read_json(folder / run_folder.RECORD, what="the run's record", hint="Train the run again.")
    data_dir = data_dir or Path(record["data"]["folder"])
    manifest = record_sets.load_manifest(data_dir)
    config = pipeline_config.load(str(folder / run_folder.CONFIG))
    classes = label_maps.read_label_map(folder / run_folder.LABEL_MAP)
    if manifest["label_map"] != classes:
        raise DataError(f"The run was trained with the label map {classes}, but the records in {data_dir} have {manifest['label_map']}.")
    split = manifest["splits"]["val"]
    if not split["exams"]:
        raise DataError(f"The record set {data_dir} has no validation exams. Make it again with a larger --val-fraction.")
    instances = paths.read_json(data_dir / split["annotations"], what="the ground truth", hint="Make the records again.")
    checkpoint = checkpoints.latest(folder / run_folder.TRAIN)
    shards = [str(data_dir / shard["name"]) for shard in split["shards"]]

    found = dict(detect_records(config, checkpoint, shards, on_image=on_start(split["exams"])))
    missing = {image["file_name"] for image in instances["images"]} ^ found.keys()
    if missing:
        raise DataError(f"Records and ground truth in {data_dir} do not list the same exams ({sorted(missing)[0]} is in one of them only).")

    eval_dir = folder / run_folder.EVAL
    coco_results = results.to_coco(found)
    pneumonia = classes[label_maps.PNEUMONIA]
    truth = ground_truth(instances, pneumonia)
    predictions = {patient: (one.boxes_xyxy_px, one.scores) for patient, one in ((p, d.of_class(pneumonia)) for p, d in found.items())}
    metrics = {
        **coco.coco_metrics(instances, coco_results),
        **_rsna(truth, predictions, rules=rules, score_threshold=score_threshold),
        "highest_score": max((float(one.scores.max()) for one in found.values() if len(one.scores)), default=0.0),
        "images": len(found),
        "positive_images": sum(len(one) > 0 for one in truth.values()),
        "boxes": sum(len(one) for one in truth.values()),
        "split": "val",
        "checkpoint": Path(checkpoint).name,
        "step": checkpoints.step_of(checkpoint),
        "manifest_sha256": paths.sha256_file(data_dir / record_sets.MANIFEST),
    }
    paths.write_json(eval_dir / DETECTIONS, coco_results)
    paths.write_json(eval_dir / run_folder.METRICS, metrics)
    return metrics


def _rsna(truth: dict, predictions: dict, *, rules: str, score_threshold: float | None) -> dict[str, Any]:
    if not any(len(one) for one in truth.values()):  # the metric is then 0, or undefined where nothing was found
        reason = "none: no image has pneumonia, so that there is nothing to choose a threshold by"
        return {"rsna_metric": None, "rsna_threshold": score_threshold, "rsna_threshold_source": reason, "rsna_rules": rules}
    threshold, source = score_threshold, "given"
    if threshold is None:
        threshold, source = (
            rsna.best_threshold(truth, predictions, rules=rules)[0],
            "best on these same images, so that rsna_metric is optimistic",
        )
    metric = rsna.rsna_metric(truth, predictions, rules=rules, score_threshold=threshold)
    return {"rsna_metric": metric, "rsna_threshold": threshold, "rsna_threshold_source": source, "rsna_rules": rules}


def ground_truth(instances: dict[str, Any], category_id: int) -> dict[str, np.ndarray]:
    """Return patientId -> (N, 4) float64 boxes_xyxy_px of one class, with an empty array for every exam without one."""
    names = {image["id"]: image["file_name"] for image in instances["images"]}
    found: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for annotation in instances["annotations"]:
        if annotation["category_id"] == category_id:
            found[names[annotation["image_id"]]].append(annotation["bbox"])
    return {name: boxes.xywh_to_xyxy_px(np.array(rows, np.float64)) for name, rows in found.items()}
