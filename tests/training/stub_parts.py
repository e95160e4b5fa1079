"""Trainer, feed, validation and observer without a network, for what the loop does around them. One weight falls by the learning rate, and so does its loss."""

import contextlib
import types

import tensorflow as tf

from pneumodet.evaluation.runner import Evaluation
from pneumodet.training import cluster, loop
from pneumodet.training.progress import Observer
from pneumodet.training.step import TOTAL_LOSS, new_memory


class Trainer:
    """A weight, and the counters that the loop asks for; ``broken(step, factor)`` says where the loss is NaN, and the weight stays."""

    advice = memory_advice = ""

    def __init__(self, broken=lambda step, factor: False):
        self.weight, self.global_step = tf.Variable(1.0), tf.Variable(0, dtype=tf.int64)
        self.rate_factor, self.memory = tf.Variable(1.0), new_memory()
        self.model, self._broken = types.SimpleNamespace(variables=[self.weight]), broken

    def step(self, batch):
        bad = self._broken(int(self.global_step), float(self.rate_factor))
        self.global_step.assign_add(1)
        if not bad:
            self.weight.assign(self.weight * (1 - self.learning_rate()))
        return {TOTAL_LOSS: tf.constant(float("nan")) if bad else self.weight.read_value()}

    def evaluated(self):
        return contextlib.nullcontext()

    def learning_rate(self):
        return 0.1 * self.rate_factor.read_value()

    def checkpoint(self):
        return tf.train.Checkpoint(step=self.global_step, weight=self.weight, rate_factor=self.rate_factor, memory=self.memory)

    def restore_model(self, path):
        tf.train.Checkpoint(weight=self.weight).read(path).expect_partial().assert_existing_objects_matched()


class Feed:
    """Batches of nothing."""

    failure, skipped = None, types.SimpleNamespace(reasons={})

    def batches(self, *, first_step, steps):
        return tf.data.Dataset.range(first_step, first_step + steps).map(lambda step: {"step": step})

    def close(self):
        pass


class Validation:
    """Finds the figures given, one after the other; what is callable is called first, and what it returns is the figure."""

    def __init__(self, figures):
        self.skipped, self._left = {}, iter(figures)

    def run(self):
        figure = next(self._left)
        return Evaluation({"rsna_metric": figure() if callable(figure) else figure})


class Heard(Observer):
    """Keeps what it is given."""

    def __init__(self):
        self.losses, self.notes, self.evaluations, self.rewound = {}, [], [], []

    def report(self, progress, scalars):
        self.losses[progress.step] = progress.loss

    def evaluation(self, step, evaluation, *, best):
        self.evaluations.append((step, evaluation.figures["rsna_metric"]))

    def note(self, text):
        self.notes.append(text)

    def rewind(self, step):
        self.rewound.append(step)


def train(folder, plan, *, trainer=None, figures=None, total=12):
    """Return (outcome, what its observer heard) of a run in ``folder``, which is resumed where it has a checkpoint."""
    heard = Heard()
    run = loop.Run(
        trainer or Trainer(),
        Feed(),
        folder,
        plan=plan,
        total=total,
        batch_size=2,
        validation=None if figures is None else Validation(figures),
        cluster=cluster.local(),
        observer=heard,
    )
    run.resume()
    return run.train(), heard
