"""Detections against ground truth, from any framework: reading, figures, and what goes into the report. No TensorFlow."""
