"""One training step as a graph: a batch in, losses out, weights changed.

trainer = Trainer(model, config, strategy)
losses = trainer.step(batch)
"""

import contextlib
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from pneumodet.models.detection import checkpoints, models, odapi, pipeline_config, resizing
from pneumodet.training.averaging import Averages

TOTAL_LOSS = "Loss/total_loss"

GRADIENT_NORM = "gradient_norm"
"""Key of the global norm of all gradients, before clipping."""


LARGEST_SCALE = 2.0**15
"""What a float16 loss is multiplied by at the start, and at the most (Micikevicius et al., 2018, arXiv:1710.03740)."""

SCALE_GROWTH = 2.0 ** (1 / 1000)
"""A step without overflow raises the scale by so much: it doubles in 1,000 steps."""


def new_memory() -> tf.Variable:
    """Return the variable for what training remembers, as JSON. TensorFlow cannot send a string from process to process."""
    with tf.device("CPU"):
        return tf.Variable("", trainable=False, name="memory")


class Trainer:
    """A model, its optimizer and its counters; everything that a checkpoint of training holds, and what changes it.

    Attributes:
      model: the API's DetectionModel.
      optimizer: a Keras optimizer.
      global_step: () int64 variable, steps done.
      rate_factor: () float32 variable that the schedule's learning rate is multiplied by; the guards lower it.
      memory: () string variable for what else training remembers, as JSON.
      trained: the variables that are trained.
      advice: what helps where training diverges, for the message.
      memory_advice: what helps where the device has too little memory, for the message.
    """

    advice = (
        "Start again with a lower learning rate (--learning-rate; --find-lr shows which) or stronger clipping "
        "(--set train_config.gradient_clipping_by_norm=1)."
    )
    memory_advice = "Start a new run with --batch-size auto, which measures what fits; smaller models and input sizes: configs/README.md."

    def __init__(
        self,
        model: Any,
        config: Any,
        strategy: tf.distribute.Strategy,
        *,
        trained: Iterable[tf.Variable] | None = None,
        rate: tf.Variable | None = None,
        scaled: bool = False,
        memory: tf.Variable | None = None,
    ) -> None:
        """Take a model with all its variables, made in the strategy's scope, where this must be called, too.

        Args:
          model: the API's DetectionModel.
          config: a TrainEvalPipelineConfig.
          strategy: that trains; the default one for a single device.
          trained: variables to train; all of the model's that are trainable where it is None.
          rate: learning rate in place of the config's schedule.
          scaled: scale the loss while gradients are computed, so that small ones do not vanish in float16.
          memory: as from ``new_memory``, made outside the strategy's scope where there are several processes.
        """
        api = odapi.load()
        self.model, self._config, self._strategy = model, config, strategy
        self.global_step = tf.Variable(
            0, trainable=False, dtype=tf.int64, name="global_step", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.rate_factor = tf.Variable(1.0, trainable=False, name="rate_factor", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self._scaled = scaled
        # every replica assigns the same value, which without an aggregation is an error
        self.loss_scale = tf.Variable(
            LARGEST_SCALE if scaled else 1.0, trainable=False, name="loss_scale", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.memory = new_memory() if memory is None else memory
        self.optimizer, (schedule,) = api.optimizer_builder.build(config.train_config.optimizer, global_step=self.global_step)
        schedule = schedule if rate is None else rate
        self._schedule = schedule if callable(schedule) else lambda: schedule
        self._inner = getattr(self.optimizer, "_optimizer", self.optimizer)  # a moving average wraps the optimizer proper
        # a function of variables, not a number: the guards change the factor, and the traced step reads it
        self._inner.learning_rate = self.learning_rate
        self.trained = list(model.trainable_variables if trained is None else trained)
        self._averages, self._evaluates_averages = None, pipeline_config.averaged(config)
        if config.train_config.optimizer.use_moving_average:
            limit = config.train_config.optimizer.moving_average_decay
            self._averages = Averages(self.optimizer, model, self.trained, strategy=strategy, limit=limit)
        self._padded = resizing.of_config(config).padded
        self._fields = api.fields.InputDataFields
        self._provide, self._losses = api.model_lib.unstack_batch, api.model_lib_v2._compute_losses_and_predictions_dicts
        # Slots are made here, since a step that makes variables is traced twice. Autograph would take half of what is left: nothing here needs it.
        self._inner._create_all_weights(self.trained)
        self.step = tf.function(self._step, autograph=False)

    def learning_rate(self) -> tf.Tensor:
        """Return the rate of the step at hand, () float32."""
        return self.rate_factor * self._schedule()

    def checkpoint(self) -> tf.train.Checkpoint:
        """Return all that a resumed run needs; the API's own tools find ``model``, ``optimizer`` and ``step`` where they expect them."""
        return tf.train.Checkpoint(
            step=self.global_step,
            model=self.model,
            optimizer=self.optimizer,
            rate_factor=self.rate_factor,
            loss_scale=self.loss_scale,
            memory=self.memory,
        )

    def restore_model(self, path: str) -> None:
        """Restore the model's variables from a checkpoint of this or an earlier training.

        Raises:
          CheckpointError: it cannot be read or does not fit; the model is as it was.
        """
        checkpoints.restore({"model": self.model}, path, hint="Was it written by this run's pipeline.config?")
        if self._averages:
            self._averages.start()  # those that the checkpoint holds follow with the optimizer

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """Let the model have the weights that are evaluated and kept as the best: the averages, where the config says so."""
        return self._averages.in_model() if self._averages and self._evaluates_averages else contextlib.nullcontext()

    def _step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Train on one batch, as from ``feeding.Feed.batches``; distributed over the replicas where there are several.

        Returns:
          Name of a loss -> its value, and the gradients' norm. Where one of them is not finite, no trained variable has been changed.
        """
        per_replica = self._strategy.run(self._replica_step, args=(batch,))
        reduced = {name: self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for name, value in per_replica.items()}
        self.global_step.assign_add(1)
        if self._averages:
            self._averages.update(self.global_step.value())
        return reduced

    def _replica_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        replicas = self._strategy.num_replicas_in_sync
        models.set_training(self.model, True)
        features, labels = self.inputs(batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.trained)
            losses, _ = self._losses(
                self.model,
                features,
                self._provide(labels, unpad_groundtruth_tensors=self._config.train_config.unpad_groundtruth_tensors),
                training_step=self.global_step.value(),  # a variable would become a part of the model, and of its checkpoints
                add_regularization_loss=self._config.train_config.add_regularization_loss,
            )
            # summed over the replicas later, so that what comes out is their mean
            losses = {name: value / replicas for name, value in losses.items()}
            objective = losses[TOTAL_LOSS] * self.loss_scale
        gradients = tape.gradient(objective, self.trained)
        pairs = [
            (tf.convert_to_tensor(gradient) / self.loss_scale, variable)
            for gradient, variable in zip(gradients, self.trained, strict=True)
            if gradient is not None
        ]
        gradients, variables = [gradient for gradient, _ in pairs], [variable for _, variable in pairs]
        if replicas > 1:  # before clipping, so that many replicas do what one would do with all their images
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        if self._config.train_config.gradient_clipping_by_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, self._config.train_config.gradient_clipping_by_norm, use_norm=norm)
        finite = tf.math.is_finite(losses[TOTAL_LOSS]) & tf.math.is_finite(norm)
        self._apply(finite, gradients, variables)
        if self._scaled:  # a scale that was too large says nothing of the weights: the step is left out, and the next one has half of it
            # below a scale of 1 it is not the scale that overflows: the norm stays as it is, and the run goes back
            norm = tf.where(tf.math.is_finite(norm) | (self.loss_scale < 1), norm, 0)
            self.loss_scale.assign(tf.where(finite, tf.minimum(self.loss_scale * SCALE_GROWTH, LARGEST_SCALE), self.loss_scale / 2))
        # the norm is the same on all replicas, and is summed over them as the losses are
        return {**losses, GRADIENT_NORM: norm / replicas}

    def _apply(self, finite: tf.Tensor, gradients: list[tf.Tensor], variables: list[tf.Variable]) -> None:
        if self._strategy.num_replicas_in_sync > 1:  # optimizers of several replicas meet, which must not happen within a condition
            gradients = [tf.where(finite, gradient, tf.zeros_like(gradient)) for gradient in gradients]
            # the gradients are summed already, which had to come before clipping
            self._inner.apply_gradients(zip(gradients, variables, strict=True), experimental_aggregate_gradients=False)
            return

        def update() -> tf.Tensor:
            self._inner.apply_gradients(zip(gradients, variables, strict=True))
            return tf.constant(True)

        tf.cond(finite, update, lambda: tf.constant(False))

    def inputs(self, batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Return (features, labels) as the API's models take them."""
        fields = self._fields
        features = {
            fields.image: models.normalized(self.model, batch["image"], batch["true_shape"] if self._padded else None),
            fields.true_image_shape: batch["true_shape"],
        }
        labels = {
            fields.groundtruth_boxes: batch["boxes_yxyx_norm"],
            fields.groundtruth_classes: batch["classes"],
            fields.groundtruth_weights: batch["weights"],
            fields.num_groundtruth_boxes: batch["count"],
        }
        if "masks" in batch:
            labels[fields.groundtruth_instance_masks] = batch["masks"]
        return features, labels
