"""What suits a small set on a machine without a GPU, as measured (docs/results.md): ``train`` takes it where the user has not chosen.

No TensorFlow.
"""

SMALL_EXAMS = 2_000
"""Fewer training exams are a small set: what was measured was up to 697 of them."""

FREEZE = ("early",)
"""What is not trained: the backbone up to a stride of 8."""

POSITIVE_SHARE = 0.5
"""Of the samples."""

MOBILENETS = ("ssd_mobilenet_v2_keras", "ssd_mobilenet_v2_fpn_keras")
"""Feature extractors for which it is taken, by the API's names: accuracy was measured with the first, of the second the time that a step takes."""
