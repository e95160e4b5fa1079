"""A radiograph in, detections out, whatever runs the model.

detector = open(Path("workspace/my_first/export"))                     # the fastest file whose package is there
detector = open(Path("workspace/my_first/export/model-int8.tflite"))   # this file
detections = detector.detect(pixels)                                   # Detections in px of the radiograph
"""

from pathlib import Path

import numpy as np

from pneumodet import inference
from pneumodet.core import installation
from pneumodet.core.detections import Detections
from pneumodet.core.errors import CheckpointError, ConfigError, EnvironmentProblem, first_line
from pneumodet.inference import backends, exported, sizes, suppression
from pneumodet.inference import card as cards
from pneumodet.inference import trust as trusts
from pneumodet.inference.outputs import from_outputs, from_scores

FORMATS_OF = {"onnx": ("onnx",), "tflite": ("tflite", "tflite-fp16"), "savedmodel": ("savedmodel",), "openvino": ("onnx",)}
"""Backend -> the formats that it takes by itself, the first one that is there; the exact ones in the order of their speed. A quantized model has
other detections than the one that was evaluated; it is used where its file is named."""

SCORES_OUTPUT = "scores"
"""Name of a classifier's output: (1, C) float32 in [0, 1], a score of each class of the label map, in the order of their ids."""

INEXACT = "openvino"
"""Computes in bfloat16 where the processor does, in half the time; scores differ in the second digit, so that it is used where it is named."""


