"""Detection: the TensorFlow Object Detection API, training, export and inference."""
