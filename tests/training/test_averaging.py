"""Averages of the weights: what they are, who uses them, and that the API's own tools find them."""

import shutil

import numpy as np
import pytest
import shallow
import small

from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import pipeline_config
from pneumodet.training.families import detection

pytestmark = pytest.mark.usefixtures("shallow_backbone")

KEPT, USED = "train_config.optimizer.use_moving_average", "eval_config.use_moving_averages"
LIMIT = 0.2
"""Reached at the fourth step, so that both parts of the schedule of the decay are tested."""

SETTINGS = (*small.SETTINGS, f"{KEPT}=true", f"{USED}=true", f"train_config.optimizer.moving_average_decay={LIMIT}")
SLOT = "/.OPTIMIZER_SLOT/optimizer/average"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def read(prefix):
    """Return name of a variable -> (its value, its average or None) of a checkpoint."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = {name.removesuffix(VALUE) for name in reader.get_variable_to_shape_map() if name.startswith("model/")}
    slots = {name.removesuffix(SLOT) for name in names if name.endswith(SLOT)}
    value = lambda name: reader.get_tensor(name + VALUE)  # noqa: E731
    return {name: (value(name), value(name + SLOT) if name in slots else None) for name in names if ".OPTIMIZER_SLOT" not in name}


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    """Return (folder, step -> figures) of a run of six steps, all of whose checkpoints are kept."""
    seen = {}
    with shallow.backbone():
        folder, _ = detection.train(
            small.request(records, tmp_path_factory.mktemp("runs") / "averaged", steps=6, evaluate_every=3, keep=20, settings=SETTINGS),
            on_evaluation=lambda step, figures: seen.update({step: figures}),
        )
    return folder, seen


def test_the_averages_follow_the_weights(run):
    """By the definition, from the weights of each step, running means and variances among them."""
    expected = {name: value.astype(np.float64) for name, (value, _) in read(run[0] / "train" / "ckpt-0").items()}
    for step in range(1, 7):
        decay = min(LIMIT, (1 + step) / (10 + step))
        there = read(run[0] / "train" / f"ckpt-{step}")
        for name, (value, average) in there.items():
            expected[name] = decay * expected[name] + (1 - decay) * value
            assert average is not None, name
            np.testing.assert_allclose(average, expected[name], rtol=1e-4, atol=1e-6)
    assert any("moving_variance" in name for name in expected)
    assert any(not np.allclose(value, average) for value, average in there.values())


def test_the_best_checkpoint_has_averages_for_weights(run):
    folder, _ = run
    (best,) = (folder / "best").glob("*.index")
    ours, trained = read(best.with_suffix("")), read(folder / "train" / best.stem)
    for name, (value, average) in ours.items():
        assert np.array_equal(value, average), name
        assert np.array_equal(value, trained[name][1]), "train/ keeps both"


def test_the_api_reads_them(run):
    """As its own evaluation does: model and wrapper restored together, then swapped, which leaves means and variances as they are."""
    import tensorflow as tf

    from pneumodet.models.detection import checkpoints, models, odapi

    api, prefix = odapi.load(), str(run[0] / "train" / "ckpt-6")
    config = pipeline_config.load(str(run[0] / "pipeline.config"))
    # its swap refuses to work outside of a strategy's scope
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = models.build(config, is_training=True)
        optimizer, _ = api.optimizer_builder.build(config.train_config.optimizer, global_step=tf.Variable(0, dtype=tf.int64))
        optimizer.shadow_copy(model)
        tf.train.Checkpoint(step=tf.Variable(0, dtype=tf.int64), model=model, optimizer=optimizer).restore(prefix).expect_partial()
        optimizer.swap_weights()
    swapped = {variable.ref(): variable.numpy() for variable in model.trainable_variables}
    checkpoints.restore({"model": model}, prefix, hint="", averaged=True)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(swapped[variable.ref()], variable.numpy(), rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(value, read(prefix)[name][1]) for name, (value, _) in read(prefix).items())


def test_a_resumed_run_has_the_same_averages(run, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(run[0], folder)
    for path in [*(folder / "best").iterdir(), *(folder / "train").glob("ckpt-[56].*")]:
        path.unlink()
    seen = {}
    detection.train(detection.Request(run=str(folder), resume=True), on_evaluation=lambda step, figures: seen.update({step: figures}))
    assert small.weights(folder / "train" / "ckpt-6") == small.weights(run[0] / "train" / "ckpt-6")
    assert seen == {6: run[1][6]}


@pytest.mark.slow
def test_they_are_kept_and_not_used_where_the_config_says_so(run, records, tmp_path):
    said = []
    folder, _ = detection.train(
        small.request(records, tmp_path / "unused", steps=6, evaluate_every=3, settings=(*SETTINGS, f"{USED}=false")),
        on_start=said.append,
        on_evaluation=lambda step, _: False,
    )
    assert any("not used; eval_config.use_moving_averages=true uses them" in one for one in said)
    best, trained = read(folder / "best" / "ckpt-3"), read(folder / "train" / "ckpt-3")
    for name, (value, average) in trained.items():
        assert np.array_equal(best[name][0], value), name
        np.testing.assert_allclose(average, read(run[0] / "train" / "ckpt-3")[name][1], rtol=1e-6, atol=1e-7)


def test_averages_that_nothing_keeps_cannot_be_evaluated(records, tmp_path):
    settings = (*small.SETTINGS, f"{KEPT}=false", f"{USED}=true")
    with pytest.raises(ConfigError, match=f"{USED} is true, but {KEPT} is false.*Set both true or both false"):
        detection.train(small.request(records, tmp_path / "none", settings=settings))


def test_another_run_and_the_exporter_start_from_averages(run, monkeypatch):
    """Also from a run without evaluations, which has no best checkpoint: what its figures are made with is in train/ beside the weights."""
    from pneumodet.export.detector import DetectorSubject
    from pneumodet.models.detection import checkpoints, models, running

    config = pipeline_config.load(str(run[0] / "pipeline.config"))
    prefix = str(run[0] / "train" / "ckpt-6")
    averages = {name: average for name, (_, average) in read(prefix).items()}
    subject = DetectorSubject(run[0])
    monkeypatch.setattr(subject, "checkpoint", prefix)
    with subject._exported_from() as folder:
        exported = read(checkpoints.latest(folder))
    assert exported.keys() == averages.keys()
    assert all(np.array_equal(value, averages[name]) for name, (value, _) in exported.items())

    evaluated = running.model_of(config, prefix)
    model = models.build(config, is_training=True)
    config.train_config.fine_tune_checkpoint, config.train_config.fine_tune_checkpoint_type = prefix, "full"
    restored = checkpoints.restore_fine_tune(model, config.train_config)
    assert restored.averages == restored.restored == len(averages)
    assert f"{len(averages)} of them averages" in restored.sentence()
    for one, other in zip(model.variables, evaluated.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), one.name


def test_a_checkpoint_without_averages_is_refused_where_they_are_asked_for(run, tmp_path):
    import tensorflow as tf

    from pneumodet.core.errors import CheckpointError
    from pneumodet.models.detection import models, running

    config = pipeline_config.load(str(run[0] / "pipeline.config"))
    prefix = tf.train.Checkpoint(model=models.build(config, is_training=False)).write(str(tmp_path / "ckpt-12"))
    assert all(average is None for _, average in read(prefix).values())
    with pytest.raises(CheckpointError, match=r"ckpt-12 holds no averages.*eval_config.use_moving_averages to false"):
        running.model_of(config, prefix)
