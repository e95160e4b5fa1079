"""Data: radiographs, labels, splits and records. No TensorFlow is imported here."""
