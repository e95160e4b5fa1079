"""What ``training.experiment`` needs of a kind of models: an engine, and what goes in and out of it. No TensorFlow.

class KerasEngine(Engine): ...
prepared = engine.new(folder, request, Hooks(on_start=print))
parts = engine.assemble(prepared, fresh=True, cluster=cluster, say=print)
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pneumodet.core.run_record import RunRecord
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.options import Plan

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; an engine adds its own fields.

    Attributes:
      run: name of the run, or path of its folder.
      config: name of a config, or its path.
      data: record set.
      resume: continue the run.
      log_to: one of ``options.TRACKERS``, which gets the figures besides; it is no setting of the run, and may be given to a resumed one.
    """

    run: str
    config: str | None = None
    data: Path | None = None
    resume: bool = False
    log_to: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What is called as a run proceeds.

    Attributes:
      on_start: takes a sentence.
      on_progress: takes where training stands, a ``training.progress.Progress``.
      on_download: takes (bytes there, bytes in all or None) of a pretrained checkpoint.
      on_evaluation: takes (step, figures by name); False stops the run.
    """

    on_start: Say = lambda text: None
    on_progress: Callable[[Any], None] = lambda progress: None
    on_download: Callable[[int, int | None], None] = lambda done, total: None
    on_evaluation: Callable[[int, dict[str, float | None]], bool | None] = lambda step, figures: None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that was checked and resolved; all that is known before TensorFlow starts.

    Attributes:
      config: the engine's: a TrainEvalPipelineConfig, or ``models.settings.Settings``.
      data: the record set.
      record: what run.json will hold, or holds.
      steps: in all.
      batch_size: images a step.
    """

    config: Any
    data: RecordSet
    record: RunRecord
    steps: int
    batch_size: int


@dataclasses.dataclass(kw_only=True)
class Parts:
    """All that a run consists of, once TensorFlow has started.

    Attributes:
      trainer, feed, validation: as ``training.parts`` says; validation is None where nothing is evaluated on the way.
      plan: when it evaluates, saves and stops.
      parameters: numbers that the model holds, batch normalization's statistics included.
      about: settings for TensorBoard's table of runs.
      drawn: a sample of a batch -> PIL picture, for TensorBoard.
      notes: sentences for the user.
      anchors: how boxes and anchors match, of a new detector.
      report: folder -> metrics.json's content; evaluates the model with the weights that it then has. None where another command does that.
      milliseconds: time of the model for an image, after ``report``.
    """

    trainer: Any
    feed: Any
    validation: Any
    plan: Plan
    parameters: int
    about: Mapping[str, Any]
    drawn: Callable[[dict[str, Any]], Any]
    notes: Sequence[str] = ()
    anchors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    report: Callable[[Path], dict[str, Any]] | None = None
    milliseconds: Callable[[], float] | None = None


class Engine(abc.ABC):
    """One kind of models, at each station of a run's life. TensorFlow is imported by ``assemble`` only.

    Attributes:
      many_machines: whether the machines of TF_CONFIG train one run together.
    """

    many_machines: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def family(self) -> str:
        """Family of the models, a key of ``runs.TRAINED_BY``."""

    @abc.abstractmethod
    def new(self, folder: Path, request: Any, hooks: Hooks) -> Prepared:
        """Check and resolve the request for a new run.

        Raises:
          PneumodetError: anything that the user can fix.
        """

    @abc.abstractmethod
    def resumed(self, folder: Path, request: Any, record: RunRecord) -> Prepared:
        """Check and resolve the request to resume a run; what it changes is written.

        Raises:
          PneumodetError: anything that the user can fix.
        """

    @abc.abstractmethod
    def save(self, folder: Path, prepared: Prepared) -> None:
        """Write what a new run's folder has beside run.json: its config."""

    @abc.abstractmethod
    def assemble(self, prepared: Prepared, *, fresh: bool, cluster: Any, say: Say) -> Parts:
        """Return what trains the model.

        Args:
          prepared: the request.
          fresh: start from the weights that the config names; False where a checkpoint of the run itself will follow.
          cluster: the devices, a ``training.cluster.Cluster``.
          say: takes a sentence about what happens.

        Raises:
          PneumodetError: config, records, weights or devices do not fit.
        """
