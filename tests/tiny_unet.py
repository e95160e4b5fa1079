"""A U-Net small enough for tests, with all that makes resuming hard: batch normalization, dropout, Adam."""

import functools

import pytest

from pneumodet.evaluation.segmentation import evaluation
from pneumodet.training.families.segmentation import Segmenter
from pneumodet.training.keras import experiment
from pneumodet.training.keras.experiment import Request

CONFIG = """image_size = 32
filters = 4
depth = 1
dropout = 0.3
batch_size = 4
steps = 4
learning_rate = 0.01
warmup_steps = 2
checkpoint_every = 1
evaluate_every = 2
keep = 20
smallest_share = 0.001
"""


def request(records, folder, *overrides, **more):
    """Return a request for a run of 4 steps of 4 images."""
    config = folder.parent / "tiny.toml"
    config.write_text(CONFIG)
    return Request(**{"run": str(folder), "config": str(config), "data": records, "overrides": overrides} | more)


def train(request):
    """Train, and judge with few resamples, which is all that makes it quicker than a user's run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "summarize", functools.partial(evaluation.summarize, resamples=20))
        return experiment.train(Segmenter(), request)
