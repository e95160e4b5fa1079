"""One training step of a Keras 3 model as a graph, with what ``training.loop.Run`` needs of a trainer.

    model = keras.Model({"image": image}, {"pneumonia": logits})           # takes and gives dicts
    trainer = Trainer(model, loss, phases=(Phase(steps=1000, learning_rate=1e-3),), optimizer="adamw", weight_decay=1e-4, clip_norm=1.0)
    losses = trainer.step(batch)

Keras is ``import keras``: ``tf.keras`` is the legacy Keras that the Object Detection API needs. One device trains.
"""

import contextlib
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from pneumodet.core.errors import ConfigError
from pneumodet.models.keras_checkpoints import restore
from pneumodet.models.settings import OPTIMIZERS
from pneumodet.models.types import Batch, Loss
from pneumodet.training.keras import phases as phasing
from pneumodet.training.keras.phases import Phase
from pneumodet.training.step import GRADIENT_NORM, TOTAL_LOSS, new_memory

MOMENTUM = 0.9


class Trainer:
    """A model, its optimizers and its counters; everything that a checkpoint of training holds, and what changes it.

    Attributes:
      model: the Keras 3 model.
      phases: what is trained when.
      global_step: () int64 variable, steps done.
      rate_factor: () float32 variable that the schedule's learning rate is multiplied by; the guards lower it.
      memory: () string variable for what else training remembers, as JSON.
      advice: what helps where training diverges, for the message.
      memory_advice: what helps where the device has too little memory, for the message.
    """

    advice = "Start again with a lower learning rate (--set learning_rate=…) or stronger clipping (--set clip_norm=0.5)."
    memory_advice = "Start a new run with a smaller --batch-size or --set image_size."

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        phases: Sequence[Phase],
        optimizer: str = OPTIMIZERS[0],
        weight_decay: float = 0.0,
        clip_norm: float = 0.0,
    ) -> None:
        """Take a model with all its variables.

        Args:
          model: takes a dict of inputs by name, all of which are keys of the batches; gives what ``loss`` takes.
          loss: (batch, outputs) -> name -> () float32, the mean over the batch.
          phases: schedule and frozen layers, one after the other; each has an optimizer of its own, which starts afresh.
          optimizer: one of ``OPTIMIZERS``.
          weight_decay: decoupled from the gradient (Loshchilov and Hutter, 2019, arXiv:1711.05101); not of biases and normalizations.
          clip_norm: largest global norm of the gradients; 0 for any.

        Raises:
          ConfigError: the optimizer is unknown, or a phase has no step or trains nothing.
        """
        phasing.total(phases)
        self.model, self.phases = model, tuple(phases)
        self._loss, self._clip_norm = loss, clip_norm
        self.global_step = tf.Variable(0, trainable=False, dtype=tf.int64, name="global_step")
        self.rate_factor = tf.Variable(1.0, trainable=False, name="rate_factor")
        self.memory = new_memory()
        self._trained: list[list[keras.Variable]] = []
        self._optimizers: list[keras.optimizers.Optimizer] = []
        # all optimizers now, although later ones are not needed yet: a checkpoint of the first phase must be restorable in the second
        for number, phase in enumerate(self.phases):
            self._freeze(phase)
            trained = list(model.trainable_variables)
            if not trained:
                raise ConfigError(f"Phase {number + 1} of training has nothing to train: all layers are frozen.")
            self._trained.append(trained)
            self._optimizers.append(_built(optimizer, trained, weight_decay))
        self._inputs = [tensor.name for tensor in model.inputs]
        self._steps = [tf.function(self._step_of(number), autograph=False) for number in range(len(self.phases))]
        self._frozen_as: int | None = None

    def learning_rate(self) -> float:
        """Return the rate of the step at hand."""
        number, step = phasing.at(self.phases, int(self.global_step.numpy()))
        return float(self.rate_factor.numpy()) * self.phases[number].rate(step)

    def checkpoint(self) -> tf.train.Checkpoint:
        """Return all that a resumed run needs."""
        weights = {id(variable) for variable in self.model.weights}
        return tf.train.Checkpoint(
            step=self.global_step,
            model=self.model,
            # of dropout and its like: they are among a model's variables, but its checkpoints leave them out
            random_states=[variable.value for variable in self.model.variables if id(variable) not in weights],
            optimizers=self._optimizers,
            rate_factor=self.rate_factor,
            memory=self.memory,
        )

    def restore_model(self, path: str) -> None:
        """Restore the model's variables; see ``restore``."""
        restore(self.model, path)

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """Change nothing: what is trained is what is evaluated."""
        return contextlib.nullcontext()

    def step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Train on one batch.

        Returns:
          ``TOTAL_LOSS``, the terms that it is the sum of where there are several, and the gradients' norm. Where one of them is not finite, no
          trained variable has been changed.
        """
        number, _ = phasing.at(self.phases, int(self.global_step.numpy()))
        if number != self._frozen_as:  # what is frozen is looked up while a step is traced
            self._freeze(self.phases[number])
            self._frozen_as = number
        return self._steps[number](batch, tf.constant(self.learning_rate(), tf.float32))

    def _freeze(self, phase: Phase) -> None:
        self.model.trainable = False  # first, because what does not change is not passed on to the layers within
        self.model.trainable = True
        for layer in phase.frozen:
            layer.trainable = False

    def _step_of(self, number: int) -> Callable[[Batch, tf.Tensor], dict[str, tf.Tensor]]:
        optimizer, trained = self._optimizers[number], self._trained[number]

        def step(batch: Batch, rate: tf.Tensor) -> dict[str, tf.Tensor]:
            # TensorFlow's variables within Keras', which the tape knows
            values = [variable.value for variable in trained]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                terms = self._loss(batch, self.model({name: batch[name] for name in self._inputs}, training=True))
                total = tf.add_n(list(terms.values()))
            # zeros, not None, for what no loss depends on: the optimizer was built for all of them
            gradients = tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            norm = tf.linalg.global_norm(gradients)
            if self._clip_norm:
                gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)

            def update() -> tf.Tensor:
                optimizer.learning_rate.assign(rate)
                optimizer.apply(gradients, trained)
                return tf.constant(True)

            tf.cond(tf.math.is_finite(total) & tf.math.is_finite(norm), update, lambda: tf.constant(False))
            # also where nothing was updated: the order of the records is a function of the step
            self.global_step.assign_add(1)
            named = {f"Loss/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
            return {TOTAL_LOSS: total, **named, GRADIENT_NORM: norm}

        return step


def _built(name: str, trained: list[keras.Variable], weight_decay: float) -> keras.optimizers.Optimizer:
    """Return an optimizer with all its variables, made now because a step that makes variables is traced twice."""
    decay = {"weight_decay": weight_decay or None}
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=weight_decay)
    elif name == "adam":
        optimizer = keras.optimizers.Adam(**decay)
    elif name == "momentum":
        optimizer = keras.optimizers.SGD(momentum=MOMENTUM, **decay)
    else:
        raise ConfigError(f"There is no optimizer {name!r}. There are: {', '.join(OPTIMIZERS)}.")
    if weight_decay:
        # biases and the scales of normalizations are vectors, kernels are not
        optimizer.exclude_from_weight_decay(var_list=[variable for variable in trained if len(variable.shape) < 2])
    optimizer.build(trained)
    return optimizer
