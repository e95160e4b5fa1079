"""Which records stand for a split: by class and view, as many of each as there are of the rarest where that is enough.

exams = choose(instances["images"], positive, 200)
few_positive(instances["images"], positive, exams)         # None, or a warning
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from pneumodet.core.formatting import counted

FEWEST_POSITIVE = 10
"""Radiographs with findings from which a quantized model should take the ranges of its values, at least: negative ones do not show how high scores get."""


def choose(images: Iterable[Mapping[str, Any]], positive: set[int], count: int, *, seed: int = 0) -> list[str]:
    """Choose exams in turn from every kind of them: with and without findings, in each view.

    Args:
      images: of a record set's COCO object: ``id``, ``file_name`` (the exam), and ``view_position`` where it is known.
      positive: ids of the images with findings.
      count: how many are wanted.
      seed: of the order within a kind.

    Returns:
      At most ``count`` exams, in the order of ``images``; all of them where there are no more.
    """
    kinds: dict[tuple[bool, str], list[str]] = defaultdict(list)
    order = []
    for image in images:
        kinds[image["id"] in positive, str(image.get("view_position"))].append(image["file_name"])
        order.append(image["file_name"])
    generator = np.random.default_rng(seed)
    # kinds are sorted and the order is seeded: the same records give the same choice everywhere
    queues = [[kinds[kind][place] for place in generator.permutation(len(kinds[kind]))] for kind in sorted(kinds)]
    chosen: set[str] = set()
    # in turn: a rare kind gives all that it has, and the frequent ones fill up the rest
    while len(chosen) < min(count, len(order)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.add(queue.pop())
    return [exam for exam in order if exam in chosen]


def few_positive(images: Iterable[Mapping[str, Any]], positive: set[int], chosen: Collection[str]) -> str | None:
    """Return a warning where a quantized model takes the ranges of its values from fewer than ``FEWEST_POSITIVE`` radiographs with findings.

    Args:
      images, positive: as ``choose``.
      chosen: what it returned.
    """
    exams = set(chosen)
    number = sum(image["file_name"] in exams and image["id"] in positive for image in images)
    if number >= FEWEST_POSITIVE:
        return None
    return (
        f"tflite-int8 takes the ranges of its values from {counted(len(exams), 'training radiograph')}, of which {number or 'none'} "
        f"{'has' if number == 1 else 'have'} findings; at least {FEWEST_POSITIVE} should. Scores above those seen are cut off. See in parity.json how the "
        "file compares with the checkpoint, or export with records that have more positive exams: --data."
    )