class Detector:
    """An exported model that is ready to detect.

    Attributes:
      backend: one of ``backends.PACKAGES``.
      format: of the file that it runs.
      exported: what lies beside it.
    """

    def __init__(
        self, model: exported.Exported, name: str, *, backend: str | None = None, threads: int | None = None, trust: bool = False
    ) -> None:
        """Open the file of a format, by the backend that it is named after or by another one; ``trust`` as in ``open``.

        Raises:
          CheckpointError: it is damaged, not the one that was exported, or a program whose maker is not trusted.
          EnvironmentProblem: its package is not installed.
        """
        self.exported, self.format, self.backend = model, name, backend or name.partition("-")[0]
        self._artefact, self._size = model.artefacts[name], model.card.size
        self._settings = model.card.postprocessing
        if self._settings is None and self._artefact.outputs not in (cards.DETECTIONS, cards.SCORES):
            raise CheckpointError(
                f"{model.model_dir / cards.CARD}: the field postprocessing is missing, which {self._artefact.file} needs. Export the run again."
            )
        if self._artefact.anchors is not None:
            path = model.model_dir / self._artefact.anchors
            try:
                # no pickles: a model that is passed on must not bring code along
                self._anchors = np.load(path, allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise CheckpointError(f"{path} cannot be read ({first_line(error)}). Copy it again, or export the run again.") from error
        # before a runtime parses the file, whose errors do not say that it was cut off or changed
        exported.check_whole(model, name)
        if backends.available(self.backend):  # without its package nothing can be run, which the error of opening says
            trusts.check(model, name, given=trust)
        self._run = backends.open_file(self.backend, model.path(name), threads=threads)

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect on one radiograph.

        Args:
          pixels: (H, W) uint8, dark air and bright bone (MONOCHROME2), of any size.

        Returns:
          Detections in px of ``pixels``, best first, all that score at least ``inference.SCORE_FLOOR``; of a classifier as ``outputs.from_scores``.
        """
        height, width = pixels.shape
        image = pixels if self._size is None else sizes.prepared(pixels, self._size)
        true_hw = image.shape
        if self._size and self._size.padded and self.format != "savedmodel":  # whose own resizer pads
            image = self._size.on_canvas(image)
        # backbones take colour: the one gray value goes into all three channels, as in training
        answer = self._run(
            {
                backends.INPUT: np.repeat(image[np.newaxis, :, :, np.newaxis], 3, axis=3),
                backends.TRUE_SHAPE: np.array([[*true_hw, 3]], np.int32),
            }
        )
        if self._artefact.outputs == cards.SCORES:
            return from_scores(answer[SCORES_OUTPUT][0], height=height, width=width)
        if self._artefact.outputs == cards.TASK:
            answer = {**answer, "detection_classes": answer["detection_classes"] + 1}  # which count from 0 there
        elif self._settings is not None and self._artefact.outputs != cards.DETECTIONS:
            # boxes are relative to the padded input: the window says which part of it is the radiograph
            answer = self._suppressed(answer, self._settings, (true_hw[0] / image.shape[0], true_hw[1] / image.shape[1]))
        return from_outputs(answer, 0, height=height, width=width)

    def _suppressed(
        self, answer: dict[str, np.ndarray], settings: suppression.Settings, window_hw: tuple[float, float]
    ) -> dict[str, np.ndarray]:
        if self._artefact.outputs == cards.BOXES:
            return suppression.detections(answer["boxes"][0], answer["scores"][0], settings, window_hw=window_hw)
        numbers, ranges = range(self._artefact.feature_maps or 0), self._artefact.ranges
        encodings, logits = ([answer[f"{what}_{number}"][0] for number in numbers] for what in ("encodings", "logits"))
        if ranges:
            encodings = [suppression.unbounded(one, limits.encodings) for one, limits in zip(encodings, ranges, strict=True)]
            # what was cut off at the low end may have been any logit below it: it is no candidate at all
            logits = [
                np.where(one > 0, suppression.unbounded(one, limits.logits), -np.inf) for one, limits in zip(logits, ranges, strict=True)
            ]
        return suppression.from_encodings(np.concatenate(encodings), np.concatenate(logits), self._anchors, settings, window_hw=window_hw)


def numerics_of(detector: Detector) -> str:
    """Return what makes the detections of a detector differ from the checkpoint's: its file's format or its backend; empty where they are the same.

    The formats without a suffix are the exact ones, within the tolerance of export's comparison; all backends but ``INEXACT`` run them as they are.
    """
    return " ".join([detector.format] * ("-" in detector.format) + [detector.backend] * (detector.backend == INEXACT))


def open(  # noqa: A001 - as detectors.open
    model_dir: Path, *, backend: str = "auto", threads: int | None = None, trust: bool = False, boxes: bool = True
) -> Detector:
    """Open an exported model.

    Args:
      model_dir: its folder, or one of the files in it.
      backend: one of ``inference.BACKENDS``; "auto" takes the fastest one whose file and package are there, or, where a file is named, that of the file.
      threads: that one image may use; None: all cores.
      trust: whether the model's maker is trusted: a SavedModel that was not exported in this workspace is run only then; see ``inference.trust``.
      boxes: refuse a classifier, which has none.

    Returns:
      The detector.

    Raises:
      CheckpointError: this is no exported model, it has no file for the backend, or the file is damaged, or a program of somebody unknown.
      ConfigError: there is no such backend, or it does not run the file that was named.
      EnvironmentProblem: the package that runs it is not installed.
    """
    one, name, kind = _chosen(model_dir, backend, boxes=boxes)
    return Detector(one, name, backend=kind, threads=threads, trust=trust)


def check_trusted(model_dir: Path, *, backend: str = "auto", trust: bool = False) -> None:
    """Check what ``open`` would find out of the model's maker, without opening it; arguments and errors as there."""
    one, name, kind = _chosen(model_dir, backend)
    if backends.available(kind):
        trusts.check(one, name, given=trust)


def _chosen(model_dir: Path, backend: str, *, boxes: bool = True) -> tuple[exported.Exported, str, str]:
    """Return (what lies beside the model, the format to run, the backend that runs it); arguments and errors as ``open``."""
    if backend not in inference.BACKENDS:
        raise ConfigError(f"There is no backend {backend!r}; there are {', '.join(inference.BACKENDS)}.")
    one = exported.read(model_dir, boxes=boxes)
    # exported.read takes a file for its folder; here its name chooses the format
    named = [name for name, artefact in one.artefacts.items() if one.model_dir != model_dir and artefact.file == model_dir.name]
    if named:
        own = named[0].partition("-")[0]
        if backend not in ("auto", own) and named[0] not in FORMATS_OF[backend]:
            raise ConfigError(f"{model_dir.name} cannot be run by {backend}. Leave out --backend, or name the folder.")
        return one, named[0], own if backend == "auto" else backend
    wanted = {kind: names for kind, names in FORMATS_OF.items() if kind == backend or (backend == "auto" and kind != INEXACT)}
    there: dict[str, str] = {}
    for kind, names in wanted.items():
        has_one = next((name for name in names if name in one.artefacts), None)
        if has_one is not None:
            there[kind] = has_one
    if not there:
        has = ", ".join(artefact.file for artefact in one.artefacts.values())
        what = "auto backend" if backend == "auto" else f"backend {backend}"
        raise CheckpointError(
            f"{one.model_dir} has no file for the {what}; it has {has}. Name one of them, or export the run again with other --formats."
        )
    usable = [kind for kind in there if backends.available(kind)]
    if not usable and backend == "auto":
        needs = ", ".join(f"{one.artefacts[name].file}: {backends.PACKAGES[kind].replace('_', '-')}" for kind, name in there.items())
        raise EnvironmentProblem(
            f"None of the packages that run {one.model_dir} is installed ({needs}): {installation.command('predict')}."
        )
    # without its package the backend is opened all the same: its error names the package
    kind = (usable or list(there))[0]
    return one, there[kind], kind
