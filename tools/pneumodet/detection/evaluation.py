"""Run a checkpoint over records.

found, checkpoint = detect_run(Path("workspace/my_first"), data_dir, manifest["splits"]["val"])
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pneumodet import run_folder
from pneumodet.data import tf_example
from pneumodet.detection import checkpoints, inference, models, pipeline_config
from pneumodet.errors import DataError, first_line
from pneumodet.results import Detections

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


def detect_run(
    folder: Path, data_dir: Path, split: Mapping[str, Any], *, on_image: Callable[[], None] = lambda: None
) -> tuple[dict[str, Detections], str]:
    """Run a run's newest checkpoint over a split of a record set.

    Args:
      folder: the run.
      data_dir: the record set.
      split: its entry in the manifest.
      on_image: is called after every image.

    Returns:
      (patientId -> detections in px of the record's image, the checkpoint's prefix).

    Raises:
      CheckpointError: the run has no checkpoint, or it does not fit.
      DataError: a record cannot be read.
    """
    config = pipeline_config.load(str(folder / run_folder.CONFIG))
    checkpoint = checkpoints.latest(folder / run_folder.TRAIN)
    shards = [str(data_dir / shard["name"]) for shard in split["shards"]]
    return dict(detect_records(config, checkpoint, shards, on_image=on_image)), checkpoint


def write_scalars(folder: Path, step: int, scalars: Mapping[str, float]) -> None:
    """Write figures for TensorBoard, as of one step."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()
