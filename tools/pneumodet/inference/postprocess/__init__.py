"""What is done with a detector's boxes after the detector: fusing, suppressing, shrinking, gating. No TensorFlow."""
