"""One step of a Keras 3 model: against the same step written by hand, what is frozen, and what a loss that is not finite does."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import keras
import numpy as np
import pytest
import tensorflow as tf

from pneumodet.core.errors import ConfigError
from pneumodet.training.keras.phases import Phase
from pneumodet.training.keras.trainer import Trainer
from pneumodet.training.step import GRADIENT_NORM, TOTAL_LOSS


def line(start):
    """Return a model of one weight: y = w x."""
    x = keras.Input((1,), name="x")
    return keras.Model({"x": x}, {"y": keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(start))(x)})


def square(batch, outputs):
    return {"square": tf.reduce_mean((outputs["y"] - batch["target"]) ** 2)}


def batch(x, target):
    return {"x": tf.constant([[x]]), "target": tf.constant([[target]])}


def test_momentum_warmup_clipping_and_decay_by_hand():
    phase = Phase(steps=4, learning_rate=0.1, warmup_steps=2)
    trainer = Trainer(line(1.0), square, phases=[phase], optimizer="momentum", clip_norm=1.0, weight_decay=0.01)
    weight, velocity = 1.0, 0.0
    for step in range(4):
        rate = phase.rate(step)
        assert trainer.learning_rate() == pytest.approx(rate)
        losses = trainer.step(batch(2.0, 1.0))
        gradient = 2 * (2 * weight - 1) * 2
        assert losses[TOTAL_LOSS].numpy() == pytest.approx((2 * weight - 1) ** 2, rel=1e-5)
        assert losses[GRADIENT_NORM].numpy() == pytest.approx(abs(gradient), rel=1e-5), "before clipping"
        weight -= weight * 0.01 * rate
        velocity = 0.9 * velocity - rate * gradient / max(1.0, abs(gradient))
        weight += velocity
        assert trainer.model.get_weights()[0][0, 0] == pytest.approx(weight, rel=1e-5)
    assert trainer.global_step.numpy() == 4


def test_weights_stay_where_a_loss_is_not_finite_and_the_rate_factor_counts():
    trainer = Trainer(line(1.0), square, phases=[Phase(steps=9, learning_rate=0.1)], optimizer="adamw")
    losses = trainer.step(batch(np.inf, 1.0))
    assert not np.isfinite(losses[TOTAL_LOSS].numpy())
    assert trainer.model.get_weights()[0][0, 0] == 1.0 and trainer.global_step.numpy() == 1
    before = trainer.learning_rate()
    trainer.rate_factor.assign(0.3)
    assert trainer.learning_rate() == pytest.approx(0.3 * before)
    trainer.step(batch(2.0, 1.0))
    assert trainer.model.get_weights()[0][0, 0] == pytest.approx(1 - 0.3 * before, rel=1e-3), "Adam's first step is the rate"


def nested():
    """Return a model with a backbone, a model in the model, that has a batch normalization; and the backbone."""
    image = keras.Input((4, 4, 1))
    normalized = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(2, 3, name="conv")(image))
    backbone = keras.Model(image, normalized, name="backbone")
    whole = keras.Input((4, 4, 1), name="x")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(whole))
    return keras.Model({"x": whole}, {"y": keras.layers.Dense(1, name="head")(pooled)}), backbone


def test_frozen_layers_stay_with_their_statistics_and_thaw():
    model, backbone = nested()
    norm = backbone.get_layer("norm")
    phases = [
        Phase(steps=2, learning_rate=0.1, frozen=(backbone,)),
        Phase(steps=2, learning_rate=0.1, frozen=(norm,)),
        Phase(steps=2, learning_rate=0.1),
    ]
    trainer = Trainer(model, square, phases=phases, optimizer="momentum")
    random = np.random.default_rng(0)
    one = {"x": tf.constant(random.normal(3, 2, (8, 4, 4, 1)), tf.float32), "target": tf.zeros((8, 1))}
    parts = {"conv": backbone.get_layer("conv"), "norm": norm, "head": model.get_layer("head")}
    changed = []
    for _ in range(3):
        before = {name: layer.get_weights() for name, layer in parts.items()}
        trainer.step(one)
        trainer.step(one)
        changed.append(
            {name for name, layer in parts.items() if any((a != b).any() for a, b in zip(before[name], layer.get_weights(), strict=True))}
        )
    assert changed == [{"head"}, {"head", "conv"}, {"head", "conv", "norm"}]


def test_phases_that_train_nothing_and_unknown_optimizers():
    with pytest.raises(ConfigError, match="nothing to train"):
        model, _ = nested()
        Trainer(model, square, phases=[Phase(steps=1, learning_rate=1, frozen=(model,))])
    with pytest.raises(ConfigError, match="no optimizer 'adamm'"):
        Trainer(line(1.0), square, phases=[Phase(steps=1, learning_rate=1)], optimizer="adamm")


def test_biases_do_not_decay():
    x = keras.Input((1,), name="x")
    model = keras.Model({"x": x}, {"y": keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones")(x)})
    trainer = Trainer(
        model,
        lambda batch, outputs: {"none": 0.0 * tf.reduce_sum(outputs["y"])},
        phases=[Phase(steps=9, learning_rate=0.1)],
        weight_decay=0.5,
    )
    trainer.step(batch(1.0, 1.0))
    kernel, bias = model.get_weights()
    assert kernel[0, 0] == pytest.approx(1 - 0.1 * 0.5) and bias[0] == 1
