"""A detector's run as it is exported: which formats can carry it, its SavedModel as the API's exporter writes it, its quantized file."""

import contextlib
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import runs
from pneumodet.core.detections import Detections
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, first_line
from pneumodet.core.logs import hidden_output
from pneumodet.data import label_map
from pneumodet.export import graphs, measuring, parity, quantizing, sampling
from pneumodet.export.graphs import Part
from pneumodet.export.parity import Tolerance
from pneumodet.export.subject import Samples, Subject
from pneumodet.inference import card as cards
from pneumodet.inference import exported
from pneumodet.inference.card import Artefact, ModelCard
from pneumodet.models.detection import pipeline_config

CALIBRATION_IMAGES = 200
"""Training radiographs from which a quantized model takes the ranges of its values; 100 to 500 are usual."""

_log = logging.getLogger(__name__)


class DetectorSubject(Subject):
    """A run of a detector of the Object Detection API; see ``Subject``."""

    settings, evaluation = runs.CONFIG, runs.EVAL

    def __init__(self, folder: Path) -> None:
        """Read the run.

        Raises:
          ConfigError: its config cannot be read.
          CheckpointError: it has no checkpoint.
        """
        from pneumodet.models.detection import checkpoints, resizing

        config = pipeline_config.load(str(folder / runs.CONFIG))
        settings, _ = graphs.settings_of(config)
        card = ModelCard(
            family=runs.DETECTION,
            architecture=config.model.WhichOneof("model"),
            label_map=label_map.read_label_map(folder / runs.LABEL_MAP),
            size=resizing.of_config(config),
            postprocessing=settings,
        )
        super().__init__(folder, checkpoints.of_run(folder), card)
        self.config = config

    def kind(self, name: str) -> str:
        """See ``Subject``."""
        return kind_of(name, self.config)

    def tolerance(self, name: str) -> Tolerance:
        """See ``Subject``."""
        return parity.tolerance_of(name, two_stage=self.card.architecture == "faster_rcnn")

    @property
    def limit(self) -> int:
        """See ``Subject``."""
        model = self.config.model
        if model.WhichOneof("model") == "ssd":
            return int(model.ssd.post_processing.batch_non_max_suppression.max_total_detections)
        if model.WhichOneof("model") == "faster_rcnn":
            return int(model.faster_rcnn.second_stage_post_processing.batch_non_max_suppression.max_total_detections)
        return 100

    def detect(self, pixels: np.ndarray) -> Detections:
        """See ``Subject``."""
        detections: Detections = self._runner.detect_one(pixels)
        return detections

    def part(self, kind: str) -> Part:
        """See ``Subject``."""
        return graphs.of_model(self.model, self.config, kind=kind)

    def samples(self, data_dir: Path | None) -> Samples:
        """See ``Subject``; chosen by class and view."""
        try:
            split = measuring.split_of_run(self.folder, data_dir, "train")
        except DataError as error:
            raise DataError(f"tflite-int8 takes the ranges of its values from the training records: {error}") from error
        positive = {row["image_id"] for row in split.instances["annotations"]}
        exams = set(sampling.choose(split.instances["images"], positive, CALIBRATION_IMAGES))
        if warning := sampling.few_positive(split.instances["images"], positive, exams):
            _log.warning("%s", warning)
        return lambda: measuring.inputs(self.config, (pixels for _, pixels in split.pixels(exams)))

    def write(self, name: str, artefact: Artefact, part: Part, new: Path, *, metadata: dict[str, Any], samples: Samples | None) -> Artefact:
        """See ``Subject``."""
        settings = self.card.postprocessing
        if artefact.outputs != cards.ENCODINGS or settings is None or samples is None:  # encodings have both, see kind_of and samples
            return super().write(name, artefact, part, new, metadata=metadata, samples=samples)
        from pneumodet.export import to_tflite

        # twice: ranges are taken from outputs that are not cut off, and the quantized part cuts them off there
        ranges = quantizing.ranges(part, settings, samples())
        bounded = graphs.of_model(self.model, self.config, kind=artefact.outputs, ranges=ranges)
        to_tflite.write(bounded, new / artefact.file, kind=name, metadata=metadata, images=samples)
        np.save(new / exported.ANCHORS, graphs.anchors_of(self.model, self.config))
        return dataclasses.replace(
            artefact, anchors=exported.ANCHORS, feature_maps=len(part.names) // 2, ranges=None if ranges is None else tuple(ranges)
        )

    def save(self, new: Path) -> None:
        """Write the SavedModel by the API's exporter, which writes the checkpoint and the config beside it.

        Raises:
          CheckpointError: the checkpoint is damaged or does not fit.
        """
        from pneumodet.models.detection import odapi

        api = odapi.load()
        import tensorflow as tf

        tf.keras.backend.clear_session()
        try:
            with hidden_output(), self._exported_from() as source, _traced_as_written(api.exporter.DetectionInferenceModule):
                api.exporter.export_inference_graph("image_tensor", self.config, str(source), str(new))
        except (AssertionError, IndexError, ValueError) as error:  # upstream's restore: not all matched, cut off, another shape
            raise CheckpointError(
                f"Checkpoint {self.checkpoint} is damaged or does not fit the run's config: {first_line(error)}."
            ) from error

    @functools.cached_property
    def model(self) -> Any:
        """The API's DetectionModel with the checkpoint's weights."""
        return _restored(self.config, self.checkpoint)

    @functools.cached_property
    def _runner(self) -> Any:
        from pneumodet.models.detection.running import DetectorRunner

        return DetectorRunner(self.model, self.config)

    @contextlib.contextmanager
    def _exported_from(self) -> Iterator[Path]:
        """Yield the folder of the checkpoint that the API's exporter reads, which knows weights only: averages are written as such for it."""
        if not pipeline_config.averaged(self.config):
            yield Path(self.checkpoint).parent
            return
        import tensorflow as tf

        with tempfile.TemporaryDirectory() as folder:
            checkpoint = tf.train.Checkpoint(model=_restored(self.config, self.checkpoint))
            tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1).save(checkpoint_number=0)
            tf.keras.backend.clear_session()
            yield Path(folder)


