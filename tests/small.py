"""A run small enough for tests, and what it wrote."""

import hashlib

import numpy as np
from shallow import SETTINGS, SIDE

from pneumodet.training.families import detection

__all__ = ["SETTINGS", "SIDE", "request", "weights"]


def request(records, folder, **more):
    """Return a request for a run of 12 steps of 2 images, reported at every step because a checkpoint is."""
    fields = {"config": "ssd_mobilenet", "data": records, "steps": 12, "batch_size": 2, "checkpoint_every": 1, "evaluate_every": 0}
    # no test has a network, and a shallow model no checkpoint of the zoo
    fields |= {} if more.get("fine_tune_checkpoint") else {"pretrained": "none"}
    return detection.Request(run=str(folder), **{**fields, "settings": SETTINGS, **more})


def weights(prefix):
    """Return the SHA-256 of everything in a checkpoint but what it counts."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/")) and "iter/" not in name)
    assert len(names) > 40
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + np.ascontiguousarray(reader.get_tensor(name)).tobytes())
    return digest.hexdigest()
