"""Exports of a run's checkpoint, each run against the checkpoint that it was made of. TensorFlow is imported inside functions alone."""
