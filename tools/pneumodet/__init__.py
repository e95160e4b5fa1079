"""pneumodet: pneumonia detection on chest radiographs with the TensorFlow Object Detection API.

Nothing heavy is imported here; ``python tools/train.py --help`` answers at once.
"""

__version__ = "0.2.0"
