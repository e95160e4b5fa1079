"""pipeline.config: loading, patching, overriding, checking. No TensorFlow is needed."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError
from pneumodet.data.manifest import Manifest, Shard, SplitEntry
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection import field_paths, pipeline_config

LABEL_MAP = {"no-pneumonia": 1, "pneumonia": 2}


def record_set(folder, label_map=LABEL_MAP):
    """Return a record set of three files that are not read."""

    def split(*names):
        return SplitEntry(
            exams=1,
            patients=1,
            positive_exams=1,
            boxes=1,
            annotations="instances.json",
            annotations_sha256="",
            shards=tuple(Shard(name, 0, "", 1) for name in names),
        )

    splits = {
        "train": split("train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"),
        "val": split("val-00000-of-00001.tfrecord"),
    }
    return RecordSet(folder, Manifest(splits=splits, label_map=label_map))


@pytest.fixture
def config(tmp_path):
    made = pipeline_config.load("ssd_mobilenet")
    pipeline_config.use_records(made, record_set(tmp_path), label_map_path=tmp_path / "label_map.pbtxt")
    return made


def test_records_replace_what_the_config_had(config, tmp_path):
    pipeline_config.use_records(config, record_set(tmp_path), label_map_path=tmp_path / "label_map.pbtxt")  # twice: nothing is appended
    train, val = config.train_input_reader, config.eval_input_reader
    assert list(train.tf_record_input_reader.input_path) == [str(tmp_path / f"train-0000{i}-of-00002.tfrecord") for i in (0, 1)]
    assert len(val) == 1
    assert list(val[0].tf_record_input_reader.input_path) == [str(tmp_path / "val-00000-of-00001.tfrecord")]
    assert val[0].label_map_path == train.label_map_path == str(tmp_path / "label_map.pbtxt")
    pipeline_config.check(config, LABEL_MAP)


def test_number_of_classes_comes_from_the_label_map(config, tmp_path):
    three = record_set(tmp_path, {**LABEL_MAP, "nodule": 3})
    pipeline_config.use_records(config, three, label_map_path=tmp_path / "label_map.pbtxt")
    assert config.model.ssd.num_classes == 3
    with pytest.raises(ConfigError, match="num_classes 3, but the label map has 2"):
        pipeline_config.check(config, LABEL_MAP)


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        pytest.param("train_config.batch_size=4", lambda c: c.train_config.batch_size == 4, id="integer"),
        pytest.param(
            "train_config.gradient_clipping_by_norm=1e-1", lambda c: abs(c.train_config.gradient_clipping_by_norm - 0.1) < 1e-7, id="float"
        ),
        pytest.param("model.ssd.freeze_batchnorm=True", lambda c: c.model.ssd.freeze_batchnorm is True, id="truth"),
        pytest.param(
            "train_config.fine_tune_checkpoint='a b/ckpt-1'", lambda c: c.train_config.fine_tune_checkpoint == "a b/ckpt-1", id="string"
        ),
        pytest.param(
            "model.ssd.feature_extractor.conv_hyperparams.activation=relu",
            lambda c: c.model.ssd.feature_extractor.conv_hyperparams.activation == 1,
            id="enum",
        ),
        pytest.param("train_config.freeze_variables=a, b", lambda c: list(c.train_config.freeze_variables) == ["a", "b"], id="list"),
        pytest.param("eval_input_reader[0].shuffle=true", lambda c: c.eval_input_reader[0].shuffle, id="element"),
        pytest.param("eval_input_reader.shuffle=true", lambda c: c.eval_input_reader[0].shuffle, id="only-element"),
        pytest.param(
            "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios=",
            lambda c: not c.model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios,
            id="empty-list",
        ),
        pytest.param(
            "train_config.optimizer={ adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.5 } } } }",
            lambda c: c.train_config.optimizer.adam_optimizer.learning_rate.constant_learning_rate.learning_rate == 0.5,
            id="message",
        ),
    ],
)
def test_override(config, setting, read):
    assert not read(config)
    assert pipeline_config.override(config, [setting]) == (setting.partition("=")[0],)
    assert read(config)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("train_config.batch_sise=4", "no field 'batch_sise'; did you mean 'batch_size'", id="unknown"),
        pytest.param("trainconfig.batch_size=4", "did you mean 'train_config'", id="unknown-group"),
        pytest.param("train_config.batch_size=four", "'four' is not a whole number", id="no-integer"),
        pytest.param("train_config.batch_size=-1", "'-1' is not a whole number", id="negative-unsigned"),
        pytest.param("train_config.gradient_clipping_by_norm=x", "'x' is not a number", id="no-float"),
        pytest.param("model.ssd.freeze_batchnorm=maybe", "not true or false", id="no-truth"),
        pytest.param("model.ssd.feature_extractor.conv_hyperparams.activation=gelu", "not one of .*RELU_6", id="no-enum"),
        pytest.param("train_config.optimizer=adam", "a group of fields", id="group"),
        pytest.param("train_config.optimizer={ adam }", "--set train_config.optimizer", id="bad-text"),
        pytest.param("model.faster_rcnn.num_classes=2", "model is of kind 'ssd'", id="other-model"),
        pytest.param("train_config.batch_size.x=2", "single value", id="too-deep"),
        pytest.param("eval_input_reader[3].shuffle=true", "a list of 1", id="no-such-element"),
        pytest.param("train_config.batch_size[0]=1", "not a list", id="no-list"),
        pytest.param("train_config.batch_size", "KEY=VALUE", id="no-value"),
    ],
)
def test_override_refuses(config, setting, message):
    with pytest.raises(ConfigError, match=message):
        pipeline_config.override(config, [setting])


def schedule(config):
    return config.train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate


def test_schedule_scales_with_steps_and_batch(config):
    before = pipeline_config.load("ssd_mobilenet")
    config.train_config.num_steps, config.train_config.batch_size = before.train_config.num_steps // 10, 16
    pipeline_config.scale_schedule(config, reference_steps=before.train_config.num_steps, reference_batch=8, overridden=())
    assert schedule(config).total_steps == schedule(before).total_steps // 10
    assert schedule(config).warmup_steps == schedule(before).warmup_steps // 10
    assert schedule(config).learning_rate_base == pytest.approx(2 * schedule(before).learning_rate_base)
    assert schedule(config).warmup_learning_rate == pytest.approx(2 * schedule(before).warmup_learning_rate)


def test_schedule_set_by_hand_stays(config):
    key = "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate.learning_rate_base"
    keys = pipeline_config.override(config, [f"{key}=0.5"])
    pipeline_config.scale_schedule(config, reference_steps=1000, reference_batch=4, overridden=keys)
    assert schedule(config).learning_rate_base == 0.5
    assert schedule(config).total_steps == 2 * schedule(pipeline_config.load("ssd_mobilenet")).total_steps


def test_peak_rate(config):
    ratio = schedule(config).warmup_learning_rate / schedule(config).learning_rate_base
    pipeline_config.set_peak_rate(config, 0.002)
    assert schedule(config).learning_rate_base == pytest.approx(0.002)
    assert schedule(config).warmup_learning_rate == pytest.approx(0.002 * ratio)


LATE_STEPS = (
    "train_config.optimizer={ momentum_optimizer { learning_rate { manual_step_learning_rate { initial_learning_rate: 0.1 "
    "schedule { step: 900 learning_rate: 0.01 } schedule { step: 9000000 learning_rate: 0.001 } } } } }"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda c: c.train_config.ClearField("optimizer"), "no learning rate", id="no-optimizer"),
        pytest.param(lambda c: setattr(c.train_config, "fine_tune_checkpoint", "PATH_TO_BE_CONFIGURED/x"), "placeholder", id="placeholder"),
        pytest.param(lambda c: setattr(c.train_config, "num_steps", 10**6), "reaches zero at step", id="short-schedule"),
        pytest.param(
            lambda c: setattr(schedule(c), "total_steps", 10**6), "falls until step 1000000, but the run ends at", id="long-schedule"
        ),
        pytest.param(lambda c: pipeline_config.override(c, [LATE_STEPS]), "falls for the last time at step 9000000", id="late-steps"),
        pytest.param(lambda c: setattr(schedule(c), "warmup_steps", 10**6), "fewer than total_steps", id="long-warmup"),
        pytest.param(lambda c: setattr(c.train_config, "batch_size", 0), "at least 1", id="no-batch"),
    ],
)
def test_check_refuses(config, change, message):
    change(config)
    with pytest.raises(ConfigError, match=message):
        pipeline_config.check(config, LABEL_MAP)


def test_check_refuses_checkpoints(config, tmp_path):
    config.train_config.fine_tune_checkpoint = str(tmp_path / "ckpt-1")
    with pytest.raises(ConfigError, match="must be one of classification, detection"):
        pipeline_config.check(config, LABEL_MAP)
    config.train_config.fine_tune_checkpoint_type = "detection"
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        pipeline_config.check(config, LABEL_MAP)


def test_unknown_config_lists_those_there_are():
    with pytest.raises(ConfigError, match="did you mean 'ssd_mobilenet'.*Configs: .*ssd_mobilenet"):
        pipeline_config.load("ssd_mobilnet")


def test_broken_config_names_the_line(tmp_path):
    path = tmp_path / "x.config"
    path.write_text("model {\n  sdd { }\n}")
    with pytest.raises(ConfigError, match=r"x.config is not a pipeline.config: 2:3"):
        pipeline_config.load(str(path))


def test_saved_config_is_the_same(config, tmp_path):
    pipeline_config.save(config, tmp_path / "pipeline.config")
    assert pipeline_config.load(str(tmp_path / "pipeline.config")) == config


@pytest.mark.parametrize("name", pipeline_config.names())
def test_every_config_has_its_header(name):
    lines = (paths.CONFIG_DIR / f"{name}.config").read_text().splitlines()
    header = [line for line in lines[:15] if line.startswith("#")]
    assert any(f"--config {name}" in line for line in header), "the header says how to run it"


def test_needs_no_tensorflow():
    code = "import sys; from pneumodet.models.detection import pipeline_config as p; p.load('ssd_mobilenet'); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("label", "expected"), [(3, True), (1, False)], ids=["repeated", "optional"])
def test_lists_are_known_with_protobuf_5(label, expected):
    """Which Colab and Kaggle have: its descriptors have no ``is_repeated``."""
    assert field_paths.is_repeated(SimpleNamespace(label=label)) == expected
