"""Every config in configs/: it says what it is, passes the checks, fits radiographs, and its model learns from a record set."""

import csv
import re
import types

import numpy as np
import pytest

from pneumodet.cli import make_tfrecords
from pneumodet.core import paths
from pneumodet.core.errors import ConfigError
from pneumodet.data import label_map, record_sets
from pneumodet.models.detection import anchors, pipeline_config

NAMES = pipeline_config.names()

SIDE = 256
"""Input size in px of the built models; EfficientDet needs a multiple of 128, ResNet FPN more than 128."""

RSNA_SIDE = 1024
"""Side in px of every image of RSNA's challenge."""

ANCHOR_RECALL = {"ssd_mobilenet": 0.92}
"""Least share of RSNA's boxes with an anchor at IoU 0.5, where it is not ``RECALL``; the zoo's six SSD levels are coarse."""

RECALL = 0.99
"""Least share of RSNA's boxes with an anchor at IoU 0.5."""


UNUSED = {"top_bn/gamma:0", "top_bn/beta:0"}
"""Variables without a gradient: EfficientNet's last normalization, after the features that the BiFPN takes."""

LEAST_CHANGED = 0.6
"""Least share of variables that a step changes. A frozen backbone would be below; heads of levels without a matched anchor stay as they
are, and so do factors near 1 whose change is beyond float32."""


@pytest.fixture(scope="module")
def masked_records(source, tmp_path_factory):
    """Return the folder of a record set with masks."""
    folder = tmp_path_factory.mktemp("masked") / "records"
    flags = ["--dicom-dir", source.dicom_dir, "--labels", source.labels, "--patient-map", source.patient_map, "--output-dir", folder]
    assert make_tfrecords.main([*map(str, flags), "--val-fraction", "0.4", "--test-fraction", "0", "--masks"]) == 0
    return folder


def resolved(name, records, folder):
    """Return (config, label map) as tools/train.py resolves them for a record set."""
    record_set = record_sets.RecordSet.open(records)
    config = pipeline_config.load(name)
    label_map.write_label_map(folder / "label_map.pbtxt", record_set.label_map)
    pipeline_config.use_records(config, record_set, label_map_path=folder / "label_map.pbtxt")
    return config, record_set.label_map


def resizer(config):
    return pipeline_config.architecture(config).image_resizer.fixed_shape_resizer


def test_the_architectures_of_the_project_are_there():
    assert set(NAMES) >= {
        "efficientdet_d0",
        "faster_rcnn_mobilenet_fpn",
        "faster_rcnn_resnet50",
        "faster_rcnn_resnet101",
        "mask_rcnn_resnet50",
        "retinanet_resnet50",
        "ssd_mobilenet",
        "ssd_mobilenet_fpnlite",
        "ssd_mobilenet_fpnlite_640",
    }


@pytest.mark.parametrize("name", NAMES)
def test_header_gives_command_cost_and_result(name):
    text = (paths.CONFIG_DIR / f"{name}.config").read_text(encoding="utf-8")
    header = text.partition("\nmodel {")[0]
    lines = header.strip().splitlines()
    size = resizer(pipeline_config.load(name))
    assert all(line.startswith("#") for line in lines)
    assert lines[0].endswith(f"{size.height} x {size.width}")
    assert re.findall(r"tools/train\.py --config (\S+)", header) == [name]
    assert "Cost: " in header and "Result" in header
    assert "not measured yet" in header or re.search(r"Cost: [\d.]+ s a step of \d+ on \d+ cores", header)
    assert max(map(len, text.splitlines())) <= 140
    assert not re.search(r"PATH_TO_BE_CONFIGURED/|fine_tune_checkpoint:", text), "tools/train.py sets these"


