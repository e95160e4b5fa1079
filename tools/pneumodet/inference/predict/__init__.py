"""Prediction: radiographs in, detections, tables, pictures and DICOM objects out. Nothing here needs TensorFlow."""
