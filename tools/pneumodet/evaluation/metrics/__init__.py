"""Metrics: detections against ground truth. No TensorFlow is imported here."""
