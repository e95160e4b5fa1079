"""An exported model, or a run without an export, ready to detect, or of a classifier to score: on files, folders and arrays."""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from pneumodet import inference
from pneumodet.api import calls, pages
from pneumodet.api.calls import Given
from pneumodet.api.predictions import Prediction, Predictions
from pneumodet.api.training import Export, Run
from pneumodet.core import given, progress, runs
from pneumodet.core.detections import Detections
from pneumodet.core.errors import CheckpointError, ConfigError, DataError
from pneumodet.data import images
from pneumodet.inference import detectors, exported
from pneumodet.inference.card import CARD, ModelCard
from pneumodet.inference.outputs import to_scores
from pneumodet.inference.predict import inputs, reading
from pneumodet.inference.predict.plan import ASSUMED, DEFAULT_THRESHOLD, FROM_MODEL

CHECKPOINT = "checkpoint"
"""The backend that runs a run's checkpoint itself, by TensorFlow."""

ARRAY = "radiograph"
"""What an array is called where it has no name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A detector or a classifier that is ready.

    >>> model = pneumodet.load("workspace/first/export")
    >>> model.backend, model.score_threshold
    ('onnx', 0.5)

    Attributes:
      source: folder of the export, or of the run.
      card: what is known of it: run, checkpoint, input size, metrics.
      label_map: class -> id.
      backend: what runs it: onnx, tflite, savedmodel, openvino, or ``checkpoint``.
      run_dir: the run whose checkpoint this is; None for an export.
    """

    source: Path
    card: ModelCard
    label_map: dict[str, int]
    backend: str
    detect: Callable[[np.ndarray], Detections] = dataclasses.field(repr=False)
    run_dir: Path | None = None

    def __post_init__(self) -> None:
        # not every runtime takes calls of several threads at a time
        lock, detect = threading.Lock(), self.detect

        def one_at_a_time(pixels: np.ndarray) -> Detections:
            with lock:
                return detect(pixels)

        object.__setattr__(self, "detect", one_at_a_time)

    @property
    def score_threshold(self) -> float:
        """The operating point: the model's own, or 0.5 where its checkpoint was not evaluated, see ``threshold_source``."""
        return DEFAULT_THRESHOLD if self.card.score_threshold is None else self.card.score_threshold

    @property
    def threshold_source(self) -> str:
        """Where the operating point is from."""
        return ASSUMED if self.card.score_threshold is None else FROM_MODEL

    @overload
    def predict(self, radiographs: np.ndarray, *, name: str = ...) -> Prediction: ...
    # a path is one radiograph or a folder of them, which only the disk shows: Any beside the class lets type checkers take either
    @overload
    def predict(self, radiographs: str | os.PathLike[str], *, name: str = ...) -> Prediction | Any: ...
    @overload
    def predict(self, radiographs: Sequence[Any], *, name: str = ...) -> Predictions: ...
    @calls.public
    def predict(self, radiographs: Any, *, name: str = ARRAY) -> Any:
        """Detect on one radiograph, or on many.

        >>> model = pneumodet.load("workspace/first/export")
        >>> model.predict(np.zeros((256, 256), np.uint8))
        <Prediction of radiograph: 0 boxes at score 0.500 or more; highest score 0.000>
        >>> model.predict(["radiograph.png", "radiographs/dark.png"])
        <Predictions of 2 radiographs, 1 with pneumonia>

        Args:
          radiographs: a DICOM, PNG or JPEG file; an array, (H, W) uint8, dark air and bright bone; or several: a list of files or of arrays, a folder, a
            ZIP archive, or a DICOMweb URL.
          name: of an array.

        Returns:
          A ``Prediction`` of one file or array; ``Predictions`` of several, of which files that cannot be used are ``refused``.

        Raises:
          ConfigError: a path does not exist, or an array is none of a radiograph.
          DataError: the one file cannot be read, or there is no radiograph.
        """
        if isinstance(radiographs, np.ndarray):
            return self._of_array(radiographs, name)
        if calls.is_path(radiographs):
            root = given.file_or_folder(radiographs, what="radiographs")
            several = self._of_sources([inputs.find(root)])
            if not inputs.is_one_file(root):
                return several
            if several.refused:
                raise DataError(": ".join(several.refused[0]))
            return several[0]
        each = list(radiographs)
        if all(isinstance(one, np.ndarray) for one in each):
            return Predictions(tuple(self._of_array(one, f"{name} {number}") for number, one in enumerate(each, start=1)))
        if not all(calls.is_path(one) for one in each):
            raise ConfigError("radiographs: a list holds files, or arrays (H, W) uint8; not both, and nothing else.")
        return self._of_sources([inputs.find(given.file_or_folder(one, what="radiographs")) for one in each])

    def _of_array(self, pixels: np.ndarray, name: str) -> Prediction:
        if pixels.ndim != 2 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ConfigError(
                f"radiographs: an array must be (H, W) uint8, dark air and bright bone, but is {pixels.shape} {pixels.dtype}. Give the file, which is "
                "read with its window; or one channel of a color picture, pixels[:, :, 0]."
            )
        return self._prediction(name, self.detect(pixels), pixels.shape, lambda: pixels)

    def _of_sources(self, all_given: Iterable[inputs.Inputs]) -> Predictions:
        all_given = list(all_given)
        refused = [one for each in all_given for one in each.refused]
        # what a server leaves out shows while its list is read
        later = [each.refused for each in all_given if each.total is None]
        known = [each.total for each in all_given if each.total is not None]
        total = sum(known) if len(known) == len(all_given) else None
        made = []
        queue = (one for each in all_given for one in each.radiographs)
        ahead = reading.read_ahead(queue, then=lambda exam, pixels: self.detect(pixels))
        with progress.bar(ahead, total=total, desc="predicting", unit="radiograph") as shown:
            for one in shown:
                if one.pixels is None or one.detections is None:
                    refused.append((one.source.name, one.reason))
                    continue
                made.append(self._prediction(one.exam, one.detections, one.pixels.shape, _Reader(one.source)))
        refused += [one for each in later for one in each if one not in refused]
        if not made and not refused:
            raise DataError("There is no radiograph to predict on.")
        return Predictions(tuple(made), refused)

    def _prediction(self, exam: str, detected: Detections, shape: tuple[int, ...], pixels: Callable[[], np.ndarray]) -> Prediction:
        made = Prediction(exam, detected, (shape[0], shape[1]), self.label_map, self.score_threshold, pixels=pixels)
        if not self.card.has_boxes:
            # they travel as detections of the whole radiograph, which nobody wants to see as boxes
            made = dataclasses.replace(made, detections=Detections.none(), image_scores=to_scores(detected, self.label_map))
        if self.card.calibrator is None:
            return made
        return dataclasses.replace(made, probability=float(self.card.calibrator(np.array([made.score]))[0]))

    def __repr__(self) -> str:
        return f"<Model {self.source} ({self.card.checkpoint}) by {self.backend}, score threshold {self.score_threshold:.3f} ({self.threshold_source})>"

    def _repr_html_(self) -> str:
        rows = [
            ("run", self.card.run or "–"),
            ("checkpoint", self.card.checkpoint or "–"),
            ("architecture", self.card.architecture or "–"),
            ("runs by", self.backend),
            ("score threshold", f"{self.score_threshold:.4f} ({self.threshold_source})"),
            ("folder", str(self.source)),
        ]
        return pages.html(pages.table("Model", ("", ""), rows))


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads a radiograph's pixels again, so that a folder of thousands is not held in memory."""

    source: inputs.Source

    def __call__(self) -> np.ndarray:
        return images.read_pixels(self.source)


