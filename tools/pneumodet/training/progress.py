"""What a run says of itself: where it stands, what it remembers from step to step, what came of it, and who is called with all that."""

import dataclasses
import json
from collections.abc import Mapping

import tensorflow as tf

from pneumodet.core import json_text, selection
from pneumodet.core.errors import CheckpointError
from pneumodet.core.json_fields import Fields
from pneumodet.models.options import Plan
from pneumodet.training.parts import Evaluation


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
      step: steps done, of ``total``.
      loss: total loss, mean over the steps since the last report.
      images_per_second: since the last report; the process's first step, evaluations and checkpoints not counted. None where nothing is left.
      seconds_per_step: since the last report, likewise.
    """

    step: int
    total: int
    loss: float
    images_per_second: float | None
    seconds_per_step: float | None


@dataclasses.dataclass
class Memory:
    """What training remembers beside weights; it is stored in each checkpoint, so that both are always of the same step.

    Attributes:
      best: the figure of the best checkpoint so far.
      best_step: its step.
      best_mean: the highest mean so far, see ``take``.
      recent: the last figures, ``selection.WINDOW`` at the most.
      waited: evaluations since the highest mean.
      rollbacks: how often the run went back.
      due: whether the evaluation of its step was cut off by a signal, and is still to come.
    """

    best: float | None = None
    best_step: int | None = None
    best_mean: float | None = None
    recent: tuple[float, ...] = ()
    waited: int = 0
    rollbacks: int = 0
    due: bool = False

    @classmethod
    def of(cls, text: str, *, where: str) -> "Memory":
        """Return what ``to_text`` wrote; of nothing, as a checkpoint of the stock API has it, the beginning.

        Raises:
          CheckpointError: checkpoint ``where`` has something else.
        """
        if not text:
            return cls()
        hint = "Is it a checkpoint of this run?"
        try:
            return Fields(json_text.loads(text), where=where, error=CheckpointError, hint=hint).build(cls)
        except ValueError as error:
            raise CheckpointError(f"What checkpoint {where} remembers is not valid JSON ({error}). {hint}") from error

    def take(self, value: float | None, step: int) -> bool:
        """Take the figure of an evaluation, and return whether its checkpoint is the best so far.

        A single figure on few exams is high by luck more often than by worth, so that means are compared, each of a figure and of the ones before it,
        ``selection.WINDOW`` in all; and a later checkpoint takes the place of an earlier one unless its mean is lower by more than ``selection.TOLERANCE``.

        Args:
          value: more is better; None where it is undefined, which is never the best.
          step: of the evaluation.
        """
        self.waited += 1
        if value is None:
            return False
        self.recent = (*self.recent, value)[-selection.WINDOW :]
        mean = self._mean()
        # of a run that an earlier version began there is the figure alone
        highest = self.best if self.best_mean is None else self.best_mean
        if highest is None or mean > highest:
            self.best_mean, self.waited = mean, 0
        elif not selection.as_good(mean, highest):
            return False
        self.best, self.best_step = value, step
        return True

    def _mean(self) -> float:
        return sum(self.recent) / len(self.recent)

    def compared(self, value: float | None, step: int) -> str:
        """Return the figure of the newest evaluation for a sentence, with the mean by which the best checkpoint is kept, and which one that is."""
        shown = "is undefined" if value is None else f"{value:.4f}"
        if value is not None and len(self.recent) > 1:
            shown += f" (mean of {len(self.recent)}: {self._mean():.4f})"
        if self.best is None:
            return shown
        return (
            f"{shown}, kept as the best so far" if self.best_step == step else f"{shown}; the best is still that of step {self.best_step}"
        )

    def returned(self, before: "Memory") -> "Memory":
        """Return what this one, of the checkpoint that a run went back to, becomes: the best checkpoint stays on disk, and so does its figure.

        Args:
          before: what training remembered when it diverged.
        """
        memory = dataclasses.replace(self, rollbacks=before.rollbacks + 1)
        if before.best_step != self.best_step:  # evaluated after the checkpoint was written: none since then counts against it
            memory.best, memory.best_step, memory.best_mean, memory.waited = before.best, before.best_step, before.best_mean, 0
        return memory

    def to_text(self) -> str:
        """Return what a checkpoint stores."""
        return json.dumps(dataclasses.asdict(self))

    def out_of_patience(self, plan: Plan) -> str | None:
        """Return why a run ends for want of a better figure, or None where it does not."""
        # of what the checkpoint holds: a resumed run has waited as long as the one before
        if not plan.patience or self.waited < plan.patience:
            return None
        best = f"{self.best:.4f} at step {self.best_step}" if self.best is not None else "undefined throughout"
        return f"no better {plan.best_metric} in {self.waited} evaluations, the best is {best}"


@dataclasses.dataclass
class Outcome:
    """What training did.

    Attributes:
      step: steps done in all.
      completed: False when it was stopped by a signal.
      stopped_early: a sentence where it ended before its last step for want of progress, or because the caller asked for it.
      checkpoint: the newest checkpoint's prefix.
      best_metric: the figure by which the best checkpoint is kept.
      memory: the best figure and its step.
      seconds_to_first_step: wall time from the start of the process's training to the end of the first step.
      images_per_second: over all steps but the first of this call, evaluations and checkpoints not counted; None where there was no second.
      notes: sentences about what happened on the way.
    """

    step: int = 0
    completed: bool = False
    stopped_early: str | None = None
    checkpoint: str = ""
    best_metric: str = Plan.best_metric
    memory: Memory = dataclasses.field(default_factory=Memory)
    seconds_to_first_step: float | None = None
    images_per_second: float | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


class Observer:
    """Takes what happens; every method may be left as it is."""

    def report(self, progress: Progress, scalars: Mapping[str, float | None]) -> None:
        """Take the means since the last report."""

    def evaluation(self, step: int, evaluation: Evaluation, *, best: bool) -> bool | None:
        """Take an evaluation; False stops the run."""

    def note(self, text: str) -> None:
        """Take a sentence for the user."""

    def close(self) -> None:
        """Write what is left; nothing comes any more."""

    def rewind(self, step: int) -> None:
        """Forget what was reported after ``step``: the run goes back to it."""

    def first_batch(self, batch: dict[str, tf.Tensor], step: int) -> None:
        """Take the first batch, as the model will see it."""

    def anchors(self, statistics: dict[str, float]) -> None:
        """Take how the training set's boxes and the model's anchors match, before the first step."""
