"""What suits a small set on a machine without a GPU, as measured (docs/results.md): the flags that ``train`` and ``make_tfrecords`` advise.

    flags(exams=181, gpus=0)       # ("--freeze early", "--fit-anchors")

No TensorFlow.
"""

SMALL_EXAMS = 2_000
"""Fewer training exams are a small set: what was measured was up to 697 of them."""

FIT_ANCHORS = "--fit-anchors"

SMALL_SET = ("--freeze early", FIT_ANCHORS)
"""Flags of ``train``."""


def flags(*, exams: int, gpus: int) -> tuple[str, ...]:
    """Return the flags of ``train`` for so many training exams, on so many GPUs."""
    return SMALL_SET if exams < SMALL_EXAMS and not gpus else ()