@calls.public
def load(model: Given | Run | Export, *, backend: str = "auto", threads: int | None = None, trust: bool = False) -> Model:
    """Load a model to predict with.

    A run is loaded from its export where that was made of its best checkpoint, and otherwise from the checkpoint itself, which needs TensorFlow.

    Args:
      model: folder of an exported model, or one of the files in it; a run of a detector or classifier, its name or folder; or what ``train`` or ``run.export``
        returned.
      backend: auto, onnx, tflite, savedmodel or openvino; or ``checkpoint``, of a run.
      threads: that one image may use; None: all cores.
      trust: run a SavedModel that was not exported in this workspace: it is a program, and can do what you can.

    Raises:
      CheckpointError: this is neither an exported model nor a run with a checkpoint, a file is damaged, or it is a program of somebody unknown.
      ConfigError: there is no such backend, or the run is of another family, or takes more than a radiograph.
      EnvironmentProblem: the package that runs it is not installed.
    """
    calls.choice(backend, (*inference.BACKENDS, CHECKPOINT), "backend")
    if isinstance(model, Export):
        return _of_export(model.folder, backend, threads, trust)
    if isinstance(model, Run):
        return _of_run(model.folder, backend, threads, trust)
    path = Path(model).expanduser()
    if exported.is_export(path):
        return _of_export(path, backend, threads, trust)
    try:
        folder = runs.find(str(model))
    except DataError as error:
        raise CheckpointError(f"{model} is no exported model (no {CARD}), and: {error}") from error
    return _of_run(folder, backend, threads, trust)


