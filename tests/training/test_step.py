"""One training step: what it changes, what it leaves, and the scale of the loss."""

import numpy as np
import pytest
import small

from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection import odapi
from pneumodet.training import start
from pneumodet.training.families import detection_request
from pneumodet.training.step import GRADIENT_NORM, TOTAL_LOSS, Trainer


@pytest.fixture(scope="module")
def parts(records, tmp_path_factory, shallow_backbone):
    """Return (config, assembled run, a batch)."""
    folder = tmp_path_factory.mktemp("run")
    request = small.request(records, folder)
    prepared = detection_request.new(folder, request, say=lambda text: None, on_download=lambda done, total: None)
    config, data = prepared.config, prepared.data
    from pneumodet.data import label_map

    label_map.write_label_map(folder / "label_map.pbtxt", data.label_map)
    assembled = start.assemble(config, data, start.Options.of(prepared.record.training), fresh=False)
    return config, assembled, next(iter(assembled.feed.batches(first_step=0, steps=1)))


# to trace a step takes much longer than to take it operation by operation
@pytest.mark.parametrize("step", ["_step", pytest.param("step", marks=pytest.mark.slow)], ids=["by itself", "as a graph"])
def test_a_scaled_loss_changes_the_weights_alike(parts, step):
    config, assembled, batch = parts
    import tensorflow as tf

    variables = assembled.trainer.model.variables
    before = [variable.numpy() for variable in variables]

    def stepped(*, scaled):
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        trainer = Trainer(assembled.trainer.model, config, tf.distribute.get_strategy(), scaled=scaled)
        losses = {name: float(value) for name, value in getattr(trainer, step)(batch).items()}
        return trainer, losses, [variable.numpy() for variable in variables]

    _, losses, plain = stepped(scaled=False)
    trainer, scaled_losses, scaled = stepped(scaled=True)
    assert scaled_losses == pytest.approx(losses, rel=1e-5), "what is reported is not scaled"
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-6)
    assert any(not np.array_equal(old, new) for old, new in zip(before, plain, strict=True))
    _check_overflow(trainer, getattr(trainer, step), batch)


def _check_overflow(trainer, step, batch):
    """A scale at which gradients overflow leaves the step out and is halved; that is no sign of broken weights."""
    trainer.loss_scale.assign(3e38)
    before = [variable.numpy() for variable in trainer.trained]
    losses = step(batch)
    assert np.isfinite(float(losses[TOTAL_LOSS]))
    assert float(losses[GRADIENT_NORM]) == 0
    assert float(trainer.loss_scale) == pytest.approx(1.5e38)
    assert all(np.array_equal(old, variable.numpy()) for old, variable in zip(before, trainer.trained, strict=True))


def test_the_learning_rate_follows_schedule_and_factor(parts):
    config, assembled, _ = parts
    schedule = config.train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    trainer = assembled.trainer
    trainer.global_step.assign(schedule.warmup_steps)
    assert float(trainer.learning_rate()) == pytest.approx(schedule.learning_rate_base)
    trainer.rate_factor.assign(0.25)
    assert float(trainer.learning_rate()) == pytest.approx(schedule.learning_rate_base / 4)


def test_reduced_precision_is_for_single_stage_models():
    from pneumodet.core.errors import ConfigError
    from pneumodet.models.detection import models, pipeline_config

    odapi.load()
    with pytest.raises(ConfigError, match="--precision bfloat16 is for single-stage models"):
        models.build(pipeline_config.load("faster_rcnn_resnet50"), is_training=True, precision="bfloat16")


@pytest.mark.slow
def test_bfloat16_gives_nearly_the_same_loss(parts, records):
    import dataclasses

    import tensorflow as tf

    config, _, batch = parts
    data = RecordSet.open(records)
    losses = []
    for precision in ("float32", "bfloat16"):
        assembled = start.assemble(config, data, dataclasses.replace(start.Options(), precision=precision), fresh=False)
        losses.append(float(assembled.trainer.step(batch)[TOTAL_LOSS]))
        assert all(variable.dtype == tf.float32 for variable in assembled.trainer.trained)
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] != losses[0]
    assert tf.keras.mixed_precision.global_policy().name == "float32"
