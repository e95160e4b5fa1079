"""A classifier's run as it is exported: it answers with a probability of each class that it was trained for, pneumonia first."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import runs
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError
from pneumodet.data.label_map import PNEUMONIA as PNEUMONIA_CLASS
from pneumodet.evaluation.classification import scoring
from pneumodet.export import graphs, parity
from pneumodet.export.graphs import Part
from pneumodet.export.parity import Tolerance
from pneumodet.export.subject import Subject
from pneumodet.inference import backends, sizes
from pneumodet.inference import card as cards
from pneumodet.inference.card import ModelCard
from pneumodet.inference.detectors import SCORES_OUTPUT
from pneumodet.inference.outputs import from_scores
from pneumodet.inference.sizes import Size
from pneumodet.models.classification.settings import CLASSES, PNEUMONIA

FORMATS = ("savedmodel", "onnx", "tflite", "tflite-fp16")
"""What a classifier is exported as."""


class ClassifierSubject(Subject):
    """A run of a classifier; see ``Subject``."""

    settings, evaluation = runs.SETTINGS, runs.EVALUATION

    def __init__(self, folder: Path) -> None:
        """Read the run.

        Raises:
          DataError, ConfigError: its settings cannot be read, or it takes more than the radiograph.
          CheckpointError: it has no checkpoint.
        """
        from pneumodet.models.detection import checkpoints

        chosen = scoring.settings_of(folder)
        if chosen.metadata:
            raise ConfigError(
                f"The run {folder.name} takes age, sex and view beside the radiograph (metadata), which new radiographs are not asked for. Train a "
                "classifier without metadata to export it."
            )
        self._size = Size(chosen.size_hw, normalization=chosen.normalization)
        names = (PNEUMONIA_CLASS, *(() if chosen.task == PNEUMONIA else CLASSES))
        card = ModelCard(
            family=runs.CLASSIFICATION,
            architecture=chosen.backbone,
            label_map={name: number for number, name in enumerate(names, start=1)},
            size=self._size,
        )
        super().__init__(folder, checkpoints.of_run(folder), card)

    def kind(self, name: str) -> str:
        """See ``Subject``."""
        if name not in FORMATS:
            raise ConfigError(f"{name} cannot carry a classifier; {', '.join(FORMATS)} can. Leave {name} out of --formats.")
        return cards.SCORES

    def tolerance(self, name: str) -> Tolerance:
        """See ``Subject``."""
        return parity.of_scores(name)

    @property
    def limit(self) -> int:
        """See ``Subject``: a score of each class."""
        return len(self.card.label_map or {})

    def detect(self, pixels: np.ndarray) -> Detections:
        """See ``Subject``."""
        height, width = pixels.shape
        image = sizes.prepared(pixels, self._size)[np.newaxis, :, :, np.newaxis]
        outputs = {name: value.numpy() for name, value in self._call(image).items()}
        return from_scores(scoring.scores(outputs)[0], height=height, width=width)

    def part(self, kind: str) -> Part:
        """See ``Subject``."""
        import tensorflow as tf

        height, width = self._size.fixed_hw or (None, None)
        signature = [tf.TensorSpec([1, height, width, 3], tf.uint8, name=backends.INPUT)]
        model = self.model  # restored now, and not within the graph that is traced

        def probabilities(input_tensor: Any) -> dict[str, Any]:
            # three equal channels, as detectors take them; the network makes its own three of one
            outputs = model({"image": input_tensor[..., :1]}, training=False)
            of_classes = [tf.nn.softmax(outputs["classes"])] if "classes" in outputs else []
            own = tf.sigmoid(outputs["pneumonia"]) if "pneumonia" in outputs else of_classes[0][:, -1:]
            return {SCORES_OUTPUT: tf.concat([own, *of_classes], axis=1)}

        return Part(tf.function(probabilities, input_signature=signature, autograph=False), signature, (SCORES_OUTPUT,))

    def save(self, new: Path) -> None:
        """See ``Subject``."""
        graphs.save(self.part(cards.SCORES), new / cards.SAVED_MODEL)

    @functools.cached_property
    def model(self) -> Any:
        """The keras.Model with the checkpoint's weights."""
        return scoring.restored(self.folder, checkpoint=self.checkpoint).model

    @functools.cached_property
    def _call(self) -> Any:
        import tensorflow as tf

        height, width = self._size.fixed_hw or (None, None)
        signature, model = [tf.TensorSpec([1, height, width, 1], tf.uint8)], self.model
        return tf.function(lambda image: model({"image": image}, training=False), input_signature=signature, autograph=False)