def _of_export(path: Path, backend: str, threads: int | None, trust: bool) -> Model:
    if backend == CHECKPOINT:
        raise ConfigError(f"{path} is an exported model; only a run has a checkpoint. Leave backend out, or load the run.")
    detector = detectors.open(path, backend=backend, threads=threads, trust=trust, boxes=False)
    one = detector.exported
    return Model(one.model_dir, one.card, one.label_map, detector.backend, detector.detect)


def _of_run(folder: Path, backend: str, threads: int | None, trust: bool) -> Model:
    from pneumodet.export import card as run_card

    there = folder / runs.EXPORT
    if backend != CHECKPOINT and exported.is_export(there):
        best = _best(folder)
        # an export of an earlier checkpoint would pass for the run as it is now
        if best is None or exported.read(there, boxes=False).card.checkpoint_sha256 == run_card.sha256_of(best):
            return _of_export(there, backend, threads, trust)
    if backend not in ("auto", CHECKPOINT):
        raise CheckpointError(
            f"{folder} has no export of its best checkpoint for {backend}. Export it by run.export(), or leave backend out."
        )
    return _of_checkpoint(folder)


def _of_checkpoint(folder: Path) -> Model:
    from pneumodet.export import card as run_card
    from pneumodet.export import families

    subject = families.of_run(folder)
    about, _ = run_card.of_run(subject)
    _ = subject.model  # restored now: a damaged checkpoint is refused here, and the first radiograph does not wait for it
    return Model(folder, about, about.label_map or {}, CHECKPOINT, subject.detect, run_dir=folder)


def _best(folder: Path) -> str | None:
    """Return the prefix of a run's best checkpoint, or of its newest without one; None where its checkpoints were removed. Needs no TensorFlow."""
    # here, as all that a run takes: an exported model needs none of it
    from pneumodet.models.detection import checkpoint_files

    try:
        return checkpoint_files.find(checkpoint_files.folder_of_run(folder))
    except CheckpointError:
        return None


AnyModel = Model | Export | Run | Given
"""A model; a run, or its name; an exported model, or its folder."""


def run_of(one: AnyModel, *, family: str | None = runs.DETECTION) -> Path | None:
    """Return the folder of the run that is meant, of a family or any; None where it is an exported model."""
    if isinstance(one, Run):
        return one.folder
    if isinstance(one, Model):
        return one.run_dir
    if isinstance(one, Export) or exported.is_export(Path(one).expanduser()):
        return None
    return runs.find(str(one), family=family)


def export_of(one: AnyModel) -> Path:
    """Return the folder of the exported model that is meant."""
    if isinstance(one, Model):
        return one.source
    return one.folder if isinstance(one, Export) else Path(one).expanduser()  # type: ignore[arg-type]
