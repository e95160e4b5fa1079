"""Train a model: one process that trains, evaluates, keeps the best model, stops early, guards, and resumes exactly where it was.

    run = Run(trainer, feed, folder, plan=Plan(evaluate_every=200, patience=5), total=2000, batch_size=8, validation=validation, cluster=cluster)
    run.resume()
    outcome = run.train()

Orbit's Controller (tf-models-official) has the outer loop, but no way to stop early, to go back to an earlier checkpoint, or to save what Python
remembers with the weights; checkpoints and devices are TensorFlow's own (CheckpointManager, tf.distribute).
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from pneumodet.core import runs
from pneumodet.core.errors import CheckpointError, DataError, TrainingError, first_line
from pneumodet.models.detection import checkpoints
from pneumodet.models.options import Plan
from pneumodet.training import saving
from pneumodet.training.cluster import Cluster
from pneumodet.training.parts import Feed, Trainer, Validation
from pneumodet.training.progress import Memory, Observer, Outcome, Progress
from pneumodet.training.step import TOTAL_LOSS
from pneumodet.training.stopping import Stopping

REPORT_EVERY = 20
"""Steps from one report to the next: progress, curves, and the check whether all is finite."""

SAVE_SECONDS = 600.0
"""So far apart are checkpoints at the most, where steps are slow: those since the last one are lost with a step that a signal cuts off."""

ROLLBACKS = 3
"""How often a run goes back to its last good checkpoint before it gives up."""

ROLLBACK_FACTOR = 0.3
"""What the learning rate is multiplied by when a run goes back."""


class Run:
    """One run: what it trains, on what, and where it writes."""

    def __init__(
        self,
        trainer: Trainer,
        feed: Feed,
        folder: Path,
        *,
        plan: Plan,
        total: int,
        batch_size: int,
        validation: Validation | None = None,
        cluster: Cluster,
        observer: Observer | None = None,
        started: float | None = None,
    ) -> None:
        """Set up the run; nothing is read or written yet.

        Args:
          trainer: with weights as they shall be at step 0.
          feed: the training records.
          folder: the run's folder.
          plan: when to save and to evaluate.
          total: steps in all.
          batch_size: of all replicas together.
          validation: the validation records; None for no evaluation.
          cluster: the devices that train together, and this process's part among them.
          observer: takes what happens.
          started: time.perf_counter() of the start, for ``Outcome.seconds_to_first_step``.
        """
        self._trainer, self._feed, self._plan, self._cluster = trainer, feed, plan, cluster
        self._total, self._batch_size, self._validation = total, batch_size, validation
        self._observer = observer or Observer()
        self._started = time.perf_counter() if started is None else started
        self._train_dir, self._level = folder / runs.TRAIN, cluster.leveler(trainer.model.variables)
        checkpoint = trainer.checkpoint()
        self._manager = tf.train.CheckpointManager(checkpoint, str(self._train_dir), max_to_keep=plan.keep)
        self._best = tf.train.CheckpointManager(checkpoint, str(folder / runs.BEST), max_to_keep=1)
        self._checkpoint, self._newest = checkpoint, saving.newest(folder)
        self._memory = Memory()
        self._outcome = Outcome(best_metric=plan.best_metric, memory=self._memory)
        self._halted = False
        self._saved = time.monotonic()
        self._stopping = Stopping(alone=cluster.workers == 1, last_words=self._last_words)
        self._in_a_row = 0  # returns without a good report between them
        self._steps, self._seconds = 0, 0.0  # without the first step, evaluations and checkpoints

    def resume(self) -> bool:
        """Take up the newest checkpoint of the run's folder, and return whether there was one.

        Raises:
          CheckpointError: it cannot be read or does not fit.
        """
        if not self._newest:
            return False
        try:
            self._restore(self._newest)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} Where an earlier one is there, remove {self._newest}.*, and the run continues from that."
            ) from error
        if self._newest != self._manager.latest_checkpoint and self._cluster.chief:  # somebody removed a checkpoint
            self._keep_only([path for path in self._manager.checkpoints if Path(f"{path}.index").exists()] or [self._newest])
        return True

    def train(self) -> Outcome:
        """Train to the last step, or until it is stopped.

        SIGINT and SIGTERM end it after the step at hand, with a checkpoint; during the first step, which is traced and compiled, at once. A step that takes
        longer than ``deadline.SECONDS`` is cut off, and the process ends. Workers that train together stop together, at their next report.

        Raises:
          TrainingError: the loss was not finite again after ``ROLLBACKS`` returns to a checkpoint; that checkpoint is good.
          DataError: the records cannot be read, or the disk is full; the last checkpoint is good.
        """
        if not self._newest:
            self._save()  # what the first return goes back to, if it comes to that
        outcome = self._outcome
        outcome.stopped_early = self._memory.out_of_patience(self._plan)  # a run that has stopped early does not continue by itself
        with self._stopping:
            if self._memory.due:
                self._evaluate_late()
            while self._step < self._total and not outcome.stopped_early and not self._halted:
                try:
                    self._stretch()
                except _NotFiniteError as error:
                    self._roll_back(error)
                except KeyboardInterrupt:
                    if self._cluster.workers > 1 or outcome.seconds_to_first_step is not None:
                        raise
                    self._halted = True
                    # a step that was done when the signal came in is in no checkpoint
                    self._trainer.global_step.assign(self._newest_step())
        outcome.step, outcome.completed = self._step, not self._halted
        outcome.checkpoint, outcome.memory = self._newest or "", self._memory
        if self._seconds:
            outcome.images_per_second = self._steps * self._batch_size / self._seconds
        self._report_skipped()
        return outcome

    def _last_words(self) -> str:
        return (
            "Stopped in the midst of a step, which would have taken longer. The last checkpoint is that of step "
            f"{self._newest_step()}; --resume continues from there."
        )

    def _evaluate_late(self) -> None:
        """Make up for the evaluation that a signal cut off, as if it had not."""
        self._memory.due = False
        # not saved by itself: the optimizer's slots are not there before the first step, and a checkpoint without them would be resumed from
        if self._validation is not None:
            self._evaluate(self._step)

    def _report_skipped(self) -> None:
        skipped: list[tuple[Mapping[str, str], str]] = [(self._feed.skipped.reasons, "corrupt records were left out")]
        if self._validation is not None:
            skipped.append((self._validation.skipped, "corrupt validation records count as if nothing was found on them"))
        for reasons, what in skipped:
            if reasons:
                self._outcome.notes.append(f"{len(reasons)} {what}.")
                self._observer.note(f"{len(reasons)} {what}; the first: {next(iter(reasons.values()))}")

    @property
    def _step(self) -> int:
        return int(self._trainer.global_step.numpy())

    def _stretch(self) -> None:
        """Train until the end, a reason to stop, or a loss that is not finite."""
        step = self._step
        batches = iter(self._cluster.distribute(self._feed.batches(first_step=step, steps=self._total - step)))
        losses: list[dict[str, tf.Tensor]] = []
        since, untimed = time.perf_counter(), 0
        try:
            while step < self._total and not self._halted and not self._outcome.stopped_early:
                # kept as tensors until the next report: to read one now would make the processor wait for the device at each step
                with self._stopping.at_once() if self._outcome.seconds_to_first_step is None else contextlib.nullcontext():
                    losses.append(self._next_step(batches, step))
                step += 1
                last = step == self._total
                # the last step is evaluated whatever the distance, or the final weights would have no figure
                evaluate = self._validation is not None and self._plan.evaluate_every and (step % self._plan.evaluate_every == 0 or last)
                slow = self._cluster.workers == 1 and time.monotonic() - self._saved > SAVE_SECONDS
                save = step % self._plan.checkpoint_every == 0 or last or slow
                report = step % REPORT_EVERY == 0
                if self._outcome.seconds_to_first_step is None:
                    since = time.perf_counter()
                    self._outcome.seconds_to_first_step = since - self._started
                    untimed = 1
                if self._cluster.workers == 1 or report or evaluate or save:  # the others must hear of it, which they do now and then
                    self._halted = self._cluster.any(self._stopping.asked())
                if self._halted:
                    self._stopping.finish()
                    # it takes its time; the process that resumes makes up for it
                    self._memory.due, evaluate = bool(evaluate), False
                if evaluate or save or report or self._halted:
                    timed, seconds = len(losses) - untimed, time.perf_counter() - since
                    self._steps += timed
                    self._seconds += seconds
                    # first of all: it raises where a loss is not finite, before such weights are evaluated or saved
                    self._report(step, losses, seconds / timed if timed else None)
                    # before the checkpoint is written, which then holds what the evaluation has changed in the memory
                    if evaluate:
                        self._evaluate(step)
                    if save or self._halted or self._outcome.stopped_early:
                        self._save()
                    losses, since, untimed = [], time.perf_counter(), 0
        finally:
            self._feed.close()
            # last, after reading has come to rest: see Samples.close
            del batches

    def _next_step(self, batches: Iterator[dict[str, tf.Tensor]], step: int) -> dict[str, tf.Tensor]:
        """Take a step on the next batch, and wait for the device where it is this process's first."""
        batch = self._next(batches)
        first = self._outcome.seconds_to_first_step is None
        if first:
            self._observer.first_batch(batch, step)
        losses = self._run_step(batch)
        if first:
            losses[TOTAL_LOSS].numpy()
        return losses

    def _next(self, batches: Iterator[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        try:
            return next(batches)
        except (tf.errors.OpError, StopIteration) as error:
            if isinstance(error, tf.errors.UnavailableError) and not self._feed.failure:
                raise  # another worker is gone
            failure = self._feed.failure or DataError(f"The training records cannot be read: {first_line(error)}.")
            raise failure from error

    def _run_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        try:
            return self._trainer.step(batch)
        except tf.errors.ResourceExhaustedError as error:
            raise TrainingError(
                f"The device has too little memory for {self._batch_size} images at once ({first_line(error)}). {self._trainer.memory_advice}"
            ) from error

    def _report(self, step: int, losses: list[dict[str, tf.Tensor]], each: float | None) -> None:
        values = {name: np.array([one[name].numpy() for one in losses], np.float64) for name in losses[0]}
        # the first such step is named, not the last: what follows it is its consequence
        wrong = ~np.isfinite(np.stack(list(values.values()))).all(axis=0)
        if wrong.any():
            at = int(np.argmax(wrong))
            shown = ", ".join(f"{name} {of_steps[at]:g}" for name, of_steps in values.items())
            raise _NotFiniteError(f"step {step - len(losses) + at + 1}, learning rate {float(self._trainer.learning_rate()):g}: {shown}")
        self._in_a_row = 0
        means = {name: float(of_steps.mean()) for name, of_steps in values.items()}
        progress = Progress(step, self._total, means[TOTAL_LOSS], self._batch_size / each if each else None, each)
        scalars = {**means, "learning_rate": float(self._trainer.learning_rate()), "images_per_second": progress.images_per_second}
        self._observer.report(progress, scalars)

    def _evaluate(self, step: int) -> None:
        self._level()
        evaluation = None
        try:
            # nothing is lost: the process that resumes makes up for it
            with self._trainer.evaluated(), self._stopping.at_once():
                evaluation = self._validation.run() if self._validation is not None and self._cluster.chief else None
        except KeyboardInterrupt:
            self._stopping.finish()
            self._halted = self._memory.due = True
            return
        # of the chief, which alone evaluates: all workers must take the same turn, or they would wait for one another for ever
        value = self._cluster.of_chief(None if evaluation is None else evaluation.figures.get(self._plan.best_metric))
        better = self._memory.take(value, step)
        self._observer.note(f"step {step} of {self._total}: {self._plan.best_metric} {self._memory.compared(value, step)}")
        if self._cluster.any(evaluation is not None and self._observer.evaluation(step, evaluation, best=better) is False):
            self._outcome.stopped_early = f"stopped at step {step} by its caller"
        else:
            self._outcome.stopped_early = self._memory.out_of_patience(self._plan)
        if better:
            self._save(self._best)

    def _save(self, manager: tf.train.CheckpointManager | None = None) -> None:
        """Write a checkpoint of training; or, by another manager, of the weights that were evaluated."""
        self._level()
        self._trainer.memory.assign(self._memory.to_text())
        self._saved = time.monotonic()
        with self._trainer.evaluated() if manager else contextlib.nullcontext():
            if self._cluster.chief:
                saving.save(manager or self._manager, self._step, newest=self._newest)
        if manager is None:
            self._newest = self._path(self._step)

    def _path(self, step: int) -> str:
        return str(self._train_dir / f"ckpt-{step}")

    def _newest_step(self) -> int | None:
        return checkpoints.step_of(self._newest or self._path(0))

    def _restore(self, path: str) -> None:
        # by itself first: every variable of the model must be there, while the restore below passes over what is not
        self._trainer.restore_model(path)
        try:
            self._checkpoint.restore(path).expect_partial()  # optimizer slots follow when the optimizer makes them
        except ValueError as error:
            raise CheckpointError(f"Checkpoint {path} does not fit this run's optimizer: {first_line(error)}") from error
        self._memory = Memory.of(self._trainer.memory.numpy().decode(), where=path)

    def _chief_step(self) -> int:
        """Return the step of the chief's newest checkpoint; training has written one before its first step."""
        step = self._cluster.of_chief(self._newest_step())
        return int(step or 0)

    def _forget_newest(self) -> None:
        *kept, bad = self._manager.checkpoints
        self._keep_only(kept)
        for file in Path(bad).parent.glob(f"{Path(bad).name}.*"):
            file.unlink()

    def _keep_only(self, kept: list[str]) -> None:
        """Let the checkpoints be these, of which the last is the newest."""
        saving.keep_only(self._manager, kept)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(self._train_dir), max_to_keep=self._plan.keep)
        self._newest = kept[-1]

    def _roll_back(self, error: "_NotFiniteError") -> None:
        # diverged again without a good report since: the checkpoint itself leads there
        if self._in_a_row and self._cluster.chief and len(self._manager.checkpoints) > 1:
            self._forget_newest()  # it led to the same again: its weights are the cause
        back = self._chief_step()
        self._newest, rollbacks = self._path(back), self._memory.rollbacks + 1
        if rollbacks > ROLLBACKS:
            raise TrainingError(
                f"Training diverged at {error}. It was taken back {ROLLBACKS} times, each time with a lower learning rate, in vain. The last good "
                f"checkpoint is that of step {back}. {self._trainer.advice}"
            ) from error
        before = self._memory
        self._restore(self._newest)
        self._in_a_row += 1
        self._memory = self._memory.returned(before)
        # set, not multiplied: the checkpoint that was restored has the factor of its own time
        self._trainer.rate_factor.assign(ROLLBACK_FACTOR**rollbacks)
        note = f"Not finite at {error}. Back to step {back}, learning rate times {ROLLBACK_FACTOR**rollbacks:.3g} (return {rollbacks} of {ROLLBACKS})."
        self._outcome.notes.append(note)
        self._observer.rewind(back)
        self._observer.note(note)


class _NotFiniteError(Exception):
    """A loss or a gradient is not finite; the message has step, learning rate and all losses."""