def kind_of(name: str, config: Any) -> str:
    """Return what a format's file answers with.

    Args:
      name: of the format.
      config: a TrainEvalPipelineConfig.

    Raises:
      ConfigError: the format cannot carry this model.
    """
    from pneumodet.models.detection import resizing

    settings, reason = graphs.settings_of(config)
    if name == "savedmodel":
        return cards.DETECTIONS
    if settings and not resizing.of_config(config).canvas_hw:
        settings, reason = None, "its input has no fixed size"
    if name == "onnx":
        # suppression in numpy where it is known; else it stays in the graph, for which ONNX has operations
        return cards.BOXES if settings else cards.DETECTIONS
    if not settings:
        raise ConfigError(
            f"{name} cannot carry this model: {reason}, and TensorFlow Lite has no operations for what follows then (crops of feature maps, numbers of "
            f"boxes that vary). Leave {name} out of --formats; savedmodel and onnx can."
        )
    if name == "tflite-task":
        if resizing.of_config(config).padded:
            raise ConfigError(
                f"{name} cannot carry this model, which pads its images: programs that read its metadata stretch every image to the whole input. Leave "
                f"{name} out of --formats."
            )
        return cards.TASK
    return cards.ENCODINGS if name == "tflite-int8" else cards.BOXES


@contextlib.contextmanager
def _traced_as_written(module: Any) -> Iterator[None]:
    """Keep AutoGraph away from what the API's exporter traces: it has no Python if or while on tensors, and rewriting it takes two thirds of an export."""
    import tensorflow as tf

    methods = {name: getattr(module, name) for name in ("_preprocess_input", "_run_inference_on_images")}
    for name, method in methods.items():
        setattr(module, name, tf.autograph.experimental.do_not_convert(method))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(module, name, method)


def _restored(config: Any, checkpoint: str) -> Any:
    import tensorflow as tf

    from pneumodet.models.detection import running

    tf.keras.backend.clear_session()
    return running.model_of(config, checkpoint)
