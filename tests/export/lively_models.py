"""Models that answer differently to different images without having been trained, and runs of them."""

import json
import re

import cv2
import numpy as np

from pneumodet.core import paths, runs
from pneumodet.data import label_map
from pneumodet.data.record_sets import RecordSet
from pneumodet.models.detection import pipeline_config
from pneumodet.models.detection.choices import NO_AVERAGES

SIDE = 96
"""Input size in px."""

ANSWERS = {"box_encodings": ((-1, 1), (0.2, 1)), "class_predictions_with_background": ((-4, -1), (1, 2))}
"""Head -> the ranges of its channels' means, and of their standard deviations over places and images."""

RESIDUAL = re.compile(r"block_(2|4|5|7|8|9|11|12|14|15)_project")
"""Layers of MobileNetV2 whose output is added to their block's input."""

FIXED = f"model.ssd.image_resizer={{fixed_shape_resizer {{height: {SIDE} width: {SIDE}}}}}"

PADDED = f"model.ssd.image_resizer={{keep_aspect_ratio_resizer {{min_dimension: 64 max_dimension: {SIDE} pad_to_max_dimension: true}}}}"


def model(resizer=FIXED, settings=()):
    """Return (a small SSD MobileNet, its config) that answers to how bright a radiograph is around an anchor, with scores well apart.

    Every layer takes averages, so that rounding stays as small as it is in a trained network. Of a network as it is drawn by the API, whose answers hardly
    depend on the image, rounding decides which boxes stay.
    """
    import tensorflow as tf

    from pneumodet.models.detection import models

    config = pipeline_config.load("ssd_mobilenet")
    pipeline_config.override(config, ["model.ssd.feature_extractor.depth_multiplier=0.35", resizer, *NO_AVERAGES, *settings])
    made = models.build(config, is_training=False)
    generator = np.random.default_rng(0)
    for variable in [*made._feature_extractor.variables, *made._box_predictor.variables]:
        if "kernel" in variable.name:
            kernel = generator.uniform(0.2, 1, variable.shape)
            kernel /= kernel.sum(axis=(0, 1) if "depthwise" in variable.name.lower() else (0, 1, 2))
            variable.assign(kernel * (0.1 if RESIDUAL.search(variable.name) else 1))
        elif "bn_Conv1/beta" in variable.name:
            variable.assign(np.ones(variable.shape))  # pixels are -1 at the least
    images = [cv2.GaussianBlur(one, (0, 0), 8) for one in generator.uniform(-1, 1, (16, SIDE, SIDE)).astype(np.float32)]
    images = np.stack([np.clip(3 * one / np.abs(one).max() + generator.uniform(-0.6, 0.6), -1, 1) for one in images])
    raw = made._box_predictor(made._feature_extractor(tf.constant(np.repeat(images[..., None], 3, axis=-1), tf.float32)))
    for name, (means, spreads) in ANSWERS.items():
        for head, answer in zip(made._box_predictor._prediction_heads[name], raw[name], strict=True):
            layer = [one for one in head.submodules if isinstance(one, tf.keras.layers.Conv2D)][-1]
            flat = answer.numpy().reshape(-1, layer.filters)
            factor = generator.uniform(*spreads, layer.filters) / flat.std(axis=0)
            layer.bias.assign(generator.uniform(*means, layer.filters) - (flat.mean(axis=0) - layer.bias) * factor)
            layer.kernel.assign(layer.kernel * factor)
    return made, config


def run(folder, records, settings=()):
    """Write a run whose checkpoint 6 is the model, with ``records`` as its data."""
    import tensorflow as tf

    made, config = model(settings=settings)
    record_set = RecordSet.open(records)
    folder.mkdir()
    label_map.write_label_map(folder / runs.LABEL_MAP, record_set.label_map)
    pipeline_config.use_records(config, record_set, label_map_path=folder / runs.LABEL_MAP)
    pipeline_config.save(config, folder / runs.CONFIG)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=made), str(folder / runs.TRAIN), max_to_keep=1).save(checkpoint_number=6)
    record = {
        "config": "ssd_mobilenet",
        "data": {"folder": str(records), "manifest_sha256": paths.sha256_file(records / "manifest.json"), "train_exams": 8},
        "provenance": runs.provenance(),
    }
    (folder / runs.RECORD).write_text(json.dumps(record))
    return folder
