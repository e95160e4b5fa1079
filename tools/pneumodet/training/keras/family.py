"""What a family of Keras 3 models is, so that one engine trains all of them.

    class Classifier(Family):
        name, settings = "classification", ClassifierSettings
        ...

TensorFlow is imported by a family's methods ``build`` and ``assemble`` only, so that all that can be refused is refused before it starts.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pneumodet.core import paths, runs
from pneumodet.core.seen import Seen
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.models.pretrained import NONE, RUN
from pneumodet.models.settings import Settings

Say = Callable[[str], None]


@dataclasses.dataclass(kw_only=True)
class Parts:
    """All that a run consists of.

    Attributes:
      trainer: a ``trainer.Trainer``.
      feed: a ``models.inputs.keras_feeding.Feed``.
      runner: an ``evaluation.runner.Runner`` with the trainer's model and the validation records.
      evaluate: an iterator of the runner's batches -> ``evaluation.runner.Evaluation``, for evaluation within training.
      report: folder -> figures for metrics.json; evaluates the runner's model as it then is, and writes scores.csv and what else the family has.
      drawn: a sample of a batch -> PIL picture, for TensorBoard.
      notes: sentences for the user.
    """

    trainer: Any
    feed: Any
    runner: Any
    evaluate: Callable[[Iterator[Any]], Any]
    report: Callable[[Path], dict[str, Any]]
    drawn: Callable[[dict[str, np.ndarray]], Any]
    notes: Sequence[str] = ()


class Family(abc.ABC):
    """One kind of models.

    Attributes:
      name: of the family, and of its folder in configs/.
      settings: its settings.
    """

    name: ClassVar[str]
    settings: ClassVar[type[Settings]]

    @property
    def configs(self) -> Path:
        """Folder of the configs."""
        return paths.CONFIG_DIR / self.name

    def start(self, settings: Any) -> str:
        """Return what a new run starts from, for the user."""
        pretrained = str(getattr(settings, "pretrained", NONE))  # a family may have no weights to start from
        return {NONE: "random weights", "imagenet": "ImageNet weights"}.get(pretrained, pretrained)

    def seen(self, settings: Any) -> Seen:
        """Return what the weights have seen that a new run starts from.

        Raises:
          DataError: they are of a run whose record cannot be read.
        """
        pretrained = str(getattr(settings, "pretrained", NONE))
        if pretrained in (NONE, "imagenet"):
            return Seen()
        if pretrained.startswith(RUN):
            return runs.seen(runs.find(pretrained.removeprefix(RUN), family=self.name))
        return runs.seen_by_weights(Path(pretrained).expanduser())

    @abc.abstractmethod
    def check(self, settings: Any, records: RecordSet, *, say: Say) -> dict[str, Any]:
        """Check what a new run needs of the records and of files, without TensorFlow.

        Returns:
          What run.json keeps of it.

        Raises:
          PneumodetError: settings and records do not fit.
        """

    @abc.abstractmethod
    def build(self, settings: Any, *, pretrained: bool, say: Say = lambda text: None) -> Any:
        """Return the keras.Model; with ``pretrained``, with the weights that it starts from.

        Raises:
          CheckpointError: they cannot be had, or do not fit.
        """

    @abc.abstractmethod
    def assemble(self, settings: Any, records: RecordSet, model: Any) -> Parts:
        """Return what trains and evaluates a model.

        Raises:
          PneumodetError: settings and records do not fit.
        """

    def reporter(
        self, settings: Any, records: RecordSet, split: Split, model: Any, *, chosen: Mapping[str, Any] | None = None
    ) -> Callable[[Path], dict[str, Any]]:
        """Return what evaluates a model on a split, as ``Parts.report``.

        Args:
          settings: of the run.
          records: that it was trained with.
          split: of them.
          model: a keras.Model.
          chosen: metrics.json of the validation exams, whose thresholds are taken; without it each exam has those that other patients gave.

        Raises:
          NotImplementedError: the family has no such thing.
        """
        raise NotImplementedError
