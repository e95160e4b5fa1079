"""A trained classifier, and its outputs as probabilities. numpy at module level; TensorFlow where a run is opened.

trained = restored(folder)
runner = trained.runner(split)
for seen in runner.batches(): probability(seen.outputs)          # (B,) of pneumonia
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import paths, runs
from pneumodet.data.record_sets import Split
from pneumodet.models import settings as settings_files
from pneumodet.models.classification import metadata
from pneumodet.models.classification.settings import ClassifierSettings


@dataclasses.dataclass(frozen=True)
class Trained:
    """A classifier with the weights of its best checkpoint.

    Attributes:
      model: a keras.Model, as from ``networks.classifier``.
      settings: that it was trained with.
    """

    model: Any
    settings: ClassifierSettings

    def runner(self, split: Split, *, model: Any = None) -> Any:
        """Return a ``evaluation.runner.Runner`` that shows it a split's records as it saw them in training.

        Args:
          split: the records.
          model: runs in its place: takes the same inputs, and gives a dict.
        """
        from pneumodet.evaluation.runner import Runner

        return Runner(model or self.model, split, **feed_arguments(self.settings, split))


def restored(folder: Path, *, checkpoint: str | None = None) -> Trained:
    """Return the classifier of a run's folder.

    Args:
      folder: the run.
      checkpoint: prefix of its files; None: the best one, or the newest where there is no best one.

    Raises:
      DataError, ConfigError: the folder is no run of a classifier.
      CheckpointError: there is no checkpoint, or it does not fit.
    """
    chosen = settings_of(folder)
    from pneumodet.models.classification import networks
    from pneumodet.models.detection import checkpoints
    from pneumodet.models.keras_checkpoints import restore

    model = networks.classifier(chosen, None)
    restore(model, checkpoint or checkpoints.of_run(folder))
    return Trained(model, chosen)


def settings_of(folder: Path) -> ClassifierSettings:
    """Return the settings that a classifier was trained with, which are not those of the config today; errors as ``restored``, without TensorFlow."""
    return settings_files.load(ClassifierSettings, folder / runs.SETTINGS, folder=paths.CONFIG_DIR / runs.CLASSIFICATION)


def feed_arguments(settings: ClassifierSettings, split: Split) -> dict[str, Any]:
    """Return how a classifier takes a split, as arguments of ``Runner`` and ``Feed``."""
    return {
        "size_hw": settings.size_hw,
        "normalization": settings.normalization,
        "metadata": metadata.of_split(split) if settings.metadata else None,
        "skip_corrupt": settings.skip_corrupt,
    }


def logit(outputs: Mapping[str, Any]) -> Any:
    """Return the (B,) output that speaks for pneumonia, before sigmoid or softmax: what Grad-CAM explains."""
    return outputs["pneumonia"][:, 0] if "pneumonia" in outputs else outputs["classes"][:, -1]


def probability(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the (B,) float64 probability of pneumonia: of its own head, where there is one, else of the class."""
    # a logit against an implicit 0 for "no pneumonia" is a sigmoid
    if "pneumonia" in outputs:
        return _softmax(np.pad(outputs["pneumonia"], [(0, 0), (1, 0)]))[:, 1]
    return _softmax(outputs["classes"])[:, -1]


def scores(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the (B, C) float64 probability of pneumonia, and then of the three classes where the model has them: all that an export answers with."""
    return np.column_stack([probability(outputs), *([_softmax(outputs["classes"])] if "classes" in outputs else [])])


def gathered(batches: Iterable[Any]) -> dict[str, np.ndarray]:
    """Return all of what a ``Runner`` has seen: ``pneumonia`` (N,) float64, and ``classes`` (N, 3) float64 where the model has them.

    A record that could not be read counts as if nothing speaks for pneumonia: 0, and equal probabilities of the other classes.
    """
    parts_of: dict[str, list[np.ndarray]] = {}
    for seen in batches:
        parts_of.setdefault("pneumonia", []).append(np.where(seen.read, probability(seen.outputs), 0.0))
        if "classes" in seen.outputs:
            of_classes = _softmax(seen.outputs["classes"])
            of_classes[~seen.read] = [0.5] * (of_classes.shape[1] - 1) + [0.0]
            parts_of.setdefault("classes", []).append(of_classes)
    return {name: np.concatenate(parts) for name, parts in parts_of.items()}


def _softmax(logits: np.ndarray) -> np.ndarray:
    # less the maximum, which changes nothing but that no power overflows
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
