"""What 256 steps are spent on at the outputs of a quantized model.

each = ranges(part, settings, samples)                       # of every feature map
part = graphs.of_model(model, config, kind=ENCODINGS, ranges=each)

Where there surely is nothing, a detector's logits fall without end, to -276 in a model whose highest one is 1.2, and so do its encodings. 256 steps over
such a range are more than 1 apart, and all scores are lost: that, and tensors that join boxes and scores, is what is behind the broken int8 SSDs of
tensorflow/models #9371 and #10618. Here outputs are cut off where detections are not kept any more, and at the encodings of what may be detected.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from pneumodet import inference
from pneumodet.export.graphs import Part
from pneumodet.inference.suppression import Range, Ranges, Settings

_BELOW, _ABOVE = 0.1, 1.0
"""How far the range of logits reaches beyond the lowest one that is kept, and the highest one that was seen."""

_MARGIN = 0.1
"""Share by which the range of encodings is wider than what was seen."""

_CANDIDATES = 100
"""Anchors of each radiograph, those of the highest scores, whose encodings must stay distinct; of the others no box remains."""


def ranges(part: Part, settings: Settings, samples: Iterable[Sequence[np.ndarray]]) -> list[Ranges] | None:
    """Return the ranges of a model's outputs, for each feature map, or None where scores are no sigmoids.

    Args:
      part: answers with encodings and logits.
      settings: of the same model.
      samples: what ``part`` takes of some radiographs.
    """
    if settings.score_converter != "SIGMOID":
        return None
    maps = len(part.names) // 2
    seen: list[list[np.ndarray]] = [[] for _ in range(maps)]  # encodings of candidates
    every: list[list[np.ndarray]] = [[] for _ in range(maps)]  # lowest and highest encoding of all, for maps that have no candidate
    highest = -np.inf
    for sample in samples:
        answer = {name: np.asarray(value) for name, value in part.function(*sample).items()}
        best = [answer[f"logits_{number}"][0, :, int(settings.background) :].max(axis=1) for number in range(maps)]
        least = np.sort(np.concatenate(best))[-_CANDIDATES:][0]
        highest = max(highest, max(float(one.max()) for one in best))
        for number in range(maps):
            codes = answer[f"encodings_{number}"][0]
            seen[number].append(codes[best[number] >= least].ravel())
            every[number].append(np.array([codes.min(), codes.max()]))
    low = (float(np.log(inference.SCORE_FLOOR / (1 - inference.SCORE_FLOOR))) - _BELOW) * settings.logit_scale
    logits = (low, max(highest, low) + _ABOVE)
    encodings = [np.concatenate(some) if sum(map(len, some)) else np.concatenate(whole) for some, whole in zip(seen, every, strict=True)]
    return [Ranges(_wider(codes), logits) for codes in encodings]


def _wider(values: np.ndarray) -> Range:
    low, high = float(values.min()), float(values.max())
    margin = _MARGIN * (high - low) + 1e-3  # a range of nothing has no scale
    return low - margin, high + margin
