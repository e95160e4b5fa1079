"""What is exported: the best checkpoint of a run, and what is particular to a family of models. ``export.families`` knows the families.

subject = families.of_run(Path("workspace/my_first"))
subject.card.architecture, subject.kind("onnx")         # without TensorFlow
subject.detect(pixels)                                  # the checkpoint's own answer, which every file is compared with
"""

import abc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.export.graphs import Part
from pneumodet.export.parity import Tolerance
from pneumodet.inference.card import Artefact, ModelCard

Samples = Callable[[], Iterator[list[np.ndarray]]]
"""Gives anew what a model takes of some training radiographs."""


class Subject(abc.ABC):
    """A run's best checkpoint, or its newest where it has no best one. The model is built when it is first needed.

    Attributes:
      settings: name of the file that says what the model is, which goes into the export.
      evaluation: folder of the run's own evaluation on validation exams.
      folder: of the run.
      checkpoint: prefix of the checkpoint's files.
      card: what of model.json depends on the family: architecture, classes, input, post-processing.
    """

    settings: ClassVar[str]
    evaluation: ClassVar[str]

    def __init__(self, folder: Path, checkpoint: str, card: ModelCard) -> None:
        """Take the run, the checkpoint and what is known of the model."""
        self.folder, self.checkpoint, self.card = folder, checkpoint, card

    @abc.abstractmethod
    def kind(self, name: str) -> str:
        """Return what a format's file answers with.

        Raises:
          ConfigError: the format cannot carry this model.
        """

    @abc.abstractmethod
    def tolerance(self, name: str) -> Tolerance:
        """Return how far a format's file may be from the checkpoint."""

    @property
    @abc.abstractmethod
    def limit(self) -> int:
        """How many detections an image has at the most."""

    @property
    @abc.abstractmethod
    def model(self) -> Any:
        """The model with the checkpoint's weights, built when it is first asked for.

        Raises:
          CheckpointError: the checkpoint is damaged or does not fit.
        """

    @abc.abstractmethod
    def detect(self, pixels: np.ndarray) -> Detections:
        """Return what the checkpoint itself answers to a radiograph, (H, W) uint8, as ``inference.detectors.Detector.detect`` does."""

    @abc.abstractmethod
    def part(self, kind: str) -> Part:
        """Return the function of the model that answers in one of the ways of ``inference.card``."""

    @abc.abstractmethod
    def save(self, new: Path) -> None:
        """Write the SavedModel, and what belongs to it, into a folder."""

    def samples(self, data_dir: Path | None) -> Samples | None:
        """Return what ``write`` needs of training radiographs for a quantized file; None of a family that has no such file.

        Raises:
          DataError: there are no training records.
        """
        return None

    def write(self, name: str, artefact: Artefact, part: Part, new: Path, *, metadata: dict[str, Any], samples: Samples | None) -> Artefact:
        """Write the file of a format other than the SavedModel, and return what ``inference`` needs to know of it.

        Args:
          name: of the format.
          artefact: of it.
          part: what it answers with.
          new: the export's folder.
          metadata: goes into the file.
          samples: for a quantized file.

        Raises:
          ConfigError: the converter cannot express it.
          EnvironmentProblem: the converter is not installed.
        """
        from pneumodet.export import to_onnx, to_tflite

        if name == "onnx":
            to_onnx.write(part, new / artefact.file, metadata=metadata)
        else:
            to_tflite.write(part, new / artefact.file, kind=name, metadata=metadata)
        return artefact
