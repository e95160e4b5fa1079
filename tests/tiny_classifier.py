"""A run of a classifier small enough for tests, which nobody has trained: how bright a radiograph is, and where, decides what it answers.

run(workspace / "gate", records, task="both")      # config.toml, run.json, train/ckpt-6, evaluation/metrics.json
"""

import contextlib
import json

import numpy as np
import pytest

from pneumodet.core import paths, runs
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.data import scaling, synthetic
from pneumodet.models import settings as settings_files
from pneumodet.models.classification.settings import ClassifierSettings

SIDE = 48
"""Of its input, px."""

METRICS = {
    "version": 1,
    "family": runs.CLASSIFICATION,
    "checkpoint": "ckpt-6",
    "image.roc_auc": 0.75,
    "images": 8,
    "patients": 7,
    "threshold": 0.4,
    "operating_point": {"threshold": 0.4, "source": "the best F1 of these exams", "aim": "f1"},
    "calibrator": {"method": "platt", "slope": 0.5, "intercept": -1.0},
}
"""Of an evaluation of the checkpoint."""


@contextlib.contextmanager
def small():
    """Build a ResNet of two stages of one block."""
    from pneumodet.models.classification import networks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_STAGES", ((4, 1), (8, 2)))
        patch.setattr(networks, "_BLOCKS", 1)
        yield


def run(folder, records, *, metrics=METRICS, **settings):
    """Write a run whose checkpoint 6 is the model, with ``records`` as its data; within ``small``."""
    import keras
    import tensorflow as tf

    from pneumodet.models.classification import networks

    chosen = ClassifierSettings(backbone="resnet-scratch", pretrained="none", image_size=SIDE, **settings)
    keras.utils.set_random_seed(1)
    model = networks.classifier(chosen)
    if not chosen.metadata:
        _enliven(model)
    folder.mkdir(parents=True)
    settings_files.save(chosen, folder / runs.SETTINGS)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder / runs.TRAIN), max_to_keep=1).save(checkpoint_number=6)
    data = DataRecord(folder=str(records), manifest_sha256=paths.sha256_file(records / "manifest.json"), train_exams=8)
    runs.write(folder, RunRecord(family=runs.CLASSIFICATION, config="resnet_scratch", data=data, provenance=runs.provenance()))
    if metrics is not None:
        (folder / runs.EVALUATION).mkdir()
        (folder / runs.EVALUATION / runs.METRICS).write_text(json.dumps(metrics))
    return folder


def _enliven(model):
    """Set the heads so that radiographs have log-odds well apart: of a network as it is drawn they hardly depend on the image."""
    import keras

    drawn = [synthetic.draw_radiograph(np.random.default_rng(seed), positive=seed % 2 > 0, size=128)[0] for seed in range(8)]
    images = np.stack([scaling.resize(one, (SIDE, SIDE)) for one in drawn])[..., np.newaxis]
    pooled = keras.Model(model.input, model.get_layer("pooled").output)({"image": images}).numpy()
    for layer in model.layers:
        if layer.name in ("pneumonia", "classes"):
            kernel, _ = layer.get_weights()
            kernel = kernel * (0.8 / (pooled @ kernel).std(axis=0))
            layer.set_weights([kernel, -(pooled @ kernel).mean(axis=0)])
