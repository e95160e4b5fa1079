"""Detections from an exported model. No TensorFlow is imported here, nor does detection by ONNX Runtime or LiteRT need it.

detector = detectors.open(Path("workspace/my_first/export"))
detections = detector.detect(pixels)               # Detections in px of the radiograph
"""

SCORE_FLOOR = 0.001
"""Detections that score less are not kept; a COCO curve over so many boxes is not changed by them."""

BACKENDS = ("auto", "onnx", "tflite", "savedmodel", "openvino")
"""What runs a model: the fastest exact one that is there, or the one that is named."""