@pytest.mark.parametrize("name", NAMES)
def test_table_of_the_readme_has_it(name):
    table = (paths.CONFIG_DIR / "README.md").read_text(encoding="utf-8")
    size = resizer(pipeline_config.load(name))
    assert re.search(rf"^\| `{name}` \|.*\| {size.height} \|", table, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_passes_the_checks_and_reads_the_records(name, records, tmp_path):
    config, classes = resolved(name, records, tmp_path)
    pipeline_config.check(config, classes)
    train = config.train_config
    schedule = pipeline_config.learning_rate(config)
    assert schedule.total_steps == train.num_steps
    assert 0 <= schedule.warmup_learning_rate < schedule.learning_rate_base
    assert train.gradient_clipping_by_norm == 10
    averaged = name.startswith("ssd_mobilenet")
    assert (train.optimizer.use_moving_average, config.eval_config.use_moving_averages) == (averaged, averaged)
    assert not train.data_augmentation_options
    assert 4 <= train.max_number_of_boxes <= 100
    model = pipeline_config.architecture(config)
    after = model.post_processing if config.model.HasField("ssd") else model.second_stage_post_processing
    assert after.batch_non_max_suppression.max_total_detections == 100
    masks = bool(config.model.faster_rcnn.number_of_stages == 3)
    assert [reader.load_instance_masks for reader in (config.train_input_reader, config.eval_input_reader[0])] == [masks, masks]


# one step of a shallow model: every test that trains
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_step_from_records_changes_the_weights(name, records, masked_records, tmp_path):
    import tensorflow as tf

    from pneumodet.models.detection import models, odapi

    api = odapi.load()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(1)
    config, _ = resolved(name, masked_records if name.startswith("mask_") else records, tmp_path)
    resizer(config).height = resizer(config).width = SIDE
    config.train_config.batch_size = 2
    config.train_input_reader.shuffle = False

    model = models.build(config, is_training=True)
    done = tf.Variable(pipeline_config.learning_rate(config).warmup_steps, trainable=False, dtype=tf.int64)  # the rate may start at 0
    optimizer, _ = api.optimizer_builder.build(config.train_config.optimizer, global_step=done)
    dataset = api.inputs.train_input(config.train_config, config.train_input_reader, config.model, model=model)
    key = api.fields.InputDataFields.num_groundtruth_boxes
    features, labels = next((features, labels) for features, labels in dataset if int(tf.reduce_min(labels[key])) > 0)
    labels = api.model_lib.unstack_batch(labels, unpad_groundtruth_tensors=False)
    with tf.GradientTape() as tape:  # not as a graph: tracing a ResNet takes longer than its step
        losses, _ = api.model_lib_v2._compute_losses_and_predictions_dicts(model, features, labels, training_step=done)
    variables = model.trainable_variables
    gradients = tape.gradient(losses["Loss/total_loss"], variables)
    missing = {variable.name for variable, gradient in zip(variables, gradients, strict=True) if gradient is None}
    assert missing <= UNUSED
    gradients, norm = tf.clip_by_global_norm(gradients, config.train_config.gradient_clipping_by_norm)
    assert np.isfinite(float(norm)) and float(norm) > 0
    values = {key: float(loss) for key, loss in losses.items()}
    assert all(np.isfinite(value) and (value > 0 or "regularization" in key) for key, value in values.items()), values
    before = [variable.numpy() for variable in variables]
    if config.train_config.optimizer.use_moving_average:
        optimizer.shadow_copy(model)  # as the API's own loop
    optimizer.apply_gradients((gradient, variable) for gradient, variable in zip(gradients, variables, strict=True) if gradient is not None)
    changed = [not np.array_equal(was, variable.numpy()) for was, variable in zip(before, variables, strict=True)]
    assert changed[0] and np.mean(changed) > LEAST_CHANGED


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_anchors_reach_the_boxes_of_radiographs(name, shared_data):
    with open(shared_data / "rsna_csv" / "stage_2_train_labels.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Target"] == "1"]
    annotations = [{"image_id": 1, "bbox": [float(row[key]) for key in ("x", "y", "width", "height")]} for row in rows]
    instances = {"images": [{"id": 1, "height": RSNA_SIDE, "width": RSNA_SIDE}], "annotations": annotations}
    best = anchors.best_iou(pipeline_config.load(name), instances)
    assert np.mean(best >= 0.5) >= ANCHOR_RECALL.get(name, RECALL)


def test_a_size_that_a_model_cannot_take_is_a_sentence(monkeypatch):
    """As the API's EfficientDet says it when it is built."""
    from pneumodet.models.detection import models, odapi

    def preprocess(images):
        raise ValueError("image size must be >= 33 in both height and width.")

    monkeypatch.setattr(odapi.load().model_builder, "build", lambda *_, **__: types.SimpleNamespace(preprocess=preprocess))
    monkeypatch.setattr(models, "set_training", lambda model, is_training: None)
    with pytest.raises(ConfigError, match="cannot take images of 320 x 320 px: image size must be >= 33 .*Set another size"):
        models.build(pipeline_config.load("ssd_mobilenet"), is_training=False)


@pytest.mark.slow
def test_a_size_that_the_model_cannot_take_is_a_sentence():
    from pneumodet.models.detection import models

    config = pipeline_config.load("efficientdet_d0")
    side = "model.ssd.image_resizer.fixed_shape_resizer"
    pipeline_config.override(config, [f"{side}.height=128", f"{side}.width=128"])
    with pytest.raises(ConfigError, match="cannot take images of 128 x 128 px: image size must be >= 129 .*Set another size"):
        models.build(config, is_training=False)
