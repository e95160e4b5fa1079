"""Detection: the TensorFlow Object Detection API, training, export and inference.

TensorFlow reads the variable below when it is first imported. It is set here so that no module of this package can come too late.
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
