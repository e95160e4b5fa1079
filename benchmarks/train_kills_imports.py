"""What every training of train_kills.py imports, and nothing that starts TensorFlow's threads: a process that has any cannot be forked."""

import importlib
import os

COMMAND = "TRAIN_KILLS_COMMAND"
"""Variable of the environment: the detectors' API needs Keras 2, the other commands Keras 3, and a process has one of them."""

if os.environ.get(COMMAND) == "train":
    from pneumodet.models.detection import odapi

    odapi.load()
elif COMMAND in os.environ:
    importlib.import_module("keras")
